/** SUBSCRIBE: MQTT 5.0 §3.8, MQTT 3.1.1 §3.8. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import {
  noProperties,
  type ProtocolVersion,
  type QoS,
  type Subscribe,
  type Subscription,
} from '../packets.ts';
import { decodeProperties, encodeProperties, subscribeTable } from '../properties.ts';
import { malformed, violation } from '../protocol-error.ts';
import { readTopicFilter } from '../topic-fields.ts';
import { isShared } from '../topics.ts';
import { unencodable, type Writer } from '../writer.ts';
import { readPacketId } from './publish.ts';

const option = { qos: 0x03, noLocal: 0x04, retainAsPublished: 0x08, reserved: 0xc0 } as const;
const retainHandlingShift = 4;

function readQos(options: number, version: ProtocolVersion | undefined): QoS {
  const qos = options & option.qos;
  if (qos === 3) {
    if (version === 4) throw malformed('A requested QoS is 3.', 'MQTT-3.8.3-4');
    throw violation('A requested QoS is 3.');
  }
  // Two bits without 3 leave 0, 1 and 2.
  return qos as QoS;
}

function readSubscription(cursor: Cursor, context: DecodeContext): Subscription {
  const topicFilter = readTopicFilter(cursor, context);
  const options = cursor.u8();
  const qos = readQos(options, context.version);
  if (context.version === 4) {
    if (options !== qos) throw malformed('Reserved bits beside the QoS are set.', 'MQTT-3.8.3-4');
    return { topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 };
  }
  if ((options & option.reserved) !== 0) {
    throw malformed('Reserved subscription options are set.', 'MQTT-3.8.3-5');
  }
  const retainHandling = options >>> retainHandlingShift;
  if (retainHandling !== 0 && retainHandling !== 1 && retainHandling !== 2) {
    throw violation('Retain Handling is 3.');
  }
  const noLocal = (options & option.noLocal) !== 0;
  if (noLocal && isShared(topicFilter)) {
    throw violation('No Local on a shared subscription.', 'MQTT-3.8.3-4');
  }
  const retainAsPublished = (options & option.retainAsPublished) !== 0;
  return { topicFilter, qos, noLocal, retainAsPublished, retainHandling };
}

/** @throws MqttProtocolError 0x81, 0x82, 0x8F, 0x97 */
export function decodeSubscribe(cursor: Cursor, context: DecodeContext): Subscribe {
  const packetId = readPacketId(cursor);
  const properties =
    context.version === 5 ? decodeProperties(cursor, subscribeTable, context) : noProperties;
  if (cursor.remaining === 0) throw violation('SUBSCRIBE has no topic filter.', 'MQTT-3.8.3-2');
  const subscriptions: Subscription[] = [];
  while (cursor.remaining > 0) subscriptions.push(readSubscription(cursor, context));
  return { type: 'subscribe', packetId, subscriptions, properties };
}

function optionsOf(subscription: Subscription, version: ProtocolVersion): number {
  if (version === 4) return subscription.qos;
  return (
    subscription.qos |
    (subscription.noLocal ? option.noLocal : 0) |
    (subscription.retainAsPublished ? option.retainAsPublished : 0) |
    (subscription.retainHandling << retainHandlingShift)
  );
}

export function encodeSubscribe(packet: Subscribe, version: ProtocolVersion, writer: Writer): void {
  if (packet.subscriptions.length === 0) throw unencodable('SUBSCRIBE needs a topic filter.');
  writer.packetId(packet.packetId);
  if (version === 5) encodeProperties(writer, subscribeTable, packet.properties);
  for (const subscription of packet.subscriptions) {
    writer.utf8(subscription.topicFilter);
    writer.u8(optionsOf(subscription, version));
  }
}
