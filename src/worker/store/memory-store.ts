/** Storage in memory, for tests of what is built on the port. */
import { SallyportError } from '../../common/base/errors.ts';
import type { Clock } from '../../common/base/clock.ts';
import { checkKey, compareKeys } from './keys.ts';
import type { Condition, Entry, KeyValueStore, Write } from './ports.ts';

interface Stored {
  readonly value: Buffer;
  readonly version: number;
  readonly expiresAt: number | undefined;
}

export class MemoryStore implements KeyValueStore {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Stored>();
  #version = 0;
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async get(key: string): Promise<Entry | undefined> {
    this.#check([key]);
    const stored = this.#live(key);
    if (stored === undefined) return undefined;
    return { key, value: Buffer.from(stored.value), version: stored.version };
  }

  async commit(conditions: readonly Condition[], writes: readonly Write[]): Promise<boolean> {
    this.#check([...conditions, ...writes].map(({ key }) => key));
    for (const { key, version } of conditions) {
      if (this.#live(key)?.version !== version) return false;
    }
    for (const { key, value, expiresAt } of writes) {
      this.#version += 1;
      if (value === undefined) this.#entries.delete(key);
      else {
        this.#entries.set(key, { value: Buffer.from(value), version: this.#version, expiresAt });
      }
    }
    return true;
  }

  async *scan(prefix: string): AsyncIterable<Entry> {
    this.#check([]);
    const keys = [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
    for (const key of keys.toSorted(compareKeys)) {
      const entry = await this.get(key);
      if (entry !== undefined) yield entry;
    }
  }

  async sweep(limit: number): Promise<number> {
    this.#check([]);
    let removed = 0;
    for (const key of this.#entries.keys()) {
      if (removed >= limit) break;
      if (this.#live(key) !== undefined) continue;
      this.#entries.delete(key);
      removed += 1;
    }
    return removed;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #live(key: string): Stored | undefined {
    const stored = this.#entries.get(key);
    if (stored?.expiresAt !== undefined && stored.expiresAt <= this.#clock.now()) return undefined;
    return stored;
  }

  #check(keys: readonly string[]): void {
    if (this.#closed) throw new SallyportError('io', 'the store is closed');
    for (const key of keys) checkKey(key);
  }
}
