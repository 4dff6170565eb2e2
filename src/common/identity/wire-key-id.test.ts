import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../base/property-test-support.ts';
import { principalName } from '../base/principal.ts';
import { parseWireKeyId, wireKeyId } from './wire-key-id.ts';

const named: readonly (readonly ['device' | 'service', string, string, string])[] = [
  ['device', 'd1', '1', 'd1.1'],
  ['device', 'pump.7', 'k-2_x', 'pump.7.k-2_x'],
  ['device', 'a:b', '1', 'a:b.1'],
  ['device', 'service:x', '1', 'device:service:x.1'],
  ['device', 'device:x', '1', 'device:device:x.1'],
  ['device', 'operator:x', '1', 'device:operator:x.1'],
  ['service', 'ingest', '1', 'service:ingest.1'],
  ['service', 'device:x', '1', 'service:device:x.1'],
];

for (const [kind, owner, id, text] of named) {
  void test(`${kind}/${owner} key ${id} is ${text}`, () => {
    const key = { principal: principalName(kind, owner), id };
    assert.equal(wireKeyId(key), text);
    assert.deepEqual(parseWireKeyId(text), key);
  });
}

const nobodys = [
  '',
  'd1',
  'd1.',
  '.1',
  'd1.1.',
  'd1.a b',
  'd1.ä',
  `d1.${'k'.repeat(33)}`,
  `${'d'.repeat(129)}.1`,
  `${'d'.repeat(100_000)}.1`,
  'device:d1.1',
  'device:a:b.1',
  'operator:root.1',
  'service:.1',
  'service:device:service:x/.1',
  'device/d1.1',
  '-d1.1',
  'd1\n.1',
  '__proto__.1',
];

for (const text of nobodys) {
  void test(`${JSON.stringify(text.slice(0, 40))} names no key`, () => {
    assert.equal(parseWireKeyId(text), undefined);
  });
}

void test('every key has one name, and every name one key', () => {
  const owner = fc.tuple(
    fc.constantFrom('device', 'service'),
    fc.constantFrom('', 'device:', 'service:', 'operator:'),
    fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,20}$/),
  );
  const keyId = fc.stringMatching(/^[A-Za-z0-9_-]{1,32}$/);
  const key = fc.tuple(owner, keyId).map(([[kind, prefix, rest], id]) => ({
    principal: principalName(kind === 'device' ? 'device' : 'service', prefix + rest),
    id,
  }));
  fc.assert(
    fc.property(key, (each) => {
      assert.deepEqual(parseWireKeyId(wireKeyId(each)), each);
    }),
  );
});
