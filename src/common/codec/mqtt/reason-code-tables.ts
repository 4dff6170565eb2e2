/** Which reason code may stand in which packet, and who may send it. */
import { senderOf, type DecodeContext, type Role } from './decode-context.ts';
import { violation } from './protocol-error.ts';

export interface ReasonCodeTable {
  readonly statement: string;
  readonly client: ReadonlySet<number>;
  readonly server: ReadonlySet<number>;
}

function table(
  statement: string,
  codes: { readonly both?: readonly number[] } & { readonly [Sender in Role]?: readonly number[] },
): ReasonCodeTable {
  const both = codes.both ?? [];
  return {
    statement,
    client: new Set([...both, ...(codes.client ?? [])]),
    server: new Set([...both, ...(codes.server ?? [])]),
  };
}

/** MQTT 5.0 Table 3-1. */
export const connackCodes = table('MQTT-3.2.2-8', {
  server: [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
  ],
});

/** MQTT 3.1.1 Table 3.1. */
export const connackReturnCodes = table('', { server: [0, 1, 2, 3, 4, 5] });

const acknowledgement = {
  both: [0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
  // No Matching Subscribers is the server's to know.
  server: [0x10],
};
/** MQTT 5.0 Tables 3-4, 3-5, 3-6 and 3-7. */
export const pubackCodes = table('MQTT-3.4.2-1', acknowledgement);
export const pubrecCodes = table('MQTT-3.5.2-1', acknowledgement);
export const pubrelCodes = table('MQTT-3.6.2-1', { both: [0x00, 0x92] });
export const pubcompCodes = table('MQTT-3.7.2-1', { both: [0x00, 0x92] });

/** MQTT 5.0 Table 3-8. */
export const subackCodes = table('MQTT-3.9.3-2', {
  server: [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
});

/** MQTT 3.1.1 §3.9.3. */
export const subackReturnCodes = table('MQTT-3.9.3-2', { server: [0x00, 0x01, 0x02, 0x80] });

/** MQTT 5.0 Table 3-9. */
export const unsubackCodes = table('MQTT-3.11.3-2', {
  server: [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
});

/** MQTT 5.0 Table 3-10, and 0x8C, which Table 2-6 gives to DISCONNECT as well. */
export const disconnectCodes = table('MQTT-3.14.2-1', {
  both: [0x00, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99],
  client: [0x04],
  server: [
    0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
  ],
});

/** MQTT 5.0 Table 3-11. */
export const authCodes = table('MQTT-3.15.2-1', { both: [0x18], client: [0x19], server: [0x00] });

/** @throws MqttProtocolError 0x82 when the peer may not send `reasonCode` in the packet of `codes` */
export function checkReasonCode(
  reasonCode: number,
  codes: ReasonCodeTable,
  context: DecodeContext,
): number {
  const sender = senderOf(context);
  if (codes[sender].has(reasonCode)) return reasonCode;
  const code = `0x${reasonCode.toString(16)}`;
  throw violation(`A ${sender} may not send reason code ${code} in this packet.`, codes.statement);
}
