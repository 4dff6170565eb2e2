/**
 * The canonical message: what every protocol's publish becomes, what subscribers and routes get.
 */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { MessageProperties, QoS } from '../../common/codec/mqtt/packets.ts';

export interface Message {
  readonly topic: string;
  /** Never changes, but may be a slice of a read buffer: whoever keeps it beyond the turn it was given in copies it. */
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: MessageProperties;
  readonly publisher: PrincipalName;
  /** Session of the publisher, for no-local; empty when there is none. */
  readonly publisherSession: string;
  /** Milliseconds, wall clock; undefined = never. */
  readonly expiresAt: number | undefined;
  /** On its way to subscribers only, and only when it is queued or was dealt out; never stored. */
  readonly delivery: Delivery | undefined;
}

/** Names a message in the queues of sessions, the same in all of them; in the order of time over all workers. */
export type QueuedId = string;

export interface Delivery {
  /** Set when the message lies in the queue of at least one durable session. */
  readonly id: QueuedId | undefined;
  /** One for each shared subscription that matches and has a member (MQTT 5 §4.8.2). */
  readonly picks: readonly SharedPick[];
  /**
   * How often it was handed on because the member picked had gone. Above 0 it is for its picks alone: everybody else has
   * it already.
   */
  readonly handedOn: number;
}

/** The session that gets a message for a shared subscription. */
export interface SharedPick {
  /** As the client wrote it: `$share/<group>/<filter>`. */
  readonly subscription: string;
  /** Key of the session. */
  readonly to: string;
  /** Of the worker where its client was connected; undefined: nowhere. */
  readonly slot: number | undefined;
  /** It lies in the queue of this session, which nobody takes it from. */
  readonly queued: boolean;
}
