/**
 * What the policy pipeline needs from outside its folder; the worker's composition root fits it.
 */
import type { PrincipalKind, PrincipalName, Standing } from '../../common/base/principal.ts';
import type { RateWindow } from '../../common/base/rate-window.ts';

/**
 * Who asks. One object per connection; `identity` is the live record of the snapshot, so a change of standing is seen
 * by the next decision without rebinding.
 */
export interface Subject {
  readonly name: PrincipalName;
  readonly kind: PrincipalKind;
  readonly id: string;
  readonly identity: IdentityRecord;
  readonly rates: RateBudget;
}

/** Mutable by the snapshot only. */
export interface IdentityRecord {
  standing: Standing;
  role: string;
  anchor: string;
}

/**
 * The rate budget of one identity, shared by all its connections, protocols, certificates and workers. Local while
 * this worker is the only one that serves the identity (answers at once), else asked of the identity's home worker
 * (answers a promise).
 */
export interface RateBudget {
  /**
   * Takes `cost` units from every window of every bucket, or from none; of a list, `cost[i]` units from `buckets[i]`.
   * `buckets` MUST be the same frozen array each time for one bound check, its keys unique (`route:telemetry`).
   * MUST resolve to false, never reject, when the home cannot be asked.
   */
  take(
    buckets: readonly RateBucket[],
    cost: number | readonly number[],
  ): boolean | Promise<boolean>;
  /**
   * How full each window is now, bucket after bucket, as far as this worker knows: exactly, when it has the budget itself,
   * else as its home said it when it was last asked about these buckets. Undefined when nothing is known. Takes nothing.
   */
  levels?(buckets: readonly RateBucket[]): readonly number[] | undefined;
}

export interface RateBucket {
  readonly key: string;
  readonly windows: readonly RateWindow[];
  /** What is counted; without it, requests. */
  readonly unit?: 'bytes';
}
