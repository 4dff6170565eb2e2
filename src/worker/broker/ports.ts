/**
 * What the broker needs from outside its folder, and what it offers to sessions of any protocol.
 */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import type { Message } from './message.ts';

/** How one session wants what one filter matches. */
export interface SubscriptionOptions {
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /**
   * MQTT 5 §3.8.2.1.2: the one that the client gave this subscription; when filters overlap, all of those that match,
   * one as often as it was given (§3.3.4). `noIdentifiers` most of the time.
   */
  readonly identifiers: readonly number[];
}

export const noIdentifiers: readonly number[] = Object.freeze([]);

/** One session, whatever its protocol. */
export interface Subscriber {
  /** Unique among the sessions of all workers: `sessionKey(principal, clientId)`. */
  readonly key: string;
  readonly principal: PrincipalName;
  /**
   * Called once per message however many of the session's filters match, with the highest QoS of them and the
   * identifiers of all. Must not throw and must not call back into the broker synchronously.
   */
  deliver(message: Message, options: SubscriptionOptions): void;
  /**
   * For a session with a durable queue: messages of other workers may have been lost on their way here. What was
   * acknowledged to a publisher lies in the queue. Must not throw.
   */
  poke?(): void;
}

/** Carries messages to the other workers; fitted by worker/peering. */
export interface Crossing {
  /** This worker's. */
  readonly slot: number;
  /** Announces interest of this worker in a filter, once per filter, and its end. */
  addInterest(filter: string): void;
  dropInterest(filter: string): void;
  /** Announces that a session here takes part in a shared subscription (`$share/<group>/<filter>`), and its end. */
  addMember(subscription: string, key: string): void;
  dropMember(subscription: string, key: string): void;
  /** Slots of the other workers that want this topic; empty most of the time. */
  wanting(topic: string): readonly number[];
  /** Batched per tick and peer. */
  send(slots: readonly number[], message: Message): void;
  /** Set by the broker: a message from another worker, for local subscribers only. */
  onMessage: (message: Message) => void;
  /** Set by the broker: a session on another worker takes part in a shared subscription from now on, or no longer. */
  onMember: (slot: number, subscription: string, key: string, joined: boolean) => void;
  /** Set by the broker: what other workers sent, or would have sent, may be lost. */
  onGap: () => void;
}
