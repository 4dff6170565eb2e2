/**
 * A lab device that speaks HTTPS: requests on one kept-alive connection or each on a fresh one, and event streams. It
 * verifies the gateway's certificate like any other client.
 */
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Gateway, Identity } from './gateway.ts';
import { headersOf, readAnswer } from './https-answer.ts';
import type { HttpAnswer } from './https-answer.ts';
import { EventReader } from './https-events.ts';
import type { ServerSentEvent } from './https-events.ts';
import { nextSource, tlsOptionsOf } from './raw-mqtt.ts';
import type { RawOptions, TlsOptions } from './raw-mqtt.ts';
import { runningMs, within } from './waiting.ts';

/** Who speaks to which port, and how; as over MQTT. */
export type HttpsOptions = Pick<
  RawOptions,
  'port' | 'identity' | 'ca' | 'minVersion' | 'maxVersion' | 'ciphers' | 'session' | 'localAddress'
>;

export interface RequestOptions {
  readonly headers?: OutgoingHttpHeaders;
  /** An object or array is sent as JSON, with `application/json` unless the headers say otherwise. */
  readonly body?: string | Buffer | object;
  readonly limitMs?: number;
  readonly signal?: AbortSignal;
}

/** Longer than the longest poll. */
const answerLimitMs = 70_000;

export function httpsPort(gateway: Gateway): number {
  const { https } = gateway.run().listeners;
  if (https === undefined) throw new Error('no https listener');
  return https.port;
}

export class HttpsDevice implements Disposable {
  readonly #tls: TlsOptions;
  readonly #agent: Agent;
  readonly #sockets = new Set<TLSSocket>();

  /** Connects when there is something to say. */
  constructor(options: HttpsOptions) {
    this.#tls = tlsOptionsOf(options);
    // One connection, so that what follows each other on it can be told. No session is resumed unless it is given.
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
  }

  static of(
    gateway: Gateway,
    identity: Identity,
    options: Partial<HttpsOptions> = {},
  ): HttpsDevice {
    return new HttpsDevice({ port: httpsPort(gateway), identity, ...options });
  }

  /** On the kept-alive connection, made when there is none: requests wait for each other. */
  request(method: string, path: string, options: RequestOptions = {}): Promise<HttpAnswer> {
    return this.#exchange(method, path, options, true);
  }

  /** On a connection of its own, from an address of its own. */
  requestAlone(method: string, path: string, options: RequestOptions = {}): Promise<HttpAnswer> {
    return this.#exchange(method, path, options, false);
  }

  /** Publishes as `POST /api/v1/<channel>`. */
  post(
    channel: 'telemetry' | 'status' | 'diagnostics' | 'command-responses',
    body: string | Buffer | object,
    headers: OutgoingHttpHeaders = {},
  ): Promise<HttpAnswer> {
    return this.request('POST', `/api/v1/${channel}`, { body, headers });
  }

  /** @throws Error when the answer is no stream; the message has its status and body. */
  async eventStream(lastEventId?: string, path = '/api/v1/commands'): Promise<EventStream> {
    const response = await this.#send(
      'GET',
      path,
      {
        headers: {
          accept: 'text/event-stream',
          ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
        },
      },
      false,
    );
    if (response.headers['content-type']?.startsWith('text/event-stream') === true) {
      return new EventStream(response);
    }
    const { status, body } = await readAnswer(response);
    throw new Error(`no event stream: ${status} ${body.toString()}`);
  }

  /** The connections that are open. */
  get sockets(): readonly TLSSocket[] {
    return [...this.#sockets];
  }

  /** Gone without a word. */
  [Symbol.dispose](): void {
    this.#agent.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #exchange(
    method: string,
    path: string,
    options: RequestOptions,
    keptAlive: boolean,
  ): Promise<HttpAnswer> {
    const exchange = this.#send(method, path, options, keptAlive).then(readAnswer);
    return within(exchange, options.limitMs ?? answerLimitMs, `an answer to ${method} ${path}`);
  }

  #send(
    method: string,
    path: string,
    { headers = {}, body, signal }: RequestOptions,
    keptAlive: boolean,
  ): Promise<IncomingMessage> {
    const isJson = body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
    return new Promise((resolve, reject) => {
      const request = httpsRequest(
        {
          ...this.#tls,
          ...(keptAlive ? {} : { localAddress: nextSource() }),
          agent: keptAlive ? this.#agent : false,
          method,
          path,
          headers: { ...(isJson ? { 'content-type': 'application/json' } : {}), ...headers },
          ...(signal === undefined ? {} : { signal }),
        },
        resolve,
      );
      request.on('socket', (socket) => this.#remember(socket as TLSSocket)); // https makes no others
      request.on('error', reject);
      request.end(isJson ? JSON.stringify(body) : body);
    });
  }

  #remember(socket: TLSSocket): void {
    if (this.#sockets.has(socket)) return;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }
}

/** How and when a stream ended. */
export interface StreamEnding {
  /** `runningMs()` of the moment. */
  readonly at: number;
  /** Whether the gateway ended it as an HTTP message ends, and did not just vanish. */
  readonly complete: boolean;
}

const eventLimitMs = 30_000;

export class EventStream implements Disposable {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** All that came, in order, also what `next` has given. */
  readonly events: ServerSentEvent[] = [];
  readonly comments: string[] = [];
  readonly ended: Promise<StreamEnding>;
  readonly #response: IncomingMessage;
  #given = 0;
  #wake: () => void = () => {};
  #isEnded = false;
  #defect: unknown;

  constructor(response: IncomingMessage) {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    this.headers = headersOf(response);
    const reader = new EventReader();
    response.on('data', (chunk: Buffer) => {
      try {
        for (const part of reader.push(chunk)) {
          if ('comment' in part) this.comments.push(part.comment);
          else this.events.push(part);
        }
      } catch (error) {
        this.#defect = error;
        response.destroy();
      }
      this.#wake();
    });
    // That it broke off is told by `complete`.
    response.on('error', () => {});
    this.ended = new Promise((resolve) => {
      response.once('close', () => {
        this.#isEnded = true;
        resolve({ at: runningMs(), complete: response.complete });
        this.#wake();
      });
    });
  }

  /** The next event that has not been given yet. @throws Error when the stream ends, or none comes in time. */
  async next(limitMs = eventLimitMs): Promise<ServerSentEvent> {
    const deadline = runningMs() + limitMs;
    for (;;) {
      const event = this.events[this.#given];
      if (event !== undefined) {
        this.#given += 1;
        return event;
      }
      if (this.#isEnded) throw new Error('the event stream ended', { cause: this.#defect });
      await within(this.#change(), Math.max(0, deadline - runningMs()), 'an event');
    }
  }

  /** The next comment line (a heartbeat). */
  async nextComment(limitMs = eventLimitMs): Promise<string> {
    const already = this.comments.length;
    const deadline = runningMs() + limitMs;
    for (;;) {
      const comment = this.comments[already];
      if (comment !== undefined) return comment;
      if (this.#isEnded) throw new Error('the event stream ended', { cause: this.#defect });
      await within(this.#change(), Math.max(0, deadline - runningMs()), 'a comment');
    }
  }

  /** Gone without a word. */
  [Symbol.dispose](): void {
    this.#response.destroy();
  }

  #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#wake;
    this.#wake = () => {
      before();
      resolve();
    };
    return promise;
  }
}
