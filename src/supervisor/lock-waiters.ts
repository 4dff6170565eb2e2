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
  let late = owners.filter((owner) => runs(owner) && signal(owner, 'SIGSTOP'));
  const until = performance.now() + limitMs;
  for (;;) {
    late = late.filter((owner) => !continued(owner));
    if (late.length === 0 || performance.now() > until) break;
    Atomics.wait(never, 0, 0, lookEveryMs);
  }
  for (const owner of late) signal(owner, 'SIGCONT');
  return late;
}

/** @returns false when it has not stopped yet. */
function continued(owner: Owner): boolean {
  if (runs(owner)) return false;
  signal(owner, 'SIGCONT');
  return true;
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
