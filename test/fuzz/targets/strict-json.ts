/**
 * Payloads of devices, against the JSON reader that Node brings: whatever the strict one takes is the same value there,
 * and it refuses nothing that could only be read in one way.
 */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { maxJsonDepth, parseStrictJson } from '../../../src/common/base/strict-json.ts';
import type { FuzzTarget } from '../fuzz.ts';

/** What strictness is about: two readers could differ over it, or it is beyond a bound. */
const allowedRefusals =
  /same key twice|half a surrogate|nested deeper|too many digits|too large|byte order mark/;

function check(input: Buffer): void {
  const strict = parseStrictJson(input);
  const native = parseNative(input);
  if (strict.ok) {
    assert.ok(native !== undefined, 'taken, and no JSON');
    // The strict reader's objects have no prototype.
    assert.equal(JSON.stringify(strict.value), JSON.stringify(native.value));
  } else {
    assert.notEqual(strict.problem, '');
    assert.ok(native === undefined || allowedRefusals.test(strict.problem), strict.problem);
  }
}

function parseNative(input: Buffer): { readonly value: unknown } | undefined {
  if (!isUtf8(input)) return undefined;
  try {
    return { value: JSON.parse(input.toString('utf8')) };
  } catch {
    return undefined;
  }
}

export const strictJson: FuzzTarget = {
  seeds: [
    '{"temperature":22.5,"humidity":-4e1,"ok":true,"none":null,"list":[1,"two",{}]}',
    '{"a":{"a":1,"__proto__":{"x":[]}}}',
    '"\\u00e9\\ud83d\\ude00\\n"',
    '[0,-0,1.5E+3,1e400,0.1]',
    '['.repeat(maxJsonDepth) + ']'.repeat(maxJsonDepth),
    '{"a":1,"a":2}',
    ' \t\r\n[ ] ',
    '\ufeff1',
    'true',
  ].map((text) => Buffer.from(text)),
  words: ['{', '}', '[', ']', '"', ':', ',', '\\u', '\\ud800', '1e9', 'null', '-'].map((text) =>
    Buffer.from(text),
  ),
  maxBytes: 300,
  check,
};
