/**
 * One LMDB environment (http://www.lmdb.tech/doc/), shared by all workers: opened as the worker's own user by a path
 * relative to the working directory, whose parents that user may not be able to enter; every database at once.
 *
 * Writes are handed to a thread of lmdb's: those of one turn of the event loop become one transaction, which is
 * committed (visible to every process) and then flushed while the next one is already being written. The write lock is
 * a robust mutex in shared memory: when its holder dies, the next process takes it over and the transaction is void.
 */
import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import type { Database, RootDatabase } from 'lmdb';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { LmdbStore } from './lmdb-store.ts';
import type { KeyValueStore } from './ports.ts';

/**
 * Address space and not memory: the largest that the store may become. Reserved at once, because growing it while other
 * processes have it mapped would mean remapping in all of them.
 */
const defaultMapBytes = 64 * 1024 ** 3;
/** Read transactions at once over all processes; a worker has a handful. */
const maxReaders = 2_048;

export interface LmdbOptions {
  /** Relative to the working directory. Made when it is not there. */
  readonly directory: string;
  /** The stores there are. All processes of a group MUST name the same ones. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly mapBytes?: number;
}

export class LmdbEnvironment {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #stores: ReadonlyMap<string, LmdbStore>;

  private constructor(root: RootDatabase<Buffer, Buffer>, stores: ReadonlyMap<string, LmdbStore>) {
    this.#root = root;
    this.#stores = stores;
  }

  /** @throws SallyportError `io` */
  static open(options: LmdbOptions): LmdbEnvironment {
    const { directory, names, clock } = options;
    // LMDB makes its files 0664.
    const umask = process.umask(0o077);
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const root = open<Buffer, Buffer>({
        path: directory,
        noSubdir: false,
        maxDbs: names.length * 2,
        maxReaders,
        mapSize: options.mapBytes ?? defaultMapBytes,
        overlappingSync: true,
        separateFlushed: true,
        ...databaseOptions,
      });
      const stores = new Map<string, LmdbStore>();
      for (const name of names) {
        const entries = openDatabase(root, name);
        const expiries = openDatabase(root, `${name}.expiry`);
        stores.set(name, new LmdbStore(entries, expiries, clock));
      }
      protect(directory);
      return new LmdbEnvironment(root, stores);
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

  /** Waits for what is being written. */
  async close(): Promise<void> {
    for (const store of this.#stores.values()) await store.close();
    await this.#root.close();
  }
}

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
