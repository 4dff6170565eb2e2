/** How the codec refuses what a peer sent. */
import { SallyportError, type DenyCode } from '../../base/errors.ts';
import type { ProtocolVersion } from './packets.ts';
import { ReasonCode } from './reason-codes.ts';

function denyCodeOf(reasonCode: number): DenyCode {
  if (reasonCode === ReasonCode.packetTooLarge) return 'too-large';
  return reasonCode === ReasonCode.quotaExceeded ? 'quota' : 'malformed';
}

/** The bytes break the protocol or a limit of the decoder. The connection cannot go on: its framing is lost or refused. */
export class MqttProtocolError extends SallyportError {
  /** MQTT 5.0 §2.4, also when the peer speaks 3.1.1: the listener maps it to a CONNACK return code or to a bare close. */
  readonly reasonCode: number;
  /**
   * Conformance statement of MQTT 5.0 that was broken (of 3.1.1 where only it has the rule), without brackets; empty
   * where the standard's rule has no number or the limit is ours.
   */
  readonly statement: string;
  /** The peer's, as far as it was seen when the fault was found; the decoder fills it in. */
  version: ProtocolVersion | undefined;
  /** No CONNECT was accepted yet, so that the answer is a CONNACK and not a DISCONNECT; the decoder fills it in. */
  beforeConnect: boolean;

  constructor(reasonCode: number, message: string, statement = '') {
    super(denyCodeOf(reasonCode), message);
    this.name = 'MqttProtocolError';
    this.reasonCode = reasonCode;
    this.statement = statement;
    this.version = undefined;
    this.beforeConnect = false;
  }
}

/** 0x81: the bytes cannot be parsed as the standard says (§4.13). */
export function malformed(message: string, statement = ''): MqttProtocolError {
  return new MqttProtocolError(ReasonCode.malformedPacket, message, statement);
}

/** 0x82: the bytes parse, and say what the standard forbids (§4.13). */
export function violation(message: string, statement = ''): MqttProtocolError {
  return new MqttProtocolError(ReasonCode.protocolError, message, statement);
}
