/**
 * One MQTT session, which in this version lives as long as its connection: subscriptions, the will, the checks bound
 * for the topics it publishes to.
 */
import type { Disconnect, Will } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { Message } from '../../broker/message.ts';
import type { Subscriber, SubscriptionOptions } from '../../broker/ports.ts';
import type { Bound, MessageFacts } from '../../policy/entry.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Subject } from '../../policy/ports.ts';
import type { MqttPeer } from './peer.ts';
import { encodedFor } from './fan-out.ts';
import { Replays } from './replays.ts';
import { messageOfWill, publishWill } from './will.ts';
import type { SessionClaim } from './ports.ts';

/** Topics whose bound checks are kept per session; a device uses four. */
const boundTopics = 16;
/** The same for deliveries; a service reads from many devices. */
const boundDeliveries = 256;

export interface SessionFacts {
  readonly subject: Subject;
  readonly claim: SessionClaim;
  readonly clientId: string;
  readonly will: Will | undefined;
  /** MQTT 5 §3.1.2.11.4; undefined = any size. */
  readonly maximumPacketSize: number | undefined;
  readonly certificate: string;
  readonly notAfterMs: number;
  /** MQTT 5 §3.1.2.11.2, as CONNECT asked for it; it is never granted. */
  readonly sessionExpiryInterval: number;
}

export class Session implements Subscriber {
  readonly subject: Subject;
  readonly clientId: string;
  readonly certificate: string;
  readonly notAfterMs: number;
  /** Topic filter → how its messages are wanted. */
  readonly subscriptions = new Map<string, SubscriptionOptions>();
  /** Messages refused for their rate since the last one that was accepted. */
  refusedInARow = 0;
  readonly replays: Replays;
  readonly #connection: MqttPeer;
  /** Bytes of the largest packet that the client takes. */
  readonly maximumPacketSize: number;
  readonly #claim: SessionClaim;
  readonly #sessionExpiryInterval: number;
  #will: Message | undefined;
  #policy: Policy;
  readonly #bound = new Map<string, Bound<MessageFacts>>();
  readonly #boundDeliveries = new Map<string, Bound<void>>();

  constructor(connection: MqttPeer, facts: SessionFacts) {
    this.#connection = connection;
    this.subject = facts.subject;
    this.clientId = facts.clientId;
    this.certificate = facts.certificate;
    this.notAfterMs = facts.notAfterMs;
    this.#claim = facts.claim;
    this.maximumPacketSize = facts.maximumPacketSize ?? Number.POSITIVE_INFINITY;
    this.#sessionExpiryInterval = facts.sessionExpiryInterval;
    this.#will = facts.will === undefined ? undefined : messageOfWill(facts.will, this);
    this.#policy = connection.ports.policy();
    this.replays = new Replays({
      match: (filter) => connection.ports.retained.match(filter),
      room: () => connection.outbox.room(),
      wants: ({ filter, options }) =>
        !connection.isClosed() && this.subscriptions.get(filter) === options,
      deliver: (message, options) => void this.#send(message, options, true),
      failed: (err) =>
        connection.log({ principal: this.principal, err }, 'retained messages not sent'),
    });
  }

  get key(): string {
    return this.#claim.key;
  }

  get principal(): Subject['name'] {
    return this.subject.name;
  }

  /** The checks for publishing to this topic under today's policy. */
  boundPublish(topic: string): Bound<MessageFacts> {
    const policy = this.#todaysPolicy();
    let bound = this.#bound.get(topic);
    if (bound === undefined) {
      bound = policy.bind('publish', this.subject, topic);
      if (this.#bound.size >= boundTopics) this.#bound.clear();
      this.#bound.set(topic, bound);
    }
    return bound;
  }

  deliver(message: Message, options: SubscriptionOptions): void {
    const sent = this.#send(message, options, options.retainAsPublished && message.retain);
    if (sent && message.retain) this.replays.replacedLive(message.topic);
  }

  /**
   * @param retain the flag as the client is to see it: MQTT 5 §3.3.1.3.
   * @returns whether the client gets it.
   */
  #send(message: Message, options: SubscriptionOptions, retain: boolean): boolean {
    const connection = this.#connection;
    if (connection.isClosed() || !this.#mayRead(message.topic)) return false;
    const { ports, outbox } = connection;
    const now = message.expiresAt === undefined ? 0 : ports.clock.now();
    if (message.expiresAt !== undefined && message.expiresAt <= now) return false;
    const qos = message.qos < options.qos ? message.qos : options.qos;
    const encoded = encodedFor(message, connection.version, qos, retain, now);
    if (encoded.bytes.length > this.maximumPacketSize) {
      // MQTT-3.1.2-24, -25: not sent, and treated as if it had been.
      ports.count('mqtt_dropped{reason="maximum-packet-size"}');
      return false;
    }
    const outcome =
      qos === 0
        ? outbox.sendUnacknowledged(encoded)
        : outbox.sendAcknowledged(encoded, message.expiresAt);
    switch (outcome) {
      case 'sent':
      case 'queued':
        ports.count('mqtt_messages_out');
        return true;
      case 'dropped':
        ports.count('mqtt_dropped{reason="slow-reader"}');
        return false;
      case 'overflow':
        ports.count('mqtt_dropped{reason="queue-full"}');
        // Not now: the broker is in the middle of its subscribers.
        queueMicrotask(() =>
          connection.run(() => connection.endFor('quota', 'the subscriber is too slow')),
        );
        return false;
    }
  }

  /**
   * MQTT 5 §3.14.4: a normal DISCONNECT takes the will with it.
   *
   * @returns false when it asks for a session expiry that CONNECT had ruled out: a protocol error (§3.14.2.2.2).
   */
  disconnected(packet: Disconnect): boolean {
    const expiry = packet.properties.sessionExpiryInterval ?? 0;
    if (expiry > 0 && this.#sessionExpiryInterval === 0) return false;
    if (packet.reasonCode === ReasonCode.normalDisconnection) this.#will = undefined;
    return true;
  }

  /** The will dies with the trust in whoever set it. */
  dropWill(): void {
    this.#will = undefined;
  }

  ended(detail: string): void {
    const { ports } = this.#connection;
    ports.broker.removeSubscriber(this);
    this.#claim.release();
    ports.logger.info(
      { principal: this.principal, client_id: this.clientId, detail },
      'session ended',
    );
    const will = this.#will;
    this.#will = undefined;
    if (will !== undefined) ports.willUnderWay(publishWill(ports, this.subject, will));
  }

  #mayRead(topic: string): boolean {
    const policy = this.#todaysPolicy();
    let bound = this.#boundDeliveries.get(topic);
    if (bound === undefined) {
      bound = policy.bind('deliver', this.subject, topic);
      if (this.#boundDeliveries.size >= boundDeliveries) this.#boundDeliveries.clear();
      this.#boundDeliveries.set(topic, bound);
    }
    const decision = bound.decide();
    // No row of this column asks elsewhere; one that did would have to hold the message back.
    return !(decision instanceof Promise) && decision.allowed;
  }

  #todaysPolicy(): Policy {
    const policy = this.#connection.ports.policy();
    if (policy !== this.#policy) {
      this.#policy = policy;
      this.#bound.clear();
      this.#boundDeliveries.clear();
    }
    return policy;
  }
}
