/** Subjects and policies for tests. */
import type { Clock } from '../../common/base/clock.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import { parseConfig } from '../../common/config/parse-config.ts';
import { policyDocumentOf } from '../../common/config/policy-of.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { MessageFacts } from './entry.ts';
import { LeakyBucket, takeFromAll } from './leaky-bucket.ts';
import type { RateBucket, RateBudget, Subject } from './ports.ts';

export class HandClock implements Clock {
  time = 0;

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.time;
  }
}

export class LocalRates implements RateBudget {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, LeakyBucket>();
  readonly seen: (readonly RateBucket[])[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(buckets: readonly RateBucket[], cost: number | readonly number[]): boolean {
    this.seen.push(buckets);
    return takeFromAll(this.#find(buckets), this.#clock.monotonic(), cost);
  }

  levels(buckets: readonly RateBucket[]): readonly number[] {
    const levels: number[] = [];
    for (const bucket of this.#find(buckets)) bucket.appendLevels(this.#clock.monotonic(), levels);
    return levels;
  }

  #find(buckets: readonly RateBucket[]): LeakyBucket[] {
    return buckets.map(({ key, windows }) => {
      const bucket = this.#buckets.get(key) ?? new LeakyBucket(windows);
      this.#buckets.set(key, bucket);
      return bucket;
    });
  }
}

const unlimited: RateBudget = { take: () => true };

export function subjectOf(
  kind: PrincipalKind,
  id: string,
  role: string,
  rates: RateBudget = unlimited,
): Subject {
  return {
    name: principalName(kind, id),
    kind,
    id,
    identity: { standing: 'active', role, anchor: 'internal' },
    rates,
  };
}

export function documentOf(configText: string, files: Record<string, string> = {}): PolicyDocument {
  return policyDocumentOf(parseConfig({ configPath: '/etc/sallyport.yaml', configText, files }));
}

export function messageOfText(text: string): MessageFacts {
  return { payload: Buffer.from(text), qos: 1, retain: false, userProperties: 0 };
}
