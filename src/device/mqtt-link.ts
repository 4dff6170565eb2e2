/** A device's connection over MQTT 5 (OASIS Standard, 7 March 2019) and TLS. */
import { connect } from 'node:tls';
import type { SecureContext, TLSSocket } from 'node:tls';
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import { MqttDecoder } from '../common/codec/mqtt/decoder.ts';
import type { DecoderLimits } from '../common/codec/mqtt/decoder.ts';
import { encode } from '../common/codec/mqtt/encoder.ts';
import { noProperties } from '../common/codec/mqtt/packets.ts';
import type { Connack, Packet, Publish, PublishResponse } from '../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../common/codec/mqtt/reason-codes.ts';
import { Refusal } from './link.ts';
import type { Address, Channel, DeviceLink, LinkEvents, PublishOptions } from './link.ts';
import { connectionCode, messageCode } from './mqtt-reasons.ts';
import { clientOptions, linkError } from './tls-client.ts';

const limits: DecoderLimits = {
  packetBytes: 256 * 1024,
  connectBytes: 64 * 1024,
  userProperties: 32,
  topicBytes: 1024,
  topicLevels: 32,
};
/** Commands that the gateway may give before the first of them is acknowledged (MQTT 5 §3.1.2.11.3). */
const receiveMaximum = 8;
/** From a question to its answer: TCP connection and handshake on a slow network included. */
const answerMs = 30_000;
const keepAliveSeconds = 60;
/** From our DISCONNECT to the gateway's end of the connection. */
const goodbyeMs = 1_000;
const subscribePacketId = 1;
/** MQTT 5 §4.3: the refusals begin here. */
const firstRefusal = 0x80;

export interface MqttLinkOptions {
  readonly id: string;
  readonly address: Address;
  readonly context: SecureContext;
  readonly clock: Clock;
  /** The TLS session of the device's last connection, to be resumed; kept up to date here. */
  readonly resumption: { session: Buffer | undefined };
  readonly events: LinkEvents;
}

interface Unanswered {
  readonly topic: string;
  readonly payload: Buffer;
  readonly options: PublishOptions;
  readonly resolve: () => void;
  readonly reject: (error: SallyportError) => void;
  sentAt: number;
}

export class MqttLink implements DeviceLink {
  readonly ended: Promise<SallyportError>;
  readonly #options: MqttLinkOptions;
  readonly #decoder = new MqttDecoder('client', limits);
  readonly #opened = Promise.withResolvers<void>();
  readonly #resolveEnded: (reason: SallyportError) => void;
  /** By packet identifier, oldest first. */
  readonly #unanswered = new Map<number, Unanswered>();
  /** Beyond what the gateway takes at once (MQTT 5 §4.9). */
  readonly #waiting: Unanswered[] = [];
  /** The last of the commands that are being worked on. */
  #commands: Promise<void> = Promise.resolve();
  #commandsUnderWay = 0;
  #socket: TLSSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #keepAliveMs = keepAliveSeconds * 1_000;
  #gatewayTakes = 65_535;
  #connected = false;
  #over = false;
  #packetId = subscribePacketId;
  #saidAt = 0;
  /** When the PINGREQ was sent that has no answer yet. */
  #pingedAt: number | undefined;

  constructor(options: MqttLinkOptions) {
    const { promise, resolve } = Promise.withResolvers<SallyportError>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#options = options;
    this.#decoder.version = 5;
  }

  open(): Promise<void> {
    const { address, context, resumption } = this.#options;
    const { session } = resumption;
    const socket = connect({
      ...clientOptions(context, address),
      ...(session === undefined ? {} : { session }),
    });
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('session', (fresh: Buffer) => {
      resumption.session = fresh;
    });
    socket.once('secureConnect', () => this.#greet());
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end(linkError(error)));
    socket.on('close', () =>
      this.#end(new SallyportError('io', 'the gateway closed the connection')),
    );
    this.#timer = setTimeout(
      () => this.#end(new SallyportError('timeout', 'the gateway did not answer in time')),
      answerMs,
    );
    return this.#opened.promise;
  }

  publish(channel: Channel, payload: Buffer, options: PublishOptions = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#over) {
        reject(new SallyportError('io', 'the connection is over'));
        return;
      }
      const topic = `devices/${this.#options.id}/${channel}`;
      const message = { topic, payload, options, resolve, reject, sentAt: 0 };
      if (this.#unanswered.size < this.#gatewayTakes) this.#publish(message);
      else this.#waiting.push(message);
    });
  }

  close(): void {
    if (this.#over) return;
    const socket = this.#socket;
    if (this.#connected && socket !== undefined) {
      this.#send({ type: 'disconnect', reasonCode: 0, properties: noProperties });
      // Destroyed at once, with an answer unread, it would take the goodbye back: the gateway closes, or time does.
      socket.end();
      socket.setTimeout(goodbyeMs, () => socket.destroy());
      this.#socket = undefined;
    }
    this.#end(new SallyportError('io', 'the device said goodbye'));
  }

  /** The will is what others learn when this device vanishes without a word. */
  #greet(): void {
    const { id } = this.#options;
    this.#send({
      type: 'connect',
      version: 5,
      cleanStart: true,
      keepAlive: keepAliveSeconds,
      clientId: id,
      will: {
        topic: `devices/${id}/status`,
        payload: Buffer.from('{"online":false}'),
        qos: 1,
        retain: true,
        properties: noProperties,
      },
      userName: undefined,
      password: undefined,
      properties: { receiveMaximum, maximumPacketSize: limits.packetBytes },
    });
  }

  #receive(chunk: Buffer): void {
    if (this.#over) return;
    try {
      this.#decoder.push(chunk);
      for (;;) {
        const packet = this.#decoder.next();
        // A packet may have been the end.
        if (packet === undefined || this.#isOver()) return;
        this.#handle(packet);
      }
    } catch (error) {
      this.#end(linkError(error));
    }
  }

  #isOver(): boolean {
    return this.#over;
  }

  #handle(packet: Packet): void {
    switch (packet.type) {
      case 'connack':
        return this.#welcomed(packet);
      case 'suback': {
        const refused = packet.reasonCodes.find((code) => code >= firstRefusal);
        if (refused === undefined) return this.#ready();
        return this.#end(
          new SallyportError(
            messageCode(refused),
            'the gateway refused the subscription to commands',
          ),
        );
      }
      case 'puback':
        return this.#answered(packet);
      case 'publish':
        return this.#received(packet);
      case 'pingresp':
        this.#pingedAt = undefined;
        return undefined;
      case 'disconnect': {
        const code = connectionCode(packet.reasonCode);
        return this.#end(new SallyportError(code, `the gateway ended the session (${code})`));
      }
      default:
        return this.#end(new SallyportError('malformed', `the gateway sent ${packet.type}`));
    }
  }

  #welcomed({ reasonCode, properties }: Connack): void {
    if (this.#connected) return this.#end(new SallyportError('malformed', 'a second CONNACK'));
    if (reasonCode !== ReasonCode.success) {
      const code = connectionCode(reasonCode);
      return this.#end(new SallyportError(code, `the gateway refused the device (${code})`));
    }
    this.#connected = true;
    this.#gatewayTakes = properties.receiveMaximum ?? this.#gatewayTakes;
    // Without a keep alive a dead connection would be found by nobody.
    const { serverKeepAlive = 0 } = properties;
    if (serverKeepAlive > 0) this.#keepAliveMs = serverKeepAlive * 1_000;
    this.#send({
      type: 'subscribe',
      packetId: subscribePacketId,
      subscriptions: [
        {
          topicFilter: `devices/${this.#options.id}/commands/#`,
          qos: 1,
          noLocal: false,
          retainAsPublished: false,
          retainHandling: 0,
        },
      ],
      properties: noProperties,
    });
  }

  #ready(): void {
    clearTimeout(this.#timer);
    // Four looks in a keep alive: a ping in its second half, and an end before the gateway's one and a half.
    this.#timer = setInterval(() => this.#look(), Math.max(1_000, this.#keepAliveMs / 4));
    this.#opened.resolve();
  }

  /** MQTT 5 §3.1.2.10: something is said in every keep alive; and what is never answered is a dead connection. */
  #look(): void {
    const now = this.#options.clock.monotonic();
    const [oldest] = this.#unanswered.values();
    const askedAt = Math.min(oldest?.sentAt ?? now, this.#pingedAt ?? now);
    if (now - askedAt > answerMs) {
      this.#end(new SallyportError('timeout', 'the gateway did not answer in time'));
    } else if (now - this.#saidAt >= this.#keepAliveMs / 2 && this.#pingedAt === undefined) {
      this.#pingedAt = now;
      this.#send({ type: 'pingreq' });
    }
  }

  #publish(message: Unanswered): void {
    const packetId = this.#freePacketId();
    message.sentAt = this.#options.clock.monotonic();
    this.#unanswered.set(packetId, message);
    const { correlationData } = message.options;
    this.#send({
      type: 'publish',
      dup: false,
      qos: 1,
      retain: message.options.retain ?? false,
      topic: message.topic,
      packetId,
      payload: message.payload,
      properties: correlationData === undefined ? noProperties : { correlationData },
    });
  }

  #answered({ packetId, reasonCode }: PublishResponse): void {
    const message = this.#unanswered.get(packetId);
    if (message === undefined)
      return this.#end(new SallyportError('malformed', 'an acknowledgement of nothing'));
    this.#unanswered.delete(packetId);
    if (reasonCode < firstRefusal) message.resolve();
    else message.reject(new Refusal(messageCode(reasonCode)));
    const next = this.#waiting.shift();
    if (next !== undefined) this.#publish(next);
  }

  /** Acknowledged when it is done and in the order of arrival (MQTT-4.6.0-2), so one after the other. */
  #received({ topic, payload, qos, packetId, properties }: Publish): void {
    const prefix = `devices/${this.#options.id}/commands/`;
    if (this.#commandsUnderWay >= receiveMaximum) {
      // QoS 0 knows no bound, and may be lost; with QoS 1 the gateway has been told (MQTT-3.3.4-9).
      if (qos !== 0)
        this.#end(new SallyportError('malformed', 'more commands than were asked for'));
      return;
    }
    const command = {
      name: topic.startsWith(prefix) ? topic.slice(prefix.length) : topic,
      id: undefined,
      // Lent until the next chunk comes.
      payload: Buffer.from(payload),
      correlationData:
        properties.correlationData === undefined
          ? undefined
          : Buffer.from(properties.correlationData),
    };
    this.#commandsUnderWay += 1;
    this.#commands = this.#commands
      .then(() => this.#options.events.command(command))
      .then(
        () => {
          if (qos === 0 || this.#over) return;
          this.#send({ type: 'puback', packetId, reasonCode: 0, properties: noProperties });
        },
        (error: unknown) => this.#end(linkError(error)),
      )
      .finally(() => {
        this.#commandsUnderWay -= 1;
      });
  }

  #freePacketId(): number {
    do {
      this.#packetId = (this.#packetId % 65_535) + 1;
    } while (this.#unanswered.has(this.#packetId));
    return this.#packetId;
  }

  #send(packet: Packet): void {
    this.#saidAt = this.#options.clock.monotonic();
    this.#socket?.write(encode(packet, 5));
  }

  #end(reason: SallyportError): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
    this.#opened.reject(reason);
    for (const message of [...this.#unanswered.values(), ...this.#waiting]) message.reject(reason);
    this.#unanswered.clear();
    this.#waiting.length = 0;
    this.#resolveEnded(reason);
  }
}
