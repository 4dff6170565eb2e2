/** Other processes, seen from outside by way of /proc; nothing here trusts what the gateway says about itself. */
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { until } from './waiting.ts';

export interface ChildProcesses {
  readonly control: readonly number[];
  readonly workers: readonly number[];
}

/** Control and workers among the children of a supervisor. */
export function childrenOf(supervisor: number): ChildProcesses {
  const control: number[] = [];
  const workers: number[] = [];
  for (const pid of childPids(supervisor)) {
    const command = commandOf(pid);
    if (/\/control\/main\.[tj]s/.test(command)) control.push(pid);
    if (/\/worker\/main\.[tj]s/.test(command)) workers.push(pid);
  }
  return { control, workers };
}

/** Whatever runs on a data directory, also when its supervisor is gone: its permissions name the folder. */
export function processesOn(dataDir: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid > 1)
    .filter((pid) => /\/(control|worker)\/main\.[tj]s/.test(commandOf(pid)))
    .filter((pid) => commandOf(pid).includes(`${dataDir}/`));
}

/** A zombie is dead: it is only waiting for its parent to hear of it. */
function isAlive(pid: number): boolean {
  try {
    return fieldsOf(pid)[0] !== 'Z';
  } catch {
    return false;
  }
}

/** By SIGSTOP. */
export function isStopped(pid: number): boolean {
  try {
    return fieldsOf(pid)[0] === 'T';
  } catch {
    return false;
  }
}

/** Whether it has a file open whose path ends like this. */
export function hasOpen(pid: number, ending: string): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => targetOf(`${folder}/${fd}`).endsWith(ending));
  } catch {
    // It has just ended.
    return false;
  }
}

/** Empty for what was closed since the folder was read. */
function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}

/** Ends a SIGSTOP. @returns false when it was too long: the supervisor has killed a worker that was silent. */
export function isContinued(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGCONT');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/** Resolves when none of them is alive any more. */
export async function allGone(pids: readonly number[], limitMs = 10_000): Promise<void> {
  await until(`the end of ${pids.join(', ')}`, limitMs, () => !pids.some(isAlive));
}

/** Effective user id. */
export function userOf(pid: number): number {
  const [, uid] = /^Uid:\s+\d+\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (uid === undefined) throw new Error(`no user id for process ${pid}`);
  return Number(uid);
}

/** Memory that the process has in RAM, in bytes. */
export function residentBytes(pid: number): number {
  return memoryBytes(pid, 'VmRSS');
}

/** Of that, what belongs to no file: without code and without the pages of a store that it has mapped. */
export function anonymousBytes(pid: number): number {
  return memoryBytes(pid, 'RssAnon');
}

/** Everything that a process shows to other users of the machine, or to root: its arguments and its environment. */
export function argumentsOf(pid: number): string {
  return commandOf(pid);
}

export function environmentOf(pid: number): string {
  return readFileSync(`/proc/${pid}/environ`, 'utf8').replaceAll('\0', '\n');
}

function memoryBytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const [, kilobytes] = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status) ?? [];
  if (kilobytes === undefined) throw new Error(`no memory figures for process ${pid}`);
  return Number(kilobytes) * 1_024;
}

function childPids(parent: number): number[] {
  const list = `/proc/${parent}/task/${parent}/children`;
  if (existsSync(list)) {
    return readFileSync(list, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  }
  // Kernels without CONFIG_PROC_CHILDREN: ask every process for its parent.
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(fieldsOf(pid)[1]);
  } catch {
    return undefined;
  }
}

/** The fields of /proc/<pid>/stat from the third on; the second may hold spaces. */
function fieldsOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
