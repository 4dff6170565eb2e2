/** UNSUBSCRIBE: MQTT 5.0 §3.10, MQTT 3.1.1 §3.10. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type ProtocolVersion, type Unsubscribe } from '../packets.ts';
import { decodeProperties, encodeProperties, unsubscribeTable } from '../properties.ts';
import { violation } from '../protocol-error.ts';
import { readTopicFilter } from '../topic-fields.ts';
import { unencodable, type Writer } from '../writer.ts';
import { readPacketId } from './publish.ts';

/** @throws MqttProtocolError 0x81, 0x82, 0x8F, 0x97 */
export function decodeUnsubscribe(cursor: Cursor, context: DecodeContext): Unsubscribe {
  const packetId = readPacketId(cursor);
  const properties =
    context.version === 5 ? decodeProperties(cursor, unsubscribeTable, context) : noProperties;
  if (cursor.remaining === 0) throw violation('UNSUBSCRIBE has no topic filter.', 'MQTT-3.10.3-2');
  const topicFilters: string[] = [];
  while (cursor.remaining > 0) topicFilters.push(readTopicFilter(cursor, context));
  return { type: 'unsubscribe', packetId, topicFilters, properties };
}

export function encodeUnsubscribe(
  packet: Unsubscribe,
  version: ProtocolVersion,
  writer: Writer,
): void {
  if (packet.topicFilters.length === 0) throw unencodable('UNSUBSCRIBE needs a topic filter.');
  writer.packetId(packet.packetId);
  if (version === 5) encodeProperties(writer, unsubscribeTable, packet.properties);
  for (const filter of packet.topicFilters) writer.utf8(filter);
}
