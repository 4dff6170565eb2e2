import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { fc } from '../../base/property-test-support.ts';
import { canonicalForm } from './canonical-form.ts';

void test('eight lines in their order, without one at the end', () => {
  const body = Buffer.from('{"temp": 22.5}');
  const text = canonicalForm({
    method: 'POST',
    path: '/api/v1/telemetry',
    query: 'a=1',
    timestamp: '1763740800',
    nonce: 'abcdefghijklmnop',
    keyId: 'd1.1',
    body,
  });
  assert.deepEqual(text.split('\n'), [
    'SALLYPORT-HMAC-SHA256',
    'POST',
    '/api/v1/telemetry',
    'a=1',
    '1763740800',
    'abcdefghijklmnop',
    'd1.1',
    hash('sha256', body),
  ]);
});

void test('no two messages have the same text', () => {
  const line = fc.stringMatching(/^[\x20-\x7e]{0,5}$/);
  const parts = fc.record({
    method: line,
    path: fc.string({ unit: fc.constantFrom('a', '/', 'é', ' '), maxLength: 4 }),
    query: line,
    timestamp: line,
    nonce: line,
    keyId: line,
    body: fc.uint8Array({ maxLength: 2 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(parts, parts, (one, other) => {
      const isSame = JSON.stringify(one) === JSON.stringify(other);
      assert.equal(canonicalForm(one) === canonicalForm(other), isSame);
    }),
  );
});
