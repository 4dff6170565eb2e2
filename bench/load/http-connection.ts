/** A device's keep-alive HTTP/1.1 connection: sends a prepared request, waits for its answer, sends the next. */
import type { TLSSocket } from 'node:tls';
import { within } from '../../test/harness/waiting.ts';
import { openTls } from './tls-client.ts';
import type { TlsTarget } from './tls-client.ts';

const answerMs = 30_000;
const headEnd = Buffer.from('\r\n\r\n');
const empty = Buffer.alloc(0);

/** What a connection sends: whole requests, made before they are needed. */
export interface RequestSource {
  /** So many will be asked for next; what it costs to make them is nobody's. */
  prepare(count: number): void;
  next(): Buffer;
}

/** @param more lines of the head. */
export function postBytes(path: string, body: Buffer, more: readonly string[] = []): Buffer {
  const head = [
    `POST ${path} HTTP/1.1`,
    'Host: localhost',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    ...more,
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
}

/** The same one every time. */
export function always(request: Buffer): RequestSource {
  return { prepare: () => {}, next: () => request };
}

export class HttpConnection {
  readonly #socket: TLSSocket;
  readonly #source: RequestSource;
  #left = 0;
  #rest: Buffer = empty;
  #fail: (error: Error) => void = () => {};
  #done: () => void = () => {};
  #sentAt = 0;
  #onAnswer: (milliseconds: number) => void = () => {};

  static async open(target: TlsTarget, source: RequestSource): Promise<HttpConnection> {
    const connection = new HttpConnection(openTls(target), source);
    await within(connection.#secured(), answerMs, 'a TLS handshake');
    return connection;
  }

  private constructor(socket: TLSSocket, source: RequestSource) {
    this.#socket = socket;
    this.#source = source;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the server closed a keep-alive connection')));
  }

  /** So many requests will be sent next. */
  prepare(count: number): void {
    this.#source.prepare(count);
  }

  /**
   * Sends so many requests, one after the other; each must be answered with 202.
   *
   * @param onAnswer gets the time between a request and its answer.
   */
  async repeat(count: number, onAnswer: (milliseconds: number) => void = () => {}): Promise<void> {
    // Between two rounds nobody hears of it.
    if (this.#socket.destroyed) throw new Error('the server has closed a connection that waited');
    await new Promise<void>((resolve, reject) => {
      this.#left = count;
      this.#done = resolve;
      this.#fail = reject;
      this.#onAnswer = onAnswer;
      this.#send();
    });
  }

  destroy(): void {
    this.#fail = () => {};
    this.#socket.destroy();
  }

  #secured(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.once('secureConnect', resolve);
      this.#fail = reject;
    });
  }

  #send(): void {
    const request = this.#source.next();
    this.#sentAt = performance.now();
    this.#socket.write(request);
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const end = answerEnd(bytes);
    if (end === undefined) {
      this.#rest = bytes;
      return;
    }
    this.#rest = empty;
    const status = bytes.toString('latin1', 9, 12);
    if (status !== '202' || end !== bytes.length) {
      this.#fail(new Error(`not the 202 that was awaited: ${bytes.toString('utf8', 0, 400)}`));
      return;
    }
    this.#onAnswer(performance.now() - this.#sentAt);
    this.#left -= 1;
    if (this.#left > 0) this.#send();
    else this.#done();
  }
}

/** Where the answer ends; undefined when it is not all there. Only answers with a Content-Length are awaited. */
function answerEnd(bytes: Buffer): number | undefined {
  const head = bytes.indexOf(headEnd);
  if (head < 0) return undefined;
  const length = /^content-length: *(\d+)\r$/im.exec(bytes.toString('latin1', 0, head + 2))?.[1];
  if (length === undefined) {
    throw new Error(`an answer without a length: ${bytes.toString('utf8', 0, 400)}`);
  }
  const end = head + headEnd.length + Number(length);
  return end > bytes.length ? undefined : end;
}
