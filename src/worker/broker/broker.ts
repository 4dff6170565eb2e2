/**
 * Messages from publishers to subscribers. Synchronous: from one publisher to one subscriber the order is the order of
 * `publish`. What a session does with a message (queue, encode, drop) is its own business.
 *
 * A message whose `retain` flag is set is published when the caller's `RetainedStore.put` has resolved.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { Delivery, Message, SharedPick } from './message.ts';
import { noIdentifiers } from './ports.ts';
import type { Crossing, Subscriber, SubscriptionOptions } from './ports.ts';
import { SharedGroups } from './shared-groups.ts';
import { isShared } from './shared-subscription.ts';
import { Lone, TopicTree } from './topic-tree.ts';
import type { Members } from './topic-tree.ts';

const nobody: readonly SharedPick[] = Object.freeze([]);

export interface BrokerPorts {
  readonly crossing: Crossing;
  readonly clock: Clock;
}

/** A message whose member of a shared subscription has gone is handed on this often; then the group has none. */
const maxHandedOn = 3;
/** Sessions that are poked in one turn of the event loop: each may read its queue. */
const pokesPerTurn = 200;

export class Broker {
  /** Those who take part in shared subscriptions, on all workers. */
  readonly groups: SharedGroups;
  readonly #crossing: Crossing;
  readonly #clock: Clock;
  readonly #tree = new TopicTree<Subscriber, SubscriptionOptions>();
  readonly #filters = new Map<Subscriber, Set<string>>();
  /** Who is to be poked still; undefined: nobody. */
  #poking: Iterator<Subscriber> | undefined;

  constructor({ crossing, clock }: BrokerPorts) {
    this.#crossing = crossing;
    this.#clock = clock;
    this.groups = new SharedGroups(crossing.slot);
    crossing.onMessage = (message) => {
      this.#deliver(message);
    };
    crossing.onMember = (slot, subscription, key, isMember) => {
      if (isMember) this.groups.joined(slot, subscription, key);
      else this.groups.left(slot, subscription, key);
    };
    crossing.onGap = () => this.#pokeAll();
  }

  get subscribers(): number {
    return this.#filters.size;
  }

  /**
   * Adds a subscription or replaces the one with the same filter (MQTT 5 §3.8.4). `filter` MUST be a valid topic filter
   * that policy has granted; that of a shared subscription as the client wrote it.
   */
  subscribe(
    subscriber: Subscriber,
    filter: string,
    options: SubscriptionOptions,
  ): { readonly existed: boolean } {
    let filters = this.#filters.get(subscriber);
    if (filters === undefined) {
      filters = new Set();
      this.#filters.set(subscriber, filters);
    }
    filters.add(filter);
    if (isShared(filter)) {
      const existed = this.groups.join(filter, subscriber, options);
      if (!existed) this.#crossing.addMember(filter, subscriber.key);
      return { existed };
    }
    const first = !this.#tree.has(filter);
    const existed = this.#tree.set(filter, subscriber, options) !== undefined;
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
   * @returns how many get it: local subscribers, workers that want the topic, and one more when it lies in queues. 0 is
   * "no matching subscribers". An expired message (MQTT 5 §3.3.2.3.3) goes to nobody.
   */
  publish(message: Message): number {
    const { expiresAt, delivery } = message;
    if (expiresAt !== undefined && expiresAt <= this.#clock.now()) return 0;
    if (delivery !== undefined || this.groups.size > 0)
      return this.#publishDealt(this.#deal(message));
    const local = this.#deliver(message);
    const slots = this.#crossing.wanting(message.topic);
    if (slots.length > 0) this.#crossing.send(slots, message);
    return local + slots.length;
  }

  #publishDealt(message: Message): number {
    const { topic, delivery } = message;
    const local = this.#deliver(message);
    const slots = this.#slotsOf(topic, delivery?.picks ?? nobody);
    if (slots.length > 0) this.#crossing.send(slots, message);
    return local + slots.length + (delivery?.id === undefined ? 0 : 1);
  }

  /** Picks one of each group that shares a subscription to the topic, unless that was done when it was stored. */
  #deal(message: Message): Message {
    const { delivery } = message;
    if (delivery === undefined) {
      const picks = this.groups.pick(message, false);
      if (picks.length === 0) return message;
      return { ...message, delivery: { id: undefined, picks, handedOn: 0 } };
    }
    if (delivery.picks.length === 0) return message;
    return { ...message, delivery: { ...delivery, picks: this.#todaysPicks(delivery.picks) } };
  }

  /** While it was being stored, sessions have come, gone and moved. */
  #todaysPicks(picks: readonly SharedPick[]): SharedPick[] {
    const today: SharedPick[] = [];
    for (const pick of picks) {
      const slot = this.groups.slotOf(pick);
      if (slot !== undefined || pick.queued) {
        today.push({ ...pick, slot });
        continue;
      }
      const other = this.groups.instead(pick);
      if (other !== undefined) today.push(other);
    }
    return today;
  }

  #slotsOf(topic: string, picks: readonly SharedPick[]): readonly number[] {
    const wanting = this.#crossing.wanting(topic);
    if (picks.length === 0) return wanting;
    const slots = new Set(wanting);
    for (const { slot } of picks) {
      if (slot !== undefined && slot !== this.#crossing.slot) slots.add(slot);
    }
    return [...slots];
  }

  #forget(subscriber: Subscriber, filter: string): void {
    if (isShared(filter)) {
      if (this.groups.leave(filter, subscriber)) this.#crossing.dropMember(filter, subscriber.key);
      return;
    }
    this.#tree.delete(filter, subscriber);
    if (!this.#tree.has(filter)) this.#crossing.dropInterest(filter);
  }

  #deliver(message: Message): number {
    const { delivery } = message;
    if (delivery !== undefined && delivery.picks.length > 0) {
      return this.#deliverPicked(message, delivery);
    }
    const found = this.#tree.match(message.topic);
    const only = found[0];
    if (only === undefined) return 0;
    return found.length === 1
      ? deliverTo(only, message)
      : deliverTo(merge(found, message), message);
  }

  #deliverPicked(message: Message, { picks, handedOn }: Delivery): number {
    const found = handedOn === 0 ? this.#tree.match(message.topic) : [];
    const merged = merge(found, message);
    let sent = 0;
    for (const pick of picks) {
      const here = this.groups.here(pick);
      if (here !== undefined) add(merged, here.subscriber, here.options);
      else if (pick.slot === this.#crossing.slot && !pick.queued) {
        sent += this.#handOn(message, pick, merged);
      }
    }
    return sent + deliverTo(merged, message);
  }

  /** Whoever was picked has gone from here meanwhile. @returns how many workers it was sent to. */
  #handOn(
    message: Message,
    gone: SharedPick,
    merged: Map<Subscriber, SubscriptionOptions>,
  ): number {
    const pick = this.groups.instead(gone);
    if (pick === undefined) return 0;
    const here = this.groups.here(pick);
    if (here !== undefined) {
      add(merged, here.subscriber, here.options);
      return 0;
    }
    const handedOn = (message.delivery?.handedOn ?? 0) + 1;
    if (pick.slot === undefined || handedOn > maxHandedOn) return 0;
    const delivery: Delivery = { id: message.delivery?.id, picks: [pick], handedOn };
    this.#crossing.send([pick.slot], { ...message, delivery });
    return 1;
  }

  #pokeAll(): void {
    const before = this.#poking;
    this.#poking = this.#filters.keys();
    if (before === undefined) setImmediate(() => this.#poke());
  }

  #poke(): void {
    for (let i = 0; i < pokesPerTurn; i += 1) {
      const next = this.#poking?.next();
      if (next === undefined || next.done === true) {
        this.#poking = undefined;
        return;
      }
      next.value.poke?.();
    }
    setImmediate(() => this.#poke());
  }
}

function deliverTo(members: Members<Subscriber, SubscriptionOptions>, message: Message): number {
  if (members instanceof Lone) {
    if (isOwn(members.key, members.value, message)) return 0;
    members.key.deliver(message, members.value);
    return 1;
  }
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
      if (!isOwn(subscriber, options, message)) add(merged, subscriber, options);
    }
  }
  return merged;
}

function add(
  merged: Map<Subscriber, SubscriptionOptions>,
  subscriber: Subscriber,
  options: SubscriptionOptions,
): void {
  const before = merged.get(subscriber);
  merged.set(subscriber, before === undefined ? options : stronger(before, options));
}

/** One delivery for two filters that match: what either of them asked for. */
export function stronger(a: SubscriptionOptions, b: SubscriptionOptions): SubscriptionOptions {
  const qos = a.qos > b.qos ? a.qos : b.qos;
  const retainAsPublished = a.retainAsPublished || b.retainAsPublished;
  const noLocal = a.noLocal && b.noLocal;
  const identifiers = joined(a.identifiers, b.identifiers);
  const merged = { qos, retainAsPublished, noLocal, identifiers };
  if (same(a, merged)) return a;
  return same(b, merged) ? b : merged;
}

/** MQTT-3.3.4-4; the same one twice when two subscriptions have it. */
function joined(a: readonly number[], b: readonly number[]): readonly number[] {
  if (a.length === 0) return b.length === 0 ? noIdentifiers : b;
  return b.length === 0 ? a : [...a, ...b];
}

/** @param merged of `options` and others: as many identifiers are the same ones. */
function same(options: SubscriptionOptions, merged: SubscriptionOptions): boolean {
  return (
    options.qos === merged.qos &&
    options.retainAsPublished === merged.retainAsPublished &&
    options.noLocal === merged.noLocal &&
    options.identifiers.length === merged.identifiers.length
  );
}
