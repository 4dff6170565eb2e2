/**
 * Spools in LMDB: two databases for each, what waits and what was refused, whose sizes LMDB knows at any time; and one
 * more that names them and keeps the clock of the ids (lmdb-ids.ts).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { IF_EXISTS } from 'lmdb';
import type { Database } from 'lmdb';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type {
  MessageId,
  SpoolAddition,
  SpoolEntry,
  SpoolRange,
  SpoolStore,
  SpoolUsage,
} from '../routes/ports.ts';
import { disown } from './lmdb-commits.ts';
import type { LmdbCommits } from './lmdb-commits.ts';
import { LmdbIds } from './lmdb-ids.ts';
import { pagesOf, statistics } from './lmdb-statistics.ts';
import {
  bytesOfId,
  idOfKey,
  idPattern,
  keyBytes,
  keyOfId,
  microsOfId,
  partitionOfId,
  partitionOfKey,
} from './message-ids.ts';

type Entries = Database<Buffer, Buffer>;

/** Spools of earlier configurations count, as long as they are on disk. */
export const maxSpools = 512;
const partitions = 256;
/** Entries read before the event loop gets a turn: some 500 µs. */
const chunkEntries = 64;

const metaName = 'spools';
const spoolPrefix = 'spool:';

export interface LmdbSpoolOptions {
  readonly slot: number;
  /** Opens a database of the environment, and makes it when it is not there. */
  readonly database: (name: string) => Entries;
  /** Microseconds of the machine's monotonic clock, and since 1970. */
  readonly micros: () => number;
  readonly wallMicros: () => number;
  readonly commits: LmdbCommits;
  /** Nothing may be written in the turn itself: another process opens the environment. */
  readonly isHeld: () => boolean;
}

interface Opened {
  readonly waiting: Entries;
  readonly dead: Entries;
}

export class LmdbSpoolStore implements SpoolStore {
  /** Of all that this worker stores, whatever it is. */
  readonly ids: LmdbIds;
  readonly #options: LmdbSpoolOptions;
  readonly #meta: Entries;
  readonly #commits: LmdbCommits;
  readonly #spools = new Map<string, Opened>();
  #closed = false;

  /** @throws SallyportError `io` */
  constructor(options: LmdbSpoolOptions) {
    this.#options = options;
    this.#meta = options.database(metaName);
    this.#commits = options.commits;
    for (const name of this.names()) this.#openDatabases(name);
    const { slot, micros, wallMicros } = options;
    const latest = (): number => this.#latest();
    this.ids = new LmdbIds({ slot, meta: this.#meta, micros, wallMicros, latest });
  }

  newId(partition: number): MessageId {
    return this.ids.next(partition);
  }

  names(): readonly string[] {
    this.#meta.resetReadTxn();
    return this.#keysOf(spoolPrefix).map((key) => key.toString('utf8', spoolPrefix.length));
  }

  open(spool: string): void {
    this.#checkOpen();
    if (this.#spools.has(spool)) return;
    if (this.#options.isHeld()) throw new SallyportError('busy', 'another worker opens the store');
    const names = this.names();
    if (!names.includes(spool)) {
      if (names.length >= maxSpools) throw new SallyportError('quota', `${maxSpools} spools`);
      this.#commits.assertWritable();
      this.#named(spool);
    }
    this.#openDatabases(spool);
  }

  async append(additions: readonly SpoolAddition[]): Promise<void> {
    this.#checkOpen();
    const puts = additions.map(({ spool, id, value }) => ({
      waiting: this.#spool(spool).waiting,
      key: keyOfId(id),
      value,
    }));
    const [first, ...others] = puts;
    if (first === undefined) return;
    await this.#commits.written(() => {
      if (others.length === 0) return [first.waiting.put(first.key, first.value)];
      return [
        first.waiting.batch(() => {
          for (const { waiting, key, value } of puts) disown(waiting.put(key, value));
        }),
      ];
    });
  }

  async read(spool: string, range: SpoolRange): Promise<readonly SpoolEntry[]> {
    this.#checkOpen();
    const { waiting } = this.#spool(spool);
    waiting.resetReadTxn();
    const start = Buffer.of(range.from);
    const bounds = range.to < partitions ? { start, end: Buffer.of(range.to) } : { start };
    const { skip } = range;
    const limit = range.limit + skip.size;
    const found = [...waiting.getKeys({ ...bounds, limit, snapshot: false })];
    const keys = skip.size === 0 ? found : found.filter((key) => !skip.has(idOfKey(key)));
    return this.#valuesOf(waiting, keys.slice(0, range.limit), range.bytes, (key) => ({
      id: idOfKey(key),
      partition: partitionOfKey(key),
    }));
  }

  async settle(spool: string, ids: readonly MessageId[]): Promise<void> {
    this.#checkOpen();
    const { waiting } = this.#spool(spool);
    await this.#commits.written(() => [
      waiting.batch(() => {
        for (const id of ids) disown(waiting.remove(keyOfId(id)));
        this.ids.note();
      }),
    ]);
  }

  async usage(spool: string): Promise<SpoolUsage> {
    this.#checkOpen();
    const { waiting, dead } = this.#spool(spool);
    waiting.resetReadTxn();
    const ofWaiting = sizeOf(waiting);
    const ofDead = sizeOf(dead);
    return {
      messages: ofWaiting.entries,
      bytes: ofWaiting.bytes,
      deadLetters: ofDead.entries,
      deadLetterBytes: ofDead.bytes,
    };
  }

  async refuse(spool: string, id: MessageId, value: Buffer): Promise<void> {
    this.#checkOpen();
    const { waiting, dead } = this.#spool(spool);
    const key = keyOfId(id);
    await this.#commits.written(() => [
      waiting.ifVersion(key, IF_EXISTS, () => {
        disown(dead.put(bytesOfId(id), value));
        disown(waiting.remove(key));
        this.ids.note();
      }),
    ]);
  }

  async deadLetters(spool: string, after: string, limit: number): Promise<readonly SpoolEntry[]> {
    this.#checkOpen();
    const { dead } = this.#spool(spool);
    dead.resetReadTxn();
    const start = after === '' ? Buffer.of(0) : Buffer.concat([bytesOfId(after), Buffer.of(0)]);
    const keys = [...dead.getKeys({ start, limit, snapshot: false })];
    return this.#valuesOf(dead, keys, Number.POSITIVE_INFINITY, deadName);
  }

  async deadLetter(spool: string, id: string): Promise<SpoolEntry | undefined> {
    this.#checkOpen();
    const { dead } = this.#spool(spool);
    if (!idPattern.test(id)) return undefined;
    dead.resetReadTxn();
    const [entry] = await this.#valuesOf(dead, [bytesOfId(id)], 1, deadName);
    return entry;
  }

  async restore(spool: string, id: MessageId, value: Buffer): Promise<boolean> {
    this.#checkOpen();
    const { waiting, dead } = this.#spool(spool);
    const key = bytesOfId(id);
    return this.#commits.written(() => [
      dead.ifVersion(key, IF_EXISTS, () => {
        disown(waiting.put(keyOfId(id), value));
        disown(dead.remove(key));
      }),
    ]);
  }

  async discard(spool: string, ids: readonly string[]): Promise<number> {
    this.#checkOpen();
    const { dead } = this.#spool(spool);
    const keys = ids.filter((id) => idPattern.test(id)).map(bytesOfId);
    return this.#drop(dead, keys);
  }

  async discardOldest(spool: string, count: number): Promise<number> {
    this.#checkOpen();
    const { dead } = this.#spool(spool);
    dead.resetReadTxn();
    return this.#drop(dead, [...dead.getKeys({ start: Buffer.of(0), limit: count })]);
  }

  /** The databases are the environment's to close. */
  close(): void {
    this.#closed = true;
  }

  async #drop(dead: Entries, keys: readonly Buffer[]): Promise<number> {
    dead.resetReadTxn();
    const there = keys.filter((key) => dead.doesExist(key));
    if (there.length === 0) return 0;
    await this.#commits.written(() => [
      dead.batch(() => {
        for (const key of there) disown(dead.remove(key));
      }),
    ]);
    return there.length;
  }

  /** Microseconds of the latest id that is stored. */
  #latest(): number {
    let latest = 0;
    for (const { waiting, dead } of this.#spools.values()) {
      for (let partition = partitions - 1; partition >= 0; partition -= 1) {
        const [last] = waiting.getKeys({ start: lastKey(partition), reverse: true, limit: 1 });
        if (last === undefined) break;
        latest = Math.max(latest, microsOfId(idOfKey(last)));
        partition = partitionOfKey(last);
      }
      const [last] = dead.getKeys({ start: lastKey(0xff), reverse: true, limit: 1 });
      if (last !== undefined) latest = Math.max(latest, microsOfId(last.toString('hex')));
    }
    return latest;
  }

  #named(spool: string): void {
    try {
      this.#meta.putSync(Buffer.from(`${spoolPrefix}${spool}`), Buffer.of(1));
    } catch (error) {
      throw new SallyportError('io', `the store cannot write: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  #openDatabases(spool: string): void {
    try {
      const waiting = this.#options.database(`spool ${spool}`);
      const dead = this.#options.database(`dead ${spool}`);
      this.#spools.set(spool, { waiting, dead });
    } catch (error) {
      throw new SallyportError('io', `a spool cannot be opened: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  #keysOf(prefix: string): Buffer[] {
    // One more than the colon that each prefix ends with.
    const end = Buffer.from(`${prefix.slice(0, -1)};`);
    return [...this.#meta.getKeys({ start: Buffer.from(prefix), end })];
  }

  async #valuesOf(
    database: Entries,
    keys: readonly Buffer[],
    bytes: number,
    name: (key: Buffer) => { readonly id: string; readonly partition: number },
  ): Promise<SpoolEntry[]> {
    const entries: SpoolEntry[] = [];
    let sum = 0;
    for (const [i, key] of keys.entries()) {
      if (i > 0 && i % chunkEntries === 0) await nextTurn();
      this.#checkOpen();
      const value = valueOf(database, key);
      // Removed by another worker meanwhile.
      if (value === undefined || key.length !== keyBytes) continue;
      entries.push({ ...name(key), value });
      sum += value.length;
      if (sum >= bytes) break;
    }
    return entries;
  }

  #spool(name: string): Opened {
    const opened = this.#spools.get(name);
    if (opened === undefined) throw new SallyportError('not-found', 'there is no such spool');
    return opened;
  }

  #checkOpen(): void {
    if (this.#closed) throw new SallyportError('io', 'the store is closed');
  }
}

function deadName(key: Buffer): { readonly id: string; readonly partition: number } {
  const id = key.toString('hex');
  return { id, partition: partitionOfId(id) };
}

function valueOf(database: Entries, key: Buffer): Buffer | undefined {
  const bytes = database.getBinary(key);
  return bytes === undefined
    ? undefined
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Not before any key of the partition, and not after one of the next. */
function lastKey(partition: number): Buffer {
  return Buffer.alloc(keyBytes + 1, 0xff).fill(partition, 0, 1);
}

function sizeOf(database: Entries): { readonly entries: number; readonly bytes: number } {
  const tree = statistics(database);
  return { entries: tree.entryCount, bytes: pagesOf(tree) * tree.pageSize };
}
