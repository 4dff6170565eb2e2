/** AUTH: MQTT 5.0 §3.15. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type Auth } from '../packets.ts';
import { authTable, decodeProperties, encodeProperties, isEmpty } from '../properties.ts';
import { violation } from '../protocol-error.ts';
import { authCodes, checkReasonCode } from '../reason-code-tables.ts';
import { ReasonCode } from '../reason-codes.ts';
import type { Writer } from '../writer.ts';

/** An empty body is success, which only a server says (§3.15.2.1). @throws MqttProtocolError 0x81, 0x82, 0x97 */
export function decodeAuth(cursor: Cursor, context: DecodeContext): Auth {
  if (cursor.remaining === 0) {
    const reasonCode = checkReasonCode(ReasonCode.success, authCodes, context);
    return { type: 'auth', reasonCode, properties: noProperties };
  }
  const reasonCode = checkReasonCode(cursor.u8(), authCodes, context);
  const properties = decodeProperties(cursor, authTable, context);
  if (properties.authenticationMethod === undefined) {
    throw violation('AUTH without an authentication method.');
  }
  return { type: 'auth', reasonCode, properties };
}

export function encodeAuth(packet: Auth, writer: Writer): void {
  if (packet.reasonCode === ReasonCode.success && isEmpty(packet.properties)) return;
  writer.u8(packet.reasonCode);
  encodeProperties(writer, authTable, packet.properties);
}
