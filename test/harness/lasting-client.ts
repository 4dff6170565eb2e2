/**
 * An MQTT 5 client whose session outlives its connections, on its own side too: it keeps what it has not been promised
 * and what it has not released, connects again until it is let in, and goes on where it stopped (§4.4). So it can say of
 * every message whether the gateway took it, and how often each message came.
 */
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import type { Gateway, Identity } from './gateway.ts';
import {
  connectPacket,
  disconnectPacket,
  PacketReader,
  packetTypes,
  publishPacket,
  readConnack,
  readPuback,
  readPublish,
  subscribePacket,
} from './mqtt-bytes.ts';
import type { RawPacket, ReceivedMessage } from './mqtt-bytes.ts';
import { ack, again, wireTypes } from './mqtt-wire.ts';
import { tlsOptionsOf } from './raw-mqtt.ts';

export interface LastingOptions {
  readonly identity: Identity;
  /** The one that runs now: it may have been started anew, on other ports. */
  readonly gateway: () => Gateway;
  /** Filters that it subscribes to with QoS 2, each time it begins a session. */
  readonly filters: readonly string[];
  readonly onMessage: (message: ReceivedMessage) => void;
}

interface Exchange {
  readonly bytes: Buffer;
  sent: boolean;
  /** PUBREC has come: only PUBREL and PUBCOMP are left. */
  released: boolean;
  readonly settled: (outcome: Outcome) => void;
}

/** Refused: the gateway said so, and may have passed it on to some before it knew. */
export type Outcome = 'promised' | 'refused';

const expirySeconds = 3_600;
const retryMs = 100;
const connectLimitMs = 5_000;

export class LastingClient {
  readonly id: string;
  readonly #options: LastingOptions;
  readonly #open = new Map<number, Exchange>();
  readonly #unreleased = new Set<number>();
  readonly #run: Promise<void>;
  #socket: TLSSocket | undefined;
  /** CONNACK has come, and what was open has been sent again. */
  #live = false;
  readonly #stop = new AbortController();
  #subscribed = false;
  #packetId = 0;
  #sessions = 0;
  /** `performance.now()` of the last packet that only a device in good standing gets. */
  #lastServedAt = Number.NEGATIVE_INFINITY;
  #wake: () => void = () => {};

  constructor(options: LastingOptions) {
    this.id = options.identity.id;
    this.#options = options;
    this.#run = this.#stay();
  }

  /** How often it had to begin a session: once, unless the gateway has lost one. */
  get sessions(): number {
    return this.#sessions;
  }

  /** Connected, and its session is there. */
  get live(): boolean {
    return this.#live;
  }

  /** Its session has been there, with all that it subscribes to. */
  get subscribed(): boolean {
    return this.#subscribed;
  }

  get lastServedAt(): number {
    return this.#lastServedAt;
  }

  /** Exchanges under way. */
  get open(): number {
    return this.#open.size;
  }

  /** Resolves with what became of it, however many connections that takes. */
  publish(topic: string, payload: string, qos: 1 | 2): Promise<Outcome> {
    const packetId = this.#freePacketId();
    const bytes = publishPacket({ version: 5, topic, payload, qos, packetId });
    return new Promise((settled) => {
      const exchange: Exchange = { bytes, sent: this.#live, released: false, settled };
      this.#open.set(packetId, exchange);
      if (this.#live) this.#socket?.write(bytes);
    });
  }

  /** Says goodbye; the session stays. */
  async stop(): Promise<void> {
    this.#stop.abort();
    if (this.#live) this.#socket?.write(disconnectPacket());
    this.#socket?.end();
    this.#wake();
    await this.#run;
  }

  async #stay(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#connection();
      } catch {
        // Nobody listens at this moment, or nobody lets it in.
      }
      this.#live = false;
      await delay(retryMs, undefined, { signal }).catch(() => {});
    }
  }

  /** Resolves when the connection has ended. */
  async #connection(): Promise<void> {
    const { identity, gateway } = this.#options;
    const socket = tlsConnect(tlsOptionsOf({ port: gateway().mqttsPort, identity }));
    this.#socket = socket;
    const reader = new PacketReader();
    const late = setTimeout(() => {
      if (!this.#live) socket.destroy();
    }, connectLimitMs);
    const ended = new Promise<void>((resolve) => {
      this.#wake = () => {
        if (this.#stop.signal.aborted && !this.#live) socket.destroy();
      };
      socket.once('close', () => resolve());
    });
    socket.on('error', () => {});
    socket.setNoDelay(true);
    socket.once('secureConnect', () =>
      socket.write(
        connectPacket({
          version: 5,
          clientId: this.id,
          cleanStart: false,
          properties: [['sessionExpiryInterval', expirySeconds]],
        }),
      ),
    );
    socket.on('data', (chunk: Buffer) => {
      for (const packet of reader.push(chunk)) this.#received(socket, packet);
    });
    await ended;
    clearTimeout(late);
  }

  #received(socket: TLSSocket, packet: RawPacket): void {
    switch (packet.type) {
      case packetTypes.connack:
        this.#welcomed(socket, packet);
        return;
      case packetTypes.publish:
        this.#lastServedAt = performance.now();
        this.#delivered(socket, readPublish(5, packet));
        return;
      case packetTypes.puback:
      case wireTypes.pubrec:
        this.#answered(socket, packet);
        return;
      case wireTypes.pubcomp:
        this.#settle(readPuback(packet).packetId, 'promised');
        return;
      case wireTypes.pubrel: {
        const { packetId } = readPuback(packet);
        const known = this.#unreleased.delete(packetId);
        socket.write(ack(wireTypes.pubcomp, packetId, known ? 0 : 0x92));
        break;
      }
      case packetTypes.suback:
        this.#subscribed = true;
        break;
      default:
    }
  }

  #welcomed(socket: TLSSocket, packet: RawPacket): void {
    const { code, sessionPresent } = readConnack(packet);
    if (code !== 0) {
      socket.destroy();
      return;
    }
    this.#lastServedAt = performance.now();
    if (!sessionPresent) {
      this.#sessions += 1;
      this.#unreleased.clear();
      const { filters } = this.#options;
      const wanted = filters.map((filter) => ({ filter, options: 2 }));
      if (wanted.length > 0) socket.write(subscribePacket(5, this.#freePacketId(), wanted));
    }
    this.#live = true;
    for (const [packetId, exchange] of this.#open) {
      const { bytes, sent, released } = exchange;
      if (released) socket.write(ack(wireTypes.pubrel, packetId));
      else socket.write(sent ? again(bytes) : bytes);
      exchange.sent = true;
    }
  }

  #delivered(socket: TLSSocket, message: ReceivedMessage): void {
    const { packetId, qos } = message;
    if (packetId !== undefined && qos === 2) {
      const repeated = this.#unreleased.has(packetId);
      this.#unreleased.add(packetId);
      if (!repeated) this.#options.onMessage(message);
      socket.write(ack(wireTypes.pubrec, packetId));
      return;
    }
    this.#options.onMessage(message);
    if (packetId !== undefined) socket.write(ack(packetTypes.puback, packetId));
  }

  #answered(socket: TLSSocket, packet: RawPacket): void {
    const { packetId, code } = readPuback(packet);
    const exchange = this.#open.get(packetId);
    if (code >= 0x80) {
      this.#settle(packetId, 'refused');
      return;
    }
    this.#lastServedAt = performance.now();
    if (packet.type === packetTypes.puback) {
      this.#settle(packetId, 'promised');
      return;
    }
    if (exchange !== undefined) exchange.released = true;
    socket.write(ack(wireTypes.pubrel, packetId, exchange === undefined ? 0x92 : 0));
  }

  #settle(packetId: number, outcome: Outcome): void {
    const exchange = this.#open.get(packetId);
    this.#open.delete(packetId);
    exchange?.settled(outcome);
  }

  #freePacketId(): number {
    do {
      this.#packetId = (this.#packetId % 65_535) + 1;
    } while (this.#open.has(this.#packetId));
    return this.#packetId;
  }
}
