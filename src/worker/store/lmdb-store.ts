/**
 * A store in two LMDB databases: the entries, and an index of those that expire, in the order in which they do.
 *
 * An entry is `u8 version | f64 expiry (0 = never) | value`. LMDB compares and sets by a number stored before each
 * value; a random one names a write, so that a key that was deleted and set again never looks unchanged.
 */
import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from 'lmdb';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { checkKey } from './keys.ts';
import { disown } from './lmdb-commits.ts';
import type { LmdbCommits } from './lmdb-commits.ts';
import type { Condition, Entry, KeyValueStore, Write } from './ports.ts';

const entryVersion = 1;
const headerBytes = 9;
const expiryBytes = 8;
/** Entries read before the event loop gets a turn: some 100 µs. */
const chunkEntries = 64;
const chunkBytes = 256 * 1024;

interface Stored {
  readonly value: Buffer;
  readonly version: number;
  /** 0 = never. */
  readonly expiresAt: number;
}

export class LmdbStore implements KeyValueStore {
  readonly #entries: Database<Buffer, Buffer>;
  readonly #expiries: Database<Buffer, Buffer>;
  readonly #clock: Clock;
  readonly #commits: LmdbCommits;
  #closed = false;

  constructor(
    entries: Database<Buffer, Buffer>,
    expiries: Database<Buffer, Buffer>,
    clock: Clock,
    commits: LmdbCommits,
  ) {
    this.#entries = entries;
    this.#expiries = expiries;
    this.#clock = clock;
    this.#commits = commits;
  }

  async get(key: string): Promise<Entry | undefined> {
    this.#checkOpen();
    checkKey(key);
    const stored = this.#read(Buffer.from(key));
    if (stored === undefined || this.#expired(stored)) return undefined;
    return { key, value: stored.value, version: stored.version };
  }

  async commit(conditions: readonly Condition[], writes: readonly Write[]): Promise<boolean> {
    this.#checkOpen();
    for (const { key } of [...conditions, ...writes]) checkKey(key);
    const checks: { readonly key: Buffer; readonly version: number | null }[] = [];
    for (const { key, version } of conditions) {
      const bytes = Buffer.from(key);
      const now = this.#read(bytes);
      const live = now !== undefined && !this.#expired(now);
      // An answer without a write saves the lock; the condition is judged again under it.
      if (version !== (live ? now.version : undefined)) return false;
      checks.push({ key: bytes, version: now?.version ?? null });
    }
    return this.#commits.written(() => this.#apply(checks, writes));
  }

  async *scan(prefix: string): AsyncIterable<Entry> {
    const first = Buffer.from(prefix);
    const end = after(first);
    let start = first.length === 0 ? Buffer.of(0) : first;
    for (;;) {
      this.#checkOpen();
      this.#entries.resetReadTxn();
      const range = { start, limit: chunkEntries, snapshot: false };
      const keys = [...this.#entries.getKeys(end === undefined ? range : { ...range, end })];
      let bytes = 0;
      for (const key of keys) {
        this.#checkOpen();
        const stored = this.#read(key);
        if (stored === undefined || this.#expired(stored)) continue;
        bytes += stored.value.length;
        if (bytes > chunkBytes) {
          bytes = 0;
          await nextTurn();
        }
        yield { key: key.toString('utf8'), value: stored.value, version: stored.version };
      }
      const last = keys[keys.length - 1];
      if (last === undefined || keys.length < chunkEntries) return;
      start = Buffer.concat([last, Buffer.of(0)]);
      await nextTurn();
    }
  }

  async sweep(limit: number): Promise<number> {
    this.#checkOpen();
    this.#entries.resetReadTxn();
    const now = this.#clock.now();
    const due = [
      ...this.#expiries.getKeys({ start: Buffer.of(0), end: expiryKey(now + 1), limit }),
    ];
    let removed = 0;
    for (let i = 0; i < due.length; i += chunkEntries) {
      const outcomes = due.slice(i, i + chunkEntries).map((at) => this.#removeDue(at));
      for (const outcome of await Promise.all(outcomes)) removed += outcome ? 1 : 0;
    }
    return removed;
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** The entry may have been set again since the index was written: then only the index is out of date. */
  async #removeDue(at: Buffer): Promise<boolean> {
    const key = at.subarray(expiryBytes);
    const stored = this.#read(key);
    const due = stored !== undefined && this.#expired(stored);
    const done = await this.#commits.written(() => {
      if (!due) return [this.#expiries.remove(at)];
      return [
        this.#entries.ifVersion(key, stored.version, () => {
          disown(this.#entries.remove(key));
          disown(this.#expiries.remove(at));
        }),
      ];
    });
    return due && done;
  }

  #apply(
    checks: readonly { readonly key: Buffer; readonly version: number | null }[],
    writes: readonly Write[],
  ): Promise<boolean>[] {
    const outcomes: Promise<boolean>[] = [];
    const descend = (depth: number): void => {
      const check = checks[depth];
      if (check === undefined) {
        this.#write(writes);
        return;
      }
      const { key, version } = check;
      // Nested: lmdb applies what is inside only when every condition around it holds, and tells of each by itself.
      outcomes.push(
        version === null
          ? this.#entries.ifNoExists(key, () => descend(depth + 1))
          : this.#entries.ifVersion(key, version, () => descend(depth + 1)),
      );
    };
    if (checks.length > 0) descend(0);
    else outcomes.push(this.#entries.batch(() => this.#write(writes)));
    return outcomes;
  }

  #write(writes: readonly Write[]): void {
    for (const { key, value, expiresAt } of writes) {
      const bytes = Buffer.from(key);
      if (value === undefined) {
        disown(this.#entries.remove(bytes));
        continue;
      }
      const entry = Buffer.allocUnsafe(headerBytes + value.length);
      entry.writeUInt8(entryVersion, 0);
      entry.writeDoubleBE(expiresAt ?? 0, 1);
      value.copy(entry, headerBytes);
      disown(this.#entries.put(bytes, entry, newVersion()));
      if (expiresAt === undefined) continue;
      const at = Buffer.concat([expiryKey(expiresAt), bytes]);
      disown(this.#expiries.put(at, Buffer.of(entryVersion), 1));
    }
  }

  #read(key: Buffer): Stored | undefined {
    // Another process may have written since this turn of the event loop began.
    this.#entries.resetReadTxn();
    const entry = this.#entries.getEntry(key);
    if (entry === undefined) return undefined;
    const bytes = entry.value;
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.length < headerBytes || view.readUInt8(0) !== entryVersion) {
      throw new SallyportError('io', 'the store holds an entry of an unknown version');
    }
    return {
      value: view.subarray(headerBytes),
      version: entry.version ?? 0,
      expiresAt: view.readDoubleBE(1),
    };
  }

  #expired({ expiresAt }: Stored): boolean {
    return expiresAt !== 0 && expiresAt <= this.#clock.now();
  }

  #checkOpen(): void {
    if (this.#closed) throw new SallyportError('io', 'the store is closed');
  }
}

/** 1 … 2^48: never 0, which stands for no version. */
function newVersion(): number {
  return randomBytes(6).readUIntBE(0, 6) + 1;
}

/** Doubles of one sign are ordered as their bytes are. */
function expiryKey(expiresAt: number): Buffer {
  const bytes = Buffer.allocUnsafe(expiryBytes);
  bytes.writeDoubleBE(expiresAt);
  return bytes;
}

/** The first key after all that begin with `prefix`; undefined = none. */
function after(prefix: Buffer): Buffer | undefined {
  for (let length = prefix.length; length > 0; length -= 1) {
    const last = prefix[length - 1] ?? 0xff;
    if (last === 0xff) continue;
    const end = Buffer.from(prefix.subarray(0, length));
    end[length - 1] = last + 1;
    return end;
  }
  return undefined;
}
