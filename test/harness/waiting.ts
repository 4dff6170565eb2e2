/** Waiting for something to happen, with a limit and with words for what did not. */
import { setTimeout as delay } from 'node:timers/promises';

/** How often `until` looks, for what has no event of its own: another process's death, a file's contents. */
const lookEveryMs = 50;

/** @throws Error `what` when the promise has not settled in time. */
export async function within<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
  const limit = new AbortController();
  const late = delay(limitMs, undefined, { signal: limit.signal }).then(() => {
    throw new Error(`not within ${limitMs} ms: ${what}`);
  });
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
  const deadline = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    // The two values that mean "not yet" are excluded by the comparison.
    if (found !== undefined && found !== false) return found as Exclude<T, undefined | false>;
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await delay(lookEveryMs);
  }
}
