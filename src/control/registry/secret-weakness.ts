/**
 * Whether an HMAC key that a device had already is good enough. What was made by a generator passes; what somebody typed,
 * counted or copied out of a standard does not. A key of 2^80 cannot be guessed from the signatures that it has made.
 */
import { hash } from 'node:crypto';

const minBytes = 16;
/** HMAC-SHA-256 hashes a longer one before it uses it (RFC 2104 section 2). */
const maxBytes = 64;
/** Sixteen random octets have fewer different ones once in 10^12. */
const minDistinct = 8;
const minBits = 80;

/** Printable ASCII by class; anything else makes it binary. */
const classes: readonly (readonly [RegExp, size: number])[] = [
  [/[0-9]/, 10],
  [/[a-z]/, 26],
  [/[A-Z]/, 26],
  [/[ -/:-@[-`{-~]/, 33],
];

/** RFC 7515 A.1 and RFC 9421 B.1.5, as they are written there. */
const encodedExamples = [
  'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
  'uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==',
];

/** Keys that everybody has, by SHA-256: those, and what jwt.io shows. */
const published: ReadonlySet<string> = new Set(
  [
    ...encodedExamples.map((text) => Buffer.from(text, 'base64url')),
    ...encodedExamples.map((text) => Buffer.from(text)),
    Buffer.from('your-256-bit-secret'),
    Buffer.from('your-384-bit-secret'),
    Buffer.from('your-512-bit-secret'),
    Buffer.from('a-string-secret-at-least-256-bits-long'),
  ].map((secret) => hash('sha256', secret)),
);

/** What is wrong with it, in words that say nothing of it; undefined = nothing. */
export function secretWeakness(secret: Buffer): string | undefined {
  // Too long for a key as text, they are examples all the same.
  if (published.has(hash('sha256', secret))) return 'everybody has it: it is an example';
  if (secret.length < minBytes) return `it has ${secret.length} bytes, and needs ${minBytes}`;
  if (secret.length > maxBytes) return `it has ${secret.length} bytes: ${maxBytes} at most`;
  if (new Set(secret).size < minDistinct) return 'it has too few different bytes';
  if (isRepetition(secret)) return 'it repeats itself';
  if (isProgression(secret)) return 'it only counts';
  if (textBits(secret) < minBits) return 'it is text that can be guessed';
  return undefined;
}

/** The same octets over and over, twice at least. */
function isRepetition(secret: Buffer): boolean {
  for (let period = 1; period * 2 <= secret.length; period++) {
    if (secret.subarray(period).equals(secret.subarray(0, -period))) return true;
  }
  return false;
}

/** Each octet is as far from the one before. */
function isProgression(secret: Buffer): boolean {
  const step = ((secret[1] ?? 0) - (secret[0] ?? 0)) & 0xff;
  return secret.every((octet, at) => at === 0 || ((octet - (secret[at - 1] ?? 0)) & 0xff) === step);
}

/** What can be in it if it is text, at most; no bound when it is not. */
function textBits(secret: Buffer): number {
  const text = secret.toString('latin1');
  if (!/^[ -~]*$/.test(text)) return Number.POSITIVE_INFINITY;
  const alphabet = classes.reduce((sum, [some, size]) => sum + (some.test(text) ? size : 0), 0);
  return secret.length * Math.log2(alphabet);
}
