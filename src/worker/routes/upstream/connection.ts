/**
 * One connection to a server: HTTP/1.1, one request at a time, kept for the next one when nothing about it is in doubt.
 *
 * What is read goes through one buffer that all connections share, so that none has memory of its own and nothing is
 * allocated for a read; a body is copied out of it.
 */
import { connect as connectTcp } from 'node:net';
import type { OnReadOpts, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { printable } from '../../../common/base/principal.ts';
import type { Clock } from '../../../common/base/clock.ts';
import { departAtTurnEnd } from '../../transport/turn-end.ts';
import type { Departing } from '../../transport/turn-end.ts';
import { AnswerParser } from './answer-parser.ts';
import type { Reading } from './answer-parser.ts';
import type { Expected, ParsedHead } from './answer-head.ts';

const readBytes = 65_536;
/** Up to these, a body is copied behind its head: one write of a buffer costs less than one of two. */
const joinedBytes = 16_384;
/** A connection without a request; servers forget theirs after 5 s and more. */
const idleMs = 4_000;
const maxIdleMs = 60_000;
/** Before the time that the server itself has named. */
const idleMarginMs = 1_000;
const none = Buffer.alloc(0);
const chunkEnd = '\r\n';
const lastChunk = '0\r\n\r\n';

/** Where a connection goes, and how. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** Undefined: plain TCP. */
  readonly tls: ConnectionOptions | undefined;
  readonly connectMs: number;
  readonly answerMs: number;
  readonly headerBytes: number;
}

/** A request, as its connection sees it. */
export interface Exchange {
  readonly method: string;
  readonly expected: Expected;
  /** Request line and headers, without the empty line. */
  readonly head: string;
  readonly body: Buffer | 'length' | 'chunked' | undefined;
  /** When it is over, whatever happens: monotonic. */
  readonly endsAt: number;
  /** It can be sent: bodies that are streamed may come. */
  connected(): void;
  drained(): void;
  answered(head: ParsedHead): void;
  /** @returns false to have no more for now. */
  data(piece: Buffer): boolean;
  complete(last: Buffer | undefined): void;
  /** The socket is the callee's. `rest` came behind the head. */
  switched(head: ParsedHead, socket: Socket, rest: Buffer): void;
  /** Nothing more comes from this connection, which is closed. */
  lost(loss: Loss): void;
}

/**
 * `connect`: there was never a connection. `closed`: it ended. `late`: the server took too long. `wrong`: what it sent
 * is no answer. `total`: all of it took too long, whoever's fault it was.
 */
export interface Loss {
  readonly kind: 'connect' | 'closed' | 'late' | 'wrong' | 'total';
  readonly detail: string;
  /** The server had kept the connection for so long that it may have closed it before it saw the request. */
  readonly wasKept: boolean;
  /** Some of an answer had come. */
  readonly hadAnswer: boolean;
  /** Nothing of the request has gone to the server. */
  readonly isUnsent: boolean;
}

export interface ConnectionOwner {
  /** It may take another request. */
  idle(connection: Connection): void;
  /** It is closed; called once, before its request is told. */
  gone(connection: Connection): void;
  /** There is room for another request, now that its last one has been told. */
  freed(): void;
  readonly clock: Clock;
}

type State = 'connecting' | 'idle' | 'busy' | 'switched' | 'closed';

/** Handlers of reads run one after another and keep nothing of it. */
const sharedBuffer = Buffer.allocUnsafeSlow(readBytes);

export class Connection implements Departing {
  readonly #owner: ConnectionOwner;
  readonly #endpoint: Endpoint;
  readonly #socket: Socket;
  readonly #parser: AnswerParser;
  #answerMs: number;
  #state: State = 'connecting';
  #exchange: Exchange | undefined;
  #head: ParsedHead | undefined;
  /** The begin of the request, until the end of the turn in which it was made. */
  #unsent: string | Buffer | undefined;
  /** Requests that it has carried before this one. */
  #served = 0;
  #idleMs = idleMs;
  /** Since when we wait for the server, or it has been idle; monotonic. */
  #since: number;
  #requestDone = false;
  /** The server does not read what we send. */
  #blocked = false;
  #paused = false;
  #error = '';

  constructor(endpoint: Endpoint, exchange: Exchange, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#endpoint = endpoint;
    this.#answerMs = endpoint.answerMs;
    this.#exchange = exchange;
    this.#since = owner.clock.monotonic();
    this.#parser = new AnswerParser(endpoint.headerBytes);
    this.#socket = this.#connect(exchange.expected === 'upgrade');
  }

  get idle(): boolean {
    return this.#state === 'idle';
  }

  /** Sends another request. It MUST be idle. @param answerMs may be another than for the one before. */
  begin(exchange: Exchange, answerMs: number): void {
    this.#answerMs = answerMs;
    this.#exchange = exchange;
    this.#send(exchange);
  }

  /** A piece of the body. @returns false when the server does not keep up. */
  write(piece: Buffer): boolean {
    if (piece.length === 0 || this.#state !== 'busy') return !this.#blocked;
    const flows =
      this.#exchange?.body === 'chunked'
        ? this.#put(`${piece.length.toString(16)}\r\n`, piece, chunkEnd)
        : this.#put(piece);
    if (!flows && !this.#blocked) {
      this.#blocked = true;
      this.#since = this.#owner.clock.monotonic();
    }
    return flows;
  }

  /** The body is complete. */
  end(): void {
    if (this.#state !== 'busy' || this.#requestDone) return;
    if (this.#exchange?.body === 'chunked') this.#put(lastChunk);
    this.#requestDone = true;
    this.#since = this.#owner.clock.monotonic();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#since = this.#owner.clock.monotonic();
    this.#socket.resume();
  }

  /** Its request is told nothing more. */
  destroy(): void {
    this.#exchange = undefined;
    this.#close();
    this.#owner.freed();
  }

  /** Its request is lost, in whatever state it is. */
  lose(): void {
    this.#lose('closed', 'the gateway stops');
  }

  /** To be called again and again: ends what has taken too long. */
  check(now: number): void {
    const { connectMs } = this.#endpoint;
    const waited = now - this.#since;
    switch (this.#state) {
      case 'connecting':
        if (waited >= connectMs) this.#lose('connect', 'no connection in time');
        break;
      case 'idle':
        if (waited >= this.#idleMs) this.destroy();
        break;
      case 'busy':
        if (now >= (this.#exchange?.endsAt ?? now)) {
          this.#lose('total', 'the request took too long');
        } else if (this.#waitsForServer() && waited >= this.#answerMs) {
          this.#lose(
            'late',
            this.#head === undefined ? 'no answer in time' : 'the answer stands still',
          );
        }
        break;
      default:
    }
  }

  #waitsForServer(): boolean {
    return !this.#paused && (this.#requestDone || this.#blocked);
  }

  #connect(isUpgrade: boolean): Socket {
    const { host, port, tls } = this.#endpoint;
    const onread: OnReadOpts = {
      buffer: sharedBuffer,
      // All that is read is in there.
      callback: (bytes) => this.#read(sharedBuffer.subarray(0, bytes), true),
    };
    // A connection that switches protocols becomes a stream that others read.
    const reading = isUpgrade ? {} : { onread };
    const common = { host, port, noDelay: true, keepAlive: true, ...reading };
    const socket = tls === undefined ? connectTcp(common) : connectTls({ ...tls, ...common });
    if (isUpgrade) socket.on('data', this.#onData);
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => this.#connected());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#error = error.code ?? error.message;
    });
    socket.on('drain', () => this.#drained());
    socket.on('end', this.#onEnd);
    socket.on('close', () => this.#closed());
    return socket;
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.#read(chunk, false)) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    if (this.#state === 'busy' && this.#head !== undefined && this.#parser.close()) {
      this.#finish(undefined, 0);
      return;
    }
    this.#lose(
      this.#state === 'connecting' ? 'connect' : 'closed',
      'the server has closed the connection',
    );
  };

  #closed(): void {
    const { tls } = this.#endpoint;
    const detail = this.#error === '' ? 'the connection is gone' : printable(this.#error);
    if (this.#state === 'switched') {
      this.#state = 'closed';
      this.#owner.gone(this);
      this.#owner.freed();
      return;
    }
    if (this.#state === 'connecting')
      this.#lose('connect', tls === undefined ? detail : `TLS: ${detail}`);
    else this.#lose('closed', detail);
  }

  #connected(): void {
    if (this.#state !== 'connecting') return;
    const exchange = this.#exchange;
    if (exchange === undefined) this.destroy();
    else this.#send(exchange);
  }

  #send(exchange: Exchange): void {
    this.#state = 'busy';
    this.#head = undefined;
    this.#blocked = false;
    this.#since = this.#owner.clock.monotonic();
    this.#parser.expect(exchange.expected);
    const { head, body } = exchange;
    if (body === undefined || typeof body === 'string') {
      this.#sendSoon(`${head}\r\n`);
    } else if (body.length <= joinedBytes) {
      const whole = Buffer.allocUnsafe(head.length + 2 + body.length);
      whole.write(head, 0, 'latin1');
      whole.write('\r\n', head.length, 'latin1');
      body.copy(whole, head.length + 2);
      this.#sendSoon(whole);
    } else {
      this.#put(`${head}\r\n`, body);
    }
    this.#requestDone = typeof body !== 'string';
    exchange.connected();
  }

  #sendSoon(bytes: string | Buffer): void {
    this.#unsent = bytes;
    // node:tls tells what it has written a turn later, and what was answered before that would not be kept.
    if (this.#endpoint.tls === undefined) departAtTurnEnd(this);
    else this.depart();
  }

  depart(): void {
    const unsent = this.#unsent;
    if (unsent === undefined) return;
    this.#unsent = undefined;
    this.#socket.write(unsent, 'latin1');
  }

  /** Behind all that has been sent. @returns false when the server does not keep up. */
  #put(...pieces: readonly (string | Buffer)[]): boolean {
    const socket = this.#socket;
    socket.cork();
    this.depart();
    let flows = true;
    for (const piece of pieces) flows = socket.write(piece, 'latin1');
    socket.uncork();
    return flows;
  }

  #drained(): void {
    this.#blocked = false;
    if (this.#state !== 'busy') return;
    // What waits for an answer has waited since the server took the last of the request.
    this.#since = this.#owner.clock.monotonic();
    this.#exchange?.drained();
  }

  /** @returns whether more may come. */
  #read(chunk: Buffer, isShared: boolean): boolean {
    const exchange = this.#exchange;
    if (this.#state !== 'busy' || exchange === undefined || this.#unsent !== undefined) {
      // The end of what it was before: whatever is written next would not be the answer to the next request.
      this.#lose('closed', 'bytes that nobody asked for');
      return true;
    }
    const reading = this.#parser.read(chunk);
    if ('defect' in reading) {
      this.#lose('wrong', reading.defect);
      return true;
    }
    if (reading.head !== undefined) {
      this.#head = reading.head;
      if (reading.head.status === 101) {
        this.#switch(reading.head, chunk, reading);
        return true;
      }
      exchange.answered(reading.head);
      if (this.#exchange !== exchange) return true;
    }
    const body = isShared && reading.body !== undefined ? Buffer.from(reading.body) : reading.body;
    if (reading.complete) {
      this.#finish(body, reading.rest);
      return true;
    }
    // A head that comes byte by byte does not gain time by it.
    if (this.#head === undefined) return true;
    this.#since = this.#owner.clock.monotonic();
    if (body === undefined) return true;
    // It may be asked for more before it has answered.
    this.#paused = true;
    const flows = exchange.data(body);
    if (flows) this.#paused = false;
    return !this.#paused;
  }

  #switch(head: ParsedHead, chunk: Buffer, { rest }: Reading): void {
    const exchange = this.#exchange;
    const socket = this.#socket;
    this.#exchange = undefined;
    this.#state = 'switched';
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.removeAllListeners('drain');
    socket.pause();
    // As node:http hands over such a socket: whoever listens for data, or pipes it, sets it going.
    Object.assign(socket, { readableFlowing: null });
    exchange?.switched(head, socket, rest === 0 ? none : chunk.subarray(chunk.length - rest));
  }

  /** The answer is complete. */
  #finish(last: Buffer | undefined, rest: number): void {
    const exchange = this.#exchange;
    const head = this.#head;
    this.#exchange = undefined;
    const isClean = this.#requestDone && rest === 0 && this.#socket.writableLength === 0;
    // RFC 9110 §15.5.9: a server may say 408 of a connection that waits. It is no answer, and the true one may yet come.
    const isAnswer = head?.status !== 408;
    if (isClean && isAnswer && head?.keepAlive === true) this.#keep(head.keepAliveMs);
    else this.#close();
    this.#owner.freed();
    exchange?.complete(last);
  }

  #keep(serverMs: number | undefined): void {
    const named = serverMs === undefined ? idleMs : serverMs - idleMarginMs;
    this.#idleMs = Math.min(maxIdleMs, named);
    if (this.#idleMs <= 0) {
      this.#close();
      return;
    }
    this.#state = 'idle';
    this.#served += 1;
    this.#since = this.#owner.clock.monotonic();
    this.resume();
    this.#owner.idle(this);
  }

  #lose(kind: Loss['kind'], detail: string): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    const wasKept = this.#served > 0;
    const hadAnswer = this.#parser.begun;
    const isUnsent = this.#unsent !== undefined;
    this.#close();
    exchange?.lost({ kind, detail, wasKept, hadAnswer, isUnsent });
    this.#owner.freed();
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#unsent = undefined;
    this.#socket.destroy();
    this.#owner.gone(this);
  }
}
