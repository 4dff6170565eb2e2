/**
 * What a device is told of its rates: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, which
 * is not a standard yet. Per window the quota (`q`) in so many seconds (`w`) and what of it passes at once now (`r`); after
 * `t` seconds without a request it is as if none had been made. Windows are called by whom they are about and their number:
 * how the operator calls a route is nobody else's business.
 */
import type { RateWindow } from '../../../common/base/rate-window.ts';
import type { RateBucket, RateBudget } from '../../policy/ports.ts';
import { remaining, resetMs } from '../../policy/rate-levels.ts';

interface Named {
  readonly window: RateWindow;
  /** A structured field string (RFC 9651 §3.3.3). */
  readonly name: string;
}

interface Policies {
  readonly windows: readonly Named[];
  readonly field: string;
}

const nothing: readonly string[] = Object.freeze([]);
/** Lists of buckets live as long as their policy. */
const known = new WeakMap<readonly RateBucket[], Policies>();

/**
 * Header lines, name and value in turn; none without a limit, or while its levels are known elsewhere only.
 *
 * @param buckets `Bound.rates`, after it has decided.
 */
export function rateFields(rates: RateBudget, buckets: readonly RateBucket[]): readonly string[] {
  if (buckets.length === 0) return nothing;
  const levels = rates.levels?.(buckets);
  if (levels === undefined) return nothing;
  const { windows, field } = policiesOf(buckets);
  let limits = '';
  for (const [i, { window, name }] of windows.entries()) {
    const level = levels[i] ?? 0;
    const left = Math.min(window.limit, remaining(window, level));
    if (i > 0) limits += ', ';
    limits += `${name};r=${left};t=${wholeSeconds(resetMs(window, level))}`;
  }
  return ['RateLimit-Policy', field, 'RateLimit', limits];
}

/** Rounded up; what a clock's rounding adds is not a second. */
export function wholeSeconds(ms: number): number {
  return Math.max(0, Math.ceil(ms / 1_000 - 1e-6));
}

function policiesOf(buckets: readonly RateBucket[]): Policies {
  let policies = known.get(buckets);
  if (policies === undefined) {
    policies = newPolicies(buckets);
    known.set(buckets, policies);
  }
  return policies;
}

function newPolicies(buckets: readonly RateBucket[]): Policies {
  const windows: Named[] = [];
  const fields: string[] = [];
  const counts = new Map<string, number>();
  for (const { key, windows: ofBucket, unit } of buckets) {
    const about = unit ?? (key === 'identity' ? 'identity' : 'route');
    for (const window of ofBucket) {
      const count = (counts.get(about) ?? 0) + 1;
      counts.set(about, count);
      const name = `"${count === 1 ? about : `${about}-${count}`}"`;
      const units = unit === 'bytes' ? ';qu="content-bytes"' : '';
      windows.push({ window, name });
      fields.push(`${name};q=${window.limit};w=${wholeSeconds(window.perMs)}${units}`);
    }
  }
  return { windows, field: fields.join(', ') };
}
