/** PUBLISH from a client: MQTT 5 §3.3, §4.3; judged by the policy, made durable, published, acknowledged. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Publish, PublishProperties } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { Message } from '../../broker/message.ts';
import type { Decision, Deny } from '../../policy/decision.ts';
import type { MessageFacts } from '../../policy/entry.ts';
import { passOn } from './fan-out.ts';
import {
  acknowledge,
  answerAgain,
  answering,
  describe,
  fieldsOf,
  refuse,
} from './answer-publish.ts';
import { formatProblem } from './payload-format.ts';
import type { MqttPeer } from './peer.ts';
import type { Session } from './session.ts';
import { expiryOf, factsOf, ownedProperties } from './will.ts';

/** How often a 3.1.1 client that is too fast is judged again while its reading is paused. */
const rateRetryMs = 50;

export function handlePublish(
  connection: MqttPeer,
  session: Session,
  received: Publish,
): Promise<void> | undefined {
  const packet = withTopic(connection, received);
  if (packet === undefined) return undefined;
  if (packet.qos > 0 && !isNew(connection, session, packet)) return undefined;
  connection.ports.count('mqtt_messages_in');
  const decision = session
    .boundPublish(packet.topic)
    .decide(signedFactsOf(connection, session, packet));
  if (decision instanceof Promise) {
    const message = owned(messageOfPublish(connection, session, packet));
    return decision.then((settled) => decided(connection, session, packet, message, settled));
  }
  const message = messageOfPublish(connection, session, packet);
  const { sendable } = connection;
  if (sendable !== undefined) passOn(message, connection.version, sendable);
  return decided(connection, session, packet, message, decision);
}

/** @returns undefined when its topic alias stands for nothing: the connection has been ended. */
function withTopic(connection: MqttPeer, packet: Publish): Publish | undefined {
  if (packet.properties.topicAlias === undefined) return packet;
  const expanded = connection.receivedAliases?.expand(packet) ?? ReasonCode.topicAliasInvalid;
  if (typeof expanded !== 'number') return expanded;
  connection.disconnect(expanded, 'a topic alias that stands for nothing');
  return undefined;
}

/** @returns false when it needs no more: it came before, or is one too many. */
function isNew(connection: MqttPeer, session: Session, { qos, packetId }: Publish): boolean {
  const { incoming } = session;
  if (qos === 2 && incoming.phase(packetId) !== undefined) {
    answerAgain(connection, session, packetId);
    return false;
  }
  const told = connection.version === 5 && session.atReceiveMaximum;
  if (told || (qos === 2 && incoming.isFull(connection.ports.limits().receiveMaximum))) {
    // MQTT-3.3.4-9
    connection.disconnect(ReasonCode.receiveMaximumExceeded, 'more than the receive maximum');
    return false;
  }
  if (qos === 2) incoming.accepting(packetId);
  return true;
}

/** A will has none: it is published when nobody can say any more when it was signed. */
function signedFactsOf(connection: MqttPeer, session: Session, packet: Publish): MessageFacts {
  const { userProperties } = packet.properties;
  const { by, principal } = session;
  if (userProperties === undefined && by === undefined) return factsOf(packet);
  const { topic, payload } = packet;
  const publish = { topic, payload, userProperties, principal };
  return { ...factsOf(packet), by, signed: connection.ports.signatures.signedPublish(publish) };
}

/** Its payload is still a slice of the read buffer: before anything waits, the message is `owned`. */
function messageOfPublish(connection: MqttPeer, session: Session, packet: Publish): Message {
  const { properties } = packet;
  const none = properties === noProperties;
  return {
    topic: packet.topic,
    payload: packet.payload,
    qos: packet.qos,
    retain: packet.retain,
    properties: none ? noProperties : propertiesOf(properties),
    publisher: session.principal,
    publisherSession: session.key,
    delivery: undefined,
    expiresAt: none ? undefined : expiryOf(properties, connection.ports.clock.now()),
  };
}

function propertiesOf(received: PublishProperties): Message['properties'] {
  const { topicAlias: _, subscriptionIdentifiers: __, ...properties } = received;
  return ownedProperties(properties);
}

/** A slice of a few bytes would keep a read buffer of 16 kB. Most messages are gone within the turn and need no copy. */
function owned(message: Message): Message {
  return { ...message, payload: Buffer.from(message.payload) };
}

function decided(
  connection: MqttPeer,
  session: Session,
  packet: Publish,
  message: Message,
  decision: Decision,
): Promise<void> | undefined {
  if (connection.isClosed()) return undefined;
  if (decision.allowed) {
    const problem = formatProblem(message);
    if (problem === undefined) return accept(connection, session, packet, message);
    return refuseInTurn(connection, session, packet, problem);
  }
  if (decision.code === 'rate' && connection.version === 4) {
    return slowDown(connection, session, packet, owned(message));
  }
  return refuseInTurn(connection, session, packet, decision);
}

/** A refusal is an answer too and keeps its place; most of the time nothing is before it. */
function refuseInTurn(
  connection: MqttPeer,
  session: Session,
  packet: Publish,
  decision: Deny,
): Promise<void> | undefined {
  const refused = describe(packet);
  if (session.nothingWaits) {
    refuse(connection, session, refused, decision);
    return undefined;
  }
  return session.acceptances.none().then(() => refuse(connection, session, refused, decision));
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
    ports.logger.debug(fieldsOf(connection, session, describe(packet)), 'accepted');
  }
  const { packetId } = packet;
  if (!message.retain) return store(connection, session, packetId, message);
  const retained = owned(message);
  const { acceptances } = session;
  if (!acceptances.retains(message.topic)) return store(connection, session, packetId, retained);
  return acceptances
    .none()
    .then(() =>
      connection.isClosed() ? undefined : store(connection, session, packetId, retained),
    );
}

/** @returns what to wait for before more is read. */
function store(
  connection: MqttPeer,
  session: Session,
  packetId: number,
  message: Message,
): Promise<void> | undefined {
  const { intake } = connection.ports;
  const { storedAs } = session;
  // MQTT-4.3.3-8: in a durable session the client's packet identifier is stored together with its message.
  const reception =
    message.qos === 2 && storedAs !== undefined ? { session: storedAs, packetId } : undefined;
  let stored: ReturnType<typeof intake.store>;
  try {
    stored = intake.store(message, reception);
  } catch (error) {
    return refusedAtOnce(connection, session, packetId, message, error);
  }
  if (stored === undefined && session.nothingWaits) {
    acknowledge(connection, session, message, packetId, intake.publish(message) > 0);
    return undefined;
  }
  const { acceptances } = session;
  acceptances.add(owned(stored?.message ?? message), packetId, stored?.done);
  return acceptances.full ? acceptances.room() : undefined;
}

/**
 * Its publisher is told in its turn, and nothing more is read before that: a client of MQTT 3.1.1 is closed and sends it
 * again, and what it had sent after it must not have been stored by then.
 */
function refusedAtOnce(
  connection: MqttPeer,
  session: Session,
  packetId: number,
  message: Message,
  error: unknown,
): Promise<void> | undefined {
  const refused = (): void => answering(connection, session).failed(message, packetId, error);
  if (!session.nothingWaits) return session.acceptances.none().then(refused);
  refused();
  return undefined;
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
    // Nothing in 3.1.1 could carry a signature.
    const facts = { ...factsOf(message), by: session.by };
    const decision = await session.boundPublish(message.topic).decide(facts);
    if (connection.isClosed()) return;
    if (decision.allowed) return accept(connection, session, packet, message);
    if (decision.code !== 'rate') return refuseInTurn(connection, session, packet, decision);
  }
  if (!connection.isClosed()) connection.endFor('rate', 'too fast for too long');
}
