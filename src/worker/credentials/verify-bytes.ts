/** Whether a signature is the one of a text under a key. */
import { createHmac, timingSafeEqual, verify } from 'node:crypto';
import type { SignatureAlgorithm, UsableKey } from './registered-keys.ts';

/** Bytes of a signature (RFC 9421 section 3.3): of ECDSA r and s, each as long as the curve's order. */
const signatureBytes: Readonly<Record<SignatureAlgorithm, number>> = {
  'hmac-sha256': 32,
  'ecdsa-p256-sha256': 64,
  'ecdsa-p384-sha384': 96,
  ed25519: 64,
};

/** Takes the same time for every wrong HMAC. Never throws. */
export function signatureHolds(
  { algorithm, key }: UsableKey,
  text: string | Buffer,
  signature: Buffer,
): boolean {
  if (signature.length !== signatureBytes[algorithm]) return false;
  switch (algorithm) {
    case 'hmac-sha256':
      return timingSafeEqual(createHmac('sha256', key).update(text).digest(), signature);
    case 'ecdsa-p256-sha256':
      return verify('sha256', bytesOf(text), { key, dsaEncoding: 'ieee-p1363' }, signature);
    case 'ecdsa-p384-sha384':
      return verify('sha384', bytesOf(text), { key, dsaEncoding: 'ieee-p1363' }, signature);
    case 'ed25519':
      return verify(null, bytesOf(text), key, signature);
  }
}

function bytesOf(text: string | Buffer): Buffer {
  return typeof text === 'string' ? Buffer.from(text) : text;
}
