/** When a child that says nothing is killed. */

/** 250 ms each. Silence is counted in the supervisor's own ticks, so that a machine that stalls kills nobody. */
export const tickMs = 250;

/** How long a child may be without a word before it is killed. */
export interface SilenceLimits {
  /** Of one that does nothing, or is stopped. */
  readonly ticks: number;
  /** Of one that is at work, as long as it has not used up `busyCpuMs` meanwhile. */
  readonly busyTicks: number;
  /**
   * Processor time, milliseconds. A loop without an end uses as much as there is; one that others keep from the processor
   * does not, and to kill it would add its load to theirs.
   */
  readonly busyCpuMs: number;
}

/**
 * A worker that is silent for 2 s is killed: a stopped process may hold the store's write lock. One that is busy is not:
 * a fleet that comes back to a loaded machine is more than 2 s of work at once, and killed it would all come back again.
 */
export const workerSilence: SilenceLimits = {
  ticks: 2_000 / tickMs,
  busyTicks: 60_000 / tickMs,
  busyCpuMs: 8_000,
};
/** Control serves no device; it may be busy with a large registry for longer. */
export const controlSilence: SilenceLimits = {
  ticks: 15_000 / tickMs,
  busyTicks: 60_000 / tickMs,
  busyCpuMs: 15_000,
};
