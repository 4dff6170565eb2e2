/** JWTs by node:crypto alone: what a client makes, and what a resource server checks, without the gateway's library. */
import assert from 'node:assert/strict';
import { createPublicKey, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

type Members = Readonly<Record<string, unknown>>;

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** RFC 7515, compact. `alg` of the header decides how it is signed; of what is not known nothing is signed. */
export function signedJwt(header: Members, claims: Members, key: KeyObject): string {
  const input = `${part(header)}.${part(claims)}`;
  return `${input}.${signatureOf(String(header['alg']), Buffer.from(input), key).toString('base64url')}`;
}

function signatureOf(alg: string, input: Buffer, key: KeyObject): Buffer {
  switch (alg) {
    case 'ES256':
      return sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' });
    case 'ES384':
      return sign('sha384', input, { key, dsaEncoding: 'ieee-p1363' });
    case 'RS256':
      return sign('sha256', input, key);
    case 'EdDSA':
    case 'Ed25519':
      return sign(null, input, key);
    default:
      return Buffer.alloc(0);
  }
}

export interface OpenedJwt {
  readonly header: Members;
  readonly claims: Members;
}

/** What an ES256 JWT says, once the key of the JWK Set that it names has verified it. */
export function openJwt(token: string, keys: readonly Members[]): OpenedJwt {
  const [head = '', body = '', signature = '', ...rest] = token.split('.');
  assert.deepEqual(rest, []);
  const header = membersOf(head);
  assert.equal(header['alg'], 'ES256');
  const jwk = keys.find(({ kid }) => kid === header['kid']);
  assert.ok(jwk !== undefined, 'no key of that name');
  const key = {
    key: createPublicKey({ key: jwk, format: 'jwk' }),
    dsaEncoding: 'ieee-p1363',
  } as const;
  const input = Buffer.from(`${head}.${body}`);
  assert.ok(verify('sha256', input, key, Buffer.from(signature, 'base64url')), 'the signature');
  return { header, claims: membersOf(body) };
}

function membersOf(text: string): Members {
  const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
  assert.ok(typeof value === 'object' && value !== null);
  return value as Members; // the keys of any object are strings
}
