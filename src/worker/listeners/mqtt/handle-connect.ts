/**
 * CONNECT: MQTT 5 §3.1, §3.2. Who it is comes from the handshake alone; the client id names a session of that
 * principal, and a user name or password is no proof of anything here.
 */
import { randomUUID } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import { isPrincipalId, principalParts } from '../../../common/base/principal.ts';
import type { PrincipalKind, PrincipalName } from '../../../common/base/principal.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connect, ConnackProperties } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { Decision } from '../../policy/decision.ts';
import type { IdentityRecord, RateBudget, Subject } from '../../policy/ports.ts';
import type { MqttPeer } from './peer.ts';
import type { Identified, SessionClaim } from './ports.ts';
import { Session } from './session.ts';
import { factsOf, messageOfWill } from './will.ts';
import { ReturnCode } from './wire.ts';

/**
 * Client ids are names in logs, metrics and keys: printable ASCII without the topic characters, at most 128.
 * A client that sends none is given one.
 */
const clientIdPattern = /^[A-Za-z0-9_](?:(?![+#/])[\x21-\x7e]){0,127}$/;

export async function handleConnect(connection: MqttPeer<Session>, packet: Connect): Promise<void> {
  const { ports } = connection;
  if (!ports.fresh()) return connection.refuse('busy', 'no current snapshot');
  const who = await ports.identify(connection.transport);
  connection.subject = who.subject;
  if (connection.isClosed()) return;
  // Before anything is claimed: what is refused here must not disturb the identity's live sessions.
  if (who.ok && who.certificateRevoked)
    return connection.refuse('standing', 'the certificate is revoked');
  if (who.ok && !acceptable(connection, packet)) return;
  const clientId = packet.clientId === '' ? `auto-${randomUUID()}` : packet.clientId;
  const subject = who.ok ? new ConnectedSubject(who.name, who.identity) : undefined;
  const claiming =
    subject === undefined ? undefined : new SessionClaiming(connection, subject, clientId);
  const decision = await ports
    .policy()
    .bind('connect', subject)
    .decide({ authentication: outcomeOf(who) });
  const claim = await admitted(connection, who, decision, claiming);
  if (claim === undefined || subject === undefined || !who.ok) return;
  const session = new Session(connection, {
    subject,
    claim,
    clientId,
    will: packet.will,
    maximumPacketSize: packet.properties.maximumPacketSize,
    certificate: who.certificate,
    notAfterMs: who.notAfterMs,
  });
  const refusal = await willRefusal(connection, packet, session);
  // Standing may have changed, and the client may have gone, while the session was claimed.
  if (connection.isClosed() || refusal !== undefined || subject.identity.standing !== 'active') {
    claim.release();
    if (refusal !== undefined) connection.refuse(refusal.code, refusal.detail);
    else connection.refuse('standing', subject.identity.standing);
    return;
  }
  const keepAlive = grantedKeepAlive(connection, packet);
  connection.goLive(session, keepAlive);
  if (packet.properties.receiveMaximum !== undefined) {
    connection.outbox.setReceiveMaximum(packet.properties.receiveMaximum);
  }
  ports.count('mqtt_connects');
  ports.logger.info(
    {
      ssl_client_s_dn: who.subject,
      principal: subject.name,
      client_id: clientId,
      remote: `${connection.transport.remoteAddress}:${connection.transport.remotePort}`,
      tls: connection.transport.protocol,
      cipher: connection.transport.cipher,
      resumed: connection.transport.resumed,
      mqtt: connection.version,
    },
    'connected',
  );
  connection.send({
    type: 'connack',
    sessionPresent: false,
    reasonCode: ReasonCode.success,
    properties:
      connection.version === 5 ? offer(connection, packet, clientId, keepAlive) : noProperties,
  });
}

/** The session, when everything that comes before it allows it; else the connection has been refused. */
async function admitted(
  connection: MqttPeer<Session>,
  who: Identified,
  decision: Decision,
  claiming: SessionClaiming | undefined,
): Promise<SessionClaim | undefined> {
  const refusal = refusalOf(who, decision, claiming);
  if (connection.isClosed() || refusal !== undefined || claiming === undefined) {
    if (refusal !== undefined) connection.refuse(refusal.code, refusal.detail);
    claiming?.giveUp();
    return undefined;
  }
  const claim = await claiming.claim();
  if (claim === undefined) {
    const { code, message } = claiming.failure;
    connection.refuse(code === 'quota' ? 'quota' : 'busy', message);
  } else if (connection.isClosed()) {
    claiming.giveUp();
    return undefined;
  }
  return claim;
}

function refusalOf(
  who: Identified,
  decision: Decision,
  claiming: SessionClaiming | undefined,
): { readonly code: DenyCode; readonly detail: string } | undefined {
  if (decision.allowed) {
    return who.ok ? undefined : { code: 'unauthenticated', detail: who.detail };
  }
  // The rate could not be asked because there is no session: say that instead.
  const failed = decision.code === 'rate' ? claiming?.failed : undefined;
  if (failed === undefined) return { code: decision.code, detail: decision.detail };
  return { code: failed.code === 'quota' ? 'quota' : 'busy', detail: failed.message };
}

/** The session is claimed when the first row of the policy needs it, which is after authentication and standing. */
class SessionClaiming {
  readonly #connection: MqttPeer<Session>;
  readonly #subject: ConnectedSubject;
  readonly #clientId: string;
  #claim: Promise<SessionClaim | undefined> | undefined;
  #failed: SallyportError | undefined;

  constructor(connection: MqttPeer<Session>, subject: ConnectedSubject, clientId: string) {
    this.#connection = connection;
    this.#subject = subject;
    this.#clientId = clientId;
    subject.rates = {
      take: async (buckets, cost) => (await this.claim())?.rates.take(buckets, cost) ?? false,
    };
  }

  get failed(): SallyportError | undefined {
    return this.#failed;
  }

  get failure(): SallyportError {
    return this.#failed ?? new SallyportError('busy', 'the session cannot be claimed');
  }

  claim(): Promise<SessionClaim | undefined> {
    this.#claim ??= this.#start();
    return this.#claim;
  }

  giveUp(): void {
    void this.#claim?.then((claim) => claim?.release());
  }

  async #start(): Promise<SessionClaim | undefined> {
    const { ports } = this.#connection;
    try {
      const claim = await ports.claim(this.#subject.name, this.#clientId, () => {
        ports.count('mqtt_takeovers');
        this.#connection.disconnect(ReasonCode.sessionTakenOver, 'the session was taken over');
      });
      this.#subject.rates = claim.rates;
      return claim;
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      this.#failed = error;
      return undefined;
    }
  }
}

/** Rates come with the claim of the session; until then nothing may be taken. */
class ConnectedSubject implements Subject {
  readonly name: PrincipalName;
  readonly kind: PrincipalKind;
  readonly id: string;
  readonly identity: IdentityRecord;
  rates: RateBudget = { take: () => false };

  constructor(name: PrincipalName, identity: IdentityRecord) {
    const { kind, id } = principalParts(name);
    this.name = name;
    this.kind = kind;
    this.id = id;
    this.identity = identity;
  }
}

function outcomeOf(who: Identified): { ok: true } | { ok: false; detail: string } {
  return who.ok ? { ok: true } : { ok: false, detail: who.detail };
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
  keepAlive: number,
): ConnackProperties {
  const limits = connection.ports.limits();
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
