/**
 * Children end when their supervisor does, unless they are stopped (SIGSTOP) and cannot notice; a stopped worker may
 * hold the store's write lock. The pids of a run are written down with their start times, and the next supervisor ends
 * what is left of them; the start time keeps it from ending a stranger that got the pid since.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Leftover {
  readonly pid: number;
  readonly startTime: string;
}

const fileName = 'children.json';

export function rememberChildren(dataDir: string, pids: readonly number[]): void {
  const children = pids.flatMap((pid) => {
    const startTime = startTimeOf(pid);
    return startTime === undefined ? [] : [{ pid, startTime }];
  });
  writeFileSync(join(dataDir, fileName), JSON.stringify(children), { mode: 0o600 });
}

/** Ends the children of an earlier run that are still there; returns their pids. */
export function endLeftovers(dataDir: string): number[] {
  const ended: number[] = [];
  for (const { pid, startTime } of readChildren(dataDir)) {
    if (startTimeOf(pid) !== startTime) continue;
    try {
      process.kill(pid, 'SIGKILL');
      ended.push(pid);
    } catch {
      // Gone between the look and the signal.
    }
  }
  return ended;
}

function readChildren(dataDir: string): Leftover[] {
  try {
    const list: unknown = JSON.parse(readFileSync(join(dataDir, fileName), 'utf8'));
    return Array.isArray(list) ? list.filter(isLeftover) : [];
  } catch {
    return [];
  }
}

function isLeftover(value: unknown): value is Leftover {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, startTime } = value as Partial<Record<keyof Leftover, unknown>>;
  return (
    typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 1 && typeof startTime === 'string'
  );
}

/** Field 22 of /proc/<pid>/stat; undefined when there is no such process, or no /proc. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
