/** `Content-Digest` (RFC 9530 section 2): SHA-256 of the content, as it was sent. */
import { hash, timingSafeEqual } from 'node:crypto';
import { parseDictionary } from './structured-fields.ts';

const bounds = { length: 512, count: 8 };

/**
 * Other algorithms may stand beside it; they say nothing that it does not.
 *
 * @returns whether the field has a SHA-256 digest and it is that of the body.
 */
export function contentDigestHolds(field: string, body: Buffer): boolean {
  const digest = parseDictionary(field, bounds)?.get('sha-256');
  if (digest === undefined || 'items' in digest || digest.bare.type !== 'bytes') return false;
  const expected = hash('sha256', body, 'buffer');
  const { value } = digest.bare;
  return value.length === expected.length && timingSafeEqual(value, expected);
}
