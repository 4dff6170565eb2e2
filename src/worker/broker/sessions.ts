/**
 * MQTT sessions that outlive their connection (MQTT 5 §4.1), shared by all workers: the port that a store fills.
 *
 * A session has one owner at a time, the worker that its client is connected to. The owner alone changes the session,
 * under the epoch of its claim. Its queue is written by whoever accepts a message that the session wants, and read and
 * emptied by the owner: the queue, not what was delivered live, says what the client has still to get.
 */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import type { WhenQueueFull } from '../../common/config/policy-document.ts';
import type { Message, QueuedId } from './message.ts';
import type { SubscriptionOptions } from './ports.ts';

/** Names one life of a session: after a clean start the same client id has another one. */
export type SessionId = string;

/** MQTT 5 §3.1.2.11.2: a session that does not expire. */
export const neverExpires = 0xff_ff_ff_ff;

export interface SessionLimits {
  /** Stored sessions of one identity, connected or not. */
  readonly sessionsPerIdentity: number;
  /** Messages that wait for one session, and their bytes as they are stored. */
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  readonly whenQueueFull: WhenQueueFull;
}

export interface SessionWill {
  readonly message: Message;
  /** Seconds after the connection has ended. */
  readonly delaySeconds: number;
}

export interface WantedSession {
  readonly principal: PrincipalName;
  readonly clientId: string;
  /** Of the claim: a later owner has a greater one. */
  readonly epoch: number;
  readonly cleanStart: boolean;
  /** Seconds; 0 = it ends with its connection, `neverExpires`. */
  readonly expirySeconds: number;
  /** Published when the connection ends in whatever way but `leave` and `end`, so also with its worker. */
  readonly will: SessionWill | undefined;
}

/** A message of QoS 1 or 2 that was sent to the client, which has not completed the exchange (MQTT 5 §4.3, §4.4). */
export interface InFlight {
  readonly packetId: number;
  readonly id: QueuedId;
  readonly qos: 1 | 2;
  /** It has been received (PUBREC), and only PUBCOMP is missing. */
  readonly released: boolean;
}

export interface QueuedMessage {
  readonly id: QueuedId;
  readonly message: Message;
  /** With which the client gets it. */
  readonly qos: 1 | 2;
  readonly retain: boolean;
  /** MQTT 5 §3.3.2.3.8, of all its subscriptions that matched. */
  readonly identifiers: readonly number[];
}

/** A session in the hands of its owner. Every method rejects with SallyportError `busy` once a later owner has it. */
export interface OwnedSession {
  readonly id: SessionId;
  /** MQTT 5 §3.2.2.1.1: it was there before. */
  readonly present: boolean;
  /** As stored when it was taken up; filters as the client wrote them, `$share/` included. */
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
  /**
   * As saved last, without those of QoS 1 that have been removed since. Of QoS 2 all are there, their messages queued or
   * not: the client may hold the identifier, and would take another message under it for the one that it has had.
   */
  readonly inFlight: readonly InFlight[];
  /** Packet ids of the client's QoS 2 messages that were accepted and not released. */
  readonly received: readonly number[];
  /**
   * A will of the connection before that is due now and that whoever opens the session publishes: that of a session
   * which a clean start has ended, or one whose delay had passed unnoticed (MQTT 5 §3.1.3.2.2). Undefined when the
   * session goes on within the delay: the will is forgotten then (MQTT-3.1.3-9).
   */
  readonly endedWill: SessionWill | undefined;

  /**
   * Resolve when durable and, as every worker that is there has been told, effective. What the session has already costs
   * nothing.
   */
  subscribe(subscriptions: ReadonlyMap<string, SubscriptionOptions>): Promise<void>;
  unsubscribe(filters: readonly string[]): Promise<void>;

  /** The oldest that are queued and not in `skip`, in order; expired ones are removed, and left out. */
  queued(skip: ReadonlySet<QueuedId>, limit: number): Promise<readonly QueuedMessage[]>;
  /**
   * Those of them that are queued still, in order, expired or not: what was sent once is sent again (MQTT 5 §4.4) with
   * the packet id that it had.
   */
  read(ids: readonly QueuedId[]): Promise<readonly QueuedMessage[]>;
  /** Whether it is queued still. Reads what is committed, at once. */
  has(id: QueuedId): boolean;
  /** The client has it: resolves when it is out of the queue and will not be read again. */
  remove(id: QueuedId): Promise<void>;

  /** Replaces what is stored: before the first byte of a QoS 2 message is sent, and when its phase changes. */
  saveInFlight(inFlight: readonly InFlight[]): Promise<void>;
  /** The client has released these (PUBREL). */
  forgetReceived(packetIds: readonly number[]): Promise<void>;

  /** The connection has ended without the session: what it needs to go on. Its expiry and its will count from now. */
  leave(state: {
    readonly inFlight: readonly InFlight[];
    readonly expirySeconds: number;
    /** undefined: it was published or is not to be. */
    readonly will: SessionWill | undefined;
  }): Promise<void>;
  /** The session is over: nothing of it stays. */
  end(): Promise<void>;
}

/** What a session wants, whether its client is connected or not. */
export interface StoredSession {
  readonly id: SessionId;
  readonly key: string;
  readonly principal: PrincipalName;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
}

export interface QueueTarget {
  readonly session: SessionId;
  readonly key: string;
  readonly principal: PrincipalName;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  readonly identifiers: readonly number[];
}

/** A client's QoS 2 message: its packet id is remembered in the same transaction as the message. */
export interface Reception {
  readonly session: SessionId;
  readonly packetId: number;
}

export interface SessionStore {
  /**
   * Takes up the session or begins a new one, and makes this worker its owner.
   *
   * @throws SallyportError `quota` when the identity has as many sessions as it may, connected or not; `busy` when a
   * later epoch has it; `io`.
   *
   * When it resolves, every worker that is there has been told of an older session that has ended with this. A session
   * that is new and ends with its connection is not stored, or for the sake of its will alone: it has no queue, and what
   * its owner asks of it does nothing.
   */
  open(wanted: WantedSession): Promise<OwnedSession>;
  /** The session as it is stored now. */
  find(key: string): Promise<StoredSession | undefined>;
  /** All, in no order. */
  all(): AsyncIterable<StoredSession>;
  newId(): QueuedId;
  /**
   * Writes a message into queues, as durable as the `durability` setting says. MUST be called in the turn in which the
   * message's other places are written to; all writes of a turn are one transaction. A queue that is full is left out,
   * or its oldest messages are, by `limits.whenQueueFull`; that is counted and logged. Sessions that have ended meanwhile
   * are left out.
   */
  enqueue(
    id: QueuedId,
    message: Message,
    targets: readonly QueueTarget[],
    reception: Reception | undefined,
  ): Promise<void>;
  /** Removes all sessions of an identity that is gone for good. */
  discard(principal: PrincipalName): Promise<void>;
}

export type DeliveryQoS = Exclude<QoS, 0>;
