/** What the kernel says of a process in `/proc/<pid>/stat` (proc_pid_stat(5)). */
import { readFileSync } from 'node:fs';

/** Fields are numbered from 1 there; these are places in what `processStat` returns. */
const stateField = 0;
const userTimeField = 11;
const systemTimeField = 12;
/** Of `USER_HZ`, which is 100 wherever Linux runs today. */
const msPerClockTick = 10;
export const startTimeField = 19;

/** From the third field on. Undefined when there is no such process, or no /proc. */
export function processStat(pid: number): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second is its name, in which there may be anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

export interface ProcessLoad {
  /** Its main thread runs, waits for a processor or for a disk: neither stopped nor asleep. */
  readonly busy: boolean;
  /** Nothing of it runs until somebody continues it. */
  readonly stopped: boolean;
  /** It has ended, and nobody has asked how. */
  readonly ended: boolean;
  /** Processor time of all its threads since it began, milliseconds. */
  readonly cpuMs: number;
}

/** Undefined when there is no such process, or no /proc. */
export function processLoad(pid: number): ProcessLoad | undefined {
  const fields = processStat(pid);
  if (fields === undefined) return undefined;
  const state = fields[stateField] ?? '';
  const cpuTicks = Number(fields[userTimeField]) + Number(fields[systemTimeField]);
  return {
    busy: state === 'R' || state === 'D',
    stopped: state === 'T' || state === 't',
    ended: state === 'Z' || state === 'X',
    cpuMs: cpuTicks * msPerClockTick,
  };
}
