/**
 * Who takes part in shared subscriptions (MQTT 5 §4.8.2), on all workers: the worker that accepts a message picks one
 * session of every group whose filter matches. Those whose client is connected come first, in turn; a session that has
 * a durable queue gets what nobody is there for.
 */
import { isOwnCommand } from './commands.ts';
import type { Message, SharedPick } from './message.ts';
import type { Subscriber, SubscriptionOptions } from './ports.ts';
import { filterOfShared } from './shared-subscription.ts';
import { TopicTree } from './topic-tree.ts';

/** A member on this worker. */
export interface MemberHere {
  readonly subscriber: Subscriber;
  readonly options: SubscriptionOptions;
}

interface Member {
  readonly key: string;
  here: MemberHere | undefined;
  /**
   * The other workers that say that its client is connected to them, the last one to say so at the end. More than one
   * for the moment in which a session moves.
   */
  slots: readonly number[];
  /** Set for a session with a durable queue. */
  stored: SubscriptionOptions | undefined;
  /** Its place in `connected` or `away` of its group. */
  at: number;
}

interface Group {
  readonly subscription: string;
  readonly members: Map<string, Member>;
  readonly connected: Member[];
  readonly away: Member[];
  /** Members with a durable queue. */
  stored: number;
  next: number;
}

const nobody: readonly SharedPick[] = Object.freeze([]);
const nowhere: readonly number[] = Object.freeze([]);

export class SharedGroups {
  readonly #slot: number;
  readonly #random: () => number;
  readonly #tree = new TopicTree<Group, true>();
  readonly #groups = new Map<string, Group>();
  #stored = 0;

  /** @param slot this worker's. @param random 0 … 1: where a group begins, so that workers do not all pick the same. */
  constructor(slot: number, random: () => number = Math.random) {
    this.#slot = slot;
    this.#random = random;
  }

  /** Groups with a member. */
  get size(): number {
    return this.#groups.size;
  }

  /** Adds a member on this worker, or replaces its options. @returns whether its session was one here before. */
  join(subscription: string, subscriber: Subscriber, options: SubscriptionOptions): boolean {
    const group = this.#open(subscription);
    const member = this.#member(group, subscriber.key);
    const before = member.here;
    this.#change(group, member, () => {
      member.here = { subscriber, options };
    });
    return before !== undefined;
  }

  /** @returns whether it was this one that its session took part by. */
  leave(subscription: string, subscriber: Subscriber): boolean {
    const group = this.#groups.get(subscription);
    const member = group?.members.get(subscriber.key);
    if (group === undefined || member?.here?.subscriber !== subscriber) return false;
    this.#change(group, member, () => {
      member.here = undefined;
    });
    return true;
  }

  /** A session on another worker takes part. */
  joined(slot: number, subscription: string, key: string): void {
    const group = this.#open(subscription);
    const member = this.#member(group, key);
    this.#change(group, member, () => {
      member.slots = [...member.slots.filter((each) => each !== slot), slot];
    });
  }

  left(slot: number, subscription: string, key: string): void {
    const group = this.#groups.get(subscription);
    const member = group?.members.get(key);
    if (group === undefined || member === undefined || !member.slots.includes(slot)) return;
    this.#change(group, member, () => {
      const slots = member.slots.filter((each) => each !== slot);
      member.slots = slots.length === 0 ? nowhere : slots;
    });
  }

  /** A session with a durable queue takes part, its client connected or not; or has other options now. */
  store(subscription: string, key: string, options: SubscriptionOptions): void {
    const group = this.#open(subscription);
    const member = this.#member(group, key);
    this.#change(group, member, () => {
      if (member.stored === undefined) this.#countStored(group, 1);
      member.stored = options;
    });
  }

  unstore(subscription: string, key: string): void {
    const group = this.#groups.get(subscription);
    const member = group?.members.get(key);
    if (group === undefined || member?.stored === undefined) return;
    this.#change(group, member, () => {
      this.#countStored(group, -1);
      member.stored = undefined;
    });
  }

  /** Whether a group that the topic matches has a member with a durable queue. */
  mayQueue(topic: string): boolean {
    if (this.#stored === 0) return false;
    return this.#matching(topic).some(({ stored }) => stored > 0);
  }

  /**
   * One session of each group, none of a group in which nobody can get the message.
   *
   * @param queueing whether the message can be written into queues still.
   */
  pick(message: Message, queueing: boolean): readonly SharedPick[] {
    if (this.#groups.size === 0) return nobody;
    const groups = this.#matching(message.topic);
    if (groups.length === 0) return nobody;
    const picks: SharedPick[] = [];
    for (const group of groups) {
      const pick = this.#pickOf(group, message, queueing);
      if (pick !== undefined) picks.push(pick);
    }
    return picks;
  }

  /** Another member that is connected, in place of one that has gone and whose queue has not got the message. */
  instead({ subscription, to }: SharedPick): SharedPick | undefined {
    const group = this.#groups.get(subscription);
    if (group === undefined) return undefined;
    const others = group.connected.filter(({ key }) => key !== to);
    const member = others[this.#turn(group) % others.length];
    return member === undefined ? undefined : this.#pickFor(group, member, false);
  }

  /** The member that was picked, when it is on this worker. */
  here({ subscription, to }: SharedPick): MemberHere | undefined {
    return this.#groups.get(subscription)?.members.get(to)?.here;
  }

  /** Where the client of the member that was picked is connected now. */
  slotOf({ subscription, to }: SharedPick): number | undefined {
    const member = this.#groups.get(subscription)?.members.get(to);
    return member === undefined ? undefined : this.#slotOf(member);
  }

  /** Options of a stored member. */
  storedOptions({ subscription, to }: SharedPick): SubscriptionOptions | undefined {
    return this.#groups.get(subscription)?.members.get(to)?.stored;
  }

  #matching(topic: string): Group[] {
    const found: Group[] = [];
    for (const members of this.#tree.match(topic)) found.push(...members.keys());
    return found;
  }

  #pickOf(group: Group, message: Message, queueing: boolean): SharedPick | undefined {
    const { connected, away } = group;
    const turn = this.#turn(group);
    const next = connected[turn % connected.length];
    if (next !== undefined) {
      return this.#pickFor(group, next, queueing && queues(next, message));
    }
    if (!queueing) return undefined;
    for (let i = 0; i < away.length; i += 1) {
      const member = away[(turn + i) % away.length];
      if (member !== undefined && queues(member, message))
        return this.#pickFor(group, member, true);
    }
    return undefined;
  }

  #pickFor({ subscription }: Group, member: Member, queued: boolean): SharedPick {
    return { subscription, to: member.key, slot: this.#slotOf(member), queued };
  }

  #slotOf({ here, slots }: Member): number | undefined {
    return here === undefined ? slots[slots.length - 1] : this.#slot;
  }

  #turn(group: Group): number {
    const turn = group.next;
    group.next = (turn + 1) % Number.MAX_SAFE_INTEGER;
    return turn;
  }

  #countStored(group: Group, change: 1 | -1): void {
    group.stored += change;
    this.#stored += change;
  }

  #open(subscription: string): Group {
    let group = this.#groups.get(subscription);
    if (group === undefined) {
      const next = Math.floor(this.#random() * 0xffff);
      group = { subscription, members: new Map(), connected: [], away: [], stored: 0, next };
      this.#groups.set(subscription, group);
      this.#tree.set(filterOfShared(subscription), group, true);
    }
    return group;
  }

  #member({ members, away }: Group, key: string): Member {
    let member = members.get(key);
    if (member === undefined) {
      member = { key, here: undefined, slots: nowhere, stored: undefined, at: away.length };
      members.set(key, member);
      away.push(member);
    }
    return member;
  }

  /** A change of a member, after which it is where it belongs, or nowhere. */
  #change(group: Group, member: Member, change: () => void): void {
    const before = isConnected(member) ? group.connected : group.away;
    change();
    const connected = isConnected(member);
    const after = connected ? group.connected : group.away;
    const stays = connected || member.stored !== undefined;
    if (before === after && stays) return;
    takeOut(before, member);
    if (stays) {
      member.at = after.length;
      after.push(member);
      return;
    }
    group.members.delete(member.key);
    if (group.members.size > 0) return;
    this.#groups.delete(group.subscription);
    this.#tree.delete(filterOfShared(group.subscription), group);
  }
}

function isConnected({ here, slots }: Member): boolean {
  return here !== undefined || slots.length > 0;
}

/** Whether the message is written into the member's queue. */
function queues({ key, stored }: Member, { topic, qos }: Message): boolean {
  if (stored === undefined || qos === 0 || stored.qos === 0) return false;
  return !isOwnCommand(topic, key);
}

/** In place of it comes the last one. */
function takeOut(from: Member[], member: Member): void {
  const last = from.pop();
  if (last === undefined || last === member) return;
  from[member.at] = last;
  last.at = member.at;
}
