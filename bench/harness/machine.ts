/** The machine that the figures are of, and which part of it is whose: servers on one core, load on the others. */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly openssl: string;
}

export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    openssl: process.versions.openssl,
  };
}

/** Cores that this process was given, before it gave any away. */
const given = coresOf('self');

export const serverCore = given[0] ?? 0;
const loadCores = given.slice(1);

type Command = readonly [string, ...string[]];

/** Put before a command: it and all that it starts stay on the servers' core. */
export const onServerCore: Command = ['taskset', '-c', String(serverCore)];
export const onLoadCores: Command = ['taskset', '-c', loadCores.join(',')];
export const onAllCores: Command = ['taskset', '-c', given.join(',')];

/** This process, which makes the load. @throws Error when there is only one core. */
export function moveToLoadCores(): void {
  if (loadCores.length === 0)
    throw new Error('two cores are needed: one for servers, one for load');
  setCores(loadCores);
}

export function moveToAllCores(): void {
  setCores(given);
}

/** Every thread that Node has started by now; later ones do as the thread that starts them. */
function setCores(cores: readonly number[]): void {
  for (const thread of readdirSync('/proc/self/task')) {
    const { status } = spawnSync('taskset', ['-c', '-p', cores.join(','), thread]);
    // Another thread may have ended meanwhile.
    if (status !== 0 && Number(thread) === process.pid) throw new Error('taskset failed');
  }
}

/** `Cpus_allowed_list` is written as `0-3,8`. */
function coresOf(process: string): number[] {
  const status = readFileSync(`/proc/${process}/status`, 'utf8');
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(status)?.[1] ?? '0';
  return list.split(',').flatMap((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** Files that a process may have open. */
export function openFilesLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? '1024';
  return soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft);
}
