/**
 * Control's files: 0600 in folders of 0700 whatever the umask says, replaced whole or not at all. Paths may be relative
 * to the current directory, which stays reachable after privileges have been dropped.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { messageOf, SallyportError } from '../../common/base/errors.ts';

const fileMode = 0o600;
const directoryMode = 0o700;

/** What control opens in its folder, besides its own folders there. */
const ownFiles = [
  'registry.db',
  'registry.db-wal',
  'registry.db-shm',
  'registry.db-journal',
  'audit.jsonl',
  'master.key',
] as const;
/** Of the CA, and of the revocation lists of other authorities. */
const ownFolders = ['ca', 'crl'] as const;
const rootUid = 0;

/** @throws SallyportError `io`, also when something else than a folder has this name. */
export function ensureDirectory(path: string): void {
  attempt(`cannot make the folder ${path}`, () => {
    mkdirSync(path, { recursive: true, mode: directoryMode });
    // Neither made nor opened up through a link.
    if (!lstatSync(path).isDirectory()) throw new SallyportError('io', `${path} is not a folder`);
    chmodSync(path, directoryMode);
  });
}

/**
 * After it returns the file holds exactly `data`, which is on the disk; its new name is there after any kill, and after
 * a power cut as soon as the file system has written its journal (the registry's next commit makes ext4 and xfs do so).
 * A crash before leaves the old file or none, and perhaps `<path>.tmp`, which the next write replaces. One writer at a
 * time: the data directory is locked to one.
 *
 * @throws SallyportError `io`.
 */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  writeFilesAtomic([[path, data]]);
}

/**
 * Several files that belong together, as `writeFileAtomic`: all of them are on the disk before the first takes its
 * name, so a disk that is full leaves all the old ones. Only a crash between two names leaves some of each.
 */
export function writeFilesAtomic(
  files: readonly (readonly [path: string, data: string | Uint8Array])[],
): void {
  for (const [path, data] of files) writeBeside(path, data);
  for (const [path] of files) {
    attempt(`cannot write ${path}`, () => renameSync(temporaryOf(path), path));
  }
}

function writeBeside(path: string, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  const temporary = temporaryOf(path);
  attempt(`cannot write ${path}`, () => {
    unlinkIfPresent(temporary);
    // O_EXCL: neither a file nor a link that somebody else put there is written through. O_DSYNC: Node's permission
    // model switches fsync off, so each write waits for the disk itself.
    const { O_CREAT, O_DSYNC, O_EXCL, O_WRONLY } = constants;
    const descriptor = openSync(temporary, O_CREAT | O_DSYNC | O_EXCL | O_WRONLY, fileMode);
    try {
      chmodSync(temporary, fileMode);
      writeAll(descriptor, bytes);
    } finally {
      closeSync(descriptor);
    }
  });
}

function temporaryOf(path: string): string {
  return `${path}.tmp`;
}

/** Writes every byte: one write may take fewer than it is given. */
export function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += writeSync(descriptor, bytes, done);
}

/** Removes the name; absent is fine. @throws SallyportError `io`. */
export function removeFile(path: string): void {
  attempt(`cannot remove ${path}`, () => {
    unlinkIfPresent(path);
  });
}

/**
 * The content, or undefined when there is no such file.
 *
 * @throws SallyportError `io` when it cannot be read, is not a regular file or is larger than `maxBytes`.
 */
export function readFileIfPresent(path: string, maxBytes: number): Buffer | undefined {
  return readGuarded(path, maxBytes)?.content;
}

/** As `readFileIfPresent`, with the permission bits, for callers that judge them. */
export function readGuarded(
  path: string,
  maxBytes: number,
): { readonly content: Buffer; readonly mode: number } | undefined {
  return attempt(`cannot read ${path}`, () => {
    // O_NONBLOCK: opening a FIFO would wait for its writer for ever.
    const descriptor = openIfPresent(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (descriptor === undefined) return undefined;
    try {
      const status = fstatSync(descriptor);
      if (!status.isFile()) throw new SallyportError('io', `${path} is not a regular file`);
      const buffer = Buffer.alloc(maxBytes + 1);
      let length = 0;
      for (let got = -1; got !== 0 && length <= maxBytes; length += got) {
        got = readSync(descriptor, buffer, length, buffer.length - length, null);
      }
      if (length > maxBytes) {
        throw new SallyportError('io', `${path} is larger than ${maxBytes} bytes`);
      }
      return { content: Buffer.from(buffer.subarray(0, length)), mode: status.mode & 0o777 };
    } finally {
      closeSync(descriptor);
    }
  });
}

/** Bytes of the file, or undefined when there is none. */
export function sizeIfPresent(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.size;
}

/** True when something has this name, a dangling link included. */
export function isPresent(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * To be called before anything in the current directory, control's folder, is opened. Control starts as root in a
 * folder that belongs to another user: a link that this user left would be read, written and given away as root.
 *
 * @throws SallyportError `tampered` when a file of control's is a link, has a second name, is no plain file or belongs
 *   to somebody else than root and the owner of the folder; `io`.
 */
export function assertOwnFiles(): void {
  attempt('cannot look at the data directory', () => {
    const owners = [rootUid, lstatSync('.').uid];
    const folders = ownFolders.filter((name) => {
      const folder = statusIfPresent(name);
      if (folder !== undefined && (!folder.isDirectory() || !owners.includes(folder.uid))) {
        throw foreign(name, 'a plain folder');
      }
      return folder !== undefined;
    });
    for (const path of [...ownFiles, ...folders.flatMap(filesOf)]) {
      const file = statusIfPresent(path);
      if (file === undefined) continue;
      if (!isPlainFile(file) || !owners.includes(file.uid)) throw foreign(path, 'a plain file');
    }
  });
}

/**
 * Makes `directory`, which is control's, and what root has just made in it the property of a user. Called as root, just
 * before it becomes that user. Anything else is left alone: what is a link or has a second name may be a file that the
 * user must not have.
 *
 * @throws SallyportError `io`.
 */
export function giveFilesTo(directory: string, uid: number, gid: number): void {
  attempt(`cannot change the owner of ${directory}`, () => {
    const folders = ownFolders
      .map((name) => join(directory, name))
      .filter((folder) => statusIfPresent(folder)?.isDirectory() === true);
    const files = ownFiles.map((name) => join(directory, name));
    for (const path of [...files, ...folders.flatMap(filesOf)]) {
      const file = statusIfPresent(path);
      if (file !== undefined && isPlainFile(file) && file.uid === rootUid) {
        lchownSync(path, uid, gid);
      }
    }
    for (const folder of folders) lchownSync(folder, uid, gid);
    lchownSync(directory, uid, gid);
  });
}

function filesOf(folder: string): string[] {
  return readdirSync(folder).map((name) => join(folder, name));
}

function statusIfPresent(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** A second name may be in a folder where somebody else can get at it, or the first one of a file that is not ours. */
function isPlainFile(status: Stats): boolean {
  return status.isFile() && status.nlink === 1;
}

function foreign(path: string, expected: string): SallyportError {
  return new SallyportError(
    'tampered',
    `${path} in control's folder is not ${expected} of its own`,
    {
      hint: 'find out who put it there; if you did, make it a copy that belongs to the owner of the folder',
    },
  );
}

function openIfPresent(path: string, flags: number): number | undefined {
  try {
    return openSync(path, flags);
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
}

function unlinkIfPresent(path: string): void {
  try {
    unlinkSync(path);
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'ENOENT') throw thrown;
  }
}

function systemCodeOf(thrown: unknown): unknown {
  return thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
}

function attempt<T>(failure: string, action: () => T): T {
  try {
    return action();
  } catch (thrown) {
    if (thrown instanceof SallyportError) throw thrown;
    throw new SallyportError('io', `${failure}: ${messageOf(thrown)}`, { cause: thrown });
  }
}
