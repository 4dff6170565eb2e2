/** One connection to the status listener: its requests, one at a time, its time limits, and its end. */
import type { Socket } from 'node:net';
import { messageOf } from '../../../common/base/errors.ts';
import type { Admitted } from '../../transport/door.ts';
import type { Allowance } from './allowance.ts';
import { answerTo } from './handle-request.ts';
import type { StatusService } from './handle-request.ts';
import { RequestReader } from './request-reader.ts';
import type { StatusRequest } from './request-reader.ts';
import { headOf, timedOut } from './wire.ts';
import type { Answer } from './wire.ts';

/** A peer that does not close after its last answer is left after this, at the next tick. */
const closeLimitMs = 500;
/** A long answer goes out in pieces: each that is taken is a sign of life. */
const pieceBytes = 16 * 1024;
const continueBytes = 'HTTP/1.1 100 Continue\r\n\r\n';

export interface StatusConnectionOwner {
  readonly service: StatusService;
  /** As HTTP writes dates. */
  readonly date: string;
  ended(connection: StatusConnection): void;
}

export class StatusConnection {
  readonly #owner: StatusConnectionOwner;
  readonly #socket: Socket;
  readonly #admitted: Admitted;
  readonly #source: Allowance;
  readonly #reader: RequestReader;
  /** `answering`: control is asked; `writing`: the peer has not taken all of the last answer yet. */
  #phase: 'reading' | 'answering' | 'writing' | 'closing' = 'reading';
  /** The answer that is being given is the last. */
  #isLast = false;
  #rest: Buffer | undefined;
  /** Since when what it is doing now takes, and whether that is waiting for a request to begin. */
  #since: number;
  #isIdle = true;
  #answers = 0;

  constructor(owner: StatusConnectionOwner, socket: Socket, admitted: Admitted, source: Allowance) {
    const { clock, limits } = owner.service.ports;
    this.#owner = owner;
    this.#socket = socket;
    this.#admitted = admitted;
    this.#source = source;
    this.#reader = new RequestReader(limits);
    this.#since = clock.monotonic();
  }

  start(): void {
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => this.run(() => this.#received(chunk)));
    socket.on('drain', () => this.run(() => this.#pump()));
    socket.on('end', () => this.run(() => this.#peerEnded()));
    socket.once('close', () => this.#owner.ended(this));
    socket.resume();
  }

  /** No more requests: what is being answered is answered, within `limitMs`. */
  shutDown(limitMs: number): void {
    if (this.#phase === 'closing') return;
    this.#isLast = true;
    if (this.#phase === 'reading') {
      this.#close();
      return;
    }
    const timer = setTimeout(() => this.#socket.destroy(), limitMs);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  /** About once a second. */
  tick(now: number): void {
    const { headersMs, requestMs, idleMs, stalledMs } = this.#owner.service.ports.limits();
    const tookMs = now - this.#since;
    switch (this.#phase) {
      case 'reading': {
        if (this.#isIdle) {
          // Nothing has been asked, so there is nothing to answer.
          if (tookMs > (this.#answers === 0 ? headersMs : idleMs)) this.#close();
        } else if (tookMs > (this.#reader.hasHead ? requestMs : headersMs)) {
          this.#refuse(timedOut, 'a request that dribbles in');
        }
        break;
      }
      case 'writing':
        if (tookMs > stalledMs) this.#socket.destroy();
        break;
      case 'closing':
        if (tookMs > closeLimitMs) this.#socket.destroy();
        break;
      case 'answering':
        break;
    }
  }

  run(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fault(error);
    }
  }

  #received(chunk: Buffer): void {
    if (this.#phase === 'closing') return;
    this.#reader.add(chunk);
    if (this.#phase === 'reading') {
      this.#read();
      return;
    }
    // Who sends on without waiting gets the one answer: nobody has a reason to, and each would be kept until its turn.
    this.#isLast = true;
    this.#owner.service.ports.count('status_pipelined');
    this.#socket.pause();
  }

  #read(): void {
    if (this.#isIdle && this.#reader.begun) {
      this.#isIdle = false;
      this.#since = this.#owner.service.ports.clock.monotonic();
    }
    const reading = this.#reader.next();
    if (reading === 'more') return;
    if (reading === 'continue') {
      this.#socket.write(continueBytes);
      return;
    }
    if ('refusal' in reading) {
      this.#refuse(reading.refusal, reading.detail);
      return;
    }
    if (!reading.keepsAlive || this.#reader.pending > 0) this.#isLast = true;
    const answer = answerTo(this.#owner.service, reading, this.#source);
    if (!(answer instanceof Promise)) {
      this.#send(answer, reading);
      return;
    }
    this.#phase = 'answering';
    answer.then(
      (given) => this.run(() => this.#send(given, reading)),
      (error: unknown) => this.#fault(error),
    );
  }

  #refuse(answer: Answer, detail: string): void {
    const { ports } = this.#owner.service;
    const { address } = this.#admitted.source;
    ports.count('status_refused{code="malformed"}');
    ports.logger.debug({ listener: 'status', remote: address, detail }, 'request refused');
    this.#admitted.place.failed();
    this.#isLast = true;
    this.#send(answer, undefined);
  }

  #send(answer: Answer, request: StatusRequest | undefined): void {
    const socket = this.#socket;
    if (!socket.writable) return;
    const head = headOf(answer, this.#owner.date, this.#isLast);
    const body = request?.method === 'HEAD' ? undefined : answer.body;
    this.#answers += 1;
    if (body === undefined || body.length <= pieceBytes) {
      const bytes = Buffer.allocUnsafe(head.length + (body?.length ?? 0));
      bytes.write(head, 'latin1');
      body?.copy(bytes, head.length);
      this.#written(socket.write(bytes));
      return;
    }
    socket.write(head, 'latin1');
    this.#rest = body;
    this.#phase = 'writing';
    this.#pump();
  }

  /** Writes as much as the peer takes. */
  #pump(): void {
    if (this.#phase !== 'writing') return;
    this.#since = this.#owner.service.ports.clock.monotonic();
    let taken = true;
    while (taken && this.#rest !== undefined) {
      const piece = this.#rest.subarray(0, pieceBytes);
      this.#rest = piece.length === this.#rest.length ? undefined : this.#rest.subarray(pieceBytes);
      taken = this.#socket.write(piece);
    }
    if (this.#rest === undefined) this.#written(taken);
  }

  /** @param taken nothing waits for the peer. */
  #written(taken: boolean): void {
    if (taken && this.#isLast) {
      this.#close();
      return;
    }
    this.#since = this.#owner.service.ports.clock.monotonic();
    this.#phase = taken ? 'reading' : 'writing';
    this.#isIdle = true;
  }

  #peerEnded(): void {
    if (this.#phase === 'reading') this.#close();
    else this.#isLast = true;
  }

  /** With unread bytes the kernel would reset the connection, and the peer might never see its answer: they are read. */
  #close(): void {
    this.#phase = 'closing';
    this.#since = this.#owner.service.ports.clock.monotonic();
    this.#socket.resume();
    this.#socket.end();
  }

  #fault(error: unknown): void {
    const { count, logger } = this.#owner.service.ports;
    count('internal_errors');
    const err = error instanceof Error ? error.stack : messageOf(error);
    logger.error({ listener: 'status', err }, 'a connection was closed because of a defect');
    this.#socket.destroy();
  }
}
