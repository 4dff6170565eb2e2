/**
 * A TLS connection with a client certificate on which tests write what bytes they like and read what comes: for
 * requests that no HTTP client would send.
 */
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { ResponseReader } from './https-bytes.ts';
import type { RawAnswer } from './https-bytes.ts';
import type { HttpsOptions } from './https-device.ts';
import { tlsOptionsOf } from './raw-mqtt.ts';
import { runningMs, within } from './waiting.ts';

/** How and when a connection ended. */
export interface RawEnding {
  /** `runningMs()` of the moment. */
  readonly at: number;
  /** `ECONNRESET` and the like; undefined when it was closed in good order. */
  readonly error: string | undefined;
}

const limit = 30_000;

export class RawHttps implements Disposable {
  readonly socket: TLSSocket;
  /** Of this end, as the gateway logs it: `address:port`. */
  readonly address: string;
  /** Whether the gateway resumed the session that was offered. */
  readonly resumed: boolean;
  readonly ended: Promise<RawEnding>;
  readonly #reader = new ResponseReader();
  readonly #received: Buffer[] = [];
  #wake: () => void = () => {};
  #error: string | undefined;
  #isEnded = false;

  /** @throws the TLS error when the handshake fails. */
  static async open(options: HttpsOptions): Promise<RawHttps> {
    const socket = tlsConnect({ ...tlsOptionsOf(options), ALPNProtocols: ['http/1.1'] });
    const secured = new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed during the handshake')));
    });
    try {
      await within(secured, limit, 'the TLS handshake');
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return new RawHttps(socket);
  }

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    this.address = `${socket.localAddress ?? ''}:${socket.localPort ?? 0}`;
    this.resumed = socket.isSessionReused();
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#reader.push(chunk);
      this.#wake();
    });
    socket.on('error', (error) => {
      this.#error = 'code' in error ? String(error.code) : error.message;
    });
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isEnded = true;
        this.#reader.end();
        resolve({ at: runningMs(), error: this.#error });
        this.#wake();
      });
    });
  }

  /** What has come and belongs to no response that was taken. */
  get rest(): Buffer {
    return this.#reader.rest;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** A text is written as Latin-1, so that a test can say any byte. */
  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** The next response by the letter of RFC 9112. @throws Error for anything else, and when the connection ends first. */
  async answer(method = 'GET', limitMs = limit): Promise<RawAnswer> {
    const deadline = runningMs() + limitMs;
    for (;;) {
      const answer = this.#reader.take(method);
      if (answer !== undefined) return answer;
      if (this.#isEnded) throw new Error(`closed without an answer (${this.#error ?? 'no error'})`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await within(promise, Math.max(0, deadline - runningMs()), 'an answer');
    }
  }

  /**
   * Every response until the gateway closes the connection.
   *
   * @throws Error when something is left that is no response, or the connection stays open.
   */
  async answersUntilClose(limitMs = limit): Promise<readonly RawAnswer[]> {
    await within(this.ended, limitMs, 'the end of the connection');
    const answers: RawAnswer[] = [];
    for (;;) {
      const answer = this.#reader.take();
      if (answer === undefined) return answers;
      answers.push(answer);
    }
  }

  /** All bytes that came, until the gateway closes the connection. */
  async untilClose(limitMs = limit): Promise<Buffer> {
    await within(this.ended, limitMs, 'the end of the connection');
    return Buffer.concat(this.#received);
  }

  /** Gone without a word. */
  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
