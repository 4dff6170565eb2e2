/**
 * The data directory: `<data>/control` and `<data>/worker`, each 0700 of the user that works in it; `run.json` and the
 * lock beside them. One supervisor at a time: the lock is SQLite's, which the kernel drops with the process.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { Privileges } from '../common/ipc/messages.ts';

export interface WingUsers {
  readonly control: Privileges;
  readonly worker: Privileges;
}

export interface DataDirectory {
  /** Absolute, without links. */
  readonly path: string;
  readonly control: string;
  readonly worker: string;
  readonly runFile: string;
  readonly release: () => void;
}

/** @throws SallyportError `locked` when another supervisor has it, `io` when it cannot be made. */
export function openDataDirectory(dataDir: string, users: WingUsers | undefined): DataDirectory {
  let path: string;
  try {
    mkdirSync(resolve(dataDir), { recursive: true });
    path = realpathSync(resolve(dataDir));
  } catch (error) {
    throw new SallyportError(
      'io',
      `cannot make the data directory ${dataDir}: ${messageOf(error)}`,
      {
        hint: 'name a folder you may write with --data DIR',
        cause: error,
      },
    );
  }
  const lock = takeLock(path);
  const control = ensureWing(join(path, 'control'), users?.control);
  const worker = ensureWing(join(path, 'worker'), users?.worker);
  const runFile = join(path, 'run.json');
  rmSync(runFile, { force: true });
  return { path, control, worker, runFile, release: () => lock.close() };
}

function takeLock(path: string): DatabaseSync {
  const file = join(path, 'supervisor.lock');
  let lock: DatabaseSync | undefined;
  try {
    if (!existsSync(file)) writeFileSync(file, '', { mode: 0o600, flag: 'a' });
    lock = new DatabaseSync(file, { timeout: 0 });
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock?.close();
    if (sqliteCodeOf(error) !== sqliteBusy) {
      throw new SallyportError('io', `cannot lock ${file}: ${messageOf(error)}`, {
        hint: 'the data directory must be writable by whoever starts the gateway',
        cause: error,
      });
    }
    throw new SallyportError('locked', `another gateway runs on ${path}${runningPid(path)}`, {
      hint: 'stop it first, or name another folder with --data DIR',
      cause: error,
    });
  }
}

/** SQLITE_BUSY: another process holds the lock. */
const sqliteBusy = 5;

function sqliteCodeOf(error: unknown): unknown {
  return error instanceof Error && 'errcode' in error ? error.errcode : undefined;
}

function runningPid(path: string): string {
  try {
    const run: unknown = JSON.parse(readFileSync(join(path, 'run.json'), 'utf8'));
    const pid = typeof run === 'object' && run !== null && 'pid' in run ? run.pid : undefined;
    return typeof pid === 'number' ? ` (pid ${pid})` : '';
  } catch {
    return '';
  }
}

function ensureWing(path: string, owner: Privileges | undefined): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (!lstatSync(path).isDirectory()) {
    throw new SallyportError('tampered', `${path} is no folder`, {
      hint: 'find out who replaced it by a link before you start the gateway again',
    });
  }
  chmodSync(path, 0o700);
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
  return path;
}
