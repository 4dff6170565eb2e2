/**
 * What has been seen once, in two LMDB databases: the keys, whose version is when they expire, and lists of some dozens of
 * them, under the time at which the last of the list expires.
 *
 * A key costs one write, on the condition that it is not there, which LMDB looks at under its write lock. Lists are there
 * to find what has expired without looking at everything; those that a worker had not written yet when it was killed leave
 * keys behind, which are found by looking at a part of all keys now and then.
 */
import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from 'lmdb';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { OnceStore } from '../credentials/ports.ts';
import { onceKeyBytes } from '../credentials/ports.ts';
import { disown } from './lmdb-commits.ts';
import type { LmdbCommits } from './lmdb-commits.ts';

/** LMDB has no empty values. */
const present = Buffer.of(1);
const beforeAll = Buffer.alloc(1);
const timeBytes = 8;
const tokenBytes = 8;
/** Keys in one list. */
const listedTogether = 64;
/** Of all keys, in one sweep, for what is in no list. */
const lookedAtTogether = 512;
/** Lists looked through before the event loop gets a turn. */
const listsTogether = 64;
/** Keys removed in one commit. */
const removedTogether = 256;
/** Keys that one sweep removes: a minute's worth at the highest rates; the next one goes on. */
const removedAtOnce = 500_000;
/** Attempts against others who put the same key, or sweep it, before it counts as seen. */
const attempts = 4;

export interface LmdbOnceOptions {
  /** The databases of keys and of lists. */
  readonly keys: Database<Buffer, Buffer>;
  readonly lists: Database<Buffer, Buffer>;
  readonly clock: Clock;
  readonly commits: LmdbCommits;
}

export class LmdbOnce implements OnceStore {
  readonly #keys: Database<Buffer, Buffer>;
  readonly #lists: Database<Buffer, Buffer>;
  readonly #clock: Clock;
  readonly #commits: LmdbCommits;
  /** Put since the last list was written. */
  #gathered: Buffer[] = [];
  #lastExpiry = 0;
  /** Where the look at all keys goes on. */
  #cursor = beforeAll;
  #closed = false;

  constructor({ keys, lists, clock, commits }: LmdbOnceOptions) {
    this.#keys = keys;
    this.#lists = lists;
    this.#clock = clock;
    this.#commits = commits;
  }

  async putIfAbsent(key: Buffer, expiresAt: number): Promise<boolean> {
    if (key.length !== onceKeyBytes) throw new SallyportError('usage', 'a key of another length');
    let replaced: number | null = null;
    for (let i = 0; i < attempts; i += 1) {
      if (await this.#put(key, expiresAt, replaced)) return true;
      const before = this.#expiryOf(key);
      if (before !== undefined && before > this.#clock.now()) return false;
      // Its time is over and nobody has swept it yet, or somebody just has.
      replaced = before ?? null;
    }
    return false;
  }

  async sweep(): Promise<number> {
    this.#checkOpen();
    if (this.#gathered.length > 0) {
      await this.#commits.written(() => [this.#writeList()]);
    }
    let removed = await this.#removeLeftBehind();
    while (removed < removedAtOnce) {
      this.#checkOpen();
      const due = this.#dueLists();
      for (const list of due) removed += await this.#remove(list);
      if (due.length < listsTogether) break;
      await nextTurn();
    }
    return removed;
  }

  close(): void {
    this.#closed = true;
  }

  #writeList(): Promise<boolean> {
    const at = Buffer.allocUnsafe(timeBytes + tokenBytes);
    at.writeDoubleBE(this.#lastExpiry);
    // Another worker may have one of the same time.
    randomBytes(tokenBytes).copy(at, timeBytes);
    const list = Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#lastExpiry = 0;
    return this.#lists.put(at, list, 1);
  }

  /** @param replaced the version that it must have; null = none. */
  #put(key: Buffer, expiresAt: number, replaced: number | null): Promise<boolean> {
    this.#checkOpen();
    // lmdb's types know no null, which stands for a key that is not there.
    const condition = replaced as number;
    return this.#commits.written(() => {
      this.#gathered.push(key);
      this.#lastExpiry = Math.max(this.#lastExpiry, expiresAt);
      const outcome = this.#keys.put(key, present, expiresAt, condition);
      // A list that cannot be written leaves keys behind, as a worker that was killed does.
      if (this.#gathered.length >= listedTogether) disown(this.#writeList());
      return [outcome];
    });
  }

  #expiryOf(key: Buffer): number | undefined {
    this.#checkOpen();
    this.#keys.resetReadTxn();
    return this.#keys.getEntry(key)?.version;
  }

  /** Lists of which everything has expired, the oldest first. */
  #dueLists(): Buffer[] {
    this.#lists.resetReadTxn();
    const end = Buffer.allocUnsafe(timeBytes);
    end.writeDoubleBE(this.#clock.now());
    const range = { start: Buffer.alloc(1), end, limit: listsTogether, snapshot: false };
    return [...this.#lists.getKeys(range)];
  }

  /** The list goes last: one that is there still is looked through again. */
  async #remove(at: Buffer): Promise<number> {
    const stored = this.#lists.getBinary(at);
    // Another worker was quicker.
    if (stored === undefined) return 0;
    const list = Buffer.from(stored);
    let removed = 0;
    for (let i = 0; i < list.length; i += onceKeyBytes * removedTogether) {
      removed += await this.#removeKeys(list.subarray(i, i + onceKeyBytes * removedTogether));
      this.#checkOpen();
    }
    await this.#commits.written(() => [this.#lists.remove(at)]);
    return removed;
  }

  /** Goes on where the last call ended, and begins anew when it is through. */
  async #removeLeftBehind(): Promise<number> {
    this.#keys.resetReadTxn();
    const range = { start: this.#cursor, limit: lookedAtTogether, snapshot: false };
    const found = [...this.#keys.getKeys(range)];
    const last = found.length < lookedAtTogether ? undefined : found.at(-1);
    this.#cursor = last === undefined ? beforeAll : Buffer.from(last);
    return this.#removeKeys(Buffer.concat(found));
  }

  async #removeKeys(list: Buffer): Promise<number> {
    const now = this.#clock.now();
    const due: { readonly key: Buffer; readonly version: number }[] = [];
    for (let i = 0; i < list.length; i += onceKeyBytes) {
      const key = Buffer.from(list.subarray(i, i + onceKeyBytes));
      const version = this.#expiryOf(key);
      // One that came again when it had expired is in a later list, too.
      if (version !== undefined && version <= now) due.push({ key, version });
    }
    if (due.length === 0) return 0;
    await this.#commits.written(() => [
      this.#keys.batch(() => {
        for (const { key, version } of due) {
          disown(this.#keys.ifVersion(key, version, () => disown(this.#keys.remove(key))));
        }
      }),
    ]);
    return due.length;
  }

  #checkOpen(): void {
    if (this.#closed) throw new SallyportError('io', 'the store is closed');
  }
}
