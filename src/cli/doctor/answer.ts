/** What the server says to the device once TLS stands: in MQTT, or in HTTP when that is what it speaks. */
import type { TLSSocket } from 'node:tls';
import { isErrorCode } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { encode } from '../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import { connectionCode } from '../../device/mqtt-reasons.ts';

export const protocols = ['mqtt', 'https', 'est'] as const;
export type Protocol = (typeof protocols)[number];

export type Answer =
  | { readonly protocol: Protocol; readonly accepted: true }
  | {
      readonly protocol: Protocol;
      readonly accepted: false;
      /** As the gateway names its refusals; undefined when the answer has no such word. */
      readonly code: ErrorCode | undefined;
      /** `MQTT reason code 0x8a`, `HTTP 403`. */
      readonly word: string;
    }
  | {
      readonly protocol: undefined;
      /** OpenSSL's or Node's code; `CLOSED`, `TIMEOUT`, `STRANGE`. */
      readonly code: string;
      readonly message: string;
    };

/** What changes nothing and is answered to whoever may come in at all. */
const paths: Readonly<Record<Exclude<Protocol, 'mqtt'>, string>> = {
  https: '/api/v1/time',
  est: '/.well-known/est/cacerts',
};
/** An answer to a question as small as ours is smaller. */
const maxBytes = 16 * 1024;
const keepAliveSeconds = 30;

/** Ends the connection. Never rejects. */
export async function ask(
  socket: TLSSocket,
  protocol: Protocol,
  { clientId, host, limitMs }: { clientId: string; host: string; limitMs: number },
): Promise<Answer> {
  const question =
    protocol === 'mqtt' ? connectBytes(clientId) : requestText(paths[protocol], host);
  const answer = new Promise<Answer>((resolve) => {
    const chunks: Buffer[] = [];
    const failed = (code: string, message: string): void =>
      resolve({ protocol: undefined, code, message });
    const timer = setTimeout(() => failed('TIMEOUT', 'no answer'), limitMs);
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      const read = readAnswer(Buffer.concat(chunks), protocol);
      if (read !== undefined) resolve(read);
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      failed(error.code ?? 'ERROR', error.message),
    );
    socket.once('close', () => {
      clearTimeout(timer);
      failed('CLOSED', 'the connection was closed without an answer');
    });
    socket.write(question);
  });
  try {
    return await answer;
  } finally {
    socket.destroy();
  }
}

/** @returns undefined when there is more to come. */
/** A port that was taken for MQTT's may be that of HTTPS. */
function readAnswer(bytes: Buffer, asked: Protocol): Answer | undefined {
  if (bytes.subarray(0, 5).toString('latin1') === 'HTTP/')
    return readHttp(bytes, asked === 'mqtt' ? 'https' : asked);
  const [firstByte = 0, length = 0] = bytes;
  if (bytes.length < 2) return undefined;
  // CONNACK of MQTT 5.0 section 3.2: one that we understand is shorter than 128 bytes, or begins like one that is not.
  if (firstByte !== 0x20) return strange(bytes);
  const header = length < 0x80 ? 2 : 3;
  const reasonCode = bytes[header + 1];
  if (reasonCode === undefined) return undefined;
  if (reasonCode === 0) return { protocol: 'mqtt', accepted: true };
  // The return codes of 3.1.1 are those of a server that does not speak 5.
  const code = reasonCode < 0x80 ? undefined : connectionCode(reasonCode);
  const word = `MQTT reason code 0x${reasonCode.toString(16).padStart(2, '0')}`;
  return { protocol: 'mqtt', accepted: false, code, word };
}

function readHttp(bytes: Buffer, protocol: Protocol): Answer | undefined {
  const text = bytes.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return bytes.length > maxBytes ? strange(bytes) : undefined;
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1] ?? Number.NaN);
  if (Number.isNaN(status)) return strange(bytes);
  const length = Number(/^content-length: *(\d+)\r$/im.exec(text.slice(0, end + 2))?.[1] ?? 0);
  if (bytes.length < end + 4 + length && bytes.length <= maxBytes) return undefined;
  if (status < 400) return { protocol, accepted: true };
  return {
    protocol,
    accepted: false,
    code: codeIn(text.slice(end + 4)),
    word: `HTTP ${status}`,
  };
}

/** Of RFC 9457 problem details as the gateway writes them. */
function codeIn(body: string): ErrorCode | undefined {
  try {
    const problem: unknown = JSON.parse(body);
    const code: unknown =
      typeof problem === 'object' && problem !== null ? Reflect.get(problem, 'code') : undefined;
    return isErrorCode(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

function strange(bytes: Buffer): Answer {
  const start = bytes.subarray(0, 16).toString('hex');
  return { protocol: undefined, code: 'STRANGE', message: `the answer begins with ${start}` };
}

function connectBytes(clientId: string): Buffer {
  return encode(
    {
      type: 'connect',
      version: 5,
      cleanStart: true,
      keepAlive: keepAliveSeconds,
      clientId,
      will: undefined,
      userName: undefined,
      password: undefined,
      properties: noProperties,
    },
    5,
  );
}

function requestText(path: string, host: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
}
