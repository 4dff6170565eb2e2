/**
 * The files of a mosquitto: read once each, bounded in number and bytes. Reading them is all that an import does with
 * them.
 */
import { readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { readText } from '../../common/config/load-config.ts';

/** An ACL file of a hundred thousand rules is some 5 MB. */
const maxFileBytes = 8 * 1024 * 1024;
const maxFiles = 256;

export class SourceFiles {
  readonly #base: string;
  readonly #root: string | undefined;
  readonly #read = new Set<string>();

  /**
   * @param base folder that relative paths start from: mosquitto starts from where it was started, which nobody knows
   *   any more.
   * @param root folder below which absolute paths are looked up: where a copy of another machine's files is.
   */
  constructor(base: string, root: string | undefined) {
    this.#base = base;
    this.#root = root;
  }

  /** Where a path of the configuration is on this machine. */
  locate(name: string): string {
    if (this.#root !== undefined && path.isAbsolute(name)) return path.join(this.#root, name);
    return path.resolve(this.#base, name);
  }

  /** @throws SallyportError `io` when it cannot be read, is too large or no UTF-8; `invalid-config` the second time. */
  text(file: string): string {
    try {
      const real = realpathSync(file);
      if (this.#read.has(real)) {
        throw new SallyportError('invalid-config', `${file} is included a second time`, {
          hint: 'mosquitto would read it again and again; take it out of include_dir',
        });
      }
      if (this.#read.size >= maxFiles) {
        throw new SallyportError('io', `there are more than ${maxFiles} files`);
      }
      this.#read.add(real);
      return this.again(file);
    } catch (error) {
      throw unreadable(error, file);
    }
  }

  /** As `text`, for what several listeners may name. */
  again(file: string): string {
    try {
      return readText(file, maxFileBytes);
    } catch (error) {
      throw unreadable(error, file);
    }
  }

  /** The `.conf` files of a folder in mosquitto's order: `A.conf` before `a.conf` before `B.conf`. */
  configurations(folder: string): readonly string[] {
    try {
      return readdirSync(folder)
        .filter((name) => name.length > 5 && name.endsWith('.conf'))
        .toSorted((a, b) => compare(a.toUpperCase(), b.toUpperCase()) || compare(a, b))
        .map((name) => path.join(folder, name));
    } catch (error) {
      throw unreadable(error, folder);
    }
  }
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function unreadable(error: unknown, file: string): SallyportError {
  if (error instanceof SallyportError && error.hint !== undefined) return error;
  return new SallyportError('io', `cannot read ${file}: ${messageOf(error)}`, {
    hint: 'check the path and who may read it; --root DIR looks up absolute paths below DIR',
    cause: error,
  });
}
