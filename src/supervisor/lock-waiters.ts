/**
 * Who waits for the store's write lock when another one who waits is killed.
 *
 * The lock is a robust mutex of glibc. Its unlock wakes one of those that wait, and only that one remembers that there are
 * more. When it is killed before it has the lock, and somebody else has taken it meanwhile, neither that one nor the
 * kernel wakes the rest: they sleep before a lock that is free (decision 035). A process that is stopped and continued
 * looks at the word again.
 */
import { processLoad } from './process-stat.ts';

/** For all to have stopped, which takes the kernel microseconds unless the machine is very busy. */
const limitMs = 100;
const lookEveryMs = 1;

const never = new Int32Array(new SharedArrayBuffer(4));

/** Something that has a process. */
interface Owner {
  readonly child: { readonly pid?: number | undefined };
}

/**
 * Stops and continues these processes, but for those that somebody else has stopped. Takes a few milliseconds, in which
 * nothing else happens: between the two nobody may forget to continue them.
 *
 * @returns those that did not stop in time: they may still sleep, and it is to be tried again.
 */
export function wakeLockWaiters<O extends Owner>(owners: readonly O[]): readonly O[] {
  const signalled = owners.filter((owner) => runs(owner) && signal(owner, 'SIGSTOP'));
  for (let waitedMs = 0; waitedMs < limitMs && signalled.some(runs); waitedMs += lookEveryMs) {
    Atomics.wait(never, 0, 0, lookEveryMs);
  }
  const late = signalled.filter(runs);
  for (const owner of signalled) signal(owner, 'SIGCONT');
  return late;
}

function runs({ child: { pid } }: Owner): boolean {
  const load = pid === undefined ? undefined : processLoad(pid);
  return load !== undefined && !load.stopped && !load.ended;
}

/** False when there is no such process any more. */
function signal({ child: { pid } }: Owner, name: NodeJS.Signals): boolean {
  try {
    return pid !== undefined && process.kill(pid, name);
  } catch {
    return false;
  }
}
