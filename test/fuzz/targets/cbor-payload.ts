/**
 * Payloads in CBOR: whatever passes the look over it has one meaning, the same for the decoder behind it and for one that
 * knows nothing of either; and nothing is refused that the decoder alone would have read as JSON.
 */
import assert from 'node:assert/strict';
import { decode as decodeElsewhere } from 'cbor2';
import { decode } from 'cborg';
import { cborProblem, maxCborDepth } from '../../../src/common/codec/cbor/scan.ts';
import { parseStrictCbor } from '../../../src/common/codec/cbor/strict-cbor.ts';
import type { FuzzTarget } from '../fuzz.ts';

/** What the decoder behind would have taken: JSON has no such thing, readers differ over it, or it is beyond a bound. */
const allowedRefusals =
  /nested deeper|byte string|byte order mark|not UTF-8|key is not a text|more than \d+ items/;

const strict = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
  useMaps: true,
};

function check(input: Buffer): void {
  const result = parseStrictCbor(input);
  if (result.ok) {
    assert.equal(cborProblem(input), undefined);
    assert.equal(JSON.stringify(result.value), JSON.stringify(decodeElsewhere(input)));
    return;
  }
  assert.notEqual(result.problem, '');
  if (cborProblem(input) === undefined) {
    assert.match(result.problem, /same key twice/);
  } else if (!allowedRefusals.test(result.problem)) {
    assert.throws(() => decode(input, strict), result.problem);
  }
}

export const cborPayload: FuzzTarget = {
  seeds: [
    // {"t": 21.5, "list": [1, -7, "two", null, true, {}], "é": 1e300}
    'a36174f94d60646c69737486012663 74776ff6f5a062c3a9fb7e37e43c8800759c',
    'a2616101616102',
    'a1695f5f70726f746f5f5fa1617801',
    '1b001fffffffffffff',
    '3b001ffffffffffffe',
    '1b0020000000000000',
    '9a0001000000',
    '9f01ff',
    'bf6161 01ff',
    '7f6161 6162ff',
    'f97e00',
    'fa7f800000',
    'c11a514b67b0',
    '43010203',
    'f7',
    'f820',
    '63efbbbf',
    `${'81'.repeat(maxCborDepth)}00`,
    `${'a16161'.repeat(maxCborDepth)}00`,
  ].map((hex) => Buffer.from(hex.replaceAll(' ', ''), 'hex')),
  words: [
    'a1',
    '81',
    '61',
    '7f',
    '9f',
    'ff',
    '18',
    '19',
    '1a',
    '1b',
    'f9',
    'fb',
    'c0',
    'efbbbf',
  ].map((hex) => Buffer.from(hex, 'hex')),
  maxBytes: 300,
  check,
};
