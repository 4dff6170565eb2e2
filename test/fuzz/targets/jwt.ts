/**
 * A JWT as it came, and the same from the text of its header and of its claims, which stand in two lines. What is read is what
 * another library reads in it, has one spelling, and can be judged.
 */
import assert from 'node:assert/strict';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import {
  confirmationOf,
  isFor,
  scopesOf,
  untimely,
} from '../../../src/worker/credentials/tokens/claims.ts';
import { decodeJws } from '../../../src/worker/credentials/tokens/compact-jws.ts';
import { publicKeyOf, thumbprint } from '../../../src/worker/credentials/tokens/public-jwk.ts';
import { isSignedBy } from '../../../src/worker/credentials/tokens/verify-signature.ts';
import type { FuzzTarget } from '../fuzz.ts';

const maxBytes = 4_096;
const now = 1_700_000_000_000;
const point = {
  x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
  y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
};

function check(input: Buffer): void {
  const text = input.toString('latin1');
  judge(text);
  const [header = '', claims = ''] = text.split('\n', 2).map((line) => Buffer.from(line, 'latin1'));
  const segments = [header, claims, Buffer.alloc(64, 1)].map((part) =>
    Buffer.from(part).toString('base64url'),
  );
  judge(segments.join('.'));
}

function judge(token: string): void {
  for (const bringsKey of [false, true]) {
    const read = decodeJws(token, maxBytes, bringsKey);
    if (!read.ok) continue;
    const { alg, kid, jwk, claims } = read;
    assert.equal(`${read.text}.${read.signature.toString('base64url')}`, token);
    const header = decodeProtectedHeader(token);
    assert.equal(header.alg, alg);
    assert.equal(header.kid, kid);
    assert.equal(header.crit, undefined);
    assert.equal(bringsKey, jwk !== undefined);
    assert.equal(JSON.stringify(decodeJwt(token)), JSON.stringify(claims));
    untimely(claims, now, 1_000);
    isFor(claims['aud'], ['x']);
    confirmationOf(claims['cnf']);
    scopesOf(claims['scope']);
    if (jwk === undefined) continue;
    const key = publicKeyOf(jwk);
    if (key === undefined) continue;
    assert.match(thumbprint(jwk) ?? '', /^[\w-]{43}$/);
    // Nobody has signed anything.
    assert.equal(isSignedBy(read, key), false);
  }
}

const seed = (header: object, claims: object): Buffer =>
  Buffer.from(`${JSON.stringify(header)}\n${JSON.stringify(claims)}`);

export const jwt: FuzzTarget = {
  seeds: [
    seed(
      { alg: 'ES256', typ: 'at+jwt', kid: 'k1' },
      { iss: 'https://a.example', aud: ['x'], exp: 1_700_000_001, nbf: 1, scope: 'a b' },
    ),
    seed(
      { alg: 'ES256', typ: 'dpop+jwt', jwk: { kty: 'EC', crv: 'P-256', ...point } },
      { jti: 'x', htm: 'GET', htu: 'https://a.example/', iat: 1 },
    ),
    seed({ alg: 'EdDSA', jwk: { kty: 'OKP', crv: 'Ed25519', x: point.x } }, { aud: 'x' }),
    seed(
      { alg: 'RS256', jwk: { kty: 'RSA', e: 'AQAB', n: 'sXch' } },
      { cnf: { jkt: point.x, 'x5t#S256': point.y } },
    ),
    Buffer.from('eyJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJ4In0.AAAA'),
  ],
  words: [
    '\n',
    '"',
    '.',
    '{',
    '}',
    '[',
    '\\u0061',
    '"alg":',
    '"crit":["b64"]',
    '"__proto__":',
    '"exp":1e9',
    'null',
    '=',
    'ey',
    '\xff',
  ].map((text) => Buffer.from(text, 'latin1')),
  maxBytes: 1_500,
  check,
};
