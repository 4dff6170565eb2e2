/** When load is sent, and how much of it at once. */

/**
 * Sends `count` times, evenly spaced. It turns without rest, because a timer's millisecond would send bursts where a
 * fleet's messages come one by one: the load's cores are there for that.
 */
export function paced(
  count: number,
  perSecond: number,
  send: (index: number) => void,
): Promise<void> {
  const started = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const turn = (): void => {
      const due = ((performance.now() - started) * perSecond) / 1_000;
      for (; sent < count && sent <= due; sent += 1) send(sent);
      if (sent < count) setImmediate(turn);
      else resolve();
    };
    turn();
  });
}

/** Sends at a rate until the time is over, in ticks of a few milliseconds, and leaves the cores to others in between. */
export function steadily(
  perSecond: number,
  seconds: number,
  send: () => void,
  tickMs = 5,
): Promise<void> {
  const started = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const elapsed = Math.min(seconds, (performance.now() - started) / 1_000);
      for (; sent < elapsed * perSecond; sent += 1) send();
      if (elapsed < seconds) return;
      clearInterval(timer);
      resolve();
    }, tickMs);
  });
}

/** Runs `each` for every index below `count`, `atOnce` of them at the same time. */
export async function together(
  count: number,
  atOnce: number,
  each: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      await each(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, atOnce) }, lane));
}
