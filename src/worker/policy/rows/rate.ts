/**
 * Rates per identity, and per identity and route. Asked before anything that costs more, and before authorisation:
 * a flood of forbidden messages is a flood. A will is charged when it is set, so that it can still tell of a device
 * that was disconnected for its flood. Delivery is bounded by what its reader takes, not by a rate.
 */
import { deny } from '../decision.ts';
import type { ProxiedFacts } from '../entry.ts';
import { identityBuckets } from '../matched-routes.ts';
import type { RateBucket, Subject } from '../ports.ts';
import { largestCost, rateRefusal } from '../rate-levels.ts';
import type { Cell, Check, ConnectBinding, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const name = 'rate';

function check(subject: Subject, buckets: readonly RateBucket[]): Check<unknown> | undefined {
  if (buckets.length === 0) return undefined;
  const { rates } = subject;
  return () => {
    const taken = rates.take(buckets, 1);
    if (taken === true) return undefined;
    return taken === false
      ? rateRefusal(subject, buckets, 1)
      : taken.then((passes) => (passes ? undefined : rateRefusal(subject, buckets, 1)));
  };
}

/** A body whose length is not known is charged as it comes: see `BodyMeter`. */
function checkBytes(
  subject: Subject,
  buckets: readonly RateBucket[],
  byteBuckets: readonly RateBucket[],
): Check<ProxiedFacts> {
  const { rates } = subject;
  const most = largestCost(byteBuckets);
  const never = deny('too-large', name, `more than the ${most} bytes that a rate ever passes`);
  return ({ bodyBytes }) => {
    const bytes = bodyBytes === 'unknown' ? 0 : bodyBytes;
    if (bytes > most) return never;
    const costs = buckets.map(({ unit }) => (unit === 'bytes' ? bytes : 1));
    const taken = rates.take(buckets, costs);
    if (taken === true) return undefined;
    return taken === false
      ? rateRefusal(subject, buckets, costs)
      : taken.then((passes) => (passes ? undefined : rateRefusal(subject, buckets, costs)));
  };
}

const message: Cell<MessageBinding, unknown> = {
  says: 'rate of the identity, of the identity on each route',
  bind: ({ subject, routes }) => check(subject, routes.buckets[subject.kind]),
};

const identity: Cell<ConnectBinding, unknown> = {
  says: 'rate of the identity',
  bind: ({ policy, subject }) =>
    subject === undefined
      ? undefined
      : check(subject, identityBuckets(policy.document)[subject.kind]),
};

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'rate of the identity, of its requests and bytes on the route',
  bind: ({ subject, route }) => {
    if (subject === undefined) return undefined;
    const buckets = route.buckets[subject.kind];
    return route.byteBuckets.length === 0
      ? check(subject, buckets)
      : checkBytes(subject, buckets, route.byteBuckets);
  },
};

export const rateRow: Row = {
  name,
  codes: ['rate', 'too-large'],
  cells: {
    connect: identity,
    will: message,
    publish: message,
    subscribe: identity,
    request: identity,
    proxied,
  },
};
