/**
 * How long to wait before a child that died is started again: at once the first time, then doubling to five seconds,
 * and from the start again after it has lived for half a minute. Keeps a child that dies at once from taking the CPU.
 */
const firstDelayMs = 100;
const longestDelayMs = 5_000;
const healthyAfterMs = 30_000;

export class RestartPolicy {
  #failures = 0;

  /** @param livedMs how long the child lived that has just died. */
  nextDelayMs(livedMs: number): number {
    if (livedMs >= healthyAfterMs) this.#failures = 0;
    const failures = this.#failures++;
    return failures === 0 ? 0 : Math.min(longestDelayMs, firstDelayMs * 2 ** (failures - 1));
  }
}
