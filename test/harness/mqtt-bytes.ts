/**
 * MQTT packets byte by byte, written from the standards and not with the gateway's own codec, so that a mistake in one
 * cannot hide in the other. Enough of MQTT 3.1.1 (version 4) and 5 to play a client; wrong packets are made by hand.
 */
import { text, tryVarintAt, u16, varint } from './mqtt-fields.ts';
import { decodeProperties, encodeProperties } from './mqtt-properties.ts';
import type { Property } from './mqtt-properties.ts';

export type MqttVersion = 4 | 5;

/** §2.1.2. */
export const packetTypes = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
} as const;

export interface RawPacket {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
}

export interface WillBytes {
  readonly topic: string | Buffer;
  readonly payload: string | Buffer;
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly properties?: readonly Property[];
}

export interface ConnectBytes {
  readonly version: MqttVersion;
  readonly clientId: string | Buffer;
  readonly cleanStart?: boolean;
  readonly keepAlive?: number;
  readonly userName?: string | Buffer;
  readonly password?: string;
  readonly will?: WillBytes;
  readonly properties?: readonly Property[];
}

export function connectPacket(connect: ConnectBytes): Buffer {
  const { version, clientId, will, userName, password } = connect;
  let flags = (connect.cleanStart ?? true) ? 0x02 : 0;
  if (will !== undefined)
    flags |= 0x04 | ((will.qos ?? 0) << 3) | (will.retain === true ? 0x20 : 0);
  if (password !== undefined) flags |= 0x40;
  if (userName !== undefined) flags |= 0x80;
  const parts = [
    text('MQTT'),
    Buffer.of(version, flags),
    u16(connect.keepAlive ?? 60),
    ...propertiesIn(version, connect.properties),
    text(clientId),
  ];
  if (will !== undefined) {
    parts.push(...propertiesIn(version, will.properties), text(will.topic), text(will.payload));
  }
  if (userName !== undefined) parts.push(text(userName));
  if (password !== undefined) parts.push(text(password));
  return packet(packetTypes.connect, 0, parts);
}

export interface PublishBytes {
  readonly version: MqttVersion;
  readonly topic: string | Buffer;
  readonly payload: string | Buffer;
  readonly qos: 0 | 1 | 2;
  readonly packetId?: number;
  readonly retain?: boolean;
  readonly properties?: readonly Property[];
}

export function publishPacket(publish: PublishBytes): Buffer {
  const { version, qos, packetId } = publish;
  const flags = (qos << 1) | (publish.retain === true ? 1 : 0);
  const parts = [text(publish.topic)];
  if (qos > 0) parts.push(u16(packetId ?? 1));
  parts.push(...propertiesIn(version, publish.properties), Buffer.from(publish.payload));
  return packet(packetTypes.publish, flags, parts);
}

export function pubackPacket(packetId: number): Buffer {
  return packet(packetTypes.puback, 0, [u16(packetId)]);
}

/** A filter with its options byte: QoS; in MQTT 5 No Local, Retain As Published and Retain Handling too (§3.8.3.1). */
export interface FilterBytes {
  readonly filter: string | Buffer;
  readonly options: number;
}

export function subscribePacket(
  version: MqttVersion,
  packetId: number,
  filters: readonly FilterBytes[],
  properties: readonly Property[] = [],
): Buffer {
  const parts = [u16(packetId), ...propertiesIn(version, properties)];
  for (const { filter, options } of filters) parts.push(text(filter), Buffer.of(options));
  return packet(packetTypes.subscribe, 0x02, parts);
}

export function unsubscribePacket(
  version: MqttVersion,
  packetId: number,
  filters: readonly string[],
): Buffer {
  const parts = [u16(packetId), ...propertiesIn(version, []), ...filters.map(text)];
  return packet(packetTypes.unsubscribe, 0x02, parts);
}

export function pingreqPacket(): Buffer {
  return packet(packetTypes.pingreq, 0, []);
}

/** @param code MQTT 5 only; without it the packet has none, which means 0x00. */
export function disconnectPacket(code?: number): Buffer {
  return packet(packetTypes.disconnect, 0, code === undefined ? [] : [Buffer.of(code)]);
}

export interface Connack {
  readonly sessionPresent: boolean;
  readonly code: number;
  /** Empty in 3.1.1. */
  readonly properties: readonly Property[];
}

export function readConnack({ body }: RawPacket): Connack {
  return {
    sessionPresent: (body.readUInt8(0) & 1) === 1,
    code: body.readUInt8(1),
    properties: body.length > 2 ? decodeProperties(body, 2).properties : [],
  };
}

/** PUBACK; a body without reason code means success (MQTT 5 §3.4.2.1; 3.1.1 has none). */
export function readPuback({ body }: RawPacket): {
  readonly packetId: number;
  readonly code: number;
} {
  return { packetId: body.readUInt16BE(0), code: body.length > 2 ? body.readUInt8(2) : 0 };
}

export function readSuback(
  version: MqttVersion,
  { body }: RawPacket,
): { readonly packetId: number; readonly codes: readonly number[] } {
  const at = version === 5 ? decodeProperties(body, 2).end : 2;
  return { packetId: body.readUInt16BE(0), codes: [...body.subarray(at)] };
}

/** MQTT 5 §3.14.2.1: a DISCONNECT without reason code means 0x00. */
export function readDisconnect({ body }: RawPacket): number {
  return body.length > 0 ? body.readUInt8(0) : 0;
}

export interface ReceivedMessage {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly packetId: number | undefined;
  /** Empty in 3.1.1. */
  readonly properties: readonly Property[];
}

export function readPublish(version: MqttVersion, { flags, body }: RawPacket): ReceivedMessage {
  const qos = (flags >> 1) & 3;
  const topicEnd = 2 + body.readUInt16BE(0);
  const idEnd = qos > 0 ? topicEnd + 2 : topicEnd;
  const { properties, end } =
    version === 5 ? decodeProperties(body, idEnd) : { properties: [], end: idEnd };
  return {
    topic: body.toString('utf8', 2, topicEnd),
    payload: body.toString('utf8', end),
    qos,
    retain: (flags & 1) === 1,
    packetId: qos > 0 ? body.readUInt16BE(topicEnd) : undefined,
    properties,
  };
}

/** Cuts whole packets off the front of what has arrived. */
export class PacketReader {
  #bytes: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): RawPacket[] {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const packets: RawPacket[] = [];
    for (;;) {
      const length = tryVarintAt(this.#bytes, 1);
      if (length === undefined || this.#bytes.length < length.end + length.value) return packets;
      const first = this.#bytes.readUInt8(0);
      const end = length.end + length.value;
      packets.push({
        type: first >> 4,
        flags: first & 0x0f,
        body: Buffer.from(this.#bytes.subarray(length.end, end)),
      });
      this.#bytes = this.#bytes.subarray(end);
    }
  }
}

export function packet(type: number, flags: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.of((type << 4) | flags), varint(body.length), body]);
}

function propertiesIn(version: MqttVersion, properties: readonly Property[] = []): Buffer[] {
  return version === 5 ? [encodeProperties(properties)] : [];
}
