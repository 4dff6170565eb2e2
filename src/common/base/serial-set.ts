/**
 * Serial numbers of certificates in one piece of memory: a table with open addressing that is sent from control to the
 * workers as it is. A million of 16 octets take 24 MB; in a Set of strings they take 140 MB and block the worker that
 * reads them for most of a second.
 */
import { SallyportError } from './errors.ts';

/** RFC 5280 section 4.1.2.2. */
const maxSerialBytes = 20;
/** Slots for each serial number. */
const room = 1.4;
/** More than chance ever needs, and what a list of chosen numbers can cost. */
const maxProbes = 1_000;
/** In the first octet of a slot, which else is the length of what it holds. */
const empty = 0;
const deleted = 0xff;
const noPlace = Number.NEGATIVE_INFINITY;

/** As JSON carries it. */
export interface PackedSerials {
  /** Octets of a slot. */
  readonly width: number;
  readonly count: number;
  /** base64. */
  readonly table: string;
}

export class SerialSet {
  readonly #width: number;
  readonly #slots: number;
  readonly #table: Buffer;
  #count = 0;

  private constructor(width: number, table: Buffer) {
    this.#width = width;
    this.#table = table;
    this.#slots = table.length / width;
  }

  /** @param longest octets of the longest serial number; `count` is how many can be added. */
  static for(count: number, longest: number): SerialSet {
    const width = 1 + Math.min(Math.max(longest, 1), maxSerialBytes);
    return new SerialSet(width, Buffer.alloc(Math.ceil(count * room + 1) * width));
  }

  /** @throws SallyportError `malformed`. */
  static unpack({ width, count, table }: PackedSerials): SerialSet {
    const bytes = Buffer.from(table, 'base64');
    if (!(width > 1 && width <= 1 + maxSerialBytes) || bytes.length % width !== 0) throw unfit();
    if (bytes.length === 0) throw unfit();
    const set = new SerialSet(width, bytes);
    set.#count = count;
    return set;
  }

  get size(): number {
    return this.#count;
  }

  pack(): PackedSerials {
    return {
      width: this.#width,
      count: this.#count,
      table: this.#table.toString('base64'),
    };
  }

  /**
   * @param serial big-endian, without leading zeros, at least one octet. Nothing happens when it is there.
   * @throws SallyportError `malformed` when too many numbers want the same places, which they do not by chance.
   */
  add(serial: Uint8Array): void {
    if (serial.length === 0 || serial.length >= this.#width) throw unfit();
    const found = this.#find(serial);
    if (found >= 0) return;
    if (found === noPlace) throw unfit();
    const at = -1 - found;
    const table = this.#table;
    table[at] = serial.length;
    for (let n = 0; n < serial.length; n += 1) table[at + 1 + n] = serial[n] ?? 0;
    this.#count += 1;
  }

  has(serial: Uint8Array): boolean {
    return serial.length > 0 && serial.length < this.#width && this.#find(serial) >= 0;
  }

  delete(serial: Uint8Array): void {
    if (!this.has(serial)) return;
    this.#table[this.#find(serial)] = deleted;
    this.#count -= 1;
  }

  /** In no order. Each is a view of the table. */
  *values(): Generator<Buffer, void> {
    const table = this.#table;
    for (let at = 0; at < table.length; at += this.#width) {
      const length = table[at] ?? empty;
      if (length !== empty && length !== deleted) yield table.subarray(at + 1, at + 1 + length);
    }
  }

  /** Where the serial number is; -1 - where it would be; `noPlace` when it is not there and has no place. */
  #find(serial: Uint8Array): number {
    const table = this.#table;
    let slot = Math.floor((hashOf(serial) / 2 ** 32) * this.#slots);
    for (let probes = 0; probes < maxProbes; probes += 1) {
      const at = slot * this.#width;
      const length = table[at] ?? empty;
      if (length === empty) return -1 - at;
      if (length === serial.length && isSame(table, at + 1, serial)) return at;
      slot += 1;
      if (slot === this.#slots) slot = 0;
      // Of a table that is full.
      if (probes === this.#slots) break;
    }
    return noPlace;
  }
}

/** The octets of a serial number in lower-case hex without leading zeros. */
export function serialBytes(serialHex: string): Buffer {
  return Buffer.from(serialHex.length % 2 === 0 ? serialHex : `0${serialHex}`, 'hex');
}

export function serialText(serial: Buffer): string {
  const text = serial.toString('hex');
  return text.startsWith('0') ? text.slice(1) : text;
}

function isSame(table: Buffer, at: number, serial: Uint8Array): boolean {
  for (let n = 0; n < serial.length; n += 1) if (table[at + n] !== serial[n]) return false;
  return true;
}

/** FNV-1a, and the last step of MurmurHash3, which spreads numbers that follow each other. */
function hashOf(serial: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let n = 0; n < serial.length; n += 1) hash = Math.imul(hash ^ (serial[n] ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function unfit(): SallyportError {
  return new SallyportError('malformed', 'the serial numbers cannot be kept');
}
