/**
 * Drops root for good. Called by a child after it has opened what it needs by relative paths: the folders above its
 * own may be closed to the user that it becomes.
 */
import { SallyportError } from './errors.ts';

export interface UserAndGroup {
  readonly uid: number;
  readonly gid: number;
}

export function dropPrivileges(to: UserAndGroup | undefined): void {
  if (to === undefined) return;
  process.setgroups?.([]);
  process.setgid?.(to.gid);
  process.setuid?.(to.uid);
  const groups = process.getgroups?.() ?? [];
  if (
    process.getuid?.() !== to.uid ||
    process.geteuid?.() !== to.uid ||
    process.getgid?.() !== to.gid ||
    groups.some((group) => group !== to.gid)
  ) {
    throw new SallyportError('internal', 'privileges could not be dropped');
  }
}
