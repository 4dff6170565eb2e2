/** Waiting for something to happen, with a limit and with words for what did not. */
import { setTimeout as delay } from 'node:timers/promises';

/** How often `until` looks, for what has no event of its own: another process's death, a file's contents. */
const lookEveryMs = 50;

/** `within` waits in so many steps: when the whole machine stands still, at most one of them is lost. */
const steps = 10;

/** @throws Error `what` when the promise has not settled in time. */
export async function within<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
  const limit = new AbortController();
  const late = (async (): Promise<never> => {
    for (let n = 0; n < steps; n += 1) {
      await delay(limitMs / steps, undefined, { signal: limit.signal });
    }
    throw new Error(`not within ${limitMs} ms: ${what}`);
  })();
  try {
    return await Promise.race([promise, late]);
  } finally {
    limit.abort();
    late.catch(() => {});
  }
}

/** The first result of `look` that is not undefined or false. @throws Error `what` when there is none in time. */
export async function until<T>(
  what: string,
  limitMs: number,
  look: () => T | Promise<T>,
): Promise<Exclude<T, undefined | false>> {
  let deadline = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    // The two values that mean "not yet" are excluded by the comparison.
    if (found !== undefined && found !== false) return found as Exclude<T, undefined | false>;
    const now = performance.now();
    if (now > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await delay(lookEveryMs);
    // While the machine stood still nothing could happen.
    deadline += Math.max(0, performance.now() - now - lookEveryMs);
  }
}

const tickMs = 10;
/** What a gap between two ticks counts for at most. */
const mostMs = 50;
let running = 0;
let tickedAt = performance.now();

/**
 * Milliseconds for upper bounds: of the time in which nothing ran in this process, because the machine stood still,
 * hardly any counts.
 */
export function runningMs(): number {
  const now = performance.now();
  running += Math.min(now - tickedAt, mostMs);
  tickedAt = now;
  return running;
}

setInterval(runningMs, tickMs).unref();
