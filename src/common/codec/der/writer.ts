/** Writes DER from the inside out: each function returns one complete element. */
import { encodeOid } from './oid.ts';
import { contextConstructed, tag } from './tag.ts';
import { encodeGeneralizedTime, encodeTime } from './time.ts';

export function element(tagOctet: number, ...contents: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of contents) length += part.length;
  return Buffer.concat([header(tagOctet, length), ...contents]);
}

export function sequence(...elements: readonly Uint8Array[]): Buffer {
  return element(tag.sequence, ...elements);
}

/** SET OF: DER wants the encodings in ascending order (X.690 section 11.6). */
export function setOf(...elements: readonly Uint8Array[]): Buffer {
  return element(tag.set, ...[...elements].sort((a, b) => Buffer.compare(a, b)));
}

export function explicit(n: number, inner: Uint8Array): Buffer {
  return element(contextConstructed(n), inner);
}

export function oid(text: string): Buffer {
  return element(tag.oid, encodeOid(text));
}

export function boolean(value: boolean): Buffer {
  return element(tag.boolean, Buffer.of(value ? 0xff : 0));
}

export function nullValue(): Buffer {
  return element(tag.null);
}

/** `magnitude`: big-endian and unsigned; never becomes a negative number, whatever its top bit. */
export function unsignedInteger(magnitude: Uint8Array | number): Buffer {
  const octets = typeof magnitude === 'number' ? octetsOf(magnitude) : magnitude;
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start++;
  const trimmed = octets.subarray(start);
  const needsZero = trimmed.length === 0 || (trimmed[0] ?? 0) >= 0x80;
  return element(tag.integer, ...(needsZero ? [Buffer.of(0)] : []), trimmed);
}

export function octetString(content: Uint8Array): Buffer {
  return element(tag.octetString, content);
}

export function bitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return element(tag.bitString, Buffer.of(unusedBits), bytes);
}

/** A BIT STRING with named bits: trailing zero bits are left out (X.690 section 11.2.2). */
export function namedBits(bits: readonly number[]): Buffer {
  const highest = Math.max(-1, ...bits);
  const bytes = Buffer.alloc(Math.ceil((highest + 1) / 8));
  for (const bit of bits) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  return bitString(bytes, bytes.length * 8 - (highest + 1));
}

export function utf8String(text: string): Buffer {
  return element(tag.utf8String, Buffer.from(text, 'utf8'));
}

/** UTCTime or GeneralizedTime, as the year asks for. */
export function time(timeMs: number): Buffer {
  const { tagOctet, content } = encodeTime(timeMs);
  return element(tagOctet, content);
}

export function generalizedTime(timeMs: number): Buffer {
  return element(tag.generalizedTime, encodeGeneralizedTime(timeMs));
}

/** From 0 to 127, which no list of an X.509 standard exceeds. */
export function enumerated(value: number): Buffer {
  return element(tag.enumerated, Buffer.of(value));
}

/** Identifier and length octets of an element whose content follows elsewhere. */
export function header(tagOctet: number, length: number): Buffer {
  if (length < 0x80) return Buffer.of(tagOctet, length);
  const octets = octetsOf(length);
  return Buffer.concat([Buffer.of(tagOctet, 0x80 | octets.length), octets]);
}

function octetsOf(value: number): Buffer {
  const octets: number[] = [];
  for (let left = value; left > 0; left = Math.floor(left / 256)) octets.unshift(left % 256);
  return Buffer.from(octets);
}
