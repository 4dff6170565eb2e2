/**
 * The last list of every source, in a folder of control's: a control that starts while its server is down decides with
 * it. It is verified again when it is read. Written off the event loop's time, a piece after the other.
 */
import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readCrlFile } from './obtain-crl.ts';

const pieceBytes = 1024 * 1024;
const suffix = '.crl';

export class CrlFiles {
  readonly #folder: string;

  /** @param folder below a folder that is control's alone; made when there is something to keep. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Undefined when there is none that can be read. */
  async read(anchor: string, source: string, maxBytes: number): Promise<Buffer | undefined> {
    try {
      return await readCrlFile(this.#path(anchor, source), maxBytes);
    } catch {
      // Whatever is wrong with it: it is fetched anew.
      return undefined;
    }
  }

  /** Whole or not at all, and on the disk when it resolves. */
  async write(anchor: string, source: string, der: Buffer): Promise<void> {
    const path = this.#path(anchor, source);
    const beside = `${path}.tmp`;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await rm(beside, { force: true });
    // O_DSYNC: Node's permission model switches fsync off.
    const { O_CREAT, O_DSYNC, O_EXCL, O_WRONLY } = constants;
    const file = await open(beside, O_CREAT | O_DSYNC | O_EXCL | O_WRONLY, 0o600);
    try {
      for (let at = 0; at < der.length;) {
        const piece = der.subarray(at, at + pieceBytes);
        at += (await file.write(piece)).bytesWritten;
      }
    } finally {
      await file.close();
    }
    await rename(beside, path);
  }

  /** Removes what belongs to none of these. */
  async keepOnly(
    wanted: readonly { readonly anchor: string; readonly source: string }[],
  ): Promise<void> {
    const names = new Set(wanted.map(({ anchor, source }) => nameOf(anchor, source)));
    const present = await readdir(this.#folder).catch(() => []);
    for (const name of present) {
      if (!names.has(name)) await rm(join(this.#folder, name), { force: true });
    }
  }

  #path(anchor: string, source: string): string {
    return join(this.#folder, nameOf(anchor, source));
  }
}

/** Names of anchors are lower-case letters, digits, "_" and "-"; those of sources are hex. */
function nameOf(anchor: string, source: string): string {
  return `${anchor}.${source}${suffix}`;
}
