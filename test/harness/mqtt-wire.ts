/**
 * An MQTT client for tests of the protocol's letter: it answers nothing by itself, hands every packet out in the order
 * of the wire, and refuses what no server may send, whatever the test is about.
 */
import assert from 'node:assert/strict';
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { GatewayOptions, Identity } from './gateway.ts';
import {
  connectPacket,
  packet,
  packetTypes,
  pingreqPacket,
  publishPacket,
  readConnack,
  readPublish,
  subscribePacket,
} from './mqtt-bytes.ts';
import type {
  Connack,
  ConnectBytes,
  FilterBytes,
  MqttVersion,
  PublishBytes,
  ReceivedMessage,
} from './mqtt-bytes.ts';
import { u16 } from './mqtt-fields.ts';
import { decodeProperties, encodeProperties } from './mqtt-properties.ts';
import type { Property } from './mqtt-properties.ts';
import { tlsOptionsOf } from './raw-mqtt.ts';
import { sharedGateway } from './shared-gateway.ts';
import type { SharedGateway } from './shared-gateway.ts';
import { within } from './waiting.ts';
import { cutPacket } from './wire-packets.ts';
import type { WirePacket } from './wire-packets.ts';

export const wireTypes = { ...packetTypes, pubrec: 5, pubrel: 6, pubcomp: 7, auth: 15 } as const;

type AckType = 4 | 5 | 6 | 7;

const answerLimitMs = 30_000;

export interface WireOptions extends Partial<Omit<ConnectBytes, 'version'>> {
  readonly version?: MqttVersion;
}

/** One more fact about a PUBLISH than what a client of the harness usually asks for. */
export interface WireMessage extends ReceivedMessage {
  readonly dup: boolean;
}

export interface Acknowledgement {
  readonly packetId: number;
  /** 0 in 3.1.1 and where the packet leaves it out. */
  readonly code: number;
  readonly properties: readonly Property[];
}

export class WireClient implements Disposable {
  readonly version: MqttVersion;
  readonly socket: TLSSocket;
  readonly #arrived: WirePacket[] = [];
  #bytes: Buffer = Buffer.alloc(0);
  #fault: Error | undefined;
  #isOver = false;
  #wake: () => void = () => {};

  /** The TLS connection; nothing has been said on it. */
  static async open(port: number, identity: Identity, version: MqttVersion): Promise<WireClient> {
    const socket = tlsConnect(tlsOptionsOf({ port, identity }));
    const secured = new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    await within(secured, answerLimitMs, 'the TLS handshake');
    socket.setNoDelay(true);
    return new WireClient(socket, version);
  }

  private constructor(socket: TLSSocket, version: MqttVersion) {
    this.socket = socket;
    this.version = version;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#isOver = true;
      this.#wake();
    });
  }

  send(...packets: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(packets));
  }

  /** The next packet of the gateway. @throws Error when the connection ends before there is one. */
  async next(what = 'a packet'): Promise<WirePacket> {
    await this.#until(() => this.#arrived.length > 0 || this.#isOver, what);
    const [packet_] = this.#arrived.splice(0, 1);
    if (packet_ === undefined) throw new Error(`the connection ended before ${what}`);
    return packet_;
  }

  /** The next packet, which has to be of this type. */
  async expect(type: number): Promise<WirePacket> {
    const next = await this.next(`packet type ${type}`);
    assert.equal(next.type, type, `got ${next.bytes.toString('hex')}`);
    return next;
  }

  /** Nothing has been sent but what was taken already. */
  async nothing(): Promise<void> {
    this.send(pingreqPacket());
    const next = await this.next('PINGRESP');
    assert.equal(next.bytes.toString('hex'), 'd000', 'something came before PINGRESP');
  }

  /** The gateway has closed. @returns what it still sent, in hexadecimal. */
  async end(): Promise<string> {
    await this.#until(() => this.#isOver, 'the end of the connection');
    return this.#arrived
      .splice(0)
      .map(({ bytes }) => bytes.toString('hex'))
      .join('');
  }

  /** The gateway has closed, after a DISCONNECT with this code in MQTT 5 and without a word in 3.1.1. */
  async refused(code: number): Promise<void> {
    const last = await this.end();
    if (this.version === 4) {
      assert.equal(last, '');
      return;
    }
    assert.equal(last.slice(0, 2), 'e0', `not one DISCONNECT: ${last}`);
    assert.equal(last.slice(4, 6), Buffer.of(code).toString('hex'), `DISCONNECT ${last}`);
    assert.equal(
      last.length,
      4 + 2 * Buffer.from(last, 'hex').readUInt8(1),
      'more than one packet',
    );
  }

  /** The CONNECT was refused: with this code and nothing else in MQTT 5, with any or none in 3.1.1; then closed. */
  async notLetIn(code: number): Promise<void> {
    const said = await this.end();
    if (this.version === 5) assert.equal(said, `200300${Buffer.of(code).toString('hex')}00`);
    else assert.match(said, /^(?:2002000[1-5])?$/);
  }

  async connect(options: Omit<WireOptions, 'version'> = {}): Promise<Connack> {
    this.send(connectPacket({ clientId: '', ...options, version: this.version }));
    return readConnack(await this.expect(wireTypes.connack));
  }

  /** @returns the reason codes of the SUBACK, the next packet. */
  async subscribe(
    filters: readonly FilterBytes[],
    properties: readonly Property[] = [],
    packetId = 1,
  ): Promise<readonly number[]> {
    this.send(subscribePacket(this.version, packetId, filters, properties));
    const { body } = await this.expect(wireTypes.suback);
    assert.equal(body.readUInt16BE(0), packetId);
    return [...body.subarray(this.version === 5 ? decodeProperties(body, 2).end : 2)];
  }

  publishBytes(publish: Omit<PublishBytes, 'version'>): Buffer {
    return publishPacket({ ...publish, version: this.version });
  }

  /** Publishes with QoS 1, or through the whole exchange of QoS 2, and expects it to be taken. */
  async publish(publish: Omit<PublishBytes, 'version' | 'qos'> & { qos?: 1 | 2 }): Promise<void> {
    const packetId = publish.packetId ?? 1;
    const qos = publish.qos ?? 1;
    this.send(this.publishBytes({ ...publish, qos, packetId }));
    const first = await this.acknowledged(qos === 1 ? wireTypes.puback : wireTypes.pubrec);
    assert.equal(first.packetId, packetId);
    assert.ok(first.code < 0x80, `refused with 0x${first.code.toString(16)}`);
    if (qos === 1) return;
    this.send(ack(wireTypes.pubrel, packetId));
    assert.deepEqual(await this.acknowledged(wireTypes.pubcomp), {
      packetId,
      code: 0,
      properties: [],
    });
  }

  /** The next packet, which has to be a PUBLISH; it is not acknowledged. */
  async message(): Promise<WireMessage> {
    return this.read(await this.expect(wireTypes.publish));
  }

  /** A PUBLISH that was taken from among other packets. */
  read(publish: WirePacket): WireMessage {
    return { ...readPublish(this.version, publish), dup: (publish.flags & 8) !== 0 };
  }

  /** The next packet, which has to be this acknowledgement. */
  async acknowledged(type: AckType): Promise<Acknowledgement> {
    const { body } = await this.expect(type);
    if (this.version === 4) assert.equal(body.length, 2, '3.1.1 has a packet identifier only');
    return {
      packetId: body.readUInt16BE(0),
      code: body.length > 2 ? body.readUInt8(2) : 0,
      properties: body.length > 3 ? decodeProperties(body, 3).properties : [],
    };
  }

  /** DISCONNECT 0x00, and the gateway has closed. */
  async leave(): Promise<void> {
    this.send(packet(packetTypes.disconnect, 0, []));
    assert.equal(await this.end(), '');
  }

  /** Gone without a DISCONNECT, and the gateway knows: it has closed too. */
  async drop(): Promise<void> {
    this.socket.end();
    await this.#until(() => this.#isOver, 'the end of the connection');
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    try {
      for (;;) {
        const cut = cutPacket(this.version, this.#bytes);
        if (cut === undefined) break;
        this.#bytes = this.#bytes.subarray(cut.bytes.length);
        this.#arrived.push(cut);
      }
    } catch (error) {
      this.#fault = new Error('the gateway broke the standard', { cause: error });
      this.socket.destroy();
    }
    this.#wake();
  }

  async #until(reached: () => boolean, what: string): Promise<void> {
    while (!reached() && this.#fault === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await within(promise, answerLimitMs, what);
    }
    if (this.#fault !== undefined) throw this.#fault;
  }
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP; without a code as short as it may be. */
export function ack(
  type: AckType,
  packetId: number,
  code?: number,
  properties: readonly Property[] = [],
): Buffer {
  const parts = [u16(packetId)];
  if (code !== undefined) parts.push(Buffer.of(code));
  if (properties.length > 0) parts.push(encodeProperties(properties));
  return packet(type, type === wireTypes.pubrel ? 2 : 0, parts);
}

/** The same PUBLISH as one that is sent again. */
export function again(publish: Buffer): Buffer {
  const copy = Buffer.from(publish);
  copy.writeUInt8(copy.readUInt8(0) | 8, 0);
  return copy;
}

/** A packet whose remaining length is larger than it has to be by some bytes of zeros. */
export function padded(bytes: Buffer): Buffer {
  const length = bytes.readUInt8(1);
  assert.ok(length < 128);
  return Buffer.concat([bytes.subarray(0, 1), Buffer.of(length | 0x80, 0), bytes.subarray(2)]);
}

export const bothVersions = [
  ['MQTT 5', 5],
  ['MQTT 3.1.1', 4],
] as const;

export interface WireGateway extends SharedGateway {
  /** Services of the role `any`: they may publish to `t/#` and subscribe to it. The role `all` may do so with `#`. */
  readonly alice: Identity;
  readonly bob: Identity;
  /** A TLS connection. */
  readonly dial: (identity: Identity, version?: MqttVersion) => Promise<WireClient>;
  /** A connection that was let in. */
  readonly come: (identity: Identity, options?: WireOptions) => Promise<WireClient>;
}

const roles = [
  'roles:',
  "  any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } }",
  "  all: { allow: { publish: [ '#' ], subscribe: [ '#' ] } }",
];

/** To be called at the top of a file, like `sharedGateway`. @param limits `name: value`, of the configuration. */
export async function wireGateway(
  limits: readonly string[] = [],
  options: GatewayOptions = {},
): Promise<WireGateway> {
  const lines = ['sessionsPerIdentity: 1000', ...limits];
  const config = [...roles, `limits: { ${lines.join(', ')} }`].join('\n');
  const shared = await sharedGateway({ ...options, config });
  const { gateway, port } = shared;
  const alice = await gateway.service('alice', 'any');
  const bob = await gateway.service('bob', 'any');
  const dial = (identity: Identity, version: MqttVersion = 5): Promise<WireClient> =>
    WireClient.open(port, identity, version);
  const come = async (identity: Identity, connect: WireOptions = {}): Promise<WireClient> => {
    const client = await dial(identity, connect.version);
    const { code } = await client.connect(connect);
    assert.equal(code, 0, `CONNACK 0x${code.toString(16)}`);
    return client;
  };
  return { ...shared, alice, bob, dial, come };
}
