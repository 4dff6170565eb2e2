/**
 * The one table from the policy's codes to what MQTT says: DESIGN's "way of a message". Columns are the packets that can
 * carry a refusal; undefined means that the packet cannot say it and the connection is closed instead.
 */
import type { DenyCode } from '../../../common/base/errors.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';

export interface WireReasons {
  /** MQTT 5 CONNACK. */
  readonly connack5: number;
  /** MQTT 3.1.1 CONNACK return code. */
  readonly connack4: number;
  /** MQTT 5 PUBACK; undefined = the connection is ended with `disconnect5`. */
  readonly puback5: number | undefined;
  /** MQTT 5 SUBACK. */
  readonly suback5: number;
  /** MQTT 5 DISCONNECT of a live connection. */
  readonly disconnect5: number;
}

/** MQTT 3.1.1 §3.2.2.3. */
export const ReturnCode = {
  accepted: 0,
  unacceptableProtocolVersion: 1,
  identifierRejected: 2,
  serverUnavailable: 3,
  badUserNameOrPassword: 4,
  notAuthorized: 5,
} as const;

const r = ReasonCode;
const { notAuthorized, serverUnavailable } = ReturnCode;

export const wireReasons: Readonly<Record<DenyCode, WireReasons>> = Object.freeze({
  unauthenticated: row(
    r.badUserNameOrPassword,
    notAuthorized,
    undefined,
    r.notAuthorized,
    r.notAuthorized,
  ),
  standing: row(r.banned, notAuthorized, undefined, r.notAuthorized, r.administrativeAction),
  busy: row(
    r.serverBusy,
    serverUnavailable,
    undefined,
    r.implementationSpecificError,
    r.serverBusy,
  ),
  rate: row(
    r.connectionRateExceeded,
    serverUnavailable,
    r.quotaExceeded,
    r.quotaExceeded,
    r.messageRateTooHigh,
  ),
  quota: row(r.quotaExceeded, serverUnavailable, r.quotaExceeded, r.quotaExceeded, r.quotaExceeded),
  'too-large': row(r.packetTooLarge, notAuthorized, undefined, r.quotaExceeded, r.packetTooLarge),
  malformed: row(
    r.malformedPacket,
    notAuthorized,
    undefined,
    r.topicFilterInvalid,
    r.malformedPacket,
  ),
  forbidden: row(r.notAuthorized, notAuthorized, r.notAuthorized, r.notAuthorized, r.notAuthorized),
  integrity: row(r.notAuthorized, notAuthorized, r.notAuthorized, r.notAuthorized, r.notAuthorized),
  schema: row(
    r.payloadFormatInvalid,
    notAuthorized,
    r.payloadFormatInvalid,
    r.unspecifiedError,
    r.payloadFormatInvalid,
  ),
  'not-found': row(
    r.notAuthorized,
    notAuthorized,
    r.notAuthorized,
    r.notAuthorized,
    r.notAuthorized,
  ),
  unavailable: row(
    r.serverUnavailable,
    serverUnavailable,
    r.implementationSpecificError,
    r.implementationSpecificError,
    r.serverBusy,
  ),
});

function row(
  connack5: number,
  connack4: number,
  puback5: number | undefined,
  suback5: number,
  disconnect5: number,
): WireReasons {
  return Object.freeze({ connack5, connack4, puback5, suback5, disconnect5 });
}

/** The log's code for a violation of the protocol. */
export function codeOfViolation(reasonCode: number): DenyCode {
  switch (reasonCode) {
    case r.packetTooLarge:
      return 'too-large';
    case r.quotaExceeded:
    case r.receiveMaximumExceeded:
      return 'quota';
    default:
      return 'malformed';
  }
}

/** MQTT 5 §3.2.2.2: the reason codes that a CONNACK can carry; anything else becomes `protocolError`. */
const connackCodes: ReadonlySet<number> = new Set([
  0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
  0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
]);

export function asConnackCode(reasonCode: number): number {
  return connackCodes.has(reasonCode) ? reasonCode : r.protocolError;
}
