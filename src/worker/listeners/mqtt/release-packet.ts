/** The packets that end a QoS 2 exchange, in both directions: MQTT 5 §3.6, §3.7. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { PublishResponse } from '../../../common/codec/mqtt/packets.ts';

/** PUBREL. */
export function releasePacket(packetId: number, reasonCode: number): PublishResponse {
  return { type: 'pubrel', packetId, reasonCode, properties: noProperties };
}

/** PUBCOMP. */
export function completePacket(packetId: number, reasonCode: number): PublishResponse {
  return { type: 'pubcomp', packetId, reasonCode, properties: noProperties };
}
