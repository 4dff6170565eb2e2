/**
 * Rates per identity, and per identity and route. Asked before anything that costs more, and before authorisation:
 * a flood of forbidden messages is a flood. A will is charged when it is set, so that it can still tell of a device
 * that was disconnected for its flood. Delivery is bounded by what its reader takes, not by a rate.
 */
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import { identityBuckets } from '../matched-routes.ts';
import type { RateBucket, Subject } from '../ports.ts';
import type { Cell, Check, MessageBinding, Row } from '../row.ts';

const name = 'rate';
const denied = deny('rate', name, 'over the rate');

function check(subject: Subject, buckets: readonly RateBucket[]): Check<unknown> | undefined {
  if (buckets.length === 0) return undefined;
  const { rates } = subject;
  return () => {
    const taken = rates.take(buckets, 1);
    if (taken === true) return undefined;
    return taken === false ? denied : taken.then(verdict);
  };
}

function verdict(taken: boolean): Deny | undefined {
  return taken ? undefined : denied;
}

const message: Cell<MessageBinding, unknown> = {
  says: 'rate of the identity, of the identity on each route',
  bind: ({ subject, routes }) => check(subject, routes.buckets[subject.kind]),
};

export const rateRow: Row = {
  name,
  codes: ['rate'],
  cells: {
    connect: {
      says: 'rate of the identity',
      bind: ({ policy, subject }) =>
        subject === undefined
          ? undefined
          : check(subject, identityBuckets(policy.document)[subject.kind]),
    },
    will: message,
    publish: message,
    subscribe: {
      says: 'rate of the identity',
      bind: ({ policy, subject }) => check(subject, identityBuckets(policy.document)[subject.kind]),
    },
  },
};
