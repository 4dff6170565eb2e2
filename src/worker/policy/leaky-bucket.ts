/**
 * Rate limits with nginx's `limit_req … burst=B nodelay` semantics, pure: time is an argument.
 *
 * A bucket keeps the level of each of its windows: the units not yet leaked away. A request of `cost` passes while
 * `level + cost - 1 ≤ burst` in every window, so that 5/s with burst 10 passes 11 at once and refuses the twelfth.
 * A refused request costs nothing.
 */
import type { RateWindow } from '../../common/base/rate-window.ts';

/** Plain data, for the ledger of another worker. `levels[i]` belongs to `windows[i]`. */
export interface LeakyBucketState {
  readonly levels: readonly number[];
  /** Milliseconds on the clock of whoever takes; fractions count. */
  readonly updatedAtMs: number;
}

/** Absorbs the rounding of `elapsed × rate`, so that exactly one unit's time frees exactly one unit. */
const rounding = 1e-6;

export class LeakyBucket {
  readonly windows: readonly RateWindow[];
  readonly #levels: number[];
  #updatedAtMs = Number.NEGATIVE_INFINITY;

  /** Empty, or continued from a state that MUST belong to the same windows; a state of another shape starts anew. */
  constructor(windows: readonly RateWindow[], state?: LeakyBucketState) {
    this.windows = windows;
    const usable =
      state?.levels.length === windows.length && state.levels.every((l) => Number.isFinite(l));
    this.#levels = usable ? [...state.levels] : windows.map(() => 0);
    if (usable) this.#updatedAtMs = state.updatedAtMs;
  }

  /** Whether `cost` units would pass at `nowMs`. Changes nothing. */
  fits(nowMs: number, cost: number): boolean {
    const elapsed = this.#elapsed(nowMs);
    const windows = this.windows;
    for (let i = 0; i < windows.length; i += 1) {
      const window = windows[i];
      const level = this.#levels[i];
      if (window === undefined || level === undefined) return false;
      if (leaked(level, window, elapsed) + cost - 1 > window.burst + rounding) return false;
    }
    return true;
  }

  /** Takes `cost` units without asking; for use after `fits` at the same `nowMs`. */
  charge(nowMs: number, cost: number): void {
    const elapsed = this.#elapsed(nowMs);
    const windows = this.windows;
    for (let i = 0; i < windows.length; i += 1) {
      const window = windows[i];
      if (window === undefined) continue;
      this.#levels[i] = leaked(this.#levels[i] ?? 0, window, elapsed) + cost;
    }
    // A clock that went back must not freeze the bucket until it has caught up: go on from where it is now.
    this.#updatedAtMs = nowMs;
  }

  /** Takes `cost` units from every window, or from none. */
  take(nowMs: number, cost: number): boolean {
    if (!this.fits(nowMs, cost)) return false;
    this.charge(nowMs, cost);
    return true;
  }

  /** All windows have leaked empty: forgetting this bucket changes no decision. */
  idle(nowMs: number): boolean {
    const elapsed = this.#elapsed(nowMs);
    return this.windows.every((w, i) => leaked(this.#levels[i] ?? 0, w, elapsed) <= rounding);
  }

  /** Appends the level that each window has at `nowMs`. Changes nothing. */
  appendLevels(nowMs: number, levels: number[]): void {
    const elapsed = this.#elapsed(nowMs);
    for (const [i, window] of this.windows.entries()) {
      levels.push(leaked(this.#levels[i] ?? 0, window, elapsed));
    }
  }

  state(): LeakyBucketState {
    return { levels: [...this.#levels], updatedAtMs: this.#updatedAtMs };
  }

  #elapsed(nowMs: number): number {
    return nowMs > this.#updatedAtMs ? nowMs - this.#updatedAtMs : 0;
  }
}

/** Takes `cost` units from every bucket, or from none; a list has the cost of each bucket. Nothing always passes. */
export function takeFromAll(
  buckets: readonly LeakyBucket[],
  nowMs: number,
  cost: number | readonly number[],
): boolean {
  if (typeof cost !== 'number') return takeFromEach(buckets, nowMs, cost);
  for (const bucket of buckets) {
    if (!bucket.fits(nowMs, cost)) return false;
  }
  for (const bucket of buckets) bucket.charge(nowMs, cost);
  return true;
}

function takeFromEach(
  buckets: readonly LeakyBucket[],
  nowMs: number,
  costs: readonly number[],
): boolean {
  for (const [i, bucket] of buckets.entries()) {
    const cost = costs[i];
    if (cost === undefined || (cost > 0 && !bucket.fits(nowMs, cost))) return false;
  }
  for (const [i, bucket] of buckets.entries()) bucket.charge(nowMs, costs[i] ?? 0);
  return true;
}

export function leaked(level: number, window: RateWindow, elapsedMs: number): number {
  const left = level - (elapsedMs * window.limit) / window.perMs;
  return left > 0 ? left : 0;
}
