/**
 * A streamed body whose length nobody knew when its request was judged: each piece is charged to the bytes that the identity
 * may send, and passed on when that is settled.
 */
import { BodyMeter } from '../../../policy/body-meter.ts';
import type { Deny } from '../../../policy/decision.ts';
import type { Subject } from '../../../policy/ports.ts';
import type { CompiledProxied } from '../../../policy/proxied-routes.ts';
import type { BodySink, Exchange } from '../../http/exchange.ts';
import { problems, tooFast } from '../../http/wire.ts';
import type { PeerConnection } from '../peer.ts';

export interface MeteredParts {
  readonly sink: BodySink;
  readonly subject: Subject;
  readonly route: CompiledProxied;
  readonly connection: Pick<PeerConnection, 'run' | 'fault'>;
  readonly exchange: Exchange;
}

export class MeteredBody implements BodySink {
  readonly #parts: MeteredParts;
  readonly #meter: BodyMeter;
  /** Another worker is asked; no more than came with the same read waits for its answer. */
  #isAsking = false;
  #isComplete = false;
  #waiting: Buffer[] = [];

  constructor(parts: MeteredParts) {
    this.#parts = parts;
    this.#meter = new BodyMeter(parts.subject, parts.route.byteBuckets);
  }

  piece(piece: Buffer): boolean {
    if (this.#isAsking) {
      this.#waiting.push(piece);
      return false;
    }
    const denial = this.#meter.take(piece.length);
    if (denial === undefined) return this.#parts.sink.piece(piece);
    if (!(denial instanceof Promise)) {
      this.#refuse(denial);
      return true;
    }
    this.#isAsking = true;
    const { connection } = this.#parts;
    denial.then(
      (settled) => connection.run(() => this.#settled(piece, settled)),
      (error: unknown) => connection.fault(error),
    );
    return false;
  }

  complete(): void {
    if (this.#isAsking) this.#isComplete = true;
    else this.#parts.sink.complete();
  }

  #settled(piece: Buffer, denial: Deny | undefined): void {
    const { sink, exchange } = this.#parts;
    this.#isAsking = false;
    if (exchange.over) return;
    if (denial !== undefined) {
      this.#refuse(denial);
      return;
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#goOn(waiting, sink.piece(piece));
  }

  #goOn(pieces: readonly Buffer[], takesMore: boolean): void {
    const { sink, exchange } = this.#parts;
    let wantsMore = takesMore;
    for (const piece of pieces) wantsMore = this.piece(piece);
    if (this.#isAsking || exchange.over) return;
    if (this.#isComplete) sink.complete();
    else if (wantsMore) exchange.resumeBody();
  }

  #refuse({ code, detail, retryAfterMs }: Deny): void {
    const problem = code === 'rate' ? tooFast(retryAfterMs) : problems[code];
    this.#parts.exchange.fail(problem, detail);
  }
}
