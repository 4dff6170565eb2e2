/** What a server costs: CPU time and memory of a process and of everything below it, as the kernel counts them. */
import { readFileSync, readdirSync } from 'node:fs';

/** A process and its descendants. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const parent = Number.isInteger(pid) ? parentOf(pid) : undefined;
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [pid]);
    else siblings.push(pid);
  }
  const tree = [root];
  // What is pushed while the array is walked is walked too.
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** Nanoseconds on a core, all threads together: `/proc/<pid>/schedstat` alone is about the first thread. */
function cpuNanoseconds(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      sum += threadNanoseconds(`/proc/${pid}/task/${task}/schedstat`);
    }
  }
  return sum;
}

export function residentBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + residentBytesOf(pid), 0);
}

/** Zero for a process that has ended: what that means is seen in what it served. */
function residentBytesOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1_024;
  } catch {
    return 0;
  }
}

function threadNanoseconds(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8').split(' ')[0]);
  } catch {
    // A thread that ended since the folder was read.
    return 0;
  }
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

/**
 * CPU time that a server spends while something runs.
 *
 * @throws Error when its processes are not the same ones afterwards: a restarted one starts to count at zero.
 */
export async function cpuWhile(root: number, run: () => Promise<void>): Promise<number> {
  const pids = treeOf(root);
  const before = cpuNanoseconds(pids);
  await run();
  const spent = cpuNanoseconds(pids) - before;
  const after = treeOf(root);
  if (after.join() !== pids.join()) {
    throw new Error(`the processes changed during a round: ${pids.join()} became ${after.join()}`);
  }
  return spent;
}
