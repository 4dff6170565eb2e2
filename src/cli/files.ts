/**
 * Files that a command leaves behind. Each exists only when it is complete, and those with a key are 0600 from their
 * first byte, whatever the umask.
 */
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { messageOf, SallyportError } from '../common/base/errors.ts';

/** Writes a key. A file that is there already is never replaced: it may be the only copy of another key. */
export function writeKeyFile(path: string, text: string): void {
  writeWhole(path, text, { mode: 0o600, replace: false });
}

/** Writes what is public, over what was there before. */
export function writePublicFile(path: string, text: string): void {
  writeWhole(path, text, { mode: 0o644, replace: true });
}

/** Writes what is public, but not over something that an operator may have edited. */
export function writeNewFile(path: string, text: string): void {
  writeWhole(path, text, { mode: 0o644, replace: false });
}

export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw cannot('make the folder', path, error);
  }
}

/** @throws SallyportError `io` when it cannot be read or is larger than `maxBytes`. */
export function readSmallFile(path: string, maxBytes: number): string {
  return readSmallBytes(path, maxBytes).toString('utf8');
}

/** As `readSmallFile`, for what need not be text. */
export function readSmallBytes(path: string, maxBytes: number): Buffer {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    // Pipes and devices have no size, and some of them no end.
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length <= maxBytes; length += got) {
      got = readSync(fd, buffer, length, buffer.length - length, null);
    }
    if (length > maxBytes) {
      throw new SallyportError('too-large', `${path} is larger than ${maxBytes} bytes`);
    }
    return buffer.subarray(0, length);
  } catch (error) {
    throw error instanceof SallyportError ? error : cannot('read', path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function writeWhole(
  path: string,
  text: string,
  how: { readonly mode: number; readonly replace: boolean },
): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    writeSynced(temporary, text, how.mode);
    if (how.replace) renameSync(temporary, path);
    else linkNew(temporary, path);
  } catch (error) {
    throw error instanceof SallyportError ? error : cannot('write', path, error);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function writeSynced(path: string, text: string, mode: number): void {
  const fd = openSync(path, 'wx', mode);
  try {
    fchmodSync(fd, mode);
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A link, unlike a rename, fails when the name is taken, and there is no moment between looking and taking it. */
function linkNew(temporary: string, path: string): void {
  try {
    linkSync(temporary, path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    throw new SallyportError('already-exists', `${path} is there already`, {
      hint: 'move it away, or write somewhere else',
      cause: error,
    });
  }
}

function cannot(what: string, path: string, error: unknown): SallyportError {
  return new SallyportError('io', `cannot ${what} ${path}: ${messageOf(error)}`, {
    hint: 'check the path and who may use it',
    cause: error,
  });
}
