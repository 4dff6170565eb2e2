/** On which terms a client is let in, and what CONNACK says of them: MQTT 5 §3.2.2.3. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connack, Connect, ConnackProperties } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';

/**
 * A keep alive that the gateway sets is up to this part shorter than the longest: a fleet that came back in the same
 * second does not ping in the same second ever after.
 */
const keepAliveJitter = 0.2;

export interface ConnectTerms {
  readonly clientId: string;
  /** 0 = none, which only 3.1.1 gets. */
  readonly keepAliveSeconds: number;
  /** How long the session outlives its connection; 0 = not at all. */
  readonly sessionExpirySeconds: number;
  readonly receiveMaximum: number;
  readonly maximumPacketSize: number;
  /** In either direction. */
  readonly topicAliases: number;
  /** MQTT 5 §3.2.2.3.15; undefined = the client did not ask, or there is nothing to say. */
  readonly responseInformation: string | undefined;
}

/** @param random from 0 to 1. */
export function termsFor(
  packet: Connect,
  limits: LimitsDocument,
  given: Pick<ConnectTerms, 'clientId' | 'responseInformation'>,
  random: () => number = Math.random,
): ConnectTerms {
  const asks = packet.properties.requestResponseInformation === true;
  return {
    clientId: given.clientId,
    keepAliveSeconds: grantedKeepAlive(packet, limits.keepAliveSeconds, random),
    sessionExpirySeconds: Math.min(askedExpiry(packet), Math.floor(limits.sessionExpiryMs / 1_000)),
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.packetBytes,
    topicAliases: limits.topicAliases,
    responseInformation: asks ? given.responseInformation : undefined,
  };
}

/** Says only what the client could not know: what is left out has the standard's default, or is as the client asked. */
export function connackFor(packet: Connect, terms: ConnectTerms, sessionPresent: boolean): Connack {
  return {
    type: 'connack',
    sessionPresent,
    reasonCode: ReasonCode.success,
    properties: packet.version === 5 ? said(packet, terms) : noProperties,
  };
}

function said(packet: Connect, terms: ConnectTerms): ConnackProperties {
  const { sessionExpirySeconds, topicAliases, keepAliveSeconds, responseInformation } = terms;
  return {
    receiveMaximum: terms.receiveMaximum,
    maximumPacketSize: terms.maximumPacketSize,
    ...(sessionExpirySeconds === askedExpiry(packet)
      ? {}
      : { sessionExpiryInterval: sessionExpirySeconds }),
    ...(topicAliases === 0 ? {} : { topicAliasMaximum: topicAliases }),
    ...(packet.clientId === '' ? { assignedClientIdentifier: terms.clientId } : {}),
    ...(keepAliveSeconds === packet.keepAlive ? {} : { serverKeepAlive: keepAliveSeconds }),
    ...(responseInformation === undefined ? {} : { responseInformation }),
  };
}

/** MQTT 5 §3.1.2.11.2; a session of 3.1.1 that is not clean has no end of its own (MQTT 3.1.1 §3.1.2.4). */
function askedExpiry(packet: Connect): number {
  if (packet.version === 5) return packet.properties.sessionExpiryInterval ?? 0;
  return packet.cleanStart ? 0 : Number.POSITIVE_INFINITY;
}

/** MQTT 5 §3.2.2.3.14: the server may set the keep alive. 3.1.1 keeps what it asked for. */
function grantedKeepAlive(packet: Connect, most: number, random: () => number): number {
  if (packet.version === 4) return packet.keepAlive;
  if (packet.keepAlive > 0 && packet.keepAlive <= most) return packet.keepAlive;
  return Math.max(1, Math.round(most * (1 - keepAliveJitter * random())));
}
