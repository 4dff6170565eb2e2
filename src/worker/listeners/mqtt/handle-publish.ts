/** PUBLISH from a client: MQTT 5 §3.3, §4.3; judged by the policy, handed to the broker, acknowledged. */
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Publish } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { Message } from '../../broker/message.ts';
import type { Decision, Deny } from '../../policy/decision.ts';
import { deny } from '../../policy/decision.ts';
import type { MqttPeer } from './peer.ts';
import type { Session } from './session.ts';
import { expiryOf, factsOf, ownedProperties } from './will.ts';
import { wireReasons } from './wire.ts';

/** How often a 3.1.1 client that is too fast is judged again while its reading is paused. */
const rateRetryMs = 50;

export function handlePublish(
  connection: MqttPeer,
  session: Session,
  packet: Publish,
): Promise<void> | undefined {
  if (packet.qos === 2) {
    connection.disconnect(ReasonCode.qosNotSupported, 'QoS 2 is not supported');
    return undefined;
  }
  if (packet.properties.topicAlias !== undefined) {
    connection.disconnect(ReasonCode.topicAliasInvalid, 'topic aliases were not offered');
    return undefined;
  }
  connection.ports.count('mqtt_messages_in');
  const message = messageOfPublish(connection, session, packet);
  const decision = session.boundPublish(message.topic).decide(factsOf(message));
  if (decision instanceof Promise) {
    return decision.then((settled) => decided(connection, session, packet, message, settled));
  }
  return decided(connection, session, packet, message, decision);
}

function messageOfPublish(connection: MqttPeer, session: Session, packet: Publish): Message {
  const { topicAlias: _, subscriptionIdentifiers: __, ...properties } = packet.properties;
  return {
    topic: packet.topic,
    payload: Buffer.from(packet.payload),
    qos: packet.qos,
    retain: packet.retain,
    properties: packet.properties === noProperties ? noProperties : ownedProperties(properties),
    publisher: session.principal,
    publisherSession: session.key,
    expiresAt: expiryOf(packet.properties, connection.ports.clock.now()),
  };
}

function decided(
  connection: MqttPeer,
  session: Session,
  packet: Publish,
  message: Message,
  decision: Decision,
): Promise<void> | undefined {
  if (connection.isClosed()) return undefined;
  if (decision.allowed) return accept(connection, session, packet, message);
  if (decision.code === 'rate' && connection.version === 4) {
    return slowDown(connection, session, packet, message);
  }
  refuse(connection, session, packet, decision);
  return undefined;
}

function accept(
  connection: MqttPeer,
  session: Session,
  packet: Publish,
  message: Message,
): Promise<void> | undefined {
  session.refusedInARow = 0;
  const { ports } = connection;
  if (ports.logger.isLevelEnabled('debug')) {
    ports.logger.debug(fieldsOf(connection, session, packet), 'accepted');
  }
  if (!message.retain) {
    acknowledge(connection, packet, ports.broker.publish(message));
    return undefined;
  }
  return ports.retained.put(message).then(
    () => acknowledge(connection, packet, ports.broker.publish(message)),
    (error: unknown) => {
      const code =
        error instanceof SallyportError && error.code === 'quota' ? 'quota' : 'unavailable';
      refuse(connection, session, packet, deny(code, 'retained', messageOf(error)));
    },
  );
}

function acknowledge(connection: MqttPeer, packet: Publish, recipients: number): void {
  if (packet.qos === 0) return;
  connection.send({
    type: 'puback',
    packetId: packet.packetId,
    reasonCode: recipients > 0 ? ReasonCode.success : ReasonCode.noMatchingSubscribers,
    properties: noProperties,
  });
}

/** MQTT 3.1.1 cannot say "slow down": its reading is paused until the message fits, up to a bound, then it is closed. */
async function slowDown(
  connection: MqttPeer,
  session: Session,
  packet: Publish,
  message: Message,
): Promise<void> {
  const { clock, limits } = connection.ports;
  const until = clock.monotonic() + limits().ratePauseMs;
  connection.ports.count('mqtt_rate_pauses');
  while (clock.monotonic() < until && !connection.isClosed()) {
    await new Promise<void>((resolve) => setTimeout(resolve, rateRetryMs));
    const decision = await session.boundPublish(message.topic).decide(factsOf(message));
    if (connection.isClosed()) return;
    if (decision.allowed) return accept(connection, session, packet, message);
    if (decision.code !== 'rate') return refuse(connection, session, packet, decision);
  }
  if (!connection.isClosed()) connection.endFor('rate', 'too fast for too long');
}

function refuse(connection: MqttPeer, session: Session, packet: Publish, decision: Deny): void {
  const { ports, version } = connection;
  const wire = wireReasons[decision.code];
  if (version === 4 || wire.puback5 === undefined) {
    connection.endFor(decision.code, decision.detail);
    return;
  }
  ports.count(`refused{code="${decision.code}"}`);
  connection.log(
    {
      ...fieldsOf(connection, session, packet),
      code: decision.code,
      row: decision.row,
      detail: decision.detail,
    },
    'refused',
  );
  if (decision.code === 'rate') {
    session.refusedInARow += 1;
    if (session.refusedInARow > ports.limits().rateRefusals) {
      connection.endFor('rate', 'too fast for too long');
      return;
    }
  }
  if (packet.qos === 0) return;
  connection.send({
    type: 'puback',
    packetId: packet.packetId,
    reasonCode: wire.puback5,
    properties: noProperties,
  });
}

function fieldsOf(connection: MqttPeer, session: Session, packet: Publish): object {
  return {
    ssl_client_s_dn: connection.subject,
    principal: session.principal,
    action: 'publish',
    resource: packet.topic,
    bytes: packet.payload.length,
    qos: packet.qos,
  };
}
