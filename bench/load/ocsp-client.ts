/** Asks for OCSP answers by HTTP POST (RFC 6960 appendix A.1) and looks whether each is one. */
import { randomFillSync } from 'node:crypto';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { within } from '../../test/harness/waiting.ts';
import { together } from './pace.ts';

export interface OcspAsk {
  readonly port: number;
  /** DER OCSPRequest; one with a nonce has it in its last `nonceBytes`. */
  readonly request: Buffer;
  /** Of a nonce that is to be another each time; 0 = none. */
  readonly nonceBytes: number;
  /** Whether the connections stay open for the next request. */
  readonly keepAlive: boolean;
}

/** Requests on their way at once. */
const lanes = 16;
/** A server that no longer answers ends the row. */
const roundMs = 120_000;
const headEnd = '\r\n\r\n';
/** The beginning of an OCSPResponse of 128 bytes and more that is successful. */
const successful = /^\x30(?:\x81.|\x82..)\x0a\x01\x00\xa0/s;

/** @throws Error when one of them is not answered with a signed answer. */
export async function askOcsp(ask: OcspAsk, requests: number): Promise<void> {
  const perLane = Math.ceil(requests / lanes);
  const all = together(lanes, lanes, async () => {
    let socket: Socket | undefined;
    for (let i = 0; i < perLane; i += 1) {
      socket ??= await opened(ask.port);
      checkAnswer(await exchange(socket, ask));
      if (ask.keepAlive) continue;
      socket.destroy();
      socket = undefined;
    }
    socket?.destroy();
  });
  await within(all, roundMs, 'the answers of a round');
}

/** How many `askOcsp` makes of so many. */
export function asked(requests: number): number {
  return Math.ceil(requests / lanes) * lanes;
}

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** The whole answer as bytes in a text. */
function exchange(socket: Socket, ask: OcspAsk): Promise<string> {
  const head = [
    'POST /ocsp HTTP/1.1',
    'Host: localhost',
    'Content-Type: application/ocsp-request',
    `Content-Length: ${ask.request.length}`,
  ];
  const body = Buffer.from(ask.request);
  if (ask.nonceBytes > 0) randomFillSync(body, body.length - ask.nonceBytes, ask.nonceBytes);
  return new Promise((resolve, reject) => {
    let text = '';
    const settle = (): void => {
      socket.removeAllListeners();
      socket.on('error', () => {});
    };
    const look = (): void => {
      const end = text.indexOf(headEnd);
      const length = /^content-length: *(\d+)\r$/im.exec(text.slice(0, end + 2))?.[1];
      if (end < 0 || length === undefined) return;
      if (text.length < end + headEnd.length + Number(length)) return;
      settle();
      resolve(text);
    };
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      look();
    });
    socket.once('error', (error) => {
      settle();
      reject(error);
    });
    socket.once('close', () => {
      settle();
      reject(new Error(`the connection ended in an answer: ${text.slice(0, 200)}`));
    });
    socket.write(Buffer.concat([Buffer.from(`${head.join('\r\n')}${headEnd}`), body]));
  });
}

function checkAnswer(text: string): void {
  const body = text.slice(text.indexOf(headEnd) + headEnd.length);
  if (!/^HTTP\/1\.[01] 200 /.test(text) || !successful.test(body)) {
    throw new Error(`not an OCSP answer: ${text.slice(0, 200)}`);
  }
}
