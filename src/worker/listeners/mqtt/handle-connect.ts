/**
 * CONNECT: MQTT 5 §3.1, §3.2. Who it is comes from the handshake, where certificates are asked for, and a user name or
 * password is no proof of anything there; the client id names a session of that principal.
 */
import { randomUUID } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import { isPrincipalId } from '../../../common/base/principal.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import type { Connect } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import { commandFilter } from '../../broker/commands.ts';
import type { OwnedSession, SessionWill } from '../../broker/sessions.ts';
import { deny } from '../../policy/decision.ts';
import type { Deny } from '../../policy/decision.ts';
import type { Policy } from '../../policy/policy.ts';
import { ConnectedSubject } from '../identified.ts';
import type { Identified } from '../identified.ts';
import { connackFor, termsFor } from './connect-terms.ts';
import type { ConnectTerms } from './connect-terms.ts';
import { formatProblem } from './payload-format.ts';
import type { MqttPeer } from './peer.ts';
import type { SessionClaim } from './ports.ts';
import { Session } from './session.ts';
import { SessionClaiming } from './session-claiming.ts';
import { ReceivedAliases, SentAliases } from './topic-aliases.ts';
import { factsOf, publishWill, sessionWillOf } from './will.ts';
import { ReturnCode } from './wire.ts';

/**
 * Client ids are names in logs, metrics and keys: printable ASCII without the topic characters, at most 128.
 * A client that sends none is given one.
 */
const clientIdPattern = /^[A-Za-z0-9_](?:(?![+#/])[\x21-\x7e]){0,127}$/;

/** A CONNACK without properties, the smallest first answer there is. */
const leastPacketBytes = 5;
/** Filters that one line of the log names. */
const loggedFilters = 8;

export async function handleConnect(connection: MqttPeer<Session>, packet: Connect): Promise<void> {
  const { ports } = connection;
  if (!ports.fresh()) return connection.refuse('busy', 'no current snapshot');
  const who = await ports.identify(connection.transport, packet);
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
  let begun: Begun | undefined;
  try {
    begun = await begin(connection, { packet, subject, who, clientId, claim });
  } catch (error) {
    claim.release();
    throw error;
  }
  if (begun === undefined) return claim.release();
  const { session, terms } = begun;
  try {
    if (connection.isClosed() || refusedSinceThen(connection, who)) return session.abandon();
    connection.goLive(session, terms.keepAliveSeconds);
  } catch (error) {
    session.abandon();
    throw error;
  }
  await welcome(connection, packet, session, terms);
}

/** A CONNECT that the policy lets in, and what is known of its sender. */
interface Entrant {
  readonly packet: Connect;
  readonly subject: ConnectedSubject;
  readonly who: Extract<Identified, { ok: true }>;
  readonly clientId: string;
  readonly claim: SessionClaim;
}

interface Begun {
  readonly session: Session;
  readonly terms: ConnectTerms;
}

/** @returns undefined when the connection has been refused or is gone; the claim is the caller's then. */
async function begin(connection: MqttPeer<Session>, entrant: Entrant): Promise<Begun | undefined> {
  const { packet, subject, who, clientId, claim } = entrant;
  const { ports } = connection;
  const owner = { principal: subject.name, key: claim.key };
  const will = packet.will === undefined ? undefined : sessionWillOf(packet.will, owner);
  if (await refusedWill(connection, entrant, will)) return undefined;
  const responseInformation = responseInformationFor(ports.policy(), subject);
  const terms = termsFor(packet, ports.limits(), { clientId, responseInformation });
  if (connection.isClosed() || noRoomForConnack(connection, packet, terms)) return undefined;
  // From here on what is stored of the session is in the hands of this connection.
  const owned = await opened(connection, entrant, terms, will);
  if (owned === 'refused') return undefined;
  const session = new Session(connection, {
    subject,
    claim,
    clientId,
    will,
    owned,
    expirySeconds: terms.sessionExpirySeconds,
    maximumPacketSize: packet.properties.maximumPacketSize,
    certificate: who.certificate,
    notAfterMs: who.notAfterMs,
    by: who.by,
  });
  return { session, terms };
}

/**
 * Takes the session up, or begins one, in the store. A session that ends with its connection, leaves nothing behind and
 * finds nothing is not stored.
 */
async function opened(
  connection: MqttPeer<Session>,
  { packet, subject, clientId, claim }: Entrant,
  { sessionExpirySeconds }: ConnectTerms,
  will: SessionWill | undefined,
): Promise<OwnedSession | undefined | 'refused'> {
  const { ports } = connection;
  try {
    const leaves = sessionExpirySeconds > 0 || will !== undefined;
    if (!leaves && (await ports.sessions.find(claim.key)) === undefined) return undefined;
    const owned = await ports.sessions.open({
      principal: subject.name,
      clientId,
      epoch: claim.epoch,
      cleanStart: packet.cleanStart,
      expirySeconds: sessionExpirySeconds,
      will,
    });
    const { endedWill } = owned;
    if (endedWill !== undefined) ports.underWay(publishWill(ports, subject, endedWill.message));
    return owned;
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code === 'internal') throw error;
    const code = error.code === 'quota' || error.code === 'busy' ? error.code : 'unavailable';
    connection.refuse(code, error.message);
    return 'refused';
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
  const { code, message } = failure;
  return { code: code === 'quota' || code === 'rate' ? code : 'busy', detail: message };
}

/** Judged before anything of the session is touched. @returns true when the connection has been refused. */
async function refusedWill(
  connection: MqttPeer<Session>,
  { subject, who: { by } }: Pick<Entrant, 'subject' | 'who'>,
  will: SessionWill | undefined,
): Promise<boolean> {
  if (will === undefined) return false;
  const { message } = will;
  const bound = connection.ports.policy().bind('will', subject, message.topic);
  const decision = await bound.decide({ ...factsOf(message), by });
  const denied = decision.allowed ? formatProblem(message) : decision;
  if (denied === undefined) return false;
  connection.refuse(denied.code, denied.detail);
  return true;
}

/** MQTT-3.2.0-1: nothing goes before CONNACK, so a client without room for it is never let in. */
function noRoomForConnack(
  connection: MqttPeer<Session>,
  packet: Connect,
  terms: ConnectTerms,
): boolean {
  const most = packet.properties.maximumPacketSize;
  if (most === undefined || encode(connackFor(packet, terms, false), 5).length <= most)
    return false;
  connection.refuse('too-large', "CONNACK exceeds the client's maximum packet size");
  return true;
}

/**
 * What may have changed while the session was claimed: the identity or its certificate may have lost their standing.
 * Nothing waits between this and going live.
 */
function refusedSinceThen(
  connection: MqttPeer<Session>,
  who: Extract<Identified, { ok: true }>,
): boolean {
  const { ports } = connection;
  const now = ports.identifyNow(connection.transport);
  const same = now.ok && now.name === who.name && now.identity === who.identity;
  if (same && !now.certificateRevoked && who.identity.standing === 'active' && ports.fresh()) {
    return false;
  }
  connection.refuse('standing', 'what was known of the identity has changed');
  return true;
}

async function welcome(
  connection: MqttPeer<Session>,
  packet: Connect,
  session: Session,
  terms: ConnectTerms,
): Promise<void> {
  const { ports, transport, outbox } = connection;
  const { receiveMaximum, topicAliasMaximum = 0 } = packet.properties;
  if (receiveMaximum !== undefined) outbox.setReceiveMaximum(receiveMaximum);
  const aliases = Math.min(topicAliasMaximum, terms.topicAliases);
  if (aliases > 0) outbox.aliases = new SentAliases(aliases, session.maximumPacketSize);
  if (connection.version === 5) {
    connection.receivedAliases = new ReceivedAliases(terms.topicAliases);
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
      group: transport.group,
      resumed: transport.resumed,
      mqtt: connection.version,
      session_present: session.present,
    },
    'connected',
  );
  connection.send(connackFor(packet, terms, session.present));
  await withdrawSubscriptions(connection, session);
  await session.resume();
}

/**
 * An inherited subscription that would not be granted today, or not to this kind of proof, ends here, before anything is delivered for it, and for good.
 * Messages that are queued already are judged one by one.
 */
async function withdrawSubscriptions(
  connection: MqttPeer<Session>,
  session: Session,
): Promise<void> {
  const { ports } = connection;
  const withdrawn = [...session.subscriptions.keys()].filter((filter) => !session.mayHold(filter));
  if (withdrawn.length === 0) return;
  for (const _ of withdrawn) ports.count('mqtt_subscriptions_withdrawn');
  connection.log(
    {
      ssl_client_s_dn: connection.subject,
      principal: session.principal,
      client_id: session.clientId,
      action: 'subscribe',
      code: 'forbidden',
      resources: withdrawn.slice(0, loggedFilters),
      withdrawn: withdrawn.length,
    },
    'inherited subscriptions are no longer granted',
  );
  await session.dropSubscriptions(withdrawn);
}

/** What cannot be granted is refused with the standard's word for it, never half done. */
function acceptable(connection: MqttPeer<Session>, packet: Connect): boolean {
  const { properties } = packet;
  const badId = { v5: ReasonCode.clientIdentifierNotValid, v4: ReturnCode.identifierRejected };
  if (packet.clientId !== '' && !clientIdPattern.test(packet.clientId)) {
    connection.refuse('malformed', 'client id', badId);
    return false;
  }
  if (connection.version === 4 && packet.clientId === '' && !packet.cleanStart) {
    // MQTT-3.1.3-8 of 3.1.1: nobody could ever come back to it.
    connection.refuse('malformed', 'a session to be kept, without a client id', badId);
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
  return true;
}

/**
 * MQTT 5 §3.2.2.3.15: the part of the topic space that is the client's own to read. For a device, what is answered to it
 * comes as its commands do, and waits for it as they do; everyone else reads what its role names, and has none.
 */
function responseInformationFor(policy: Policy, subject: ConnectedSubject): string | undefined {
  if (subject.kind !== 'device') return undefined;
  const filter = commandFilter(subject.id);
  return policy.permits('subscribe', subject, filter) ? filter.replace(/\/#$/, '') : undefined;
}
