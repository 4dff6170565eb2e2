/** Spools in memory, for tests of what is built on the port. */
import { SallyportError } from '../../common/base/errors.ts';
import type {
  MessageId,
  SpoolAddition,
  SpoolEntry,
  SpoolRange,
  SpoolStore,
  SpoolUsage,
} from '../routes/ports.ts';
import { IdClock, idPattern, partitionOfId } from './message-ids.ts';

interface Held {
  /** Id → value. */
  readonly waiting: Map<MessageId, Buffer>;
  readonly dead: Map<MessageId, Buffer>;
}

/** What several workers of one test share; each has its own `MemorySpoolStore` on it. */
export type SharedSpools = Map<string, Held>;

export class MemorySpoolStore implements SpoolStore {
  readonly #spools: SharedSpools;
  readonly #clock: IdClock;
  #closed = false;

  constructor(micros: () => number, slot = 0, shared: SharedSpools = new Map()) {
    this.#spools = shared;
    this.#clock = new IdClock({ slot, micros, offset: 0 });
  }

  newId(partition: number): MessageId {
    return this.#clock.next(partition);
  }

  names(): readonly string[] {
    return [...this.#spools.keys()];
  }

  open(spool: string): void {
    if (this.#spools.has(spool)) return;
    this.#spools.set(spool, { waiting: new Map(), dead: new Map() });
  }

  async append(additions: readonly SpoolAddition[]): Promise<void> {
    const puts = additions.map((each) => ({ ...each, held: this.#held(each.spool) }));
    for (const { held, id, value } of puts) held.waiting.set(id, Buffer.from(value));
  }

  async read(spool: string, range: SpoolRange): Promise<readonly SpoolEntry[]> {
    const { from, to, limit, bytes, skip } = range;
    const found = sorted(this.#held(spool).waiting)
      .filter(({ id, partition }) => partition >= from && partition < to && !skip.has(id))
      .toSorted((a, b) => a.partition - b.partition)
      .slice(0, limit);
    let sum = 0;
    const last = found.findIndex(({ value }) => {
      sum += value.length;
      return sum >= bytes;
    });
    return last === -1 ? found : found.slice(0, last + 1);
  }

  async settle(spool: string, ids: readonly MessageId[]): Promise<void> {
    const { waiting } = this.#held(spool);
    for (const id of ids) waiting.delete(id);
  }

  async usage(spool: string): Promise<SpoolUsage> {
    const { waiting, dead } = this.#held(spool);
    return {
      messages: waiting.size,
      bytes: bytesOf(waiting),
      deadLetters: dead.size,
      deadLetterBytes: bytesOf(dead),
    };
  }

  async refuse(spool: string, id: MessageId, value: Buffer): Promise<void> {
    const { waiting, dead } = this.#held(spool);
    if (waiting.delete(id)) dead.set(id, Buffer.from(value));
  }

  async deadLetters(spool: string, after: string, limit: number): Promise<readonly SpoolEntry[]> {
    return sorted(this.#held(spool).dead)
      .filter(({ id }) => id > after)
      .slice(0, limit);
  }

  async deadLetter(spool: string, id: string): Promise<SpoolEntry | undefined> {
    return sorted(this.#held(spool).dead).find((entry) => entry.id === id);
  }

  async restore(spool: string, id: MessageId, value: Buffer): Promise<boolean> {
    const { waiting, dead } = this.#held(spool);
    if (!dead.delete(id)) return false;
    waiting.set(id, Buffer.from(value));
    return true;
  }

  async discard(spool: string, ids: readonly string[]): Promise<number> {
    const { dead } = this.#held(spool);
    return ids.filter((id) => idPattern.test(id) && dead.delete(id)).length;
  }

  async discardOldest(spool: string, count: number): Promise<number> {
    const oldest = await this.deadLetters(spool, '', count);
    return this.discard(
      spool,
      oldest.map(({ id }) => id),
    );
  }

  close(): void {
    this.#closed = true;
  }

  #held(spool: string): Held {
    if (this.#closed) throw new SallyportError('io', 'the store is closed');
    const held = this.#spools.get(spool);
    if (held === undefined) throw new SallyportError('not-found', 'there is no such spool');
    return held;
  }
}

function sorted(from: ReadonlyMap<MessageId, Buffer>): SpoolEntry[] {
  return [...from.keys()].toSorted().map((id) => ({
    id,
    partition: partitionOfId(id),
    value: Buffer.from(from.get(id) ?? []),
  }));
}

function bytesOf(from: ReadonlyMap<MessageId, Buffer>): number {
  return from.values().reduce((sum, value) => sum + value.length, 0);
}
