import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { keyKinds } from '../../common/base/key-kinds.ts';
import { csrAttributes } from './csr-attributes.ts';

/** The OIDs and numbers that `openssl asn1parse` finds, in their order. */
function read(der: Buffer): readonly string[] {
  const text = execFileSync('openssl', ['asn1parse', '-inform', 'DER'], {
    input: der,
    encoding: 'utf8',
  });
  return [...text.matchAll(/(?:OBJECT|INTEGER) +:(\S+)/g)].map(([, value = '']) => value);
}

for (const [kind, expected] of [
  ['P-256', ['id-ecPublicKey', 'prime256v1', 'ecdsa-with-SHA256']],
  ['P-384', ['id-ecPublicKey', 'secp384r1', 'ecdsa-with-SHA384']],
  ['Ed25519', ['ED25519']],
  ['RSA', ['rsaEncryption', '0800', 'sha256WithRSAEncryption']],
  ['ML-DSA-65', ['2.16.840.1.101.3.4.3.18']],
] as const) {
  test(`where ${kind} comes first a device is told to make such a key`, () => {
    const found = read(csrAttributes({ renewalDays: 60, keys: [kind, 'P-256', 'RSA'] }));
    assert.deepEqual(found.slice(0, expected.length), expected);
    // The renewal window follows: its identifier and 60 days.
    assert.equal(found.length, expected.length + 2);
    assert.equal(found.at(-1), '3C');
  });
}

test('every kind that can be configured can be told', () => {
  for (const kind of keyKinds) {
    assert.ok(csrAttributes({ renewalDays: 1, keys: [kind] }).length > 10, kind);
  }
});
