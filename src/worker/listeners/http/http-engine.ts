/**
 * HTTP/1.1 on one connection: its requests one after another, each with its answer before the next is looked at, and their
 * time limits.
 *
 * What a peer sends on before it has its answer is looked at when it is its turn; a bounded part of it waits for that.
 */
import type { Clock } from '../../../common/base/clock.ts';
import { RequestParser } from '../../../common/codec/http/request-parser.ts';
import type {
  RequestDefect,
  RequestReading,
  RequestText,
} from '../../../common/codec/http/request-parser.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { Exchange } from './exchange.ts';
import type { Afterwards, ExchangeBytes, ExchangeOwner } from './exchange.ts';
import { headerText } from './head-text.ts';
import type { Problem } from './wire.ts';
import { headersTooLarge, problems, timedOut } from './wire.ts';

/** A connection whose requests are read here. */
export interface HttpConnection extends ExchangeOwner {
  /** Does a step that belongs to this connection alone: a fault in it is this connection's end. */
  run(step: () => void): void;
  /** A request whose head has arrived. The one before it is over. */
  receive(exchange: Exchange): void;
  /** Its peer goes on and on before it has its answer; nothing more is read. */
  sentAhead(exchange: Exchange): void;
  /** What has come is no request, or not in time; nothing more is read. There is no exchange. */
  unreadable(problem: Problem, detail: string): void;
  /** Whether a request that asks for another protocol is `upgrade`'s; without it none is. */
  mayUpgrade?(request: RequestText): boolean;
  /** Nothing more is read until `letGo`. */
  upgrade?(request: RequestText): void;
}

/** Bounds of one connection. */
export type HttpLimits = Pick<LimitsDocument, 'headerBytes' | 'headersMs' | 'requestMs' | 'idleMs'>;

export interface HttpEngineParts {
  readonly transport: SecureConnection;
  readonly connection: HttpConnection;
  readonly clock: Clock;
  readonly limits: HttpLimits;
}

const none = Buffer.alloc(0);
const secondMs = 1_000;
/** What may come before the answer to a request: two TLS records. */
const aheadBytes = 32_768;
/** Whoever sends what cannot be read has this long to see his answer, and to stop. */
const lingerMs = 700;

export class HttpEngine implements ExchangeBytes {
  readonly #transport: SecureConnection;
  readonly #connection: HttpConnection;
  readonly #clock: Clock;
  readonly #limits: HttpLimits;
  readonly #parser: RequestParser;
  readonly keepAliveLines: string;
  #exchange: Exchange | undefined;
  /** All of the exchange's body has been read, but for what is in `#piece`. */
  #bodyRead = true;
  #bodyBegun = false;
  /** Somebody takes the body. */
  #bodyWanted = false;
  #bodyFlows = true;
  /** Since when it is not its peer whom the request waits for; monotonic. */
  #heldUpAt: number | undefined;
  /** What has been read of the body, and is to be taken. */
  #piece: Buffer | undefined;
  /** What has been read, and not looked at. */
  #held: Buffer | undefined;
  /** The peer does not take what is written. */
  #blocked = false;
  #isReading = false;
  #isPaused = false;
  #lingers = false;
  /** Whatever comes is thrown away. */
  #discards = false;
  /** Another protocol is spoken soon. */
  #isLeaving = false;
  /** When the request under way has begun, or the last one has ended; monotonic. */
  #since: number;
  #requests = 0;

  constructor({ transport, connection, clock, limits }: HttpEngineParts) {
    this.#transport = transport;
    this.#connection = connection;
    this.#clock = clock;
    this.#limits = limits;
    this.#parser = new RequestParser(limits.headerBytes);
    this.#since = clock.monotonic();
    const seconds = Math.floor(limits.idleMs / secondMs);
    this.keepAliveLines = keepAliveLines(seconds);
    transport.onData = (chunk) => connection.run(() => this.receive(chunk));
    transport.onDrain = () => connection.run(() => this.#drained());
  }

  get bodyComplete(): boolean {
    return this.#bodyRead;
  }

  get bodyBegun(): boolean {
    return this.#bodyBegun;
  }

  now(): number {
    return this.#clock.now();
  }

  receive(chunk: Buffer): void {
    if (this.#discards) return;
    if (this.#isReading || this.#held !== undefined || !this.#mayRead()) this.#hold(chunk);
    else this.#read(chunk);
  }

  readBody(): void {
    this.#bodyWanted = true;
    this.#letFlow();
    this.#givePiece();
    this.#goOn();
  }

  resumeBody(): void {
    this.#letFlow();
    this.#goOn();
  }

  write(bytes: Buffer): boolean {
    const flows = this.#transport.write(bytes, 'soon');
    if (!flows) this.#blocked = true;
    return flows;
  }

  over(after: Afterwards): void {
    this.#piece = undefined;
    this.#letFlow();
    if (after === 'linger' && this.#discards) {
      this.#transport.end(lingerMs);
      return;
    }
    if (after === 'linger' && !this.#bodyRead) {
      this.#lingers = true;
    } else if (after !== 'next') {
      this.#close();
      return;
    }
    if (this.#bodyRead) this.#ended();
    this.#goOn();
  }

  /** Nothing that comes from here on is looked at. */
  discard(): void {
    this.#discards = true;
    this.#held = undefined;
    this.#piece = undefined;
    this.#resume();
  }

  /**
   * From here on the connection is the caller's, who has set `onData` and `onDrain`.
   *
   * @returns what has come since the request.
   */
  letGo(): Buffer {
    const rest = this.#held ?? none;
    this.discard();
    return rest;
  }

  /** Called about once a second. */
  tick(now: number): void {
    if (this.#discards || this.#isLeaving) return;
    const { headersMs, requestMs, idleMs } = this.#limits;
    const tookMs = now - this.#since;
    if (!this.#bodyRead) {
      if (tookMs > requestMs && this.#heldUpAt === undefined)
        this.#give(timedOut, 'a request that dribbles in');
    } else if (this.#exchange === undefined) {
      if (this.#parser.inHead || this.#requests === 0) {
        if (tookMs > headersMs) this.#give(timedOut, 'no request in time');
      } else if (tookMs > idleMs && !this.#blocked) {
        this.#close();
      }
    }
  }

  #mayRead(): boolean {
    const exchange = this.#exchange;
    if (this.#isLeaving) return false;
    if (exchange === undefined) return !this.#blocked;
    if (this.#bodyRead) return false;
    return exchange.over || (this.#bodyWanted && this.#bodyFlows);
  }

  #holdUp(): void {
    this.#bodyFlows = false;
    this.#heldUpAt ??= this.#clock.monotonic();
  }

  /** Its peer's time goes on. */
  #letFlow(): void {
    this.#bodyFlows = true;
    if (this.#heldUpAt === undefined) return;
    this.#since += this.#clock.monotonic() - this.#heldUpAt;
    this.#heldUpAt = undefined;
  }

  #hold(chunk: Buffer): void {
    const held = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = held;
    const exchange = this.#exchange;
    if (exchange !== undefined && this.#bodyRead && !this.#isLeaving) {
      // It is read on, so that an end is seen.
      this.#resume();
      if (held.length <= aheadBytes) return;
      this.discard();
      this.#connection.sentAhead(exchange);
      return;
    }
    // Its peer has not waited to be told to go on, and sends more of it, whatever it is answered.
    if (exchange !== undefined) this.#bodyBegun = true;
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#transport.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#transport.resume();
  }

  /** Reads what is held, and what comes, as far as it may. */
  #goOn(): void {
    if (this.#isReading || this.#discards) return;
    const held = this.#held;
    if (held !== undefined && this.#mayRead()) {
      this.#held = undefined;
      // Whoever has answered the request before may be anybody's code: a fault in the next one is none of it.
      this.#connection.run(() => this.#read(held));
    }
    // Also while an answer, or another protocol, is waited for, so that an end is seen.
    const isWaiting = this.#isLeaving || (this.#exchange !== undefined && this.#bodyRead);
    if (this.#held === undefined && (isWaiting || this.#mayRead())) this.#resume();
  }

  #read(input: Buffer): void {
    this.#isReading = true;
    try {
      let chunk = input;
      while (chunk.length > 0 && !this.#discards) {
        if (!this.#mayRead()) {
          this.#hold(chunk);
          return;
        }
        const isBetween = this.#bodyRead && !this.#parser.inHead;
        const reading = this.#parser.read(chunk);
        if (isBetween) this.#since = this.#sinceOf(reading);
        if ('defect' in reading) {
          this.#defective(reading);
          return;
        }
        const { rest } = reading;
        chunk = rest === 0 ? none : chunk.subarray(chunk.length - rest);
        if (reading.request === undefined) {
          this.#take(reading);
        } else if (this.#isLeft(reading.request, reading)) {
          this.#isLeaving = true;
          if (chunk.length > 0) this.#hold(chunk);
          this.#connection.upgrade?.(reading.request);
          return;
        } else {
          this.#begin(reading.request, reading);
        }
      }
    } finally {
      this.#isReading = false;
    }
  }

  /** Empty lines are no request. */
  #sinceOf(reading: RequestReading | RequestDefect): number {
    const hasBegun = 'defect' in reading || reading.request !== undefined || this.#parser.inHead;
    return hasBegun ? this.#clock.monotonic() : this.#since;
  }

  #isLeft(request: RequestText, { complete }: RequestReading): boolean {
    return request.isUpgrade && complete && this.#connection.mayUpgrade?.(request) === true;
  }

  #begin(request: RequestText, { body, complete }: RequestReading): void {
    const connection = this.#connection;
    this.#requests += 1;
    const exchange = new Exchange(connection, this, request);
    this.#exchange = exchange;
    this.#bodyRead = complete;
    this.#bodyBegun = body !== undefined;
    this.#bodyWanted = false;
    this.#bodyFlows = true;
    this.#piece = body;
    // Until somebody wants the rest of it.
    if (!complete) this.#holdUp();
    connection.receive(exchange);
  }

  /** More of the body. */
  #take({ body, complete }: RequestReading): void {
    if (body !== undefined) {
      const exchange = this.#exchange;
      this.#bodyBegun = true;
      if (exchange?.over === true && !this.#lingers && !exchange.unwanted(body.length)) {
        this.#give(problems['too-large'], 'the body goes on after its answer');
        return;
      }
      this.#piece = body;
    }
    if (complete) this.#bodyRead = true;
    if (this.#exchange?.over !== true) {
      this.#givePiece();
      return;
    }
    this.#piece = undefined;
    if (complete) this.#ended();
  }

  #givePiece(): void {
    const exchange = this.#exchange;
    const piece = this.#piece;
    this.#piece = undefined;
    if (exchange === undefined) return;
    const flows = piece === undefined || exchange.take(piece);
    // It may be over with that: the rest is its peer's to send in time, or the next one has begun.
    if (exchange.over) return;
    if (!flows) this.#holdUp();
    if (this.#bodyRead) exchange.bodyEnded();
  }

  /** The exchange is over, and its body has come. */
  #ended(): void {
    if (this.#lingers) {
      this.#close();
      return;
    }
    this.#exchange = undefined;
    this.#since = this.#clock.monotonic();
  }

  #defective({ defect, exceeds }: RequestDefect): void {
    if (exceeds === 'head') this.#give(headersTooLarge, defect);
    else if (exceeds === 'body') this.#give(problems['too-large'], defect);
    else this.#give(problems.malformed, defect);
  }

  /** Nothing more can be read; whoever is still to have an answer is told why. */
  #give(problem: Problem, detail: string): void {
    const exchange = this.#exchange;
    this.discard();
    if (exchange === undefined) {
      this.#connection.unreadable(problem, detail);
    } else if (exchange.over) {
      // An answer to it would be taken for the answer to another request.
      this.#connection.refused(exchange, problem.code, detail, undefined);
      this.#transport.end(lingerMs);
    } else {
      exchange.fail(problem, detail);
    }
  }

  #close(): void {
    this.discard();
    this.#transport.closeSoon();
  }

  #drained(): void {
    // Who has taken an answer until now has not been idle.
    if (this.#blocked && this.#exchange === undefined) this.#since = this.#clock.monotonic();
    this.#blocked = false;
    this.#exchange?.drained();
    this.#goOn();
  }
}

const linesBySeconds = new Map<number, string>();

/** What node:http and nginx say, too. */
function keepAliveLines(seconds: number): string {
  let lines = linesBySeconds.get(seconds);
  if (lines === undefined) {
    lines = headerText(['Connection', 'keep-alive', 'Keep-Alive', `timeout=${seconds}`]);
    // As many as there have been settings.
    linesBySeconds.set(seconds, lines);
  }
  return lines;
}
