/**
 * A PUBLISH of MQTT 5 that is encoded already, with a property more: what differs from receiver to receiver is spliced
 * in, and topic, payload and the other properties are copied as they are. Properties have no order among different
 * names (MQTT 5.0 §2.2.2), so the new ones go first.
 */
import { byteAt } from '../byte-at.ts';
import {
  readVariableByteInteger,
  sizeOfVariableByteInteger,
  writeVariableByteInteger,
} from '../variable-byte-integer.ts';
import { checkRange, frameBytes } from '../writer.ts';
import { setPacketId, type EncodedPublish } from './publish.ts';

const topicAliasId = 0x23;
const subscriptionIdentifierId = 0x0b;

/** Bytes that a topic alias adds to a property list. */
export const topicAliasBytes = 3;

/**
 * For one receiver, in memory of its own (§3.3.2.3.4).
 *
 * @param setsAlias false: the alias stands for the topic, which is left out
 * @param packetId ignored for QoS 0
 * @throws SallyportError internal
 */
export function withTopicAlias(
  encoded: EncodedPublish,
  alias: number,
  setsAlias: boolean,
  packetId: number,
): Buffer {
  checkRange(alias, 1, 0xffff, 'Topic Alias');
  const { publish, at } = widened(encoded, topicAliasBytes, setsAlias);
  const { bytes, packetIdOffset } = publish;
  bytes[at] = topicAliasId;
  bytes[at + 1] = alias >>> 8;
  bytes[at + 2] = alias & 0xff;
  if (packetIdOffset !== 0) setPacketId(bytes, packetIdOffset, packetId);
  return bytes;
}

/** For all receivers whose subscriptions have these identifiers (§3.3.2.3.8), each of 1–268,435,455. */
export function withSubscriptionIdentifiers(
  encoded: EncodedPublish,
  identifiers: readonly number[],
): EncodedPublish {
  let more = 0;
  for (const identifier of identifiers) more += 1 + sizeOfVariableByteInteger(identifier);
  const { publish, at } = widened(encoded, more, true);
  let position = at;
  for (const identifier of identifiers) {
    publish.bytes[position] = subscriptionIdentifierId;
    position = writeVariableByteInteger(publish.bytes, position + 1, identifier);
  }
  return publish;
}

/** What has waited since it was encoded: `seconds` are left of its expiry, if it has one (§3.3.2.3.3) [MQTT-3.3.2-6]. */
export function withMessageExpiry(encoded: EncodedPublish, seconds: number): EncodedPublish {
  const { expiryOffset } = encoded;
  if (expiryOffset === 0 || encoded.bytes.readUInt32BE(expiryOffset) <= seconds) return encoded;
  const bytes = Buffer.from(encoded.bytes);
  bytes.writeUInt32BE(Math.max(0, seconds), expiryOffset);
  return { ...encoded, bytes };
}

interface Widened {
  readonly publish: EncodedPublish;
  /** Where the new properties go. */
  readonly at: number;
}

/** A copy whose property list begins with `more` bytes that are still to be written. */
function widened(encoded: EncodedPublish, more: number, keepsTopic: boolean): Widened {
  const { bytes, packetIdOffset, expiryOffset, topic } = encoded;
  const topicAt = readVariableByteInteger(bytes, 1).end;
  const topicBytes = (byteAt(bytes, topicAt) << 8) | byteAt(bytes, topicAt + 1);
  const listAt = topicAt + 2 + topicBytes + (packetIdOffset === 0 ? 0 : 2);
  const { value, end: listStart } = readVariableByteInteger(bytes, listAt);
  const headBytes = keepsTopic ? listAt - topicAt : listAt - topicAt - topicBytes;
  const listBytes = more + value;
  const remainingLength =
    headBytes + sizeOfVariableByteInteger(listBytes) + more + (bytes.length - listStart);

  const patched = Buffer.allocUnsafe(frameBytes(remainingLength));
  patched[0] = byteAt(bytes, 0);
  const headAt = writeVariableByteInteger(patched, 1, remainingLength);
  const headEnd = headAt + headBytes;
  if (keepsTopic) {
    bytes.copy(patched, headAt, topicAt, listAt);
  } else {
    // An empty topic; the packet identifier, if there is one, is set for each receiver.
    patched[headAt] = 0;
    patched[headAt + 1] = 0;
  }
  const at = writeVariableByteInteger(patched, headEnd, listBytes);
  bytes.copy(patched, at + more, listStart);
  const publish = {
    bytes: patched,
    packetIdOffset: packetIdOffset === 0 ? 0 : headEnd - 2,
    expiryOffset: expiryOffset === 0 ? 0 : expiryOffset - listStart + at + more,
    topic,
  };
  return { publish, at };
}
