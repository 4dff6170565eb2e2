/**
 * The checks of one session's topics, bound once and kept while the policy stays: what it publishes to and what it
 * reads.
 */
import type { AuthenticationMethod } from '../../../common/config/proxied-route.ts';
import type { Bound, MessageFacts } from '../../policy/entry.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Subject } from '../../policy/ports.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';
import { filterOf } from '../../broker/shared-subscription.ts';

/** Topics whose bound checks are kept per session; a device uses four. */
const boundTopics = 16;
/** The same for deliveries; a service reads from many devices. */
const boundDeliveries = 256;

export class BoundChecks {
  readonly #subject: Subject;
  readonly #today: () => Policy;
  readonly #subscriptions: ReadonlyMap<string, SubscriptionOptions>;
  readonly #by: AuthenticationMethod;
  #policy: Policy;
  /** The maps are there once they are needed. */
  #topics: Map<string, Bound<MessageFacts>> | undefined;
  #lastTopic: { readonly topic: string; readonly bound: Bound<MessageFacts> } | undefined;
  #filters: Map<SubscriptionOptions, Bound<void>> | undefined;
  #deliveries: Map<string, Bound<void>> | undefined;

  constructor(
    subject: Subject,
    today: () => Policy,
    subscriptions: ReadonlyMap<string, SubscriptionOptions>,
    by: AuthenticationMethod = 'certificate',
  ) {
    this.#subject = subject;
    this.#today = today;
    this.#subscriptions = subscriptions;
    this.#by = by;
    this.#policy = today();
  }

  /** The checks for publishing to this topic under today's policy. */
  publish(topic: string): Bound<MessageFacts> {
    const policy = this.#todaysPolicy();
    const last = this.#lastTopic;
    if (last?.topic === topic) return last.bound;
    this.#topics ??= new Map();
    let bound = this.#topics.get(topic);
    if (bound === undefined) {
      bound = policy.bind('publish', this.#subject, topic);
      if (this.#topics.size >= boundTopics) this.#topics.clear();
      this.#topics.set(topic, bound);
    }
    this.#lastTopic = { topic, bound };
    return bound;
  }

  /**
   * Whoever may read all that a filter matches may read this: one check for all devices of a fleet. One for each of
   * them, 1,000, cost 2 µs a message (mqtt-sparse); they are asked only when the filter is not granted as a whole.
   *
   * @param options of the subscription that matched, when it is known.
   */
  mayRead(topic: string, options: SubscriptionOptions | undefined): boolean {
    const policy = this.#todaysPolicy();
    if (!policy.takes(this.#by, topic)) return false;
    if (options !== undefined) {
      const filter = this.#filters?.get(options) ?? this.#bindFilter(policy, options);
      if (filter !== undefined && allows(filter)) return true;
    }
    this.#deliveries ??= new Map();
    let bound = this.#deliveries.get(topic);
    if (bound === undefined) {
      bound = policy.bind('deliver', this.#subject, topic);
      if (this.#deliveries.size >= boundDeliveries) this.#deliveries.clear();
      this.#deliveries.set(topic, bound);
    }
    return allows(bound);
  }

  /** Undefined for options that were merged of several filters. */
  #bindFilter(policy: Policy, wanted: SubscriptionOptions): Bound<void> | undefined {
    for (const [filter, options] of this.#subscriptions) {
      if (options !== wanted) continue;
      const bound = policy.bind('deliver', this.#subject, filterOf(filter));
      this.#filters ??= new Map();
      if (this.#filters.size >= boundDeliveries) this.#filters.clear();
      this.#filters.set(options, bound);
      return bound;
    }
    return undefined;
  }

  #todaysPolicy(): Policy {
    const policy = this.#today();
    if (policy !== this.#policy) {
      this.#policy = policy;
      this.#topics = undefined;
      this.#lastTopic = undefined;
      this.#filters = undefined;
      this.#deliveries = undefined;
    }
    return policy;
  }
}

/** No row of this column asks elsewhere; one that did would have to hold the message back. */
function allows(bound: Bound<void>): boolean {
  const decision = bound.decide();
  return !(decision instanceof Promise) && decision.allowed;
}
