/** CONNACK: MQTT 5.0 §3.2, MQTT 3.1.1 §3.2. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type Connack, type ProtocolVersion } from '../packets.ts';
import { connackTable, decodeProperties, encodeProperties } from '../properties.ts';
import { malformed, violation } from '../protocol-error.ts';
import { checkReasonCode, connackCodes, connackReturnCodes } from '../reason-code-tables.ts';
import { checkRange, type Writer } from '../writer.ts';

/** @throws MqttProtocolError 0x81, 0x82, 0x97 */
export function decodeConnack(cursor: Cursor, context: DecodeContext): Connack {
  const acknowledgeFlags = cursor.u8();
  if (acknowledgeFlags > 1) {
    throw malformed('Reserved bits of the acknowledge flags are set.', 'MQTT-3.2.2-1');
  }
  const codes = context.version === 5 ? connackCodes : connackReturnCodes;
  const reasonCode = checkReasonCode(cursor.u8(), codes, context);
  const sessionPresent = acknowledgeFlags === 1;
  if (sessionPresent && reasonCode !== 0) {
    throw violation('A refusal has Session Present set.', 'MQTT-3.2.2-6');
  }
  const properties =
    context.version === 5 ? decodeProperties(cursor, connackTable, context) : noProperties;
  return { type: 'connack', sessionPresent, reasonCode, properties };
}

export function encodeConnack(packet: Connack, version: ProtocolVersion, writer: Writer): void {
  writer.u8(packet.sessionPresent ? 1 : 0);
  if (version === 4) {
    writer.u8(checkRange(packet.reasonCode, 0, 5, 'CONNACK return code'));
    return;
  }
  writer.u8(packet.reasonCode);
  encodeProperties(writer, connackTable, packet.properties);
}
