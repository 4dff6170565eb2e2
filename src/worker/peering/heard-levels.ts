/**
 * How full the windows of an identity were when its home was asked for it, and by now: for those who want to say it, not
 * for deciding.
 */
import type { RateBucket } from '../policy/ports.ts';
import { leaked } from '../policy/leaky-bucket.ts';

/** Sets of buckets that are asked for again and again: one per topic or route. */
const maxHeard = 32;

interface Heard {
  readonly levels: readonly number[];
  readonly atMs: number;
}

export class HeardLevels {
  readonly #heard = new Map<readonly RateBucket[], Heard>();

  note(buckets: readonly RateBucket[], levels: readonly number[], nowMs: number): void {
    if (this.#heard.size >= maxHeard && !this.#heard.has(buckets)) this.#heard.clear();
    this.#heard.set(buckets, { levels, atMs: nowMs });
  }

  of(buckets: readonly RateBucket[], nowMs: number): readonly number[] | undefined {
    const heard = this.#heard.get(buckets);
    if (heard === undefined) return undefined;
    const windows = buckets.flatMap((bucket) => bucket.windows);
    if (windows.length !== heard.levels.length) return undefined;
    return windows.map((window, i) => leaked(heard.levels[i] ?? 0, window, nowMs - heard.atMs));
  }
}
