/**
 * Control's one SQLite database. Opened before privileges are dropped and kept open: SQLite names its files by absolute
 * path, which may be out of reach afterwards.
 */
import { chmodSync, closeSync, constants, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { migrations } from './migrations.ts';

/** Relative to the current directory: control's folder. */
export const databaseFile = 'registry.db';
const busyTimeoutMs = 5_000;
/** SQLITE_IOERR and SQLITE_FULL. */
const diskFailures: ReadonlySet<number> = new Set([10, 13]);

/**
 * Opens `path`, making it on the first start, and brings its schema up to date. The `-wal` and `-shm` files exist when
 * it returns.
 *
 * @throws SallyportError `io` when it cannot be opened, is not a database, or was written by a newer version.
 */
export function openDatabase(path: string, steps: readonly string[] = migrations): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    // SQLite gives its other files the mode of this one, so it must be right before SQLite sees it.
    const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDWR } = constants;
    closeSync(openSync(path, O_APPEND | O_CREAT | O_NOFOLLOW | O_RDWR, 0o600));
    chmodSync(path, 0o600);
    database = new DatabaseSync(path, {
      timeout: busyTimeoutMs,
      enableForeignKeyConstraints: true,
      enableDoubleQuotedStringLiterals: false,
    });
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA temp_store = MEMORY;
      PRAGMA trusted_schema = OFF;
    `);
    migrate(database, path, steps);
    for (const suffix of ['-wal', '-shm']) chmodSync(`${path}${suffix}`, 0o600);
    return database;
  } catch (thrown) {
    database?.close();
    if (thrown instanceof SallyportError) throw thrown;
    throw new SallyportError('io', `cannot open ${path}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

/**
 * All of `action` or nothing of it; durable when it returns. Not to be nested.
 *
 * @throws what `action` throws; SallyportError `io` when the disk is full or fails.
 */
export function inTransaction<T>(database: DatabaseSync, action: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = action();
    database.exec('COMMIT');
    return result;
  } catch (thrown) {
    // SQLite has already rolled back on some errors, a full disk among them.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw storageFailure(thrown) ?? thrown;
  }
}

/** For whoever waits for it, who can do something about the disk; undefined when it is anything else. */
function storageFailure(thrown: unknown): SallyportError | undefined {
  if (!(thrown instanceof Error && 'errcode' in thrown)) return undefined;
  // SQLite's extended result codes have more in their upper bits.
  if (!diskFailures.has(Number(thrown.errcode) & 0xff)) return undefined;
  return new SallyportError('io', `control cannot write its database: ${messageOf(thrown)}`, {
    hint: 'make room on the disk, and try again',
    cause: thrown,
  });
}

/** Each step in a transaction of its own, together with the number that says it is done. */
function migrate(database: DatabaseSync, path: string, steps: readonly string[]): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  if (version > steps.length) {
    throw new SallyportError('io', `${path} was written by a newer version of the gateway`, {
      hint: 'start that version, or restore a backup from before the upgrade',
    });
  }
  for (const [index, step] of steps.entries()) {
    if (index < version) continue;
    inTransaction(database, () => {
      database.exec(step);
      database.exec(`PRAGMA user_version = ${index + 1}`);
    });
  }
  // A first write makes the -wal and -shm files while they still can be made.
  inTransaction(database, () => database.exec(`PRAGMA user_version = ${steps.length}`));
}
