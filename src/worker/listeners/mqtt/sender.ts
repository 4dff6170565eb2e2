/** What one client is sent of a message: judged, encoded for it, and no larger than it takes. */
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import type { QoS } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';
import type { BoundChecks } from './bound-checks.ts';
import { encodedFor } from './fan-out.ts';
import type { MqttPeer } from './peer.ts';

export class Sender {
  readonly #connection: MqttPeer;
  readonly #checks: BoundChecks;
  readonly #maximumPacketSize: number;

  /** @param maximumPacketSize bytes: MQTT 5 §3.1.2.11.4. */
  constructor(connection: MqttPeer, checks: BoundChecks, maximumPacketSize: number) {
    this.#connection = connection;
    this.#checks = checks;
    this.#maximumPacketSize = maximumPacketSize;
  }

  /**
   * @param retain the flag as the client is to see it: MQTT 5 §3.3.1.3.
   * @param done called when the client has it; not for QoS 0.
   * @returns whether the client gets it.
   */
  send(
    message: Message,
    qos: QoS,
    retain: boolean,
    options: SubscriptionOptions,
    done?: () => void,
  ): boolean {
    const connection = this.#connection;
    if (connection.isClosed() || this.isExpired(message)) return false;
    const encoded = this.encode(message, qos, retain, options.identifiers, options);
    if (encoded === undefined) return false;
    const { ports, outbox } = connection;
    const outcome =
      qos === 0
        ? outbox.sendUnacknowledged(encoded)
        : outbox.sendAcknowledged(encoded, qos, message.expiresAt, done);
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

  /** MQTT-3.3.2-5 */
  isExpired({ expiresAt }: Message): boolean {
    return expiresAt !== undefined && expiresAt <= this.#connection.ports.clock.now();
  }

  /**
   * @param options of the subscription that matched, when it is known.
   * @returns undefined when the client may not have it, or cannot take it.
   */
  encode(
    message: Message,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[],
    options: SubscriptionOptions | undefined,
  ): EncodedPublish | undefined {
    const { ports, version } = this.#connection;
    if (!this.#checks.mayRead(message.topic, options)) return undefined;
    const now = message.expiresAt === undefined ? 0 : ports.clock.now();
    const encoded = encodedFor(message, version, qos, retain, now, identifiers);
    if (encoded.bytes.length <= this.#maximumPacketSize) return encoded;
    // MQTT-3.1.2-24, -25: not sent, and treated as if it had been.
    ports.count('mqtt_dropped{reason="maximum-packet-size"}');
    return undefined;
  }
}

/** MQTT 5 §3.8.3.1: a message is sent with no more than was granted. */
export function lowerQoS(message: Message, options: SubscriptionOptions): QoS {
  return message.qos < options.qos ? message.qos : options.qos;
}
