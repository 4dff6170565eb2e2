/**
 * The bearer token of `/metrics` (RFC 6750 §2.1).
 */
import { createHash, timingSafeEqual } from 'node:crypto';

/** Longest token that is looked at. */
const maxTokenLength = 1024;

/**
 * Whether an Authorization header carries `token`. Digests are compared, so neither the time nor the length tells
 * anything. No token configured means that none is right.
 */
export function bearerMatches(header: string | undefined, token: string | undefined): boolean {
  if (token === undefined || token === '' || header === undefined) return false;
  const given = /^Bearer ([\x21-\x7e]+)$/i.exec(header.slice(0, maxTokenLength))?.[1];
  if (given === undefined) return false;
  return timingSafeEqual(sha256(given), sha256(token));
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
