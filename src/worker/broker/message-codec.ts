/**
 * A message as bytes, for records at rest and for the way to another worker.
 *
 *   u8 version | u8 flags | u8 properties present | f64 expiry, if any | topic | publisher | publisher's session |
 *   the properties, in the order of their bits | version 2: the delivery | payload: the rest
 *
 * The delivery: u8 times handed on | u8 whether it has an id | the id, if any | u32 picks | of each pick: subscription |
 * session | u8 flags | u16 slot, if any. Texts and binary fields carry a u32 length before them. A message without a
 * delivery, as it is stored, is written as version 1.
 */
import { SallyportError } from '../../common/base/errors.ts';
import { parsePrincipalName } from '../../common/base/principal.ts';
import type { MessageProperties, QoS, UserProperty } from '../../common/codec/mqtt/packets.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { Delivery, Message, SharedPick } from './message.ts';

const version = { plain: 1, delivery: 2 } as const;

const flag = { qos: 0x03, retain: 0x04, expires: 0x08, known: 0x0f } as const;
const property = {
  payloadFormatIndicator: 0x01,
  messageExpiryInterval: 0x02,
  contentType: 0x04,
  responseTopic: 0x08,
  correlationData: 0x10,
  userProperties: 0x20,
  known: 0x3f,
} as const;
const pickFlag = { queued: 0x01, slot: 0x02, known: 0x03 } as const;

const lengthBytes = 4;
const fixedBytes = 3;
const expiryBytes = 8;
const slotBytes = 2;

export function encodeMessage(message: Message): Buffer {
  const { delivery } = message;
  const texts = [message.topic, message.publisher, message.publisherSession];
  const bytes =
    fixedBytes +
    (message.expiresAt === undefined ? 0 : expiryBytes) +
    texts.reduce((sum, text) => sum + textBytes(text), 0) +
    propertiesBytes(message.properties) +
    (delivery === undefined ? 0 : deliveryBytes(delivery)) +
    message.payload.length;
  const writer = new FieldWriter(bytes);
  writer.u8(delivery === undefined ? version.plain : version.delivery);
  const expires = message.expiresAt === undefined ? 0 : flag.expires;
  writer.u8(message.qos | (message.retain ? flag.retain : 0) | expires);
  writer.u8(presentBits(message.properties));
  if (message.expiresAt !== undefined) writer.f64(message.expiresAt);
  for (const text of texts) writer.text(text);
  writeProperties(writer, message.properties);
  if (delivery !== undefined) writeDelivery(writer, delivery);
  writer.rest(message.payload);
  return writer.buffer;
}

/**
 * @param bytes MUST NOT change as long as the message lives: payload and correlation data are slices of it.
 * @throws SallyportError `invalid-frame`
 */
export function decodeMessage(bytes: Buffer): Message {
  const reader = new FieldReader(bytes);
  const written = reader.u8();
  if (written !== version.plain && written !== version.delivery) {
    throw invalid(`message version ${written}`);
  }
  const flags = reader.u8();
  const present = reader.u8();
  const qos = flags & flag.qos;
  if (!isQoS(qos) || (flags & ~flag.known) !== 0 || (present & ~property.known) !== 0) {
    throw invalid('message with unknown flags');
  }
  const expiresAt = (flags & flag.expires) === 0 ? undefined : reader.f64();
  const topic = reader.text();
  const publisher = parsePrincipalName(reader.text())?.name;
  if (publisher === undefined) throw invalid('message without a publisher');
  const publisherSession = reader.text();
  const properties = present === 0 ? noProperties : readProperties(reader, present);
  const delivery = written === version.plain ? undefined : readDelivery(reader);
  return {
    topic,
    payload: reader.rest(),
    qos,
    retain: (flags & flag.retain) !== 0,
    properties,
    publisher,
    publisherSession,
    expiresAt,
    delivery,
  };
}

function isQoS(value: number): value is QoS {
  return value === 0 || value === 1 || value === 2;
}

function presentBits(properties: MessageProperties): number {
  if (properties === noProperties) return 0;
  return (
    (properties.payloadFormatIndicator === undefined ? 0 : property.payloadFormatIndicator) |
    (properties.messageExpiryInterval === undefined ? 0 : property.messageExpiryInterval) |
    (properties.contentType === undefined ? 0 : property.contentType) |
    (properties.responseTopic === undefined ? 0 : property.responseTopic) |
    (properties.correlationData === undefined ? 0 : property.correlationData) |
    (properties.userProperties === undefined ? 0 : property.userProperties)
  );
}

function propertiesBytes(properties: MessageProperties): number {
  if (properties === noProperties) return 0;
  let bytes = 0;
  if (properties.payloadFormatIndicator !== undefined) bytes += 1;
  if (properties.messageExpiryInterval !== undefined) bytes += 4;
  if (properties.contentType !== undefined) bytes += textBytes(properties.contentType);
  if (properties.responseTopic !== undefined) bytes += textBytes(properties.responseTopic);
  if (properties.correlationData !== undefined) {
    bytes += lengthBytes + properties.correlationData.length;
  }
  if (properties.userProperties !== undefined) {
    bytes += lengthBytes;
    for (const [name, value] of properties.userProperties) {
      bytes += textBytes(name) + textBytes(value);
    }
  }
  return bytes;
}

function writeProperties(writer: FieldWriter, properties: MessageProperties): void {
  if (properties.payloadFormatIndicator !== undefined) writer.u8(properties.payloadFormatIndicator);
  if (properties.messageExpiryInterval !== undefined) writer.u32(properties.messageExpiryInterval);
  if (properties.contentType !== undefined) writer.text(properties.contentType);
  if (properties.responseTopic !== undefined) writer.text(properties.responseTopic);
  if (properties.correlationData !== undefined) writer.binary(properties.correlationData);
  if (properties.userProperties === undefined) return;
  writer.u32(properties.userProperties.length);
  for (const [name, value] of properties.userProperties) {
    writer.text(name);
    writer.text(value);
  }
}

type Open<T> = { -readonly [K in keyof T]: T[K] };

function readProperties(reader: FieldReader, present: number): MessageProperties {
  const properties: Open<MessageProperties> = {};
  if ((present & property.payloadFormatIndicator) !== 0) {
    properties.payloadFormatIndicator = reader.u8() === 0 ? 0 : 1;
  }
  if ((present & property.messageExpiryInterval) !== 0) {
    properties.messageExpiryInterval = reader.u32();
  }
  if ((present & property.contentType) !== 0) properties.contentType = reader.text();
  if ((present & property.responseTopic) !== 0) properties.responseTopic = reader.text();
  if ((present & property.correlationData) !== 0) properties.correlationData = reader.binary();
  if ((present & property.userProperties) !== 0) {
    const count = reader.u32();
    const pairs: UserProperty[] = [];
    // The count is only believed as far as there are bytes: each pair takes some.
    for (let i = 0; i < count; i += 1) pairs.push([reader.text(), reader.text()]);
    properties.userProperties = pairs;
  }
  return properties;
}

function deliveryBytes({ id, picks }: Delivery): number {
  let bytes = 2 + (id === undefined ? 0 : textBytes(id)) + lengthBytes;
  for (const { subscription, to, slot } of picks) {
    bytes += textBytes(subscription) + textBytes(to) + 1 + (slot === undefined ? 0 : slotBytes);
  }
  return bytes;
}

function writeDelivery(writer: FieldWriter, { id, picks, handedOn }: Delivery): void {
  writer.u8(handedOn);
  writer.u8(id === undefined ? 0 : 1);
  if (id !== undefined) writer.text(id);
  writer.u32(picks.length);
  for (const { subscription, to, slot, queued } of picks) {
    writer.text(subscription);
    writer.text(to);
    writer.u8((queued ? pickFlag.queued : 0) | (slot === undefined ? 0 : pickFlag.slot));
    if (slot !== undefined) writer.u16(slot);
  }
}

function readDelivery(reader: FieldReader): Delivery {
  const handedOn = reader.u8();
  const id = reader.u8() === 0 ? undefined : reader.text();
  const count = reader.u32();
  const picks: SharedPick[] = [];
  // Believed as the count of user properties is.
  for (let i = 0; i < count; i += 1) picks.push(readPick(reader));
  return { id, picks, handedOn };
}

function readPick(reader: FieldReader): SharedPick {
  const subscription = reader.text();
  const to = reader.text();
  const flags = reader.u8();
  if ((flags & ~pickFlag.known) !== 0) throw invalid('pick with unknown flags');
  const slot = (flags & pickFlag.slot) === 0 ? undefined : reader.u16();
  return { subscription, to, slot, queued: (flags & pickFlag.queued) !== 0 };
}

function textBytes(text: string): number {
  return lengthBytes + Buffer.byteLength(text);
}

function invalid(message: string): SallyportError {
  return new SallyportError('invalid-frame', message);
}

class FieldWriter {
  readonly buffer: Buffer;
  #at = 0;

  constructor(bytes: number) {
    this.buffer = Buffer.allocUnsafe(bytes);
  }

  u8(value: number): void {
    this.#at = this.buffer.writeUInt8(value, this.#at);
  }

  u16(value: number): void {
    this.#at = this.buffer.writeUInt16BE(value, this.#at);
  }

  u32(value: number): void {
    this.#at = this.buffer.writeUInt32BE(value, this.#at);
  }

  f64(value: number): void {
    this.#at = this.buffer.writeDoubleBE(value, this.#at);
  }

  text(text: string): void {
    const bytes = this.buffer.write(text, this.#at + lengthBytes);
    this.u32(bytes);
    this.#at += bytes;
  }

  binary(value: Buffer): void {
    this.u32(value.length);
    this.rest(value);
  }

  rest(value: Buffer): void {
    this.buffer.set(value, this.#at);
    this.#at += value.length;
  }
}

class FieldReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16BE(this.#take(slotBytes));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  f64(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  text(): string {
    const length = this.u32();
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  binary(): Buffer {
    const length = this.u32();
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  rest(): Buffer {
    return this.#bytes.subarray(this.#take(this.#bytes.length - this.#at));
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw invalid('message cut short');
    this.#at = start + length;
    return start;
  }
}
