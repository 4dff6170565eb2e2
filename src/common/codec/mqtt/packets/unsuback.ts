/** UNSUBACK: MQTT 5.0 §3.11, MQTT 3.1.1 §3.11. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type ProtocolVersion, type Unsuback } from '../packets.ts';
import { decodeProperties, encodeProperties, reasonTable } from '../properties.ts';
import { malformed } from '../protocol-error.ts';
import { checkReasonCode, unsubackCodes } from '../reason-code-tables.ts';
import { unencodable, type Writer } from '../writer.ts';
import { readPacketId } from './publish.ts';

/** @throws MqttProtocolError 0x81, 0x82, 0x97 */
export function decodeUnsuback(cursor: Cursor, context: DecodeContext): Unsuback {
  const packetId = readPacketId(cursor);
  if (context.version === 4) {
    return { type: 'unsuback', packetId, reasonCodes: [], properties: noProperties };
  }
  const properties = decodeProperties(cursor, reasonTable, context);
  if (cursor.remaining === 0) throw malformed('UNSUBACK has no reason code.', 'MQTT-3.11.3-1');
  const reasonCodes: number[] = [];
  while (cursor.remaining > 0) {
    reasonCodes.push(checkReasonCode(cursor.u8(), unsubackCodes, context));
  }
  return { type: 'unsuback', packetId, reasonCodes, properties };
}

/** In 3.1.1 reason codes are left out: it has no payload. */
export function encodeUnsuback(packet: Unsuback, version: ProtocolVersion, writer: Writer): void {
  writer.packetId(packet.packetId);
  if (version === 4) return;
  if (packet.reasonCodes.length === 0) throw unencodable('UNSUBACK needs a reason code.');
  encodeProperties(writer, reasonTable, packet.properties);
  for (const code of packet.reasonCodes) writer.u8(code);
}
