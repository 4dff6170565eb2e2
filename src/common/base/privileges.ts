/**
 * Drops root for good. Called by a child after it has opened what it needs by relative paths: the folders above its
 * own may be closed to the user that it becomes.
 */
export interface UserAndGroup {
  readonly uid: number;
  readonly gid: number;
}

export function dropPrivileges(to: UserAndGroup | undefined): void {
  if (to === undefined) return;
  process.setgroups?.([]);
  process.setgid?.(to.gid);
  process.setuid?.(to.uid);
}
