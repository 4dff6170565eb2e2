/** SUBACK: MQTT 5.0 §3.9, MQTT 3.1.1 §3.9. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type ProtocolVersion, type Suback } from '../packets.ts';
import { decodeProperties, encodeProperties, reasonTable } from '../properties.ts';
import { malformed } from '../protocol-error.ts';
import { checkReasonCode, subackCodes, subackReturnCodes } from '../reason-code-tables.ts';
import { ReasonCode } from '../reason-codes.ts';
import { unencodable, type Writer } from '../writer.ts';
import { readPacketId } from './publish.ts';

/** @throws MqttProtocolError 0x81, 0x82, 0x97 */
export function decodeSuback(cursor: Cursor, context: DecodeContext): Suback {
  const packetId = readPacketId(cursor);
  const properties =
    context.version === 5 ? decodeProperties(cursor, reasonTable, context) : noProperties;
  if (cursor.remaining === 0) throw malformed('SUBACK has no reason code.', 'MQTT-3.9.3-1');
  const codes = context.version === 5 ? subackCodes : subackReturnCodes;
  const reasonCodes: number[] = [];
  while (cursor.remaining > 0) reasonCodes.push(checkReasonCode(cursor.u8(), codes, context));
  return { type: 'suback', packetId, reasonCodes, properties };
}

/** In 3.1.1, which has one failure code, every refusal becomes 0x80. */
export function encodeSuback(packet: Suback, version: ProtocolVersion, writer: Writer): void {
  if (packet.reasonCodes.length === 0) throw unencodable('SUBACK needs a reason code.');
  writer.packetId(packet.packetId);
  if (version === 5) encodeProperties(writer, reasonTable, packet.properties);
  for (const code of packet.reasonCodes) {
    writer.u8(version === 4 ? Math.min(code, ReasonCode.unspecifiedError) : code);
  }
}
