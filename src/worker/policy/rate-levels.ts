/** What the levels of rate buckets mean for who is bound by them: how much is left, and when there will be more. */
import type { RateWindow } from '../../common/base/rate-window.ts';
import { deny, denyUntil } from './decision.ts';
import type { Deny } from './decision.ts';
import type { RateBucket, Subject } from './ports.ts';

/** Less than any window can tell apart, more than the rounding of what has leaked. */
const rounding = 1e-6;

/**
 * Milliseconds until `cost` would pass every window, if nothing else is taken until then. Endless when a window never
 * holds so much.
 *
 * @param levels as `RateBudget.levels` has them.
 */
export function waitMs(
  buckets: readonly RateBucket[],
  levels: readonly number[],
  cost: number | readonly number[],
): number {
  let longest = 0;
  let at = 0;
  for (const [i, { windows }] of buckets.entries()) {
    const units = typeof cost === 'number' ? cost : (cost[i] ?? 0);
    for (const window of windows) {
      const level = levels[at] ?? 0;
      at += 1;
      if (units <= 0) continue;
      if (units - 1 > window.burst + rounding) return Number.POSITIVE_INFINITY;
      const tooMuch = level + units - 1 - window.burst;
      if (tooMuch > rounding) longest = Math.max(longest, (tooMuch * window.perMs) / window.limit);
    }
  }
  return longest;
}

const denied = deny('rate', 'rate', 'over the rate');

/** What is said when `cost` was not to be had: with the time after which it would be, when that is known. */
export function rateRefusal(
  { rates }: Subject,
  buckets: readonly RateBucket[],
  cost: number | readonly number[],
): Deny {
  const levels = rates.levels?.(buckets);
  return levels === undefined ? denied : denyUntil(denied, waitMs(buckets, levels, cost));
}

/** The largest cost that every window can ever take at once; endless without any. */
export function largestCost(buckets: readonly RateBucket[]): number {
  const bursts = buckets.flatMap(({ windows }) => windows.map((window) => window.burst));
  return Math.min(Number.POSITIVE_INFINITY, ...bursts.map((burst) => burst + 1));
}

/** Whole units that pass at once now. */
export function remaining(window: RateWindow, level: number): number {
  return Math.max(0, Math.floor(window.burst + 1 - level + rounding));
}

/** Milliseconds until the window is as if nothing had been taken. */
export function resetMs(window: RateWindow, level: number): number {
  return (level * window.perMs) / window.limit;
}
