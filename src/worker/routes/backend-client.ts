/**
 * POSTs to one backend over connections that are kept: HTTP/1.1, never by a proxy that the environment names, never
 * after a redirect. The status is the answer; what follows it is read as far as it takes to use the connection again.
 */
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { printable } from '../../common/base/principal.ts';
import { ownOptions, secureOptions } from '../../common/base/tls-profile.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import type { EventRequest } from './cloud-event.ts';
import type { Timers } from './ports.ts';

/** Of an answer: more is not read, and the connection is given up. */
const maxAnswerBytes = 4_096;
const maxHeaderBytes = 16_384;
/** A connection without a request; a backend that says `Keep-Alive: timeout=…` is believed, up to a minute. */
const idleMs = 4_000;
const maxIdleMs = 60_000;

export type Delivery =
  | { readonly outcome: 'accepted' }
  /** For good: sending the same again is of no use. */
  | { readonly outcome: 'refused'; readonly reason: string }
  | {
      readonly outcome: 'failed';
      readonly reason: string;
      /** What the backend asked for. */
      readonly retryAfterMs: number | undefined;
    };

export interface BackendSender {
  /** Never rejects. Settles at `timeoutMs` at the latest. */
  send(request: EventRequest): Promise<Delivery>;
  /** Ends the connections once nothing is under way on them. */
  close(): Promise<void>;
  /** Ends what is under way too; it has failed. */
  destroy(): Promise<void>;
}

export interface BackendClientParts {
  readonly clock: Clock;
  readonly timers: Timers;
}

export class BackendClient implements BackendSender {
  readonly #pool: Pool;
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #parts: BackendClientParts;

  constructor(settings: BackendSettings, parts: BackendClientParts) {
    const url = new URL(settings.url);
    const { ca, client, approvedOnly = false } = settings.tls;
    this.#path = `${url.pathname}${url.search}`;
    this.#timeoutMs = settings.timeoutMs;
    this.#parts = parts;
    this.#pool = new Pool(url.origin, {
      connections: settings.requests,
      pipelining: 1,
      allowH2: false,
      maxHeaderSize: maxHeaderBytes,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: maxIdleMs,
      // One timer for all of a request is ours.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        timeout: settings.timeoutMs,
        rejectUnauthorized: true,
        ...ownOptions(approvedOnly),
        secureOptions,
        ...(ca === undefined ? {} : { ca }),
        ...(client === undefined ? {} : { cert: client.certificate, key: client.privateKey }),
      },
    });
  }

  send(request: EventRequest): Promise<Delivery> {
    return new Promise((resolve) => {
      const exchange = new Exchange(resolve, this.#parts, this.#timeoutMs);
      try {
        this.#pool.dispatch(
          { method: 'POST', path: this.#path, headers: request.headers, body: request.body },
          exchange,
        );
      } catch (error) {
        exchange.fail(messageOf(error));
      }
    });
  }

  async close(): Promise<void> {
    if (!this.#pool.closed) await this.#pool.close();
  }

  async destroy(): Promise<void> {
    if (!this.#pool.destroyed) await this.#pool.destroy();
  }
}

/** One request and its answer. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #settle: (delivery: Delivery) => void;
  readonly #clock: Clock;
  readonly #cancel: () => void;
  #controller: Dispatcher.DispatchController | undefined;
  #answer: Delivery | undefined;
  #bytes = 0;
  #over = false;

  constructor(
    settle: (delivery: Delivery) => void,
    { clock, timers }: BackendClientParts,
    timeoutMs: number,
  ) {
    this.#settle = settle;
    this.#clock = clock;
    this.#cancel = timers.after(timeoutMs, () => this.#abandon('no answer in time'));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // It had to wait for a connection, and nobody waits for it any more.
    if (this.#over) controller.abort(abandoned);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    // 1xx: the answer is yet to come (RFC 9110 §15.2).
    if (status >= 200) this.#answer = deliveryOf(status, headers, this.#clock);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > maxAnswerBytes) this.#abandon('an answer without end');
  }

  onResponseEnd(): void {
    this.fail('an answer without a status');
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.fail(describe(error));
  }

  /** The reason counts when there has been no status. */
  fail(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#cancel();
    this.#settle(this.#answer ?? { outcome: 'failed', reason, retryAfterMs: undefined });
  }

  #abandon(reason: string): void {
    this.fail(reason);
    this.#controller?.abort(abandoned);
  }
}

/** Handed to undici and to nobody else: one for all saves a stack trace for each. */
const abandoned = new SallyportError('timeout', 'the request was abandoned');

/** What a status says about the messages that were sent. */
function deliveryOf(
  status: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  clock: Clock,
): Delivery {
  if (status < 300) return { outcome: 'accepted' };
  if (status >= 400 && status < 500 && !temporary.has(status)) {
    return { outcome: 'refused', reason: `answered ${status}` };
  }
  const asked = status === 429 || status === 503 ? retryAfterMs(headers, clock) : undefined;
  const reason =
    status < 400 ? `answered ${status}; redirects are not followed` : `answered ${status}`;
  return { outcome: 'failed', reason, retryAfterMs: asked };
}

/** Of the 4xx, those that may go well another time. */
const temporary: ReadonlySet<number> = new Set([408, 425, 429]);

/** RFC 9110 §5.6.7, as it has to be written. `Date.parse` takes much more for a date. */
const httpDate = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** RFC 9110 §10.2.3: seconds, or a date. */
function retryAfterMs(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  clock: Clock,
): number | undefined {
  const value = headers['retry-after'];
  if (typeof value !== 'string') return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1_000;
  const at = httpDate.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - clock.now());
}

/** Of an error of undici or of the system: its code says more than most of its messages. */
function describe(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return printable(code === '' ? error.message : `${code}: ${error.message}`);
}
