/**
 * Public keys as JSON Web Keys (RFC 7517), from issuers and in DPoP proofs. Read member by member: what else a key says
 * of itself changes neither what it is nor its thumbprint.
 */
import { createPublicKey, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** Members that make the key, in the order of RFC 7638 section 3.2. */
const members = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
} as const;

/** RFC 7518 sections 6.2.2, 6.3.2 and 6.4: where one of them is, the key is not public. */
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'] as const;

/** A modulus of 8,192 bits in base64url, and some. */
const maxMemberLength = 1_400;

type KeyMembers = Readonly<Record<string, string>>;

/** Only what makes the key; undefined when it is no public key of a kind that signs. */
function keyMembers(jwk: Readonly<Record<string, unknown>>): KeyMembers | undefined {
  const { kty } = jwk;
  if (kty !== 'EC' && kty !== 'OKP' && kty !== 'RSA') return undefined;
  if (privateMembers.some((name) => jwk[name] !== undefined)) return undefined;
  const key: Record<string, string> = {};
  for (const name of members[kty]) {
    const value = jwk[name];
    if (typeof value !== 'string' || value === '' || value.length > maxMemberLength)
      return undefined;
    key[name] = value;
  }
  return key;
}

/** RFC 7638, SHA-256 in base64url; undefined when it is no public key. */
export function thumbprint(jwk: Readonly<Record<string, unknown>>): string | undefined {
  const key = keyMembers(jwk);
  return key === undefined ? undefined : hash('sha256', JSON.stringify(key), 'base64url');
}

/** Undefined when it is no public key, or none that OpenSSL takes: a point that is not on its curve, for example. */
export function publicKeyOf(jwk: Readonly<Record<string, unknown>>): KeyObject | undefined {
  const key = keyMembers(jwk);
  if (key === undefined) return undefined;
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    return undefined;
  }
}
