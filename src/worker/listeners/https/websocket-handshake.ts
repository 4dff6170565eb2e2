/**
 * The opening handshake of MQTT over WebSocket, a server's side (RFC 6455 §4.2, MQTT 5 §6). No extension is taken: one
 * that compresses would make bytes out of nothing.
 */
import { hash } from 'node:crypto';
import { tokensOf, trimmed } from '../../../common/codec/http/field-text.ts';
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import { printable } from '../../../common/base/principal.ts';
import type { PagesDocument } from '../../../common/config/policy-document.ts';
import { readHead } from '../http/request-head.ts';
import type { BadHead } from '../http/request-head.ts';
import { problems, unknownExpectation, upgradeRequired } from '../http/wire.ts';
import { isOwnPage } from './own-names.ts';

export const webSocketPath = '/mqtt';

/** The one version there is (RFC 6455 §4.1). */
const version = '13';
/** §4.2.1: 16 bytes in base64; the last of them leaves four bits that are zero. */
const keyPattern = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
/** §1.3: a server that answers with it has understood what it was asked. */
const keySuffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export interface Handshake {
  /** The answer, whole; frames follow. */
  readonly answer: Buffer;
}

/**
 * A GET of the path that asks for WebSocket, and has nothing else to say; whether it asks in good form is
 * `readHandshake`'s to judge.
 */
export function asksForWebSocket(request: RequestText): boolean {
  return request.target === webSocketPath && asksForUpgrade(request);
}

/** A GET of whatever path that asks for WebSocket. */
export function asksForUpgrade(request: RequestText): boolean {
  return (
    request.method === 'GET' &&
    request.isUpgrade &&
    tokensOf(request.value('upgrade') ?? '').includes('websocket') &&
    request.value('content-length') === undefined &&
    request.framing === 0
  );
}

/** @param request for which `asksForWebSocket` holds. */
export function readHandshake(
  request: RequestText,
  maxHeaders: number,
  pages: PagesDocument,
): Handshake | BadHead {
  const head = readHead(request, maxHeaders);
  if ('problem' in head) return head;
  if (request.expect !== undefined) return { problem: unknownExpectation, detail: 'Expect' };
  const key = request.value('sec-websocket-key');
  if (key === undefined || !keyPattern.test(key)) return malformed('Sec-WebSocket-Key');
  if (request.value('sec-websocket-version') !== version) {
    return { problem: upgradeRequired, detail: 'Sec-WebSocket-Version' };
  }
  const { origin } = head;
  if (origin !== undefined && !isOwnPage(origin, pages)) {
    return { problem: problems.forbidden, detail: `Origin ${printable(origin)}` };
  }
  // Compared as written (RFC 6455 §4.1): a list, perhaps over several lines.
  const offered = request.value('sec-websocket-protocol') ?? '';
  if (!offered.split(',').some((protocol) => trimmed(protocol) === 'mqtt')) {
    return malformed('the subprotocol mqtt is not offered [MQTT-6.0.0-3]');
  }
  return { answer: answerTo(key) };
}

function malformed(detail: string): BadHead {
  return { problem: problems.malformed, detail };
}

/** [MQTT-6.0.0-4] */
function answerTo(key: string): Buffer {
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${hash('sha1', key + keySuffix, 'base64')}`,
    'Sec-WebSocket-Protocol: mqtt',
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
}
