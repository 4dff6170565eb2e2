/**
 * How many handshakes a second this worker begins: as many as its event loop bears, up to a ceiling.
 *
 * A handshake costs about a millisecond of the one thread that live sessions share. The pace falls by a third whenever
 * the loop was later than it may be, and rises slowly while it is not, as TCP finds the width of a line (AIMD).
 */

export interface PaceLimits {
  /** The ceiling, for this worker. */
  readonly handshakesPerSecond: number;
  readonly eventLoopDelayMs: number;
}

/** How long lateness is gathered before it is judged: what was let in has to show its cost first. */
const judgedEveryMs = 100;
const fall = 0.7;
const rise = 1.1;
/** Of the ceiling. Below this nothing is won: a loop that is late for other reasons would shut everybody out. */
const floorPart = 0.1;
/** Of the ceiling: where it begins after a quiet time. */
const startPart = 0.25;
/** What may be saved up, as time: a burst is one stretch in which the loop does nothing else. */
const burstMs = 20;
/** What a loop that was late may catch up with: it would fall behind the floor by its own lateness. */
const caughtUpMs = 250;

export class HandshakePace {
  readonly #limits: () => PaceLimits;
  #perSecond: number;
  #tokens = 1;
  #at: number;
  #latestMs = 0;
  #judgedAt: number;

  constructor(limits: () => PaceLimits, nowMs: number) {
    this.#limits = limits;
    this.#perSecond = limits().handshakesPerSecond * startPart;
    this.#at = nowMs;
    this.#judgedAt = nowMs;
  }

  get perSecond(): number {
    return this.#perSecond;
  }

  /** Whether one may begin now. */
  ready(nowMs: number): boolean {
    if (nowMs > this.#at) {
      const perMs = this.#perSecond / 1_000;
      const saved = Math.min(this.#tokens, Math.max(1, perMs * burstMs));
      this.#tokens = saved + Math.min(nowMs - this.#at, caughtUpMs) * perMs;
      this.#at = nowMs;
    }
    return this.#tokens >= 1;
  }

  /** One begins. */
  took(): void {
    this.#tokens -= 1;
  }

  /** @param lateMs by how much the loop was late, seen about every ten milliseconds. */
  sampled(nowMs: number, lateMs: number, wanted: boolean): void {
    this.#latestMs = Math.max(this.#latestMs, lateMs);
    if (nowMs - this.#judgedAt < judgedEveryMs) return;
    const { handshakesPerSecond, eventLoopDelayMs } = this.#limits();
    const isLate = this.#latestMs > eventLoopDelayMs;
    if (isLate) this.#perSecond *= fall;
    // Without anybody who waits there is nothing to learn from a loop that is on time.
    else if (wanted) this.#perSecond *= rise;
    const least = handshakesPerSecond * floorPart;
    this.#perSecond = Math.min(handshakesPerSecond, Math.max(least, this.#perSecond));
    this.#latestMs = 0;
    this.#judgedAt = nowMs;
  }

  /** After a quiet time: what was learnt in the last storm says nothing of the next, and nothing was saved up. */
  rested(nowMs: number): void {
    this.#perSecond = this.#limits().handshakesPerSecond * startPart;
    this.#tokens = Math.min(this.#tokens, 1);
    this.#at = nowMs;
    this.#latestMs = 0;
    this.#judgedAt = nowMs;
  }
}
