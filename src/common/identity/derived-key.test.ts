import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { principalName } from '../base/principal.ts';
import { derivedKey } from './derived-key.ts';

const integrityKey = Buffer.alloc(32, 7);
const d1 = principalName('device', 'd1');

void test('it is HKDF of RFC 5869 over the name of the principal and the id of the key', () => {
  const extracted = createHmac('sha256', Buffer.alloc(32)).update(integrityKey).digest();
  const info = Buffer.from('sallyport device key:device/d1:1\u0001');
  const expanded = createHmac('sha256', extracted).update(info).digest();
  assert.deepEqual(derivedKey(integrityKey, { principal: d1, id: '1' }), expanded);
});

void test('another principal, kind, id or gateway has another key', () => {
  const keys = [
    derivedKey(integrityKey, { principal: d1, id: '1' }),
    derivedKey(integrityKey, { principal: d1, id: '2' }),
    derivedKey(integrityKey, { principal: principalName('device', 'd2'), id: '1' }),
    derivedKey(integrityKey, { principal: principalName('service', 'd1'), id: '1' }),
    derivedKey(Buffer.alloc(32, 8), { principal: d1, id: '1' }),
  ];
  assert.equal(new Set(keys.map((key) => key.toString('hex'))).size, keys.length);
});
