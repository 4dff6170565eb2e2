/**
 * Children end when their supervisor does, unless they are stopped (SIGSTOP) and cannot notice; a stopped worker may
 * hold the store's write lock. The pids of a run are written down with their start times, and the next supervisor ends
 * what is left of them; the start time keeps it from ending a stranger that got the pid since.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processStat, startTimeField } from './process-stat.ts';

interface Leftover {
  readonly pid: number;
  readonly startTime: string;
}

const fileName = 'children.json';
const goneEveryMs = 20;
const goneTries = 100;

export function rememberChildren(dataDir: string, pids: readonly number[]): void {
  const children = pids.flatMap((pid) => {
    const startTime = startTimeOf(pid);
    return startTime === undefined ? [] : [{ pid, startTime }];
  });
  const path = join(dataDir, fileName);
  writeFileSync(`${path}.tmp`, JSON.stringify(children), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** Ends the children of an earlier run that are still there, and waits until they are gone. @returns their pids. */
export async function endLeftovers(dataDir: string): Promise<number[]> {
  const ended: Leftover[] = [];
  for (const child of readChildren(dataDir)) {
    if (!isThere(child)) continue;
    try {
      process.kill(child.pid, 'SIGKILL');
      ended.push(child);
    } catch {
      // Gone between the look and the signal.
    }
  }
  // They hold ports and locks until then.
  for (let tries = 0; tries < goneTries && ended.some(isThere); tries += 1)
    await sleep(goneEveryMs);
  return ended.map(({ pid }) => pid);
}

function isThere({ pid, startTime }: Leftover): boolean {
  return startTimeOf(pid) === startTime;
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

/** Undefined when there is no such process, or no /proc. */
function startTimeOf(pid: number): string | undefined {
  return processStat(pid)?.[startTimeField];
}
