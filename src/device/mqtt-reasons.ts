/** The gateway's words for its refusals in MQTT 5, read back into codes (docs/architecture.md, "The way of a message"). */
import type { DenyCode } from '../common/base/errors.ts';
import { ReasonCode } from '../common/codec/mqtt/reason-codes.ts';

const r = ReasonCode;

/** In a CONNACK or a DISCONNECT. */
const connectionCodes: ReadonlyMap<number, DenyCode> = new Map<number, DenyCode>([
  [r.badUserNameOrPassword, 'unauthenticated'],
  [r.banned, 'standing'],
  [r.administrativeAction, 'standing'],
  [r.notAuthorized, 'forbidden'],
  [r.quotaExceeded, 'quota'],
  [r.receiveMaximumExceeded, 'quota'],
  [r.connectionRateExceeded, 'rate'],
  [r.messageRateTooHigh, 'rate'],
  [r.serverBusy, 'busy'],
  [r.packetTooLarge, 'too-large'],
  [r.payloadFormatInvalid, 'schema'],
  [r.malformedPacket, 'malformed'],
  [r.protocolError, 'malformed'],
  [r.clientIdentifierNotValid, 'malformed'],
  [r.topicNameInvalid, 'malformed'],
  [r.topicFilterInvalid, 'malformed'],
]);

/** In a PUBACK or a SUBACK, where a rate that was exceeded shares its word with a quota. */
const messageCodes: ReadonlyMap<number, DenyCode> = new Map<number, DenyCode>([
  [r.quotaExceeded, 'rate'],
  [r.notAuthorized, 'forbidden'],
  [r.payloadFormatInvalid, 'schema'],
  [r.topicNameInvalid, 'malformed'],
  [r.topicFilterInvalid, 'malformed'],
]);

/** What is not in the table is a gateway that goes down, or goes away: come again. */
export function connectionCode(reasonCode: number): DenyCode {
  return connectionCodes.get(reasonCode) ?? 'unavailable';
}

export function messageCode(reasonCode: number): DenyCode {
  return messageCodes.get(reasonCode) ?? 'unavailable';
}
