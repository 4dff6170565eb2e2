/**
 * All rate buckets of one identity, in the hands of whoever may take from them at the moment: the worker that serves
 * the identity, or its home. Handed over as levels at the moment of handing over, because two processes share no
 * monotonic clock.
 */
import type { RateWindow } from '../../common/base/rate-window.ts';
import { LeakyBucket, takeFromAll } from '../policy/leaky-bucket.ts';
import type { RateBucket } from '../policy/ports.ts';

/** An identity has one bucket per route that it publishes to and one for all. */
const maxBuckets = 256;
/** Sets of buckets that are asked for again and again: one per topic of a session. */
const maxResolved = 32;

export interface BucketLevels extends RateBucket {
  /** `levels[i]` belongs to `windows[i]`. */
  readonly levels: readonly number[];
}

export class IdentityBudget {
  readonly #buckets = new Map<string, LeakyBucket>();
  readonly #resolved = new Map<readonly RateBucket[], readonly LeakyBucket[]>();

  /** As `RateBudget.take`. */
  take(buckets: readonly RateBucket[], cost: number | readonly number[], nowMs: number): boolean {
    const resolved = this.#resolved.get(buckets) ?? this.#resolve(buckets, nowMs);
    return resolved !== undefined && takeFromAll(resolved, nowMs, cost);
  }

  /** As `RateBudget.levels`. */
  levelsOf(buckets: readonly RateBucket[], nowMs: number): readonly number[] {
    const levels: number[] = [];
    for (const { key, windows } of buckets) {
      const bucket = this.#buckets.get(key);
      if (bucket?.windows.length === windows.length) bucket.appendLevels(nowMs, levels);
      else for (let i = 0; i < windows.length; i += 1) levels.push(0);
    }
    return levels;
  }

  /** What is not empty. */
  levels(nowMs: number): BucketLevels[] {
    const all: BucketLevels[] = [];
    for (const [key, bucket] of this.#buckets) {
      if (bucket.idle(nowMs)) continue;
      bucket.charge(nowMs, 0);
      all.push({ key, windows: bucket.windows, levels: bucket.state().levels });
    }
    return all;
  }

  /** Continues from these levels as well: the fuller bucket counts. */
  absorb(given: readonly BucketLevels[], nowMs: number): void {
    this.#resolved.clear();
    for (const { key, windows, levels } of given) {
      const own = this.#buckets.get(key);
      own?.charge(nowMs, 0);
      const before = own?.state().levels;
      const merged =
        before?.length === levels.length
          ? levels.map((level, i) => Math.max(level, before[i] ?? 0))
          : levels;
      if (own === undefined && !this.#roomFor(nowMs)) return;
      this.#buckets.set(key, new LeakyBucket(windows, { levels: merged, updatedAtMs: nowMs }));
    }
  }

  /** Forgetting this budget changes no decision. */
  idle(nowMs: number): boolean {
    for (const bucket of this.#buckets.values()) {
      if (!bucket.idle(nowMs)) return false;
    }
    return true;
  }

  #resolve(buckets: readonly RateBucket[], nowMs: number): readonly LeakyBucket[] | undefined {
    const resolved: LeakyBucket[] = [];
    for (const { key, windows } of buckets) {
      let bucket = this.#buckets.get(key);
      if (bucket === undefined || !sameWindows(bucket.windows, windows)) {
        if (bucket === undefined && !this.#roomFor(nowMs)) return undefined;
        // With other limits the levels go on; see LeakyBucket for another number of windows.
        bucket?.charge(nowMs, 0);
        bucket = new LeakyBucket(windows, bucket?.state());
        this.#buckets.set(key, bucket);
        this.#resolved.clear();
      }
      resolved.push(bucket);
    }
    if (this.#resolved.size >= maxResolved) this.#resolved.clear();
    this.#resolved.set(buckets, resolved);
    return resolved;
  }

  #roomFor(nowMs: number): boolean {
    if (this.#buckets.size < maxBuckets) return true;
    this.#resolved.clear();
    for (const [key, bucket] of this.#buckets) {
      if (bucket.idle(nowMs)) this.#buckets.delete(key);
    }
    return this.#buckets.size < maxBuckets;
  }
}

function sameWindows(a: readonly RateWindow[], b: readonly RateWindow[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  return a.every((window, i) => {
    const other = b[i];
    return (
      other?.limit === window.limit && other.perMs === window.perMs && other.burst === window.burst
    );
  });
}
