/** DISCONNECT: MQTT 5.0 §3.14, MQTT 3.1.1 §3.14. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type Disconnect, type ProtocolVersion } from '../packets.ts';
import { decodeProperties, disconnectTable, encodeProperties, isEmpty } from '../properties.ts';
import { checkReasonCode, disconnectCodes } from '../reason-code-tables.ts';
import { ReasonCode } from '../reason-codes.ts';
import { unencodable, type Writer } from '../writer.ts';

/** Reason code and property list may be left out from the end (§3.14.2.1). @throws MqttProtocolError 0x81, 0x82, 0x97 */
export function decodeDisconnect(cursor: Cursor, context: DecodeContext): Disconnect {
  if (context.version === 4 || cursor.remaining === 0) {
    return {
      type: 'disconnect',
      reasonCode: ReasonCode.normalDisconnection,
      properties: noProperties,
    };
  }
  const reasonCode = checkReasonCode(cursor.u8(), disconnectCodes, context);
  const properties =
    cursor.remaining === 0 ? noProperties : decodeProperties(cursor, disconnectTable, context);
  return { type: 'disconnect', reasonCode, properties };
}

/** 3.1.1 knows only a client's normal DISCONNECT; a server just closes. @throws SallyportError internal */
export function encodeDisconnect(
  packet: Disconnect,
  version: ProtocolVersion,
  writer: Writer,
): void {
  const { reasonCode } = packet;
  if (version === 4) {
    if (reasonCode === ReasonCode.normalDisconnection) return;
    throw unencodable('MQTT 3.1.1 has no DISCONNECT with a reason.');
  }
  const bare = isEmpty(packet.properties);
  if (bare && reasonCode === ReasonCode.normalDisconnection) return;
  writer.u8(reasonCode);
  if (!bare) encodeProperties(writer, disconnectTable, packet.properties);
}
