/** The opening handshake of MQTT over WebSocket, a client's side, by the letter (RFC 6455 §4.1, MQTT 5 §6). */
import { createHash, randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { ResponseReader } from './https-bytes.ts';
import type { RawAnswer } from './https-bytes.ts';
import { requestText } from './https-text.ts';
import { within } from './waiting.ts';

export const sampleKey = 'dGhlIHNhbXBsZSBub25jZQ==';

const handshake: Readonly<Record<string, string>> = {
  Upgrade: 'websocket',
  Connection: 'Upgrade',
  'Sec-WebSocket-Key': sampleKey,
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Protocol': 'mqtt',
};

/** A handshake in good order, but for what is changed: a text in place of a header's, `undefined` for no header. */
export function handshakeText(
  changed: Readonly<Record<string, string | undefined>> = {},
  path = '/mqtt',
): string {
  const lines = Object.entries({ ...handshake, ...changed }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}`],
  );
  return requestText('GET', path, undefined, ...lines);
}

/** @throws Error for an answer that does not open a WebSocket for MQTT, which a client must not take for one. */
export function assertOpens({ status, headers }: RawAnswer, key: string): void {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  const said = ['upgrade', 'connection', 'sec-websocket-accept', 'sec-websocket-protocol'].map(
    (name) => headers.get(name),
  );
  const wanted = ['websocket', 'Upgrade', accept.digest('base64'), 'mqtt'];
  if (status !== 101 || said.join() !== wanted.join() || headers.size !== wanted.length) {
    throw new Error(`no WebSocket: ${status} ${said.join()}`);
  }
}

/** @returns the bytes that came after the answer. The socket is paused. */
export async function shakeHands(socket: TLSSocket): Promise<Buffer> {
  const key = randomBytes(16).toString('base64');
  const reader = new ResponseReader();
  const answered = new Promise<RawAnswer>((resolve, reject) => {
    const done = (settle: () => void): void => {
      socket.off('data', onData).off('close', onClose).pause();
      settle();
    };
    const onClose = (): void => done(() => reject(new Error('closed in the opening handshake')));
    const onData = (chunk: Buffer): void => {
      reader.push(chunk);
      try {
        const answer = reader.take();
        if (answer !== undefined) done(() => resolve(answer));
      } catch (error) {
        done(() => reject(new Error('no answer by the letter', { cause: error })));
      }
    };
    socket.on('data', onData).on('close', onClose);
  });
  socket.write(handshakeText({ 'Sec-WebSocket-Key': key }));
  assertOpens(await within(answered, 30_000, 'the answer to the opening handshake'), key);
  return reader.rest;
}
