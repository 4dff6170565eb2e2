/** PUBLISH: MQTT 5.0 §3.3, MQTT 3.1.1 §3.3. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import {
  noProperties,
  type ProtocolVersion,
  type Publish,
  type PublishProperties,
  type QoS,
} from '../packets.ts';
import { decodeProperties, encodeProperties, publishTable } from '../properties.ts';
import { violation } from '../protocol-error.ts';
import { readPublishTopic } from '../topic-fields.ts';
import { readVariableByteInteger, writeVariableByteInteger } from '../variable-byte-integer.ts';
import {
  checkedUtf8Bytes,
  checkRange,
  frameBytes,
  unencodable,
  Writer,
  writeText,
} from '../writer.ts';

const flag = { retain: 0x01, dup: 0x08 } as const;
const qosShift = 1;
const firstByte = 0x30;

/** Reads a packet identifier. @throws MqttProtocolError 0x81, and 0x82 for 0 */
export function readPacketId(cursor: Cursor): number {
  const packetId = cursor.u16();
  if (packetId === 0) throw violation('A packet identifier is 0.', 'MQTT-2.2.1-3');
  return packetId;
}

/** `flags`: the low four bits of the first byte, already checked. @throws MqttProtocolError 0x81, 0x82, 0x90, 0x94, 0x97 */
export function decodePublish(cursor: Cursor, context: DecodeContext, flags: number): Publish {
  // `checkFirstByte` has refused 3.
  const qos = ((flags >>> qosShift) & 3) as QoS;
  const topic = readPublishTopic(cursor, context);
  const packetId = qos === 0 ? 0 : readPacketId(cursor);
  const properties: PublishProperties =
    context.version === 5 ? decodeProperties(cursor, publishTable, context) : noProperties;
  if (topic.length === 0 && properties.topicAlias === undefined) {
    throw violation('PUBLISH has neither a topic name nor a topic alias.', 'MQTT-4.7.3-1');
  }
  if (flags === 0 && properties === noProperties) context.sendable = cursor.whole();
  return {
    type: 'publish',
    dup: (flags & flag.dup) !== 0,
    qos,
    retain: (flags & flag.retain) !== 0,
    topic,
    packetId,
    payload: cursor.rest(),
    properties,
  };
}

/** A PUBLISH without its packet identifier, to be sent to many. */
export interface EncodedPublish {
  readonly bytes: Buffer;
  /** Where the identifier goes; 0 for QoS 0, which has none. */
  readonly packetIdOffset: number;
  /** Where the Message Expiry Interval is; 0 when there is none. */
  readonly expiryOffset: number;
  /** As in `bytes`. */
  readonly topic: string;
}

export type PublishToEncode = Pick<
  Publish,
  'topic' | 'payload' | 'qos' | 'retain' | 'dup' | 'properties'
>;

/** Identifier and value. */
const payloadFormatBytes = 2;

const propertyBlock = new Writer();

/** The property list with its length, or undefined for the list that is one zero byte. */
function blockOf(properties: PublishProperties): Writer | undefined {
  // Without this way around the scratch writer, a PUBLISH without properties takes 250 ns instead of 180 (bench/mqtt-codec.ts).
  if (properties === noProperties) return undefined;
  propertyBlock.reset();
  encodeProperties(propertyBlock, publishTable, properties);
  return propertyBlock;
}

/** In 3.1.1 properties are left out. @throws SallyportError internal for what MQTT cannot carry */
export function encodePublish(packet: PublishToEncode, version: ProtocolVersion): EncodedPublish {
  const { topic, payload, qos } = packet;
  if (qos === 0 && packet.dup) throw unencodable('PUBLISH of QoS 0 cannot be a duplicate.');
  const topicBytes = checkedUtf8Bytes(topic);
  const block = version === 4 ? undefined : blockOf(packet.properties);
  const propertyBytes = version === 4 ? 0 : (block?.length ?? 1);
  const remainingLength = 2 + topicBytes + (qos === 0 ? 0 : 2) + propertyBytes + payload.length;

  const bytes = Buffer.allocUnsafe(frameBytes(remainingLength));
  bytes[0] =
    firstByte | (packet.dup ? flag.dup : 0) | (qos << qosShift) | (packet.retain ? flag.retain : 0);
  let position = writeVariableByteInteger(bytes, 1, remainingLength);
  bytes[position] = topicBytes >>> 8;
  bytes[position + 1] = topicBytes & 0xff;
  position += 2;
  writeText(bytes, position, topic, topicBytes);
  position += topicBytes;
  let packetIdOffset = 0;
  if (qos !== 0) {
    packetIdOffset = position;
    bytes[position] = 0;
    bytes[position + 1] = 0;
    position += 2;
  }
  if (block !== undefined) block.copyTo(bytes, position);
  else if (version === 5) bytes[position] = 0;
  bytes.set(payload, position + propertyBytes);
  const expiryOffset = block === undefined ? 0 : expiryOffsetIn(bytes, position, packet.properties);
  return { bytes, packetIdOffset, expiryOffset, topic };
}

/** In the property list at `position`, where by the order of `publishTable` one other property may be before it. */
function expiryOffsetIn(bytes: Buffer, position: number, properties: PublishProperties): number {
  if (properties.messageExpiryInterval === undefined) return 0;
  const list = readVariableByteInteger(bytes, position).end;
  return list + (properties.payloadFormatIndicator === undefined ? 0 : payloadFormatBytes) + 1;
}

/** For an encoding that nobody shares. @throws SallyportError internal */
export function setPacketId(bytes: Buffer, offset: number, packetId: number): void {
  checkRange(packetId, 1, 0xffff, 'Packet Identifier');
  bytes[offset] = packetId >>> 8;
  bytes[offset + 1] = packetId & 0xff;
}

/** A copy of its own with `packetId` in it; not for QoS 0. @throws SallyportError internal */
export function withPacketId(encoded: EncodedPublish, packetId: number): Buffer {
  if (encoded.packetIdOffset === 0) throw unencodable('PUBLISH of QoS 0 has no identifier.');
  const bytes = Buffer.from(encoded.bytes);
  setPacketId(bytes, encoded.packetIdOffset, packetId);
  return bytes;
}

/** One PUBLISH for one receiver. @throws SallyportError internal */
export function encodeWholePublish(packet: Publish, version: ProtocolVersion): Buffer {
  const { bytes, packetIdOffset } = encodePublish(packet, version);
  if (packetIdOffset !== 0) setPacketId(bytes, packetIdOffset, packet.packetId);
  return bytes;
}
