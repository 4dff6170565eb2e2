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
}

/** One session, whatever its protocol. */
export interface Subscriber {
  /** Unique among the sessions of all workers: `sessionKey(principal, clientId)`. */
  readonly key: string;
  readonly principal: PrincipalName;
  /**
   * Called once per message however many of the session's filters match, with the highest QoS of them. Must not throw
   * and must not call back into the broker synchronously.
   */
  deliver(message: Message, options: SubscriptionOptions): void;
}

/** Carries messages to the other workers; fitted by worker/peering. */
export interface Crossing {
  /** Announces interest of this worker in a filter, once per filter, and its end. */
  addInterest(filter: string): void;
  dropInterest(filter: string): void;
  /** Slots of the other workers that want this topic; empty most of the time. */
  wanting(topic: string): readonly number[];
  /** Batched per tick and peer. */
  send(slots: readonly number[], message: Message): void;
  /** Set by the broker: a message from another worker, for local subscribers only. */
  onMessage: (message: Message) => void;
}
