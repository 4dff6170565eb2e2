/**
 * One request and its answer. An exchange is answered once; what comes after, from the peer or from us, does nothing.
 */
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import type { Deny } from '../../policy/decision.ts';
import { CollectedBody } from './collected-body.ts';
import { dateLine, headerText, statusLine } from './head-text.ts';
import type { Headers, Problem } from './wire.ts';
import { problems, tooFast } from './wire.ts';

const noLines: readonly string[] = Object.freeze([]);
const noBytes = Buffer.alloc(0);
/** For what cannot hold anything. */
const noBody = new CollectedBody(0);
/** Up to these, the bytes of an answer are copied behind its head: one TLS record costs less than two. */
const joinedBytes = 16_384;
/** Of a body that nobody has waited for. */
const unreadBytes = 65_536;
const lastChunk = '0\r\n\r\n';

/** What an exchange has for as long as it lasts, besides its connection. */
export interface Loan {
  readonly name: string;
  /** False: the exchange has to end. */
  holds(): boolean;
  giveBack(): void;
}

export type Expectation = 'nothing' | 'continue' | 'unknown';

/** What a request is told when its connection has to end. */
export interface Interruption {
  readonly code: DenyCode;
  readonly detail: string;
}

/** What an exchange needs of its connection. */
export interface ExchangeOwner {
  /** No request is taken on the connection any more: the next answer says so and ends it. */
  readonly ending: boolean;
  /** A line about this connection, as far as its share of the log goes; counts the refusal. */
  refused(exchange: Exchange, code: DenyCode, detail: string, row: string | undefined): void;
  /** The exchange is over, and with it perhaps the connection. */
  answered(exchange: Exchange, how: Ending): void;
}

/** The bytes of the connection, as far as they are this exchange's. */
export interface ExchangeBytes {
  /** All of the body has come. */
  readonly bodyComplete: boolean;
  /** Some of it has. */
  readonly bodyBegun: boolean;
  /** Lines of an answer after which the connection goes on. */
  readonly keepAliveLines: string;
  /** Milliseconds, wall clock. */
  now(): number;
  /** From here on the body goes to `take` and `bodyEnded`, perhaps before this returns. */
  readBody(): void;
  /** After `take` has returned false. */
  resumeBody(): void;
  /** @returns false when the peer is slow: `drained` is called when it has taken everything. */
  write(bytes: Buffer): boolean;
  /** The exchange is over, and all of its answer was written. */
  over(after: Afterwards): void;
}

/**
 * `next`: another request may follow. `close`: the connection ends when its peer has taken the answer. `linger`: it is read
 * until the body has come, and thrown away: with unread bytes the kernel would reset the connection, and the peer might never
 * see its answer. `cut`: it ends in the middle of an answer.
 */
export type Afterwards = 'next' | 'close' | 'linger' | 'cut';

/** `closes`: when its peer has taken the answer; `goes`: soon, whatever its peer does. */
export type Ending = 'stays' | 'closes' | 'goes';

/** Where a body goes that is passed on as it comes. Nothing is called once the exchange is over. */
export interface BodySink {
  /** The piece belongs to the sink from then on. @returns false: no more, if possible, until `resumeBody`. */
  piece(piece: Buffer): boolean;
  /** All of it has come. */
  complete(): void;
}

export class Exchange {
  readonly request: RequestText;
  readonly expectation: Expectation;
  /** What is being asked for, for the log: `publish devices/d1/telemetry`. */
  action: string | undefined;
  resource: string | undefined;
  /**
   * Called when the connection has to end, with the reason, or without one because the gateway stops; answers if it
   * can. Undefined: what is being done is left to finish.
   */
  interrupt: ((why: Interruption | undefined) => void) | undefined;
  /** The topic filter for which it waits; its grant may be taken back meanwhile. */
  watches: string | undefined;
  /** Called about once a second. */
  tick: ((now: number) => void) | undefined;
  /** Called when the policy has changed, for what takes long. */
  review: (() => void) | undefined;
  /** Called after `writeAnswer` has returned false. */
  onDrain: (() => void) | undefined;
  /** Called once, when the exchange is over: answered, or its connection gone. */
  onOver: (() => void) | undefined;
  /** Lines of the answer, name and value in turn, whichever it will be: what is left of a rate. */
  more: readonly string[] = noLines;
  readonly #owner: ExchangeOwner;
  readonly #bytes: ExchangeBytes;
  #over = false;
  #isLast: boolean;
  #body = noBody;
  #given: Buffer | undefined;
  #loan: Loan | undefined;
  #received: ((body: Buffer) => void) | undefined;
  #sink: BodySink | undefined;
  /** Of the body, of which nobody has asked for more: bytes that may still come. */
  #bytesLeft = unreadBytes;
  /** Its peer does not wait to be told. */
  #isToldToGoOn = false;
  /** The head of an answer that is passed on, until something of its body goes with it. */
  #head: string | undefined;
  #isAnswering = false;
  #isChunked = false;
  #closes = false;

  constructor(owner: ExchangeOwner, bytes: ExchangeBytes, request: RequestText) {
    this.#owner = owner;
    this.#bytes = bytes;
    this.request = request;
    this.#isLast = request.isLast;
    this.expectation = expectationOf(request);
  }

  /** Answered, or nobody is there to be answered. */
  get over(): boolean {
    return this.#over;
  }

  /** No other request of this connection is looked at. */
  makeLast(): void {
    this.#isLast = true;
  }

  /** Once. It is given back when the exchange is over, which may be at once. */
  lend(loan: Loan): void {
    this.#loan = loan;
    if (this.#over) this.#giveBack();
  }

  /** Undefined = nothing that has to hold, or nothing of it any more. */
  get loan(): Loan | undefined {
    return this.#loan;
  }

  /** The body has been read already: whoever reads it next is given this. */
  giveBody(body: Buffer): void {
    this.#given = body;
  }

  /** Reads the body, `maxBytes` of it at most; more is refused. `received` owns what it is given. */
  readBody(maxBytes: number, received: (body: Buffer) => void): void {
    if (this.#over) return;
    const given = this.#given;
    if (given !== undefined) {
      if (given.length <= maxBytes) received(given);
      else this.refuse('too-large', `${given.length} bytes`);
      return;
    }
    this.#body = new CollectedBody(maxBytes);
    this.#received = received;
    this.interrupt = (why) => {
      if (why !== undefined) this.refuse(why.code, why.detail);
    };
    this.#readBody();
  }

  /** The whole body, to own; undefined when the exchange was over before that. More than `maxBytes` is refused. */
  async wholeBody(maxBytes: number): Promise<Buffer | undefined> {
    if (this.#over) return undefined;
    const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
    this.onOver = () => resolve(undefined);
    this.readBody(maxBytes, resolve);
    return promise;
  }

  /**
   * Hands on the body as it comes, `maxBytes` of it at most; more is the end of the exchange. What to do when the connection
   * has to end meanwhile is the caller's to say (`interrupt`).
   */
  streamBody(maxBytes: number, sink: BodySink): void {
    if (this.#over) return;
    const given = this.#given;
    if (given !== undefined) {
      if (given.length > maxBytes) this.fail(problems['too-large'], `${given.length} bytes`);
      else {
        this.#sink = sink;
        sink.piece(given);
        this.bodyEnded();
      }
      return;
    }
    this.#sink = sink;
    this.#bytesLeft = maxBytes;
    this.#readBody();
  }

  /** After `BodySink.piece` has returned false. */
  resumeBody(): void {
    if (!this.#over) this.#bytes.resumeBody();
  }

  /** The peer has taken what was written. */
  drained(): void {
    this.onDrain?.();
  }

  /** @returns false when no more is to come until `resumeBody`. */
  take(chunk: Buffer): boolean {
    if (this.#over) return true;
    const sink = this.#sink;
    if (sink === undefined) {
      if (!this.#body.add(chunk)) this.refuse('too-large', 'the body goes on');
      return true;
    }
    this.#bytesLeft -= chunk.length;
    if (this.#bytesLeft >= 0) return sink.piece(chunk);
    this.#bytesLeft = unreadBytes;
    this.fail(problems['too-large'], 'the body goes on');
    return true;
  }

  /**
   * The rest of a body whose answer did not wait for it: read, so that the next request is found, within its bound.
   *
   * @returns false when it goes on beyond that.
   */
  unwanted(bytes: number): boolean {
    this.#bytesLeft -= bytes;
    return this.#bytesLeft >= 0;
  }

  bodyEnded(): void {
    const sink = this.#sink;
    if (sink !== undefined) {
      if (!this.#over) sink.complete();
      return;
    }
    const received = this.#received;
    this.#received = undefined;
    if (this.#over || received === undefined) return;
    this.interrupt = undefined;
    received(this.#body.take());
  }

  /** An answer that is complete with this. */
  answer(status: number, headers: Headers, body: Buffer = noBytes): void {
    if (this.#over) return;
    // Whether a body is to come from who waits to be told, nobody could say.
    const closes = this.#mustClose() || this.#waitsToBeTold();
    this.#give(status, headers, body, closes);
    this.#finish(closes ? 'closes' : 'stays', closes ? 'close' : 'next');
  }

  refuse(code: DenyCode, detail: string, row?: string): void {
    this.refuseWith(problems[code], detail, row);
  }

  /** As the policy has decided. */
  deny({ code, detail, row, retryAfterMs }: Deny): void {
    // Before any rate was asked.
    if (code === 'standing' || code === 'unauthenticated') this.more = noLines;
    this.refuseWith(code === 'rate' ? tooFast(retryAfterMs) : problems[code], detail, row);
  }

  refuseWith(problem: Problem, detail: string, row?: string): void {
    if (this.#over) return;
    this.#owner.refused(this, problem.code, detail, row);
    const isUnread = !this.#bytes.bodyComplete;
    const closes = problem.closes || isUnread || this.#mustClose();
    this.#give(problem.status, problem.headers, problem.body, closes);
    // Who waits to be told to go on sends nothing more.
    const lingers = isUnread && !this.#waitsToBeTold();
    if (closes) this.#finish('goes', lingers ? 'linger' : 'close');
    else this.#finish('stays', 'next');
  }

  /**
   * Begins an answer that is passed on as it comes, and ended by `endAnswer`. Its lines belong to the exchange from then on;
   * how long it is they say, or it goes in chunks.
   */
  startAnswer(status: number, lines: readonly string[]): void {
    if (this.#over) return;
    this.#isAnswering = true;
    this.#closes = this.#mustClose();
    this.#isChunked = this.#mayHaveBody(status) && !has(lines, 'content-length');
    let head = statusLine(status) + headerText(lines) + headerText(this.more);
    if (!has(lines, 'date')) head += dateLine(this.#bytes.now());
    if (this.#isChunked) head += chunkedLine;
    this.#head = head + (this.#closes ? closeLine : this.#bytes.keepAliveLines) + lineEnd;
    // Most answers are there with their head, and go with it.
    process.nextTick(flushHead, this);
  }

  /** What has been said of an answer goes out now, when nothing of its body has come with it. */
  flushHead(): void {
    if (this.#head !== undefined && !this.#over) this.#write(noBytes, false);
  }

  /** The piece belongs to the exchange. @returns false: `onDrain` is called when its peer has taken what was written. */
  writeAnswer(piece: Buffer): boolean {
    return this.#over || this.#write(piece, false);
  }

  endAnswer(last: Buffer | undefined): void {
    if (this.#over) return;
    this.#write(last ?? noBytes, true);
    // Its head may have promised that others may follow.
    const closes = this.#closes || this.#owner.ending;
    this.#finish(closes ? 'closes' : 'stays', closes ? 'close' : 'next');
  }

  /** Ends the connection in the middle of an answer, so that it cannot be taken for a whole one. */
  breakOff(code: DenyCode, detail: string): void {
    if (this.#over) return;
    this.#owner.refused(this, code, detail, undefined);
    this.#finish('goes', 'cut');
  }

  /** Refused, or broken off when its answer has begun. */
  fail(problem: Problem, detail: string): void {
    if (this.#isAnswering) this.breakOff(problem.code, detail);
    else this.refuseWith(problem, detail);
  }

  /** An answer that is written bit by bit and ended, with its connection, by `endStream`. */
  startStream(headers: Headers): void {
    if (this.#over) return;
    this.#isAnswering = true;
    this.#isChunked = true;
    const lines = headers.closing + headerText(this.more) + dateLine(this.#bytes.now());
    this.#head = statusLine(200) + lines + chunkedLine + lineEnd;
    this.flushHead();
  }

  /** @returns false when the peer is slow: `onDrain` is called when it has taken everything. */
  writeStream(text: string, onDrain: () => void): boolean {
    if (this.#over || this.#write(Buffer.from(text), false)) return true;
    this.onDrain = onDrain;
    return false;
  }

  endStream(): void {
    if (this.#over) return;
    this.#write(noBytes, true);
    this.#finish('goes', 'close');
  }

  /** The connection is gone. */
  abandon(): void {
    if (!this.#over) this.#finish('goes', 'cut');
  }

  #readBody(): void {
    if (this.expectation === 'continue' && this.#waitsToBeTold()) {
      this.#isToldToGoOn = true;
      this.#bytes.write(continueBytes);
    }
    this.#bytes.readBody();
  }

  /** RFC 9110 §10.1.1. */
  #waitsToBeTold(): boolean {
    if (this.expectation === 'nothing' || this.#isToldToGoOn) return false;
    return !this.#bytes.bodyComplete && !this.#bytes.bodyBegun;
  }

  #give(status: number, headers: Headers, body: Buffer, closes: boolean): void {
    const lines = closes ? headers.closing : headers.keeping + this.#bytes.keepAliveLines;
    const more = this.more.length === 0 ? '' : headerText(this.more);
    const head = statusLine(status) + lines + more + dateLine(this.#bytes.now()) + lineEnd;
    this.#bytes.write(joined(head, this.request.method === 'HEAD' ? noBytes : body, ''));
  }

  /** @param isLast nothing of the answer comes after it. */
  #write(piece: Buffer, isLast: boolean): boolean {
    let before = this.#head ?? '';
    this.#head = undefined;
    let after = '';
    if (this.#isChunked) {
      if (piece.length > 0) {
        before += `${piece.length.toString(16)}\r\n`;
        after = lineEnd;
      }
      if (isLast) after += lastChunk;
    } else if (this.request.method === 'HEAD') {
      return before === '' || this.#bytes.write(joined(before, noBytes, ''));
    }
    if (before === '' && after === '') return piece.length === 0 || this.#bytes.write(piece);
    if (piece.length <= joinedBytes) return this.#bytes.write(joined(before, piece, after));
    this.#bytes.write(Buffer.from(before, 'latin1'));
    const flows = this.#bytes.write(piece);
    return after === '' ? flows : this.#bytes.write(Buffer.from(after, 'latin1'));
  }

  /** RFC 9110 §6.4.1. */
  #mayHaveBody(status: number): boolean {
    return status !== 204 && status !== 304 && this.request.method !== 'HEAD';
  }

  #mustClose(): boolean {
    return this.#isLast || this.#owner.ending;
  }

  #finish(how: Ending, after: Afterwards): void {
    this.#over = true;
    this.#head = undefined;
    this.interrupt = undefined;
    this.tick = undefined;
    this.review = undefined;
    this.onDrain = undefined;
    const { onOver } = this;
    this.onOver = undefined;
    onOver?.();
    this.#giveBack();
    this.#owner.answered(this, how);
    this.#bytes.over(after);
  }

  #giveBack(): void {
    const loan = this.#loan;
    this.#loan = undefined;
    loan?.giveBack();
  }
}

const lineEnd = '\r\n';
const chunkedLine = headerText(['Transfer-Encoding', 'chunked']);
const closeLine = headerText(['Connection', 'close']);
const continueBytes = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n');

/** RFC 9110 §10.1.1. */
function expectationOf({ expect, version }: RequestText): Expectation {
  if (expect === undefined || version !== '1.1') return 'nothing';
  return expect.toLowerCase() === '100-continue' ? 'continue' : 'unknown';
}

function joined(before: string, piece: Buffer, after: string): Buffer {
  const whole = Buffer.allocUnsafe(before.length + piece.length + after.length);
  whole.write(before, 0, 'latin1');
  if (piece.length > 0) piece.copy(whole, before.length);
  if (after !== '') whole.write(after, before.length + piece.length, 'latin1');
  return whole;
}

/** @param name in lower case. */
function has(lines: readonly string[], name: string): boolean {
  for (let i = 0; i < lines.length; i += 2) {
    const each = lines[i] ?? '';
    if (each.length === name.length && each.toLowerCase() === name) return true;
  }
  return false;
}

function flushHead(exchange: Exchange): void {
  exchange.flushHead();
}
