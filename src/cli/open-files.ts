/** How many files, sockets included, this process may have open. */
import { readFileSync } from 'node:fs';

/** @returns Infinity where there is no limit, or none that is told. */
export function openFilesLimit(): number {
  return limitIn(processLimits());
}

/** @param text of /proc/<pid>/limits (proc_pid_limits(5)). */
export function limitIn(text: string): number {
  const [, soft] = /^Max open files +(\d+) /m.exec(text) ?? [];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

function processLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    // A system without it: running out says so for itself.
    return '';
  }
}
