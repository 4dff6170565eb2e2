/**
 * A disk of a few MiB for the workers of one gateway: a tmpfs on their data folder, in a mount namespace of that
 * gateway's own, so that the machine's mounts stay as they are and it is gone with the gateway. The test reaches it by
 * way of /proc.
 */
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Gateway, GatewayOptions } from './gateway.ts';
import type { TemporaryFolder } from './temporary-folder.ts';

const chunk = Buffer.alloc(4_096, 1);

/** How to start a gateway on such a disk; `folder` is the one of its options. */
export function smallDisk(
  folder: TemporaryFolder,
  mebibytes: number,
): Required<Pick<GatewayOptions, 'folder' | 'under'>> {
  const mountPoint = folder.at('data', 'worker');
  mkdirSync(mountPoint, { recursive: true });
  const mount = `mount -t tmpfs -o size=${mebibytes}m,mode=0700 tmpfs '${mountPoint}'`;
  return { folder, under: [...ownMounts(`${mount} && exec "$@"`), 'sh'] };
}

/** Who is not root becomes it in a user namespace for as long as it takes to mount, and then himself again. */
function ownMounts(script: string): [string, ...string[]] {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  if (uid === 0) return ['unshare', '--mount', 'sh', '-c', script];
  const back = `exec unshare --user --map-user=${uid} --map-group=${gid} "$@"`;
  const mapped = script.replace('exec "$@"', back);
  return ['unshare', '--map-root-user', '--mount', 'sh', '-c', mapped];
}

export class DiskOf {
  readonly #path: string;

  constructor(gateway: Gateway) {
    this.#path = `/proc/${gateway.pid}/root${join(gateway.dataDir, 'worker')}`;
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#path);
    return bavail * bsize;
  }

  /** Somebody else takes all but so many bytes. */
  fill(leaveBytes: number): void {
    const file = openSync(join(this.#path, 'filler'), 'a');
    try {
      while (this.freeBytes > leaveBytes) writeSync(file, chunk);
    } catch (error) {
      // The last byte was taken by the gateway.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
    } finally {
      closeSync(file);
    }
  }

  /** What `fill` took is free again. */
  empty(): void {
    rmSync(join(this.#path, 'filler'), { force: true });
  }
}
