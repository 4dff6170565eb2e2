/**
 * The clock of the ids (message-ids.ts), kept in the store for all workers.
 *
 * An id that somebody may have seen must never come again, and what comes later must have a greater one, though what was
 * delivered leaves no trace: so whoever makes ids matter notes the time in the same transaction, and a clock that is
 * behind such a note, or behind what is stored, is one of another boot and gets a new offset.
 */
import type { Database } from 'lmdb';
import { disown } from './lmdb-commits.ts';
import { IdClock } from './message-ids.ts';

type Entries = Database<Buffer, Buffer>;

const numberBytes = 8;
const offsetKey = Buffer.from('offset');
const notePrefix = 'seen:';

export interface LmdbIdsOptions {
  /** This worker's. */
  readonly slot: number;
  /** Where offset and notes are. */
  readonly meta: Entries;
  /** Microseconds of the machine's monotonic clock, and since 1970. */
  readonly micros: () => number;
  readonly wallMicros: () => number;
  /** Microseconds of the latest id that is stored, as far as notes may not tell. */
  readonly latest: () => number;
}

export class LmdbIds {
  readonly #options: LmdbIdsOptions;
  readonly #clock: IdClock;
  readonly #noteKey: Buffer;

  constructor(options: LmdbIdsOptions) {
    this.#options = options;
    const { slot, micros } = options;
    this.#noteKey = Buffer.from(`${notePrefix}${slot}`);
    this.#clock = new IdClock({ slot, micros, offset: this.#settledOffset() });
  }

  next(partition: number): string {
    return this.#clock.next(partition);
  }

  /** Inside a block of writes: ids up to now may have been seen. */
  note(): void {
    disown(this.#options.meta.put(this.#noteKey, numberBytesOf(this.#clock.now())));
  }

  /** The offset with which ids of now are later than all that there have been. */
  #settledOffset(): number {
    const { meta, micros, wallMicros, latest } = this.#options;
    for (;;) {
      meta.resetReadTxn();
      const stored = this.#number(offsetKey);
      const seen = Math.max(latest(), this.#latestNote());
      // Read last: another worker may have noted a later time than the one with which we began.
      const now = micros();
      if (stored !== undefined && now + stored > seen) return stored;
      const offset = Math.max(wallMicros(), seen + 1) - now;
      // Under the write lock, so that of several workers that start at once one decides.
      const decided = meta.transactionSync(() => {
        if (this.#number(offsetKey) !== stored) return false;
        meta.putSync(offsetKey, numberBytesOf(offset));
        return true;
      });
      if (decided) return offset;
    }
  }

  #latestNote(): number {
    // One more than the colon that the prefix ends with.
    const end = Buffer.from(`${notePrefix.slice(0, -1)};`);
    const { meta } = this.#options;
    let latest = 0;
    for (const key of meta.getKeys({ start: Buffer.from(notePrefix), end })) {
      latest = Math.max(latest, this.#number(key) ?? 0);
    }
    return latest;
  }

  #number(key: Buffer): number | undefined {
    const bytes = this.#options.meta.getBinary(key);
    if (bytes?.length !== numberBytes) return undefined;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readDoubleBE(0);
  }
}

function numberBytesOf(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(numberBytes);
  bytes.writeDoubleBE(value);
  return bytes;
}
