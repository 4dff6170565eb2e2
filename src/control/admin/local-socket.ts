/**
 * Listening on a Unix socket that another process may be about to leave: bound under a name of our own, then renamed
 * over the old one, so that there is always one and closing the old one does not remove the new.
 */
import { chmodSync, renameSync, rmSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { dirname, join } from 'node:path';

export async function listenLocal(server: Server, path: string): Promise<() => void> {
  const own = join(dirname(path), `admin-${process.pid}.sock`);
  rmSync(own, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: own }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  chmodSync(own, 0o600);
  const { ino } = statSync(own);
  renameSync(own, path);
  return () => removeIfOurs(path, ino);
}

function removeIfOurs(path: string, ino: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
}
