/** A client's MQTT 5 session that sends bytes prepared beforehand and counts what comes. */
import type { TLSSocket } from 'node:tls';
import { encode } from '../../src/common/codec/mqtt/encoder.ts';
import { noProperties } from '../../src/common/codec/mqtt/packets.ts';
import type { ProtocolVersion } from '../../src/common/codec/mqtt/packets.ts';
import { within } from '../../test/harness/waiting.ts';
import { FrameReader, packetType } from './frames.ts';
import { openTls } from './tls-client.ts';
import type { TlsTarget } from './tls-client.ts';

const answerMs = 30_000;
/** Longer than any run, so that no ping falls into a round. */
const keepAliveSeconds = 600;

/** @param packetId of QoS 1; 0 = QoS 0. */
export function publishBytes(
  topic: string,
  payload: Buffer,
  packetId = 0,
  version: ProtocolVersion = 5,
): Buffer {
  return encode(
    {
      type: 'publish',
      dup: false,
      qos: packetId === 0 ? 0 : 1,
      retain: false,
      topic,
      packetId,
      payload,
      properties: noProperties,
    },
    version,
  );
}

function disconnectBytes(version: ProtocolVersion): Buffer {
  return encode({ type: 'disconnect', reasonCode: 0, properties: noProperties }, version);
}

/** A PUBLISH: its body is `bytes` from `body` to `end`. Lent until the handler returns. */
export type OnMessage = (bytes: Buffer, body: number, end: number) => void;

export interface SessionOptions {
  readonly version?: ProtocolVersion;
  /** Seconds that the session outlives its connection; 0 = none, and it starts clean. */
  readonly expirySeconds?: number;
  /** Whether what an earlier connection has left is thrown away; true when it is left out. */
  readonly cleanStart?: boolean;
}

export class MqttSession {
  readonly #socket: TLSSocket;
  readonly #version: ProtocolVersion;
  readonly #closed: Promise<void>;
  #onMessage: OnMessage = () => {};
  #onAcknowledged: () => void = () => {};
  #onEnd: (reason: string) => void = () => {};
  #answer: ((firstByte: number, reasonCode: number) => void) | undefined;
  #fail: ((error: Error) => void) | undefined;
  #reason = 'closed';
  #ticket: Buffer | undefined;
  #ended = false;

  /** Resolves when CONNACK has let it in. */
  static async open(
    target: TlsTarget,
    clientId: string,
    options: SessionOptions = {},
  ): Promise<MqttSession> {
    const session = new MqttSession(openTls(target), options.version ?? 5);
    try {
      await session.#connect(clientId, options);
      return session;
    } catch (error) {
      session.destroy();
      throw new Error(`${clientId} could not connect to port ${target.port}`, { cause: error });
    }
  }

  private constructor(socket: TLSSocket, version: ProtocolVersion) {
    this.#socket = socket;
    this.#version = version;
    const reader = new FrameReader((bytes, start, body, end) =>
      this.#frame(bytes, start, body, end),
    );
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('session', (ticket) => {
      this.#ticket = ticket;
    });
    socket.on('error', (error) => {
      this.#reason = error.message;
    });
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#ended = true;
        this.#fail?.(new Error(this.#reason));
        this.#onEnd(this.#reason);
        resolve();
      });
    });
  }

  get resumed(): boolean {
    return this.#socket.isSessionReused();
  }

  /** To resume its TLS session with; servers send it before CONNACK. */
  get ticket(): Buffer {
    if (this.#ticket === undefined) throw new Error('the server gave no TLS ticket');
    return this.#ticket;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes that wait for the server to read them. */
  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  set onMessage(handler: OnMessage) {
    this.#onMessage = handler;
  }

  /** Called for each PUBACK that says the message was taken. */
  set onAcknowledged(handler: () => void) {
    this.#onAcknowledged = handler;
  }

  /** Called with the reason when the session ends without `close`. */
  set onEnd(handler: (reason: string) => void) {
    this.#onEnd = handler;
  }

  /** Each call is a TLS record of its own, and more when the bytes do not fit one. */
  send(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  async subscribe(topicFilter: string, qos: 0 | 1 = 0): Promise<void> {
    const bytes = encode(
      {
        type: 'subscribe',
        packetId: 1,
        subscriptions: [
          { topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 },
        ],
        properties: noProperties,
      },
      this.#version,
    );
    await this.#ask(bytes, packetType.suback, `SUBACK for ${topicFilter}`);
  }

  /** DISCONNECT; resolves when the connection is closed. */
  async close(): Promise<void> {
    this.#onEnd = () => {};
    this.#socket.end(disconnectBytes(this.#version));
    await within(this.#closed, answerMs, 'the end of a session');
  }

  destroy(): void {
    this.#onEnd = () => {};
    this.#socket.destroy();
  }

  async #connect(
    clientId: string,
    { expirySeconds = 0, cleanStart = true }: SessionOptions,
  ): Promise<void> {
    const bytes = encode(
      {
        type: 'connect',
        version: this.#version,
        cleanStart,
        keepAlive: keepAliveSeconds,
        clientId,
        will: undefined,
        userName: undefined,
        password: undefined,
        properties: expirySeconds === 0 ? noProperties : { sessionExpiryInterval: expirySeconds },
      },
      this.#version,
    );
    // It waits in the socket until the handshake is done.
    await this.#ask(bytes, packetType.connack, 'CONNACK');
  }

  async #ask(bytes: Buffer, type: number, what: string): Promise<void> {
    const answer = new Promise<void>((resolve, reject) => {
      this.#fail = reject;
      this.#answer = (firstByte, reasonCode) => {
        if (firstByte >> 4 === type && reasonCode < 0x80) resolve();
        else reject(new Error(`packet ${firstByte >> 4} with reason ${reasonCode}`));
      };
    });
    this.#socket.write(bytes);
    try {
      await within(answer, answerMs, what);
    } finally {
      this.#answer = undefined;
      this.#fail = undefined;
    }
  }

  #frame(bytes: Buffer, start: number, body: number, end: number): void {
    const firstByte = bytes[start] ?? 0;
    const type = firstByte >> 4;
    if (type === packetType.publish) {
      this.#onMessage(bytes, body, end);
    } else if (type === packetType.connack) {
      // §3.2.2: flags, then the reason.
      this.#answer?.(firstByte, bytes[body + 1] ?? 0xff);
    } else if (type === packetType.suback) {
      this.#answer?.(firstByte, bytes[end - 1] ?? 0xff);
    } else if (type === packetType.puback) {
      // §3.4.2.1: without a reason code it is 0. Another one means that nobody has it.
      if (end - body < 3 || bytes[body + 2] === 0) this.#onAcknowledged();
      else this.#socket.destroy(new Error(`PUBACK with reason ${bytes[body + 2]}`));
    } else if (type === packetType.disconnect) {
      this.#reason = `DISCONNECT ${bytes[body] ?? 0}`;
    }
  }
}
