/**
 * A strict, bounded reader of DER (X.690 section 10): definite minimal lengths, low tag numbers, nothing after the
 * end. It walks one buffer without copying: what it returns are slices, so copy what outlives the input.
 */
import { SallyportError } from '../../base/errors.ts';
import { decodeOid } from './oid.ts';
import { contextConstructed, tag } from './tag.ts';
import { decodeText } from './text.ts';
import { decodeTime } from './time.ts';

/** Certificates need nine levels; the bound stops input that only nests. */
const maxDepth = 16;

export interface DerElement {
  /** The identifier octet: class, constructed bit and tag number. */
  readonly tag: number;
  readonly content: Buffer;
  /** Identifier, length and content: what a signature covers. */
  readonly raw: Buffer;
}

/** A cursor over the elements of one constructed value. Every method throws SallyportError `malformed`. */
export class DerReader {
  readonly #bytes: Buffer;
  readonly #depth: number;
  #at = 0;

  constructor(bytes: Buffer, depth = 0) {
    if (depth > maxDepth) throw malformed('nested too deeply');
    this.#bytes = bytes;
    this.#depth = depth;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The identifier octet of the next element, or undefined at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** The next element, of whatever type. */
  element(): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    if (bytes.length - start < 2) throw malformed('cut off');
    const tagOctet = bytes[start] ?? 0;
    if ((tagOctet & 0x1f) === 0x1f) throw malformed('high tag number');
    let length = bytes[start + 1] ?? 0;
    let contentStart = start + 2;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      // 0x80 is the indefinite form; more than four octets would be a length no input here can have.
      if (octets === 0 || octets > 4) throw malformed('length form');
      if (contentStart + octets > bytes.length) throw malformed('cut off');
      length = bytes.readUIntBE(contentStart, octets);
      const minimum = octets === 1 ? 0x80 : 256 ** (octets - 1);
      if (length < minimum) throw malformed('length is not minimal');
      contentStart += octets;
    }
    const end = contentStart + length;
    if (end > bytes.length) throw malformed('longer than what holds it');
    this.#at = end;
    return {
      tag: tagOctet,
      content: bytes.subarray(contentStart, end),
      raw: bytes.subarray(start, end),
    };
  }

  /** The next element, which must have this identifier octet. */
  expect(tagOctet: number): DerElement {
    if (this.nextTag !== tagOctet) {
      const found = this.nextTag === undefined ? 'the end' : hex(this.nextTag);
      throw malformed(`expected ${hex(tagOctet)}, found ${found}`);
    }
    return this.element();
  }

  /** The next element if it has this identifier octet, else undefined. */
  optional(tagOctet: number): DerElement | undefined {
    return this.nextTag === tagOctet ? this.element() : undefined;
  }

  /** A cursor over the elements inside the next one. */
  enter(tagOctet: number): DerReader {
    return new DerReader(this.expect(tagOctet).content, this.#depth + 1);
  }

  sequence(): DerReader {
    return this.enter(tag.sequence);
  }

  /** `[n] EXPLICIT` if it is there. */
  optionalExplicit(n: number): DerReader | undefined {
    return this.nextTag === contextConstructed(n) ? this.enter(contextConstructed(n)) : undefined;
  }

  /** A cursor over the content of an element taken earlier. */
  within(element: DerElement): DerReader {
    return new DerReader(element.content, this.#depth + 1);
  }

  oid(): string {
    return decodeOid(this.expect(tag.oid).content);
  }

  boolean(): boolean {
    const { content } = this.expect(tag.boolean);
    // X.690 section 11.1: TRUE is 0xFF in DER and nothing else.
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) {
      throw malformed('boolean');
    }
    return content[0] === 0xff;
  }

  /** The content octets of an INTEGER: two's complement, minimal, at least one. */
  integer(tagOctet: number = tag.integer): Buffer {
    const { content } = this.expect(tagOctet);
    if (content.length === 0) throw malformed('empty integer');
    const [first = 0, second = 0] = content;
    const padded = (first === 0 && second < 0x80) || (first === 0xff && second >= 0x80);
    if (content.length > 1 && padded) throw malformed('integer is not minimal');
    return content;
  }

  /** An INTEGER from 0 to 2^31 - 1. */
  smallInteger(): number {
    const content = this.integer();
    if (content.length > 4 || (content[0] ?? 0) >= 0x80) throw malformed('integer out of range');
    return content.readUIntBE(0, content.length);
  }

  /** A BIT STRING and how many bits at its end do not count; those must be zero (X.690 section 11.2). */
  bitString(tagOctet: number = tag.bitString): { bytes: Buffer; unusedBits: number } {
    const { content } = this.expect(tagOctet);
    const unusedBits = content[0] ?? 8;
    const bytes = content.subarray(1);
    if (unusedBits > 7 || (bytes.length === 0 && unusedBits > 0)) throw malformed('bit string');
    const last = bytes.at(-1) ?? 0;
    if ((last & ((1 << unusedBits) - 1)) !== 0) throw malformed('bit string has stray bits');
    return { bytes, unusedBits };
  }

  /** A BIT STRING that holds whole octets, as keys and signatures do (RFC 5480 section 2.2, RFC 5280 section 4.1.1.3). */
  bitStringOctets(): Buffer {
    const { bytes, unusedBits } = this.bitString();
    if (unusedBits !== 0) throw malformed('bit string of a fraction of an octet');
    return bytes;
  }

  octetString(): Buffer {
    return this.expect(tag.octetString).content;
  }

  /** A string of any type, its type dropped. */
  text(): string {
    const { tag: tagOctet, content } = this.element();
    return decodeText(tagOctet, content);
  }

  /** UTCTime or GeneralizedTime in milliseconds. */
  time(): number {
    const { tag: tagOctet, content } = this.element();
    return decodeTime(tagOctet, content);
  }

  /** Refuses what follows the last element that was expected. */
  end(): void {
    if (!this.atEnd) throw malformed('something follows the end');
  }
}

function hex(octet: number): string {
  return `0x${octet.toString(16).padStart(2, '0')}`;
}

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', `DER: ${detail}`);
}
