/**
 * Messages from publishers to subscribers. Synchronous: from one publisher to one subscriber the order is the order of
 * `publish`. What a session does with a message (queue, encode, drop) is its own business.
 *
 * A message whose `retain` flag is set is published when the caller's `RetainedStore.put` has resolved.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { Message } from './message.ts';
import type { Crossing, Subscriber, SubscriptionOptions } from './ports.ts';
import { TopicTree } from './topic-tree.ts';
import type { Members } from './topic-tree.ts';

export interface BrokerPorts {
  readonly crossing: Crossing;
  readonly clock: Clock;
}

export class Broker {
  readonly #crossing: Crossing;
  readonly #clock: Clock;
  readonly #tree = new TopicTree<Subscriber, SubscriptionOptions>();
  readonly #filters = new Map<Subscriber, Set<string>>();

  constructor({ crossing, clock }: BrokerPorts) {
    this.#crossing = crossing;
    this.#clock = clock;
    crossing.onMessage = (message) => {
      this.#deliver(message);
    };
  }

  get subscribers(): number {
    return this.#filters.size;
  }

  /**
   * Adds a subscription or replaces the one with the same filter (MQTT 5 §3.8.4). `filter` MUST be a valid topic filter
   * that policy has granted, without `$share/`.
   */
  subscribe(
    subscriber: Subscriber,
    filter: string,
    options: SubscriptionOptions,
  ): { readonly existed: boolean } {
    const first = !this.#tree.has(filter);
    const existed = this.#tree.set(filter, subscriber, options) !== undefined;
    let filters = this.#filters.get(subscriber);
    if (filters === undefined) {
      filters = new Set();
      this.#filters.set(subscriber, filters);
    }
    filters.add(filter);
    if (first) this.#crossing.addInterest(filter);
    return { existed };
  }

  /** @returns whether there was such a subscription. */
  unsubscribe(subscriber: Subscriber, filter: string): boolean {
    const filters = this.#filters.get(subscriber);
    if (filters === undefined || !filters.delete(filter)) return false;
    if (filters.size === 0) this.#filters.delete(subscriber);
    this.#forget(subscriber, filter);
    return true;
  }

  removeSubscriber(subscriber: Subscriber): void {
    const filters = this.#filters.get(subscriber);
    if (filters === undefined) return;
    this.#filters.delete(subscriber);
    for (const filter of filters) this.#forget(subscriber, filter);
  }

  /**
   * @returns how many got it: local subscribers and workers that want the topic. 0 is "no matching subscribers". An
   * expired message (MQTT 5 §3.3.2.3.3) goes to nobody.
   */
  publish(message: Message): number {
    const { expiresAt } = message;
    if (expiresAt !== undefined && expiresAt <= this.#clock.now()) return 0;
    const local = this.#deliver(message);
    const slots = this.#crossing.wanting(message.topic);
    if (slots.length > 0) this.#crossing.send(slots, message);
    return local + slots.length;
  }

  #forget(subscriber: Subscriber, filter: string): void {
    this.#tree.delete(filter, subscriber);
    if (!this.#tree.has(filter)) this.#crossing.dropInterest(filter);
  }

  #deliver(message: Message): number {
    const found = this.#tree.match(message.topic);
    const only = found[0];
    if (only === undefined) return 0;
    return found.length === 1
      ? deliverTo(only, message)
      : deliverTo(merge(found, message), message);
  }
}

function deliverTo(members: Members<Subscriber, SubscriptionOptions>, message: Message): number {
  let count = 0;
  for (const [subscriber, options] of members) {
    if (isOwn(subscriber, options, message)) continue;
    subscriber.deliver(message, options);
    count += 1;
  }
  return count;
}

/** MQTT 5 §3.8.3.1: with No Local a message does not go back to the session that published it. */
function isOwn(subscriber: Subscriber, options: SubscriptionOptions, message: Message): boolean {
  return options.noLocal && subscriber.key === message.publisherSession;
}

/**
 * One delivery per subscriber however many of its filters match, as MQTT 5 §3.3.4 allows, with the highest QoS of them.
 * A filter with No Local takes no part in what its own session published, so that another filter without it still
 * delivers. Retain As Published holds when any filter asked for it: a subscriber that asked can tell the flag apart.
 */
function merge(
  found: readonly Members<Subscriber, SubscriptionOptions>[],
  message: Message,
): Map<Subscriber, SubscriptionOptions> {
  const merged = new Map<Subscriber, SubscriptionOptions>();
  for (const members of found) {
    for (const [subscriber, options] of members) {
      if (isOwn(subscriber, options, message)) continue;
      const before = merged.get(subscriber);
      merged.set(subscriber, before === undefined ? options : stronger(before, options));
    }
  }
  return merged;
}

function stronger(a: SubscriptionOptions, b: SubscriptionOptions): SubscriptionOptions {
  const qos = a.qos > b.qos ? a.qos : b.qos;
  const retainAsPublished = a.retainAsPublished || b.retainAsPublished;
  const noLocal = a.noLocal && b.noLocal;
  if (same(a, qos, retainAsPublished, noLocal)) return a;
  if (same(b, qos, retainAsPublished, noLocal)) return b;
  return { qos, retainAsPublished, noLocal };
}

function same(
  options: SubscriptionOptions,
  qos: number,
  retainAsPublished: boolean,
  noLocal: boolean,
): boolean {
  return (
    options.qos === qos &&
    options.retainAsPublished === retainAsPublished &&
    options.noLocal === noLocal
  );
}
