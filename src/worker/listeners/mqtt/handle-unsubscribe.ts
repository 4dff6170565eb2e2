/** UNSUBSCRIBE: MQTT 5 §3.10, §3.11. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Unsubscribe } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { MqttPeer } from './peer.ts';
import type { Session } from './session.ts';

export function handleUnsubscribe(
  connection: MqttPeer,
  session: Session,
  packet: Unsubscribe,
): void {
  const reasonCodes = packet.topicFilters.map((filter) => {
    session.subscriptions.delete(filter);
    return connection.ports.broker.unsubscribe(session, filter)
      ? ReasonCode.success
      : ReasonCode.noSubscriptionExisted;
  });
  connection.send({
    type: 'unsuback',
    packetId: packet.packetId,
    reasonCodes: connection.version === 5 ? reasonCodes : [],
    properties: noProperties,
  });
}
