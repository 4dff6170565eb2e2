/** A connection that asks to speak MQTT over WebSocket from here on. */
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import type { Decision } from '../../policy/decision.ts';
import type { HttpsPorts } from './ports.ts';
import type { Peer } from './peer.ts';
import { readHandshake } from './websocket-handshake.ts';
import type { Problem } from '../http/wire.ts';
import { problems } from '../http/wire.ts';

const authenticated = Object.freeze({ authentication: Object.freeze({ ok: true }) });

/** What an upgrade needs of its connection. */
export interface UpgradingConnection {
  readonly ports: HttpsPorts;
  /** Nothing may be answered any more. */
  over(): boolean;
  /** Answers, and ends the connection. */
  turnDown(problem: Problem, code: DenyCode, detail: string, row?: string): void;
  /** @param answer what the peer is told before its connection is MQTT's. */
  becomeMqtt(answer: Buffer): void;
}

/** @returns a promise that rejects for a defect only. */
export async function handleUpgrade(
  connection: UpgradingConnection,
  peer: Peer,
  request: RequestText,
): Promise<void> {
  const { ports } = connection;
  const handshake = readHandshake(request, ports.limits().headers, ports.policy().document.pages);
  // Whoever may do nothing here is told that and nothing else.
  const decision: Decision = await peer.checks.request('service').decide(authenticated);
  if (connection.over()) return;
  if (!decision.allowed) {
    const { code, detail, row } = decision;
    connection.turnDown(problems[code], code, detail, row);
  } else if ('problem' in handshake) {
    connection.turnDown(handshake.problem, handshake.problem.code, handshake.detail);
  } else {
    connection.becomeMqtt(handshake.answer);
  }
}
