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
import { join } from 'node:path';
import { messageOf, SallyportError } from '../../common/base/errors.ts';

const fileMode = 0o600;
const directoryMode = 0o700;

/** @throws SallyportError `io`. */
export function ensureDirectory(path: string): void {
  attempt(`cannot make the folder ${path}`, () => {
    mkdirSync(path, { recursive: true, mode: directoryMode });
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
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  const temporary = `${path}.tmp`;
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
    renameSync(temporary, path);
  });
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
 * Makes `directory` and what is in it, folders included, the property of a user. Called as root, just before it
 * becomes that user. Links are given away themselves, never what they point to.
 *
 * @throws SallyportError `io`.
 */
export function giveFilesTo(directory: string, uid: number, gid: number): void {
  attempt(`cannot change the owner of ${directory}`, () => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) giveFilesTo(path, uid, gid);
      else lchownSync(path, uid, gid);
    }
    lchownSync(directory, uid, gid);
  });
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
