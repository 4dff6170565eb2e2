/** One proxied request on its way: what of it has been sent, what of its answer was told, and whether it may be tried again. */
import type { Socket } from 'node:net';
import type { Expected, ParsedHead } from './answer-head.ts';
import type { Attempt, ServerBreaker } from './breaker.ts';
import type { Connection, Exchange, Loss } from './connection.ts';
import type {
  Answerer,
  UpgradeAnswerer,
  UpstreamCall,
  UpstreamFailure,
  UpstreamRequest,
} from './ports.ts';
import { framingLines, headerLines, requestLine } from './request-text.ts';

/** RFC 9110 §9.2.2. */
const idempotent: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'OPTIONS',
  'TRACE',
  'PUT',
  'DELETE',
]);

const untried: readonly CallServer[] = [];

/** What a call needs of its server. */
export interface CallServer {
  readonly origin: string;
  /** For `Host` (RFC 9110 §7.2). */
  readonly authority: string;
  readonly breaker: ServerBreaker;
}

/** What a call needs of the upstream it is for. */
export interface CallOwner {
  /** Its connection is lost before there was an answer. */
  lost(call: Call, loss: Loss): void;
  /** It is told nothing more. */
  over(call: Call, outcome: Outcome): void;
  answered(call: Call, status: number): void;
  /** Whoever should have taken what it was told has thrown. */
  thrown(error: unknown): void;
}

export type Outcome = 'answered' | 'switched' | 'truncated' | 'unavailable' | 'busy' | 'aborted';

export interface CallTimes {
  readonly startedAt: number;
  readonly endsAt: number;
}

export class Call implements UpstreamCall, Exchange, Attempt {
  readonly method: string;
  readonly expected: Expected;
  readonly body: Buffer | 'length' | 'chunked' | undefined;
  readonly caller: string;
  readonly startedAt: number;
  readonly endsAt: number;
  /** Servers that it has been sent to in vain, or could not be. */
  tried: readonly CallServer[] = untried;
  tries = 0;
  /** The next try is on a connection of its own: one that was kept has let it down. */
  needsFresh = false;
  /** The settings' of when its target was made. */
  rewrite: string | undefined;
  server: CallServer | undefined;
  readonly #owner: CallOwner;
  readonly #line: string;
  readonly #lines: string;
  readonly #answerer: Answerer;
  readonly #opened: UpgradeAnswerer['opened'] | undefined;
  #connection: Connection | undefined;
  #isConnected = false;
  /** Of a streamed body: what came before there was a connection. */
  #pending: Buffer[] | undefined;
  #left: number;
  #ended = false;
  #bodyBegun = false;
  #headTold = false;
  #over = false;

  /** @throws SallyportError `malformed` for what cannot be written as a request. */
  constructor(
    owner: CallOwner,
    request: UpstreamRequest,
    target: string,
    answerer: Answerer,
    { startedAt, endsAt }: CallTimes,
    opened: UpgradeAnswerer['opened'] | undefined,
  ) {
    const { method, body } = request;
    this.#owner = owner;
    this.method = method;
    this.caller = request.caller;
    this.startedAt = startedAt;
    this.endsAt = endsAt;
    this.#line = requestLine(method, target);
    this.#lines =
      (request.common?.text ?? '') +
      headerLines(request.headers) +
      (opened === undefined ? framingLines(method, body) : upgradeLines);
    this.#answerer = answerer;
    this.#opened = opened;
    this.expected = expectedOf(method, opened !== undefined);
    const isStreamed = body !== undefined && !Buffer.isBuffer(body);
    this.#left = isStreamed ? (body.bytes ?? Number.POSITIVE_INFINITY) : 0;
    if (isStreamed) this.body = body.bytes === undefined ? 'chunked' : 'length';
    else this.body = body;
  }

  get over(): boolean {
    return this.#over;
  }

  get head(): string {
    return `${this.#line}Host: ${this.server?.authority ?? ''}\r\n${this.#lines}`;
  }

  /** Whether what has happened so far lets it go to a server once more. */
  mayTryAgain({ kind, hadAnswer, isUnsent }: Loss): boolean {
    if (this.#over || this.#headTold || this.#bodyBegun) return false;
    if (kind === 'connect') return true;
    if (kind !== 'closed' || hadAnswer) return false;
    // RFC 9110 §9.2.2: what may have been done once must not be done twice.
    return isUnsent || (idempotent.has(this.method) && this.expected !== 'upgrade');
  }

  /** It goes over this connection, which may yet have to be made. */
  assigned(server: CallServer): void {
    this.server = server;
    this.tries += 1;
    this.#isConnected = false;
  }

  carriedBy(connection: Connection): void {
    this.#connection = connection;
  }

  write(piece: Buffer): boolean {
    if (this.#over) return true;
    this.#left -= piece.length;
    if (this.#left < 0 || this.#ended) {
      this.#breakOff('more of the body than was announced');
      return true;
    }
    if (!this.#isConnected) {
      this.#pending ??= [];
      this.#pending.push(piece);
      return false;
    }
    this.#bodyBegun = true;
    return this.#connection?.write(piece) ?? true;
  }

  end(): void {
    if (this.#over || this.#ended) return;
    if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY) {
      this.#breakOff('less of the body than was announced');
      return;
    }
    this.#ended = true;
    if (!this.#isConnected) return;
    this.#bodyBegun = true;
    this.#connection?.end();
  }

  resume(): void {
    this.#connection?.resume();
  }

  abort(): void {
    if (this.#over) return;
    this.#connection?.destroy();
    this.#finish('aborted');
  }

  connected(): void {
    this.#isConnected = true;
    if (typeof this.body !== 'string') return;
    const pending = this.#pending ?? [];
    this.#pending = undefined;
    let flows = true;
    for (const piece of pending) {
      this.#bodyBegun = true;
      flows = this.#connection?.write(piece) ?? true;
    }
    if (this.#ended) {
      this.#bodyBegun = true;
      this.#connection?.end();
    } else if (flows && pending.length > 0) {
      this.drained();
    }
  }

  drained(): void {
    if (typeof this.body !== 'string' || this.#ended) return;
    try {
      this.#answerer.drained();
    } catch (error) {
      this.#giveUp(error);
    }
  }

  answered(head: ParsedHead): void {
    this.#headTold = true;
    this.#owner.answered(this, head.status);
    try {
      this.#answerer.head(head);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  data(piece: Buffer): boolean {
    try {
      return this.#answerer.data(piece);
    } catch (error) {
      this.#giveUp(error);
      return true;
    }
  }

  complete(last: Buffer | undefined): void {
    if (this.#over) return;
    this.#finish('answered');
    try {
      this.#answerer.end(last);
    } catch (error) {
      this.#owner.thrown(error);
    }
  }

  switched(head: ParsedHead, socket: Socket, rest: Buffer): void {
    this.#owner.answered(this, head.status);
    this.#finish('switched');
    if (rest.length > 0) socket.unshift(rest);
    try {
      // Only an upgrade is answered by 101.
      this.#opened?.(head, socket);
    } catch (error) {
      socket.destroy();
      this.#owner.thrown(error);
    }
  }

  lost(loss: Loss): void {
    this.#connection = undefined;
    if (loss.isUnsent) this.#isConnected = false;
    if (!this.#over) this.#owner.lost(this, loss);
  }

  /** There will be no answer, or none that is complete. */
  fail(code: UpstreamFailure['code'], detail: string, retryAfterMs?: number): void {
    if (this.#over) return;
    const { server } = this;
    const begun = this.#headTold;
    this.#finish(begun ? 'truncated' : code);
    const sent = this.#isConnected;
    try {
      this.#answerer.failed({ code, detail, server: server?.origin, sent, begun, retryAfterMs });
    } catch (error) {
      this.#owner.thrown(error);
    }
  }

  /** An exception on the way of one answer, thrown on into the socket's handlers, would end every other one too. */
  #giveUp(error: unknown): void {
    this.#owner.thrown(error);
    this.#breakOff('the answer could not be passed on');
  }

  #breakOff(detail: string): void {
    this.#connection?.destroy();
    this.fail('unavailable', detail);
  }

  #finish(outcome: Outcome): void {
    this.#over = true;
    this.#connection = undefined;
    this.#pending = undefined;
    this.#owner.over(this, outcome);
  }
}

/** RFC 9110 §7.8. */
const upgradeLines = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

function expectedOf(method: string, isUpgrade: boolean): Expected {
  if (isUpgrade) return 'upgrade';
  return method === 'HEAD' ? 'head-only' : 'answer';
}
