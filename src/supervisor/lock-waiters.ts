/**
 * Who waits for the store's write lock when another one who waits is killed.
 *
 * The lock is a robust mutex of glibc. Its unlock wakes one of those that wait, and only that one remembers that there are
 * more. When it is killed before it has the lock, and somebody else has taken it meanwhile, neither that one nor the
 * kernel wakes the rest: they sleep before a lock that is free (seen with a lock word of 0 and all its waiters in
 * `futex_wait`, about once in a thousand killed writers). A process that is stopped and continued looks at the word again.
 */
import { processLoad } from './process-stat.ts';

/** For all to have stopped, which takes the kernel microseconds unless the machine is very busy. */
const limitMs = 100;
const lookEveryMs = 1;

const never = new Int32Array(new SharedArrayBuffer(4));

/**
 * Stops and continues these processes, but for those that somebody else has stopped. Takes a few milliseconds, in which
 * nothing else happens: between the two nobody may forget to continue them.
 */
export function wakeLockWaiters(pids: readonly number[]): void {
  const running = pids.filter((pid) => processLoad(pid)?.stopped === false);
  const stopped = running.filter((pid) => signalled(pid, 'SIGSTOP'));
  const isRunning = (pid: number): boolean => processLoad(pid)?.stopped === false;
  for (let waitedMs = 0; waitedMs < limitMs && stopped.some(isRunning); waitedMs += lookEveryMs) {
    Atomics.wait(never, 0, 0, lookEveryMs);
  }
  for (const pid of stopped) signalled(pid, 'SIGCONT');
}

/** False when there is no such process any more. */
function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}
