/**
 * One LMDB environment (http://www.lmdb.tech/doc/), shared by all workers: opened as the worker's own user by a path
 * relative to the working directory, whose parents that user may not be able to enter; every database at once.
 *
 * Writes are handed to a thread of lmdb's: those of one turn of the event loop become one transaction, which is flushed
 * and then committed (visible to every process). The write lock is a robust mutex in shared memory: when its holder
 * dies, the next process takes it over and the transaction is void.
 */
import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import type { Database, RootDatabase } from 'lmdb';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { LmdbCommits } from './lmdb-commits.ts';
import { LmdbGate } from './lmdb-gate.ts';
import { LmdbOnce } from './lmdb-once.ts';
import { LmdbSpoolStore, maxSpools } from './lmdb-spool-store.ts';
import { fileStatistics, pagesOf, statistics } from './lmdb-statistics.ts';
import { LmdbStore } from './lmdb-store.ts';
import { LmdbTurns } from './lmdb-turns.ts';
import { systemMicros } from './message-ids.ts';
import type { KeyValueStore } from './ports.ts';
import { SessionTables } from './session-tables.ts';

/**
 * Address space and not memory: the largest that the store may become. Reserved at once, because growing it while other
 * processes have it mapped would mean remapping in all of them.
 */
const defaultMapBytes = 64 * 1024 ** 3;
/** Read transactions at once over all processes; a worker has a handful. */
const maxReaders = 2_048;
/** Two for each spool, and the one that names them. */
const spoolDatabases = maxSpools * 2 + 1;
/** Records and queues. */
const sessionDatabases = 2;
/** Keys, and lists of them. */
const onceDatabases = 2;

export interface LmdbOptions {
  /** Relative to the working directory. Made when it is not there. */
  readonly directory: string;
  /** The stores there are. All processes of a group MUST name the same ones. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly mapBytes?: number;
  /** Asked before each write, and not while the environment is opened; otherwise they may always be. */
  readonly mayWrite?: () => boolean;
}

export class LmdbEnvironment {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #stores: ReadonlyMap<string, LmdbStore>;
  readonly #spools: LmdbSpoolStore[] = [];
  readonly #sessions: SessionTables[] = [];
  readonly #once: LmdbOnce[] = [];
  /** All that this process has opened. */
  readonly #databases: Database<Buffer, Buffer>[];
  readonly #clock: Clock;
  readonly #commits: LmdbCommits;
  readonly #turns: LmdbTurns;
  readonly #gate: LmdbGate;

  private constructor(
    root: RootDatabase<Buffer, Buffer>,
    stores: ReadonlyMap<string, LmdbStore>,
    databases: readonly Database<Buffer, Buffer>[],
    clock: Clock,
    commits: LmdbCommits,
  ) {
    this.#root = root;
    this.#stores = stores;
    this.#databases = [root, ...databases];
    this.#clock = clock;
    this.#commits = commits;
    this.#turns = new LmdbTurns(root, commits);
    this.#gate = new LmdbGate(root);
  }

  /** @throws SallyportError `io` */
  static open(options: LmdbOptions): LmdbEnvironment {
    const { directory, names, clock, mayWrite = always } = options;
    // LMDB makes its files 0664.
    const umask = process.umask(0o077);
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const root = open<Buffer, Buffer>({
        path: directory,
        noSubdir: false,
        maxDbs: names.length * 2 + spoolDatabases + sessionDatabases + onceDatabases,
        maxReaders,
        mapSize: options.mapBytes ?? defaultMapBytes,
        overlappingSync: false,
        ...databaseOptions,
      });
      const commits = new LmdbCommits(root, { mayWrite });
      const stores = new Map<string, LmdbStore>();
      const databases: Database<Buffer, Buffer>[] = [];
      for (const name of names) {
        const entries = openDatabase(root, name);
        const expiries = openDatabase(root, `${name}.expiry`);
        stores.set(name, new LmdbStore(entries, expiries, clock, commits));
        databases.push(entries, expiries);
      }
      protect(directory);
      return new LmdbEnvironment(root, stores, databases, clock, commits);
    } catch (error) {
      throw new SallyportError('io', `the store cannot be opened: ${messageOf(error)}`, {
        cause: error,
      });
    } finally {
      process.umask(umask);
    }
  }

  /** @throws SallyportError `internal` for a name that was not opened. */
  store(name: string): KeyValueStore {
    const store = this.#stores.get(name);
    if (store === undefined) throw new SallyportError('internal', `store "${name}" was not opened`);
    return store;
  }

  /**
   * Unlike the others, spools come and go while the environment is open.
   *
   * @param slot of this worker; names what it writes. `micros` and `wallMicros` are for tests.
   * @throws SallyportError `io`
   */
  spools(slot: number, micros = systemMicros, wallMicros = systemWallMicros): LmdbSpoolStore {
    const store = new LmdbSpoolStore({
      slot,
      database: (name) => this.#database(name),
      micros,
      wallMicros,
      commits: this.#commits,
      isHeld: () => this.#gate.isHeld,
    });
    this.#spools.push(store);
    return store;
  }

  /**
   * From here on this process is the one that has the slot: sessions of an earlier one have lost their owner.
   *
   * @throws SallyportError `io`
   */
  sessions(slot: number): SessionTables {
    try {
      const tables = new SessionTables({
        slot,
        sessions: this.#database('sessions'),
        queues: this.#database('session-queues'),
        turns: this.#turns,
        commits: this.#commits,
      });
      this.#sessions.push(tables);
      return tables;
    } catch (error) {
      throw new SallyportError('io', `sessions cannot be opened: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** What has been seen once. @throws SallyportError `io` */
  once(): LmdbOnce {
    try {
      const once = new LmdbOnce({
        keys: this.#database('once'),
        lists: this.#database('once.lists'),
        clock: this.#clock,
        commits: this.#commits,
      });
      this.#once.push(once);
      return once;
    } catch (error) {
      throw new SallyportError('io', `what was seen cannot be opened: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Bytes of the file in which nothing lies any more: it never shrinks, and what comes next goes there first. */
  spareBytes(): number {
    this.#root.resetReadTxn();
    const { pageSize, lastPageNumber, free } = fileStatistics(this.#root);
    let used = metaPages + pagesOf(free);
    for (const database of this.#databases) used += pagesOf(statistics(database));
    return Math.max(0, lastPageNumber + 1 - used) * pageSize;
  }

  /** Writes nothing until `goOn`, because another process opens the environment. Resolves when nothing is under way. */
  hold(): Promise<void> {
    return this.#gate.hold();
  }

  goOn(): void {
    this.#gate.goOn();
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    for (const spools of this.#spools) spools.close();
    for (const sessions of this.#sessions) sessions.close();
    for (const once of this.#once) once.close();
    for (const store of this.#stores.values()) await store.close();
    await this.#turns.idle();
    await this.#root.close();
  }

  #database(name: string): Database<Buffer, Buffer> {
    const opened = openDatabase(this.#root, name);
    this.#databases.push(opened);
    return opened;
  }
}

/** At the beginning of the file. */
const metaPages = 2;

const always = (): boolean => true;

const systemWallMicros = (): number => Date.now() * 1_000;

const databaseOptions = {
  encoding: 'binary',
  keyEncoding: 'binary',
  cache: false,
  compression: false,
  useVersions: true,
} as const;

function openDatabase(root: RootDatabase<Buffer, Buffer>, name: string): Database<Buffer, Buffer> {
  return root.openDB<Buffer, Buffer>({ name, ...databaseOptions });
}

/** 0600 under any umask, also for files that an earlier version or a restored copy left open. */
function protect(directory: string): void {
  const files = readdirSync(directory).map((name) => join(directory, name));
  for (const file of files) chmodSync(file, 0o600);
  chmodSync(directory, 0o700);
}
