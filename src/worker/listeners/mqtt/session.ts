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
import { messageOfWill, publishWill } from './will.ts';
import type { SessionClaim } from './ports.ts';

/** Topics whose bound checks are kept per session; a device uses four. */
const boundTopics = 16;

export interface SessionFacts {
  readonly subject: Subject;
  readonly claim: SessionClaim;
  readonly clientId: string;
  readonly will: Will | undefined;
  /** MQTT 5 §3.1.2.11.4; undefined = any size. */
  readonly maximumPacketSize: number | undefined;
  readonly certificate: string;
  readonly notAfterMs: number;
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
  readonly #connection: MqttPeer;
  readonly #claim: SessionClaim;
  readonly #maximumPacketSize: number;
  #will: Message | undefined;
  #policy: Policy;
  readonly #bound = new Map<string, Bound<MessageFacts>>();

  constructor(connection: MqttPeer, facts: SessionFacts) {
    this.#connection = connection;
    this.subject = facts.subject;
    this.clientId = facts.clientId;
    this.certificate = facts.certificate;
    this.notAfterMs = facts.notAfterMs;
    this.#claim = facts.claim;
    this.#maximumPacketSize = facts.maximumPacketSize ?? Number.POSITIVE_INFINITY;
    this.#will = facts.will === undefined ? undefined : messageOfWill(facts.will, this);
    this.#policy = connection.ports.policy();
  }

  get key(): string {
    return this.#claim.key;
  }

  get principal(): Subject['name'] {
    return this.subject.name;
  }

  /** The checks for publishing to this topic under today's policy. */
  boundPublish(topic: string): Bound<MessageFacts> {
    const policy = this.#connection.ports.policy();
    if (policy !== this.#policy) {
      this.#policy = policy;
      this.#bound.clear();
    }
    let bound = this.#bound.get(topic);
    if (bound === undefined) {
      bound = policy.bind('publish', this.subject, topic);
      if (this.#bound.size >= boundTopics) this.#bound.clear();
      this.#bound.set(topic, bound);
    }
    return bound;
  }

  deliver(message: Message, options: SubscriptionOptions): void {
    this.deliverAs(message, options, options.retainAsPublished && message.retain);
  }

  /** @param retain the flag as the client is to see it: MQTT 5 §3.3.1.3. */
  deliverAs(message: Message, options: SubscriptionOptions, retain: boolean): void {
    const connection = this.#connection;
    if (connection.isClosed() || this.subject.identity.standing !== 'active') return;
    const { ports, outbox } = connection;
    const now = message.expiresAt === undefined ? 0 : ports.clock.now();
    if (message.expiresAt !== undefined && message.expiresAt <= now) return;
    const qos = message.qos < options.qos ? message.qos : options.qos;
    const encoded = encodedFor(message, connection.version, qos, retain, now);
    if (encoded.bytes.length > this.#maximumPacketSize) {
      // MQTT-3.1.2-24, -25: not sent, and treated as if it had been.
      ports.count('mqtt_dropped{reason="maximum-packet-size"}');
      return;
    }
    const outcome =
      qos === 0 ? outbox.sendUnacknowledged(encoded) : outbox.sendAcknowledged(encoded);
    switch (outcome) {
      case 'sent':
      case 'queued':
        ports.count('mqtt_messages_out');
        return;
      case 'dropped':
        ports.count('mqtt_dropped{reason="slow-reader"}');
        return;
      case 'overflow':
        ports.count('mqtt_dropped{reason="queue-full"}');
        // Not now: the broker is in the middle of its subscribers.
        queueMicrotask(() => connection.endFor('quota', 'the subscriber is too slow'));
    }
  }

  /** MQTT 5 §3.14.4: a normal DISCONNECT takes the will with it. */
  disconnected(packet: Disconnect): void {
    if (packet.reasonCode === ReasonCode.normalDisconnection) this.#will = undefined;
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
    if (will !== undefined) publishWill(ports, this.subject, will);
  }
}
