/**
 * CONNECT: MQTT 5 §3.1, §3.2. Who it is comes from the handshake alone; the client id names a session of that
 * principal, and a user name or password is no proof of anything here.
 */
import { randomUUID } from 'node:crypto';
import type { DenyCode, SallyportError } from '../../../common/base/errors.ts';
import { isPrincipalId } from '../../../common/base/principal.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connack, Connect, ConnackProperties } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import { deny } from '../../policy/decision.ts';
import type { Deny } from '../../policy/decision.ts';
import type { MqttPeer } from './peer.ts';
import type { Identified } from './ports.ts';
import { Session } from './session.ts';
import { ConnectedSubject, SessionClaiming } from './session-claiming.ts';
import { factsOf, messageOfWill } from './will.ts';
import { ReturnCode } from './wire.ts';

/**
 * Client ids are names in logs, metrics and keys: printable ASCII without the topic characters, at most 128.
 * A client that sends none is given one.
 */
const clientIdPattern = /^[A-Za-z0-9_](?:(?![+#/])[\x21-\x7e]){0,127}$/;

/** A CONNACK without properties, the smallest first answer there is. */
const leastPacketBytes = 5;

export async function handleConnect(connection: MqttPeer<Session>, packet: Connect): Promise<void> {
  const { ports } = connection;
  if (!ports.fresh()) return connection.refuse('busy', 'no current snapshot');
  const who = await ports.identify(connection.transport);
  connection.subject = who.subject;
  if (connection.isClosed()) return;
  if (!who.ok) return refuseStranger(connection, who);
  // Before anything is claimed: what is refused here must not disturb the identity's live sessions.
  if (who.certificateRevoked) return connection.refuse('standing', 'the certificate is revoked');
  if (!acceptable(connection, packet)) return;
  const subject = new ConnectedSubject(who.name, who.identity);
  if (forbiddenWill(connection, packet, subject)) return;
  const clientId = packet.clientId === '' ? `auto-${randomUUID()}` : packet.clientId;
  const claiming = new SessionClaiming(connection, subject, clientId);
  const bound = ports.policy().bind('connect', subject);
  const decision = await bound.decide({ authentication: { ok: true } });
  const refusal = decision.allowed ? undefined : refusalOf(decision, claiming.failure);
  const claim =
    refusal === undefined && !connection.isClosed() ? await claiming.claim() : undefined;
  if (claim === undefined) {
    claiming.giveUp();
    const { code, detail } = refusal ?? refusalOf(undecided, claiming.failure);
    return connection.refuse(code, detail);
  }
  const will = packet.will;
  const session = new Session(connection, {
    subject,
    claim,
    clientId,
    will,
    maximumPacketSize: packet.properties.maximumPacketSize,
    certificate: who.certificate,
    notAfterMs: who.notAfterMs,
    sessionExpiryInterval: packet.properties.sessionExpiryInterval ?? 0,
  });
  try {
    if (await lastDoubts(connection, packet, session, who)) return claim.release();
    welcome(connection, packet, session);
  } catch (error) {
    claim.release();
    throw error;
  }
}

/** The policy's first row says it, so that there is one place that does. */
async function refuseStranger(
  connection: MqttPeer<Session>,
  who: Extract<Identified, { ok: false }>,
): Promise<void> {
  const bound = connection.ports.policy().bind('connect', undefined);
  const decision = await bound.decide({ authentication: { ok: false, detail: who.detail } });
  if (decision.allowed) connection.refuse('unauthenticated', who.detail);
  else connection.refuse(decision.code, decision.detail);
}

/** A will that no rule allows is refused before the session is claimed; its rate and size are judged after. */
function forbiddenWill(
  connection: MqttPeer<Session>,
  packet: Connect,
  subject: ConnectedSubject,
): boolean {
  const { will } = packet;
  if (will === undefined || subject.identity.standing !== 'active') return false;
  if (connection.ports.policy().permits('publish', subject, will.topic)) return false;
  connection.refuse('forbidden', `will on ${will.topic}`);
  return true;
}

const undecided = deny('rate', 'session', 'no session');

/** Without a session the rate could not be asked: then that is the reason. */
function refusalOf(
  decision: Deny,
  failure: SallyportError | undefined,
): { readonly code: DenyCode; readonly detail: string } {
  if (decision.code !== 'rate' || failure === undefined) return decision;
  return { code: failure.code === 'quota' ? 'quota' : 'busy', detail: failure.message };
}

/**
 * What may have changed while the session was claimed: the client may be gone, the identity or its certificate may have
 * lost their standing. Nothing waits between this and going live.
 *
 * @returns true when the connection has been refused or is gone.
 */
async function lastDoubts(
  connection: MqttPeer<Session>,
  packet: Connect,
  session: Session,
  who: Extract<Identified, { ok: true }>,
): Promise<boolean> {
  const { ports } = connection;
  const refusal = await willRefusal(connection, packet, session);
  if (connection.isClosed()) return true;
  if (refusal !== undefined) {
    connection.refuse(refusal.code, refusal.detail);
    return true;
  }
  const most = packet.properties.maximumPacketSize;
  if (most !== undefined && encode(answerTo(connection, packet, session), 5).length > most) {
    // MQTT-3.2.0-1: nothing goes before CONNACK, so a client without room for it is never let in.
    connection.refuse('too-large', "CONNACK exceeds the client's maximum packet size");
    return true;
  }
  const now = ports.identifyNow(connection.transport);
  const same = now.ok && now.name === who.name && now.identity === who.identity;
  if (!same || now.certificateRevoked || who.identity.standing !== 'active' || !ports.fresh()) {
    connection.refuse('standing', 'what was known of the identity has changed');
    return true;
  }
  return false;
}

function welcome(connection: MqttPeer<Session>, packet: Connect, session: Session): void {
  const { ports, transport } = connection;
  connection.goLive(session, grantedKeepAlive(connection, packet));
  if (packet.properties.receiveMaximum !== undefined) {
    connection.outbox.setReceiveMaximum(packet.properties.receiveMaximum);
  }
  ports.count('mqtt_connects');
  ports.logger.info(
    {
      ssl_client_s_dn: connection.subject,
      principal: session.principal,
      client_id: session.clientId,
      remote: `${transport.remoteAddress}:${transport.remotePort}`,
      tls: transport.protocol,
      cipher: transport.cipher,
      resumed: transport.resumed,
      mqtt: connection.version,
    },
    'connected',
  );
  connection.send(answerTo(connection, packet, session));
}

function answerTo(connection: MqttPeer<Session>, packet: Connect, session: Session): Connack {
  return {
    type: 'connack',
    sessionPresent: false,
    reasonCode: ReasonCode.success,
    properties:
      connection.version === 5 ? offer(connection, packet, session.clientId) : noProperties,
  };
}

/** What this version of the broker does not do is refused with the standard's word for it, never half done. */
function acceptable(connection: MqttPeer<Session>, packet: Connect): boolean {
  const { properties } = packet;
  const badId = { v5: ReasonCode.clientIdentifierNotValid, v4: ReturnCode.identifierRejected };
  if (packet.clientId !== '' && !clientIdPattern.test(packet.clientId)) {
    connection.refuse('malformed', 'client id', badId);
    return false;
  }
  if (connection.version === 4 && !packet.cleanStart) {
    // MQTT 3.1.1 has no way to be told that its session will not be kept.
    const reason = packet.clientId === '' ? badId.v4 : ReturnCode.serverUnavailable;
    connection.refuse('unavailable', 'sessions that outlive their connection are not offered', {
      v5: badId.v5,
      v4: reason,
    });
    return false;
  }
  if (packet.userName !== undefined && packet.userName !== '' && !isPrincipalId(packet.userName)) {
    connection.refuse('unauthenticated', 'user name');
    return false;
  }
  if ((properties.maximumPacketSize ?? leastPacketBytes) < leastPacketBytes) {
    // No answer that it could be given is small enough.
    connection.disconnect(ReasonCode.packetTooLarge, 'no room for any answer');
    return false;
  }
  if (properties.authenticationMethod !== undefined) {
    connection.refuse('unauthenticated', 'no authentication method was configured', {
      v5: ReasonCode.badAuthenticationMethod,
      v4: ReturnCode.notAuthorized,
    });
    return false;
  }
  if (packet.will?.qos === 2) {
    connection.refuse('forbidden', 'QoS 2 is not supported', {
      v5: ReasonCode.qosNotSupported,
      v4: ReturnCode.serverUnavailable,
    });
    return false;
  }
  return true;
}

async function willRefusal(connection: MqttPeer<Session>, packet: Connect, session: Session) {
  if (packet.will === undefined) return undefined;
  const message = messageOfWill(packet.will, session);
  const bound = connection.ports.policy().bind('will', session.subject, message.topic);
  const decision = await bound.decide(factsOf(message));
  return decision.allowed ? undefined : decision;
}

/** MQTT 5 §3.2.2.3.14: the server may set the keep alive. 3.1.1 keeps what it asked for. */
function grantedKeepAlive(connection: MqttPeer<Session>, packet: Connect): number {
  const most = connection.ports.limits().keepAliveSeconds;
  if (connection.version === 4) return packet.keepAlive;
  return packet.keepAlive === 0 ? most : Math.min(packet.keepAlive, most);
}

/** MQTT 5 §3.2.2.3: what is not offered is said, so that a client need not find out. */
function offer(
  connection: MqttPeer<Session>,
  packet: Connect,
  clientId: string,
): ConnackProperties {
  const limits = connection.ports.limits();
  const keepAlive = grantedKeepAlive(connection, packet);
  return {
    receiveMaximum: limits.receiveMaximum,
    maximumQoS: 1,
    maximumPacketSize: limits.packetBytes,
    subscriptionIdentifiersAvailable: false,
    sharedSubscriptionAvailable: false,
    ...((packet.properties.sessionExpiryInterval ?? 0) > 0 ? { sessionExpiryInterval: 0 } : {}),
    ...(packet.clientId === '' ? { assignedClientIdentifier: clientId } : {}),
    ...(keepAlive === packet.keepAlive ? {} : { serverKeepAlive: keepAlive }),
  };
}
