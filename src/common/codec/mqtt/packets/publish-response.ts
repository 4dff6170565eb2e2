/** PUBACK, PUBREC, PUBREL and PUBCOMP: MQTT 5.0 §3.4–§3.7, MQTT 3.1.1 §3.4–§3.7. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import { noProperties, type ProtocolVersion, type PublishResponse } from '../packets.ts';
import { decodeProperties, encodeProperties, isEmpty, reasonTable } from '../properties.ts';
import {
  checkReasonCode,
  pubackCodes,
  pubcompCodes,
  pubrecCodes,
  pubrelCodes,
} from '../reason-code-tables.ts';
import { ReasonCode } from '../reason-codes.ts';
import { unencodable, type Writer } from '../writer.ts';
import { readPacketId } from './publish.ts';

const codesOf = {
  puback: pubackCodes,
  pubrec: pubrecCodes,
  pubrel: pubrelCodes,
  pubcomp: pubcompCodes,
} as const;

/** Reason code and property list may be left out from the end (§3.4.2.1). @throws MqttProtocolError 0x81, 0x82, 0x97 */
export function decodePublishResponse(
  cursor: Cursor,
  context: DecodeContext,
  type: PublishResponse['type'],
): PublishResponse {
  const packetId = readPacketId(cursor);
  const short = context.version === 4 || cursor.remaining === 0;
  if (short) return { type, packetId, reasonCode: ReasonCode.success, properties: noProperties };
  const reasonCode = checkReasonCode(cursor.u8(), codesOf[type], context);
  const properties =
    cursor.remaining === 0 ? noProperties : decodeProperties(cursor, reasonTable, context);
  return { type, packetId, reasonCode, properties };
}

/**
 * A PUBACK or PUBREC that refuses cannot be said in 3.1.1, where it would acknowledge what was refused; PUBREL and
 * PUBCOMP for an unknown identifier (0x92) are what 3.1.1 sends too, without saying why.
 *
 * @throws SallyportError internal
 */
export function encodePublishResponse(
  packet: PublishResponse,
  version: ProtocolVersion,
  writer: Writer,
): void {
  const { reasonCode } = packet;
  writer.packetId(packet.packetId);
  if (version === 4) {
    const acknowledges = packet.type === 'puback' || packet.type === 'pubrec';
    if (acknowledges && reasonCode >= ReasonCode.unspecifiedError) {
      throw unencodable(`MQTT 3.1.1 has no ${packet.type} that refuses.`);
    }
    return;
  }
  const bare = isEmpty(packet.properties);
  if (bare && reasonCode === ReasonCode.success) return;
  writer.u8(reasonCode);
  if (!bare) encodeProperties(writer, reasonTable, packet.properties);
}
