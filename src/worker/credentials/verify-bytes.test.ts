/** The examples of RFC 9421 appendix B.2 whose algorithms there are, with the keys of B.1. */
import assert from 'node:assert/strict';
import { createPublicKey, createSecretKey, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import {
  parseSignature,
  signatureBase,
} from '../../common/codec/http-signature/signature-input.ts';
import type { UsableKey } from './registered-keys.ts';
import { signatureHolds } from './verify-bytes.ts';

const publicKey = (spki: string) =>
  createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' });

const sharedSecret: UsableKey = {
  algorithm: 'hmac-sha256',
  key: createSecretKey(
    'uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==',
    'base64',
  ),
};
const p256: UsableKey = {
  algorithm: 'ecdsa-p256-sha256',
  key: publicKey(
    'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==',
  ),
};
const ed25519: UsableKey = {
  algorithm: 'ed25519',
  key: publicKey('MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs='),
};

const request: Readonly<Record<string, string>> = {
  '@method': 'POST',
  '@authority': 'example.com',
  '@path': '/foo',
  date: 'Tue, 20 Apr 2021 02:07:55 GMT',
  'content-type': 'application/json',
  'content-length': '18',
};
const response: Readonly<Record<string, string>> = {
  '@status': '200',
  'content-type': 'application/json',
  'content-digest':
    'sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:',
  'content-length': '23',
};

const examples = [
  {
    name: 'B.2.4 ecdsa-p256-sha256',
    key: p256,
    message: response,
    input:
      'sig-b24=("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256"',
    signature:
      'sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:',
  },
  {
    name: 'B.2.5 hmac-sha256',
    key: sharedSecret,
    message: request,
    input:
      'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
    signature: 'sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:',
  },
  {
    name: 'B.2.6 ed25519',
    key: ed25519,
    message: request,
    input:
      'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"',
    signature:
      'sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:',
  },
];

for (const { name, key, message, input, signature } of examples) {
  void test(`${name} verifies, and a part that is changed does not`, () => {
    const parsed = parseSignature(input, signature);
    assert.ok(typeof parsed === 'object');
    const base = signatureBase(parsed, (component) => message[component]);
    assert.ok(base !== undefined);
    assert.equal(signatureHolds(key, base, parsed.signature), true);
    for (let at = 0; at < base.length; at += 7) {
      const changed: string = `${base.slice(0, at)}~${base.slice(at + 1)}`;
      assert.equal(signatureHolds(key, changed, parsed.signature), false);
    }
    for (const wrong of [
      parsed.signature.subarray(1),
      Buffer.concat([parsed.signature, Buffer.of(0)]),
      Buffer.alloc(0),
      Buffer.alloc(parsed.signature.length),
      Buffer.alloc(parsed.signature.length, 0xff),
    ]) {
      assert.equal(signatureHolds(key, base, wrong), false);
    }
    for (const other of [sharedSecret, p256, ed25519]) {
      assert.equal(signatureHolds(other, base, parsed.signature), other === key);
    }
  });
}

void test('ECDSA with P-384 is r and s with SHA-384; DER is no signature', () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const key: UsableKey = { algorithm: 'ecdsa-p384-sha384', key: pair.publicKey };
  const text = Buffer.from('base');
  const plain = { key: pair.privateKey, dsaEncoding: 'ieee-p1363' } as const;
  assert.equal(signatureHolds(key, text, sign('sha384', text, plain)), true);
  assert.equal(signatureHolds(key, text, sign('sha256', text, plain)), false);
  assert.equal(signatureHolds(key, text, sign('sha384', text, pair.privateKey)), false);
});
