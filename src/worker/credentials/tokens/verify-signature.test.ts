import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { CompactSign } from 'jose';
import { decodeJws } from './compact-jws.ts';
import { jws, pair } from './test-support.ts';
import type { Pair } from './test-support.ts';
import { fits, isSignedBy } from './verify-signature.ts';

const keys = {
  'P-256': pair('P-256'),
  'P-384': pair('P-384'),
  'P-521': pair('P-521'),
  Ed25519: pair('Ed25519'),
  RSA: pair('RSA'),
} as const;

const keyOf: Readonly<Record<string, keyof typeof keys>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  Ed25519: 'Ed25519',
  EdDSA: 'Ed25519',
  PS256: 'RSA',
  PS384: 'RSA',
  PS512: 'RSA',
  RS256: 'RSA',
  RS384: 'RSA',
  RS512: 'RSA',
};
const algorithms = Object.keys(keyOf);

/** By a library that has nothing to do with the code under test. */
function signed(alg: string, { privateKey }: Pair): Promise<string> {
  return new CompactSign(Buffer.from('{"a":1}')).setProtectedHeader({ alg }).sign(privateKey);
}

function holds(token: string, key: KeyObject, alg?: string): boolean {
  const decoded = decodeJws(token, 8_192);
  assert.ok(decoded.ok);
  return isSignedBy(alg === undefined ? decoded : { ...decoded, alg }, key);
}

for (const alg of algorithms) {
  test(`${alg} as jose signs it: by its key, and by none of the others`, async () => {
    const kind = keyOf[alg] ?? 'RSA';
    const token = await signed(alg, keys[kind]);
    for (const [other, { publicKey }] of Object.entries(keys)) {
      assert.equal(holds(token, publicKey), other === kind, other);
    }
    assert.equal(holds(token, pair(kind).publicKey), false);
    assert.equal(holds(token, keys[kind].privateKey), false);
  });

  test(`what is signed by ${alg} is not by another algorithm of the same key`, async () => {
    const kind = keyOf[alg] ?? 'RSA';
    const token = await signed(alg, keys[kind]);
    for (const other of algorithms) {
      const isSame = other === alg || (kind === 'Ed25519' && keyOf[other] === kind);
      assert.equal(holds(token, keys[kind].publicKey, other), isSame, other);
    }
  });
}

for (const alg of [
  'none',
  'HS256',
  'ES256K',
  'RSA-OAEP',
  'ML-DSA-44',
  '__proto__',
  'constructor',
  '',
]) {
  test(`"${alg}" fits no key`, () => {
    for (const { publicKey } of Object.values(keys)) assert.equal(fits(alg, publicKey), false);
  });
}

test('signatures of another length are none, whatever is cut off or added', () => {
  for (const bytes of [0, 1, 63, 65, 72, 128]) {
    const token = jws({ alg: 'ES256' }, {}, () => Buffer.alloc(Math.max(bytes, 1), 1));
    assert.equal(holds(token, keys['P-256'].publicKey), false);
  }
});

for (const modulusLength of [1_024, 8_448]) {
  test(`an RSA key of ${modulusLength} bits verifies nothing`, () => {
    // Made from its numbers: generating a large one takes a minute.
    const n = Buffer.alloc(modulusLength / 8, 0xff).toString('base64url');
    const key = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' });
    assert.equal(fits('RS256', key), false);
    assert.equal(fits('PS256', key), false);
  });
}

test('an RSA key with an exponent that makes every signature slow, or worthless, verifies nothing', () => {
  const n = Buffer.alloc(256, 0xff).toString('base64url');
  for (const e of [Buffer.alloc(200, 0xff), Buffer.from([1])]) {
    const key = createPublicKey({
      key: { kty: 'RSA', n, e: e.toString('base64url') },
      format: 'jwk',
    });
    assert.equal(fits('RS256', key), false);
  }
});

test('keys for something else do not fit', () => {
  const { publicKey: agreement } = generateKeyPairSync('x25519');
  const { publicKey: pss } = generateKeyPairSync('rsa-pss', { modulusLength: 2_048 });
  const { publicKey: bitcoin } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
  for (const key of [agreement, pss, bitcoin]) {
    for (const alg of algorithms) assert.equal(fits(alg, key), false, alg);
  }
});
