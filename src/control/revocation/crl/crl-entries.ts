/**
 * The entries of a revocation list (RFC 5280 section 5.1.2.6), written one after the other into blocks of memory: an
 * element of its own for each field of 100,000 entries would cost a second, this costs some 30 ms.
 */
import { tag } from '../../../common/codec/der/tag.ts';
import { encodeTime } from '../../../common/codec/der/time.ts';
import { enumerated, octetString, oid, sequence } from '../../../common/codec/der/writer.ts';
import { oids } from '../../../common/codec/der/oids.ts';

export interface RevokedEntry {
  /** Lower-case hex without leading zeros, of at most 20 octets. */
  readonly serial: string;
  /** Milliseconds. */
  readonly revokedAt: number;
  /** CRLReason; 0 = unspecified. */
  readonly reason: number;
}

const blockBytes = 64 * 1024;
const dayMs = 86_400_000;
/** How a time at the beginning of a day ends. */
const midnight = '000000Z';
const zero = 0x30;
/** Serial number 23, GeneralizedTime 17, reason 14, and the sequence around them; all below 128, so lengths are short. */
const maxEntryBytes = 56;

export class CrlEntries {
  readonly #full: Buffer[] = [];
  #block = Buffer.allocUnsafe(blockBytes);
  #used = 0;
  #count = 0;
  /** Head and date of the time that was written last: a calendar for each entry would take most of the time. */
  #day = Number.NaN;
  #date = Buffer.alloc(0);

  get count(): number {
    return this.#count;
  }

  /** DER of the entries in order, in parts. */
  get parts(): readonly Buffer[] {
    return [...this.#full, this.#block.subarray(0, this.#used)];
  }

  add({ serial, revokedAt, reason }: RevokedEntry): void {
    if (blockBytes - this.#used < maxEntryBytes) {
      this.#full.push(this.#block.subarray(0, this.#used));
      this.#block = Buffer.allocUnsafe(blockBytes);
      this.#used = 0;
    }
    const block = this.#block;
    const start = this.#used;
    let at = start + 2;
    at = this.#writeSerial(serial, at);
    at = this.#writeTime(revokedAt, at);
    // RFC 5280 section 5.3.1: unspecified is said by leaving the extension out.
    if (reason !== 0) at += reasonExtension(reason).copy(block, at);
    block[start] = tag.sequence;
    block[start + 1] = at - start - 2;
    this.#used = at;
    this.#count += 1;
  }

  #writeSerial(serial: string, start: number): number {
    const block = this.#block;
    const hex = serial.length % 2 === 0 ? serial : `0${serial}`;
    // A first octet of 80 and up would make the number negative.
    const padding = (hex.codePointAt(0) ?? 0) >= 0x38 ? 1 : 0;
    block[start] = tag.integer;
    block[start + 2] = 0;
    const octets = block.write(hex, start + 2 + padding, 'hex') + padding;
    block[start + 1] = octets;
    return start + 2 + octets;
  }

  #writeTime(timeMs: number, start: number): number {
    const day = Math.floor(timeMs / dayMs);
    if (day !== this.#day) {
      const { tagOctet, content } = encodeTime(day * dayMs);
      const date = content.subarray(0, -midnight.length);
      this.#date = Buffer.concat([Buffer.of(tagOctet, content.length), date]);
      this.#day = day;
    }
    const block = this.#block;
    const second = Math.floor(timeMs / 1000) - day * (dayMs / 1000);
    let at = start + this.#date.copy(block, start);
    for (const part of [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60]) {
      block[at] = zero + Math.floor(part / 10);
      block[at + 1] = zero + (part % 10);
      at += 2;
    }
    block[at] = 0x5a;
    return at + 1;
  }
}

const reasonExtensions = new Map<number, Buffer>();

function reasonExtension(reason: number): Buffer {
  let extension = reasonExtensions.get(reason);
  if (extension === undefined) {
    extension = sequence(sequence(oid(oids.reasonCode), octetString(enumerated(reason))));
    reasonExtensions.set(reason, extension);
  }
  return extension;
}
