/**
 * A look over CBOR (RFC 8949) that a device sent, before anything is built from it: one pass without recursion and without
 * memory of its own. What it lets through a decoder reads in time and memory that the bytes have paid for, and has a
 * counterpart in JSON, so that a schema which knows JSON only has judged all of it.
 */
import { isUtf8 } from 'node:buffer';
import { SallyportError } from '../../base/errors.ts';

/** Nesting of arrays and maps; the same as of JSON. */
export const maxCborDepth = 32;
/** Values and keys: as objects they take fifty times their bytes. */
export const maxCborItems = 100_000;

/** What is wrong, for the log, or undefined. Names no value. */
export function cborProblem(bytes: Buffer): string | undefined {
  const scan = new Scan(bytes);
  try {
    scan.run();
    return undefined;
  } catch (thrown) {
    if (thrown === refused) return scan.problem;
    throw thrown;
  }
}

/**
 * The bits of the exponent in the first two bytes of a number of two, four and eight (IEEE 754 §3.4). All of them set: an
 * infinity, or not a number.
 */
const exponents = [0x7c00, 0x7f80, 0x7ff0] as const;

/** Thrown for every refusal and never seen outside: an Error for each would cost a stack trace. */
const refused = new SallyportError('malformed', 'not CBOR');

class Scan {
  readonly #bytes: Buffer;
  #at = 0;
  #items = 0;
  problem = '';

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  run(): void {
    /** Items that are still to come in each array and map that is open, and which of them are maps. */
    const missing: number[] = [];
    const isMap: boolean[] = [];
    for (;;) {
      const level = missing.length - 1;
      // Keys and values take turns: before a key, an even number is missing.
      const isKey = level >= 0 && isMap[level] === true && (missing[level] ?? 0) % 2 === 0;
      const children = this.#item(isKey, missing.length);
      if (level >= 0) missing[level] = (missing[level] ?? 0) - 1;
      if (children !== undefined && children.items > 0) {
        missing.push(children.items);
        isMap.push(children.isMap);
      }
      while (missing.at(-1) === 0) {
        missing.pop();
        isMap.pop();
      }
      if (missing.length === 0) break;
    }
    if (this.#at !== this.#bytes.length) this.#fail('goes on after its end');
  }

  #fail(problem: string): never {
    this.problem = `${problem} (at byte ${this.#at})`;
    throw refused;
  }

  /** One head, and the text that belongs to it. @returns what an array or a map goes on with. */
  #item(isKey: boolean, depth: number): { items: number; isMap: boolean } | undefined {
    this.#items += 1;
    if (this.#items > maxCborItems) this.#fail(`has more than ${maxCborItems} items`);
    const head = this.#bytes[this.#at];
    if (head === undefined) return this.#fail('ends too early');
    const major = head >> 5;
    if (isKey && major !== 3) this.#fail('has a map whose key is not a text');
    switch (major) {
      case 0:
        this.#argument(head, Number.MAX_SAFE_INTEGER);
        return undefined;
      case 1:
        // The value is -1 - argument.
        this.#argument(head, Number.MAX_SAFE_INTEGER - 1);
        return undefined;
      case 2:
        return this.#fail('has a byte string, which JSON does not have');
      case 3:
        this.#text(this.#argument(head, Number.MAX_SAFE_INTEGER));
        return undefined;
      case 4:
        return { items: this.#children(head, 1, depth), isMap: false };
      case 5:
        return { items: this.#children(head, 2, depth), isMap: true };
      case 6:
        return this.#fail('has a tag, which JSON does not have');
      default:
        this.#simple(head);
        return undefined;
    }
  }

  /** RFC 8949 §3, in the shortest form (§4.2.1): what can be written in two ways is read in two ways. */
  #argument(head: number, most: number): number {
    const minor = head & 31;
    if (minor < 24) {
      this.#at += 1;
      return minor;
    }
    if (minor === 31) this.#fail('has an item of indefinite length');
    if (minor > 27) this.#fail('is not CBOR');
    const size = 1 << (minor - 24);
    const at = this.#at + 1;
    if (at + size > this.#bytes.length) this.#fail('ends too early');
    const value =
      size === 8
        ? this.#bytes.readUInt32BE(at) * 2 ** 32 + this.#bytes.readUInt32BE(at + 4)
        : this.#bytes.readUIntBE(at, size);
    if (value > most) this.#fail('has an integer beyond 2^53');
    const least = size === 1 ? 24 : 2 ** (size * 4);
    if (value < least) this.#fail('has an integer or a length in more bytes than it needs');
    this.#at = at + size;
    return value;
  }

  #text(length: number): void {
    const bytes = this.#bytes;
    const end = this.#at + length;
    if (end > bytes.length) this.#fail('has a text that is longer than what there is');
    let isAscii = true;
    for (let at = this.#at; at < end; at += 1) {
      if ((bytes[at] ?? 0) >= 0x80) {
        isAscii = false;
        break;
      }
    }
    if (!isAscii) {
      const text = bytes.subarray(this.#at, end);
      if (!isUtf8(text)) this.#fail('has a text that is not UTF-8');
      // Decoders disagree on whether it is part of the text.
      if (text[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf) {
        this.#fail('has a text that begins with a byte order mark');
      }
    }
    this.#at = end;
  }

  /** @returns how many items follow; each takes a byte at least. */
  #children(head: number, perEntry: 1 | 2, depth: number): number {
    if (depth >= maxCborDepth) this.#fail(`is nested deeper than ${maxCborDepth}`);
    const items = this.#argument(head, Number.MAX_SAFE_INTEGER) * perEntry;
    if (items > this.#bytes.length - this.#at) {
      this.#fail('has an array or a map that is longer than what there is');
    }
    return items;
  }

  /** RFC 8949 §3.3: false, true, null and finite numbers. */
  #simple(head: number): void {
    const minor = head & 31;
    if (minor >= 20 && minor <= 22) {
      this.#at += 1;
      return;
    }
    if (minor === 23) this.#fail('has the value undefined, which JSON does not have');
    if (minor < 25) this.#fail('has a simple value, which JSON does not have');
    if (minor > 27) this.#fail(minor === 31 ? 'has a break without a beginning' : 'is not CBOR');
    const size = 1 << (minor - 24);
    const at = this.#at + 1;
    if (at + size > this.#bytes.length) this.#fail('ends too early');
    const start = this.#bytes.readUInt16BE(at);
    const exponent = exponents[minor - 25] ?? 0;
    if ((start & exponent) === exponent) this.#fail('has a number that is not finite');
    this.#at = at + size;
  }
}
