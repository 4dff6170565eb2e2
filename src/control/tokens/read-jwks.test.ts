import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { ExposedKeys, readJwks } from './read-jwks.ts';

const algorithms = ['ES256', 'EdDSA', 'PS256', 'RS256'];
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const ed25519 = generateKeyPairSync('ed25519');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
const oddRsa = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 });

type Jwk = Record<string, unknown>;

const jwkOf = ({ publicKey }: Pick<typeof p256, 'publicKey'>, more: Jwk = {}): Jwk => ({
  ...publicKey.export({ format: 'jwk' }),
  ...more,
});
const read = (...keys: readonly unknown[]) =>
  readJwks(Buffer.from(JSON.stringify({ keys })), algorithms);
const good = jwkOf(p256, { kid: 'good', use: 'sig', alg: 'ES256' });

test('keys are kept by what they are made of, and nothing else of them', () => {
  const { keys, leftOut } = read(
    {
      ...good,
      x5u: 'https://attacker.example/',
      x5c: ['MII…'],
      x5t: 'x',
      key_ops: ['verify'],
      __proto__x: 1,
    },
    jwkOf(ed25519, { kid: 'ed' }),
    jwkOf(rsa, { kid: 'rsa', alg: 'PS256' }),
  );
  assert.deepEqual(leftOut, []);
  assert.deepEqual(
    keys.map((key) => Object.keys(key).toSorted()),
    [
      ['alg', 'crv', 'kid', 'kty', 'x', 'y'],
      ['crv', 'kid', 'kty', 'x'],
      ['alg', 'e', 'kid', 'kty', 'n'],
    ],
  );
  const data = Buffer.from('signed');
  const [key] = keys;
  assert.ok(key !== undefined);
  const signature = sign('sha256', data, p256.privateKey);
  assert.ok(verify('sha256', data, createPublicKey({ key, format: 'jwk' }), signature));
});

const useless: readonly (readonly [what: string, key: Jwk, reason: RegExp])[] = [
  ['for encryption', { ...good, use: 'enc' }, /not for signatures/],
  ['use of another type', { ...good, use: 7 }, /not for signatures/],
  ['for signing only', { ...good, key_ops: ['sign'] }, /not for verifying/],
  ['operations that are no list', { ...good, key_ops: 'verify' }, /not for verifying/],
  ['kid that is no text', { ...good, kid: 7 }, /strange kid/],
  ['kid with a line end', { ...good, kid: 'a\nb' }, /strange kid/],
  ['kid of 300 characters', { ...good, kid: 'k'.repeat(300) }, /strange kid/],
  ['no kty', { kid: 'x' }, /no kty/],
  ['kty of another type', { ...good, kty: ['EC'] }, /no kty/],
  ['kty of the prototype', { kty: 'constructor' }, /kind of key/],
  ['secp256k1', { ...good, crv: 'secp256k1' }, /kind of key/],
  ['X25519', { kty: 'OKP', crv: 'X25519', x: 'A'.repeat(43) }, /kind of key/],
  ['alg none', { ...good, alg: 'none' }, /algorithm/],
  ['alg HS256', { ...good, alg: 'HS256' }, /algorithm/],
  ['alg of another kind of key', { ...good, alg: 'RS256' }, /algorithm/],
  ['alg that the issuer must not use', jwkOf(rsa, { alg: 'RS512' }), /algorithm/],
  ['a curve for which no algorithm is accepted', jwkOf(p384), /no accepted algorithm/],
  ['no y', { ...good, y: undefined }, /no y/],
  ['x with a plus', { ...good, x: `+${String(good['x']).slice(1)}` }, /no base64url/],
  ['a point that is not on the curve', { ...good, x: good['y'], y: good['x'] }, /no key/],
  ['RSA of 1024 bits', jwkOf(weakRsa), /RSA of 1024 bits/],
  ['RSA with the exponent 3', jwkOf(oddRsa), /exponent/],
  ['RSA with an even exponent', { ...jwkOf(rsa), e: 'AQAC' }, /exponent|no key/],
];

for (const [what, key, reason] of useless) {
  test(`left out: ${what}`, () => {
    const { keys, leftOut } = read({ ...good, kid: 'other' }, key);
    assert.deepEqual(
      keys.map(({ kid }) => kid),
      ['other'],
    );
    assert.match(leftOut.join(), reason);
    assert.throws(() => read(key), { code: 'malformed' });
  });
}

test('a set that shows a secret is refused as a whole, and says which key is lost', () => {
  const exposing: readonly Jwk[] = [
    { ...p256.privateKey.export({ format: 'jwk' }), kid: 'lost' },
    { ...rsa.privateKey.export({ format: 'jwk' }), kid: 'lost' },
    { ...ed25519.privateKey.export({ format: 'jwk' }), kid: 'lost', use: 'enc' },
    { kty: 'oct', k: 'c2VjcmV0', kid: 'lost' },
    { kty: 'oct', kid: 'lost' },
    { kty: 'AKP', priv: 'x', kid: 'lost' },
  ];
  for (const key of exposing) {
    assert.throws(
      () => read(good, key),
      (error: unknown) => {
        assert.ok(error instanceof ExposedKeys);
        assert.equal(error.code, 'integrity');
        assert.match(error.message, /key lost/);
        assert.doesNotMatch(error.message, /c2VjcmV0/);
        assert.equal(error.material.size, 1);
        return true;
      },
    );
  }
});

test('two keys of one name, or two without one, are refused', () => {
  const other = jwkOf(ed25519, { kid: 'good' });
  assert.throws(() => read(good, other), { code: 'malformed', message: /same kid/ });
  assert.throws(() => read(jwkOf(p256), jwkOf(ed25519)), { code: 'malformed' });
  assert.equal(read(jwkOf(p256)).keys.length, 1);
  // One of them cannot verify anything: nobody can be misled.
  assert.equal(read(good, { ...good, use: 'enc' }).keys.length, 1);
});

test('at most 64 keys', () => {
  const many = Array.from({ length: 64 }, (_each, n) => ({ ...good, kid: `k${n}` }));
  assert.equal(read(...many).keys.length, 64);
  assert.throws(() => read(...many, good), { code: 'too-large' });
  assert.throws(() => read(...Array.from({ length: 10_000 }, () => good)), { code: 'too-large' });
});

test('what is no key set is refused', () => {
  const texts = [
    '',
    'null',
    '[]',
    '{}',
    '{"keys":{}}',
    '{"keys":[]}',
    '{"keys":[7]}',
    '{"keys":[[]]}',
    '{"keys":[null]}',
    '{"keys":[],"keys":[]}',
    '<html>',
    `{"keys":${'['.repeat(100_000)}`,
    '{"keys":[{"kty":"EC","kty":"RSA"}]}',
  ];
  for (const text of texts) {
    assert.throws(
      () => readJwks(Buffer.from(text), algorithms),
      { code: 'malformed' },
      text.slice(0, 40),
    );
  }
  assert.throws(() => readJwks(Buffer.from([0xff, 0xfe]), algorithms), { code: 'malformed' });
});

test('whatever comes, it is read or refused with a code', () => {
  const member = fc.constantFrom(
    'kty',
    'crv',
    'x',
    'y',
    'n',
    'e',
    'kid',
    'alg',
    'use',
    'key_ops',
    '__proto__',
  );
  const key = fc.dictionary(
    member,
    fc.oneof(fc.jsonValue(), fc.constantFrom('EC', 'RSA', 'OKP', 'P-256', 'AQAB')),
  );
  fc.assert(
    fc.property(fc.array(key, { maxLength: 5 }), (keys) => {
      try {
        read(good, ...keys);
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error && error.code !== 'internal');
        assert.match(String(error.code), /^(?:malformed|integrity|too-large)$/);
      }
    }),
    { numRuns: 300 },
  );
});
