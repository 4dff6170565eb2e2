/** UNSUBSCRIBE: MQTT 5 §3.10, §3.11. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Unsubscribe } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { MqttPeer } from './peer.ts';
import type { Session } from './session.ts';

export async function handleUnsubscribe(
  connection: MqttPeer,
  session: Session,
  packet: Unsubscribe,
): Promise<void> {
  const dropped = new Set<string>();
  // Compared as they are written, character by character (MQTT-3.10.4-1); of two alike the second finds nothing.
  const reasonCodes = packet.topicFilters.map((filter) => {
    if (dropped.has(filter) || !session.subscriptions.has(filter)) {
      return ReasonCode.noSubscriptionExisted;
    }
    dropped.add(filter);
    return ReasonCode.success;
  });
  // From its UNSUBACK on nothing more is queued for it, on any worker (MQTT-3.10.4-2).
  if (dropped.size > 0) await session.dropSubscriptions([...dropped]);
  connection.send({
    type: 'unsuback',
    packetId: packet.packetId,
    reasonCodes: connection.version === 5 ? reasonCodes : [],
    properties: noProperties,
  });
}
