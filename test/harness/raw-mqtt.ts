/**
 * An MQTT client over node:tls that shows what is on the wire: packets as they come, how the connection ended and when,
 * TLS sessions to resume. It verifies the gateway's certificate like any other client.
 */
import { readFileSync } from 'node:fs';
import type { TcpNetConnectOpts } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { ConnectionOptions, SecureVersion, TLSSocket } from 'node:tls';
import type { Identity } from './gateway.ts';
import {
  connectPacket,
  disconnectPacket,
  PacketReader,
  packetTypes,
  pingreqPacket,
  pubackPacket,
  publishPacket,
  readConnack,
  readDisconnect,
  readPuback,
  readPublish,
  readSuback,
  subscribePacket,
  unsubscribePacket,
} from './mqtt-bytes.ts';
import type {
  Connack,
  ConnectBytes,
  FilterBytes,
  MqttVersion,
  PublishBytes,
  RawPacket,
  ReceivedMessage,
} from './mqtt-bytes.ts';
import type { Property } from './mqtt-properties.ts';
import { shakeHands } from './raw-websocket.ts';
import { runningMs, within } from './waiting.ts';
import { clientFrame, opcode, ServerFrameReader } from './websocket-bytes.ts';

export interface RawOptions {
  readonly port: number;
  /** Whose key and certificate to show; undefined shows none, and then `ca` says whom to trust. */
  readonly identity?: Identity | undefined;
  readonly ca?: string;
  readonly version?: MqttVersion;
  readonly minVersion?: SecureVersion;
  readonly maxVersion?: SecureVersion;
  readonly ciphers?: string;
  /** A session of an earlier connection, to be resumed. */
  readonly session?: Buffer | undefined;
  /** An address of 127.0.0.0/8 to come from; a new one for every connection when it is left out. */
  readonly localAddress?: string;
  /** False: QoS 1 is acknowledged only by `acknowledge`. */
  readonly acknowledges?: boolean;
  /** `port` is then that of HTTPS. A packet goes out in a frame. */
  readonly over?: 'tls' | 'websocket';
}

/** How and when a connection ended. */
export interface Ending {
  /** `runningMs()` of the moment. */
  readonly at: number;
  /** Reason code of the gateway's DISCONNECT; undefined when it just closed. */
  readonly disconnect: number | undefined;
  readonly error: string | undefined;
  /** Of the gateway's close frame; undefined without one. */
  readonly closeCode: number | undefined;
}

interface Waiter {
  readonly wanted: (packet: RawPacket) => boolean;
  readonly resolve: (packet: RawPacket) => void;
  readonly reject: (error: Error) => void;
}

const answerLimitMs = 30_000;

export class RawMqtt implements Disposable {
  readonly version: MqttVersion;
  readonly socket: TLSSocket;
  /** Of this end, as the gateway logs it: `address:port`. */
  readonly address: string;
  /** Whether the gateway resumed the session that was offered. */
  readonly resumed: boolean;
  readonly ended: Promise<Ending>;
  /** Messages received, in order; QoS 1 is acknowledged as it comes. */
  readonly messages: ReceivedMessage[] = [];
  readonly #reader = new PacketReader();
  readonly #packets: RawPacket[] = [];
  readonly #waiters = new Set<Waiter>();
  readonly #messageWaiters = new Set<() => void>();
  readonly #session: Promise<Buffer>;
  readonly #acknowledges: boolean;
  readonly #frames: ServerFrameReader | undefined;
  #closeCode: number | undefined;
  #disconnect: number | undefined;
  #error: string | undefined;
  #isEnded = false;
  #packetId = 0;

  /** @throws the TLS error when the handshake fails. */
  static async open(options: RawOptions): Promise<RawMqtt> {
    const socket = tlsConnect(tlsOptionsOf(options));
    // Registered before the first byte, or a ticket could be missed.
    const session = new Promise<Buffer>((resolve) => {
      socket.once('session', resolve);
    });
    const secured = new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed during the handshake')));
    });
    try {
      await within(secured, answerLimitMs, 'the TLS handshake');
      const rest = options.over === 'websocket' ? await shakeHands(socket) : undefined;
      return new RawMqtt(socket, session, options, rest);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** @param rest what came after the opening handshake of a WebSocket; undefined when there was none. */
  private constructor(
    socket: TLSSocket,
    session: Promise<Buffer>,
    options: RawOptions,
    rest: Buffer | undefined,
  ) {
    this.socket = socket;
    this.#frames = rest === undefined ? undefined : new ServerFrameReader();
    this.version = options.version ?? 5;
    this.#acknowledges = options.acknowledges ?? true;
    this.#session = session;
    this.address = `${socket.localAddress ?? ''}:${socket.localPort ?? 0}`;
    this.resumed = socket.isSessionReused();
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => {
      this.#error = error.message;
    });
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isEnded = true;
        const ending = {
          at: runningMs(),
          disconnect: this.#disconnect,
          error: this.#error,
          closeCode: this.#closeCode,
        };
        resolve(ending);
        for (const waiter of this.#waiters) waiter.reject(endedError(ending));
        this.#waiters.clear();
        for (const wake of this.#messageWaiters) wake();
      });
    });
    if (rest === undefined) return;
    this.#receive(rest);
    socket.resume();
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** The session to resume later: a TLS 1.2 ticket, or the first TLS 1.3 one. */
  session(): Promise<Buffer> {
    return within(this.#session, answerLimitMs, 'a TLS session ticket');
  }

  send(bytes: Buffer): void {
    const isFramed = this.#frames !== undefined;
    this.socket.write(isFramed ? clientFrame({ opcode: opcode.binary, payload: bytes }) : bytes);
  }

  async connect(connect: Partial<Omit<ConnectBytes, 'version'>> = {}): Promise<Connack> {
    this.send(connectPacket({ clientId: '', ...connect, version: this.version }));
    return readConnack(await this.next(packetTypes.connack));
  }

  /** Publishes with QoS 1. @returns the reason code of the PUBACK. */
  async publish(
    topic: string | Buffer,
    payload: string | Buffer,
    options: Pick<PublishBytes, 'retain' | 'properties'> = {},
  ): Promise<number> {
    const packetId = this.#nextPacketId();
    this.send(
      publishPacket({ version: this.version, topic, payload, qos: 1, packetId, ...options }),
    );
    const answer = await this.take(
      (packet) => packet.type === packetTypes.puback && readPuback(packet).packetId === packetId,
      `PUBACK ${packetId}`,
    );
    return readPuback(answer).code;
  }

  /** Publishes with QoS 0. */
  publishUnacknowledged(topic: string, payload: string | Buffer): void {
    this.send(publishPacket({ version: this.version, topic, payload, qos: 0 }));
  }

  acknowledge({ packetId }: ReceivedMessage): void {
    if (packetId === undefined) throw new Error('a message of QoS 0 is not acknowledged');
    this.send(pubackPacket(packetId));
  }

  /** With QoS 1. @returns the reason codes of the SUBACK. */
  subscribe(...filters: readonly string[]): Promise<readonly number[]> {
    return this.subscribeTo(filters.map((filter) => ({ filter, options: 1 })));
  }

  /** @returns the reason codes of the SUBACK. */
  async subscribeTo(
    filters: readonly FilterBytes[],
    properties: readonly Property[] = [],
  ): Promise<readonly number[]> {
    const packetId = this.#nextPacketId();
    this.send(subscribePacket(this.version, packetId, filters, properties));
    const answer = await this.next(packetTypes.suback);
    return readSuback(this.version, answer).codes;
  }

  /** @returns the reason codes of the UNSUBACK; 3.1.1 has none. */
  async unsubscribe(...filters: readonly string[]): Promise<readonly number[]> {
    const packetId = this.#nextPacketId();
    this.send(unsubscribePacket(this.version, packetId, filters));
    // Formed like a SUBACK.
    return readSuback(this.version, await this.next(packetTypes.unsuback)).codes;
  }

  async ping(): Promise<void> {
    this.send(pingreqPacket());
    await this.next(packetTypes.pingresp);
  }

  next(type: number): Promise<RawPacket> {
    return this.take((packet) => packet.type === type, `packet type ${type}`);
  }

  /** The first packet that is wanted, taken out of what has arrived or arrives. PUBLISH goes to `messages` instead. */
  async take(wanted: (packet: RawPacket) => boolean, what: string): Promise<RawPacket> {
    const at = this.#packets.findIndex(wanted);
    const [found] = at < 0 ? [] : this.#packets.splice(at, 1);
    if (found !== undefined) return found;
    if (this.#isEnded) throw endedError(await this.ended);
    const { promise, resolve, reject } = Promise.withResolvers<RawPacket>();
    const waiter = { wanted, resolve, reject };
    this.#waiters.add(waiter);
    try {
      return await within(promise, answerLimitMs, what);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /** The first message, among those received or to come, that satisfies the predicate. */
  async message(
    wanted: (message: ReceivedMessage) => boolean,
    limitMs = answerLimitMs,
  ): Promise<ReceivedMessage> {
    let wake: () => void = () => {};
    const found = new Promise<ReceivedMessage>((resolve, reject) => {
      wake = () => {
        const message = this.messages.find(wanted);
        if (message !== undefined) resolve(message);
        else if (this.#isEnded) reject(new Error('the connection ended before the message'));
      };
    });
    this.#messageWaiters.add(wake);
    wake();
    try {
      return await within(found, limitMs, `a message ${wanted.toString()}`);
    } finally {
      this.#messageWaiters.delete(wake);
    }
  }

  /** Says goodbye and waits until the connection is gone. */
  async close(): Promise<void> {
    if (!this.#isEnded) {
      this.send(disconnectPacket());
      this.socket.end();
    }
    await within(this.ended, answerLimitMs, 'the end of the connection');
  }

  /** Gone without a word. */
  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #receive(chunk: Buffer): void {
    if (this.#frames === undefined) {
      for (const packet of this.#reader.push(chunk)) this.#arrived(packet);
      return;
    }
    for (const frame of this.#frames.push(chunk)) {
      if (frame.opcode === opcode.binary) {
        for (const packet of this.#reader.push(frame.payload)) this.#arrived(packet);
      } else if (frame.opcode === opcode.close) {
        this.#closeCode = frame.payload.length < 2 ? 1005 : frame.payload.readUInt16BE();
        this.socket.end(clientFrame(frame));
      }
    }
  }

  #arrived(packet: RawPacket): void {
    if (packet.type === packetTypes.publish) {
      const message = readPublish(this.version, packet);
      if (this.#acknowledges && message.packetId !== undefined) this.acknowledge(message);
      this.messages.push(message);
      for (const wake of this.#messageWaiters) wake();
      return;
    }
    if (packet.type === packetTypes.disconnect) this.#disconnect = readDisconnect(packet);
    for (const waiter of this.#waiters) {
      if (!waiter.wanted(packet)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(packet);
      return;
    }
    this.#packets.push(packet);
  }

  #nextPacketId(): number {
    this.#packetId = (this.#packetId % 65_535) + 1;
    return this.#packetId;
  }
}

function endedError({ disconnect, error }: Ending): Error {
  const reason = disconnect === undefined ? '' : ` with DISCONNECT 0x${disconnect.toString(16)}`;
  return new Error(`the connection ended${reason}${error === undefined ? '' : `: ${error}`}`);
}

/** tls.connect hands what it does not know itself to net.connect; its types leave `localAddress` out. */
export type TlsOptions = ConnectionOptions & Pick<TcpNetConnectOpts, 'localAddress'>;

export function tlsOptionsOf(options: RawOptions): TlsOptions {
  const { identity, minVersion, maxVersion, ciphers, session } = options;
  const ca = options.ca ?? identity?.ca;
  return {
    host: '127.0.0.1',
    port: options.port,
    servername: 'localhost',
    // Every connection from an address of its own, so that limits per source meet only the tests that are about them.
    localAddress: options.localAddress ?? nextSource(),
    ...(ca === undefined ? {} : { ca: readFileSync(ca) }),
    ...(identity === undefined
      ? {}
      : { cert: readFileSync(identity.crt), key: readFileSync(identity.key) }),
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
    ...(ciphers === undefined ? {} : { ciphers }),
    ...(session === undefined ? {} : { session }),
  };
}

let sources = 0;

/** An address of 127.0.0.0/8 that no connection of this process came from, for 2 million connections. */
export function nextSource(): string {
  sources += 1;
  return `127.${1 + ((sources >> 14) & 0x7f)}.${1 + ((sources >> 7) & 0x7f)}.${1 + (sources & 0x7f)}`;
}
