/**
 * The HMAC key of a registered key of type `derived`: control makes it to show it once, workers to verify with it.
 * HKDF-SHA-256 (RFC 5869) of the gateway's integrity key, without salt, bound to the principal's name and the key's id.
 */
import { hkdfSync } from 'node:crypto';
import type { NamedKey } from './wire-key-id.ts';

const keyBytes = 32;

/** @param integrityKey `WorkerKeys.integrity`, decoded. @returns 32 bytes: a secret. */
export function derivedKey(integrityKey: Buffer, { principal, id }: NamedKey): Buffer {
  const info = `sallyport device key:${principal}:${id}`;
  return Buffer.from(hkdfSync('sha256', integrityKey, '', info, keyBytes));
}
