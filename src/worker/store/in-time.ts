/**
 * Promises that are given up after some time. All of them share one timer: one for each, with a race, took 2 of the 6.5 µs that
 * a write to the store costs the thread which serves connections (November 2026).
 */
import { messageOf, SallyportError } from '../../common/base/errors.ts';

interface Waiting {
  readonly since: number;
  readonly giveUp: () => void;
}

export class InTime {
  readonly #limitMs: number;
  readonly #late: () => Error;
  /** In the order in which they began. */
  readonly #waiting = new Set<Waiting>();
  /** Given up, and not settled yet. */
  readonly #overdue = new Set<Waiting>();
  #isWatched = false;

  /** @param limitMs after it, and up to a quarter later. @param late what it rejects with then. */
  constructor(limitMs: number, late: () => Error) {
    this.#limitMs = limitMs;
    this.#late = late;
  }

  /** Something that was given up has not settled to this day. */
  get isOverdue(): boolean {
    return this.#overdue.size > 0;
  }

  settled<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiting = { since: performance.now(), giveUp: () => reject(this.#late()) };
      this.#waiting.add(waiting);
      this.#watch();
      promise.then(
        (value) => {
          this.#forget(waiting);
          resolve(value);
        },
        (error: unknown) => {
          this.#forget(waiting);
          reject(error instanceof Error ? error : new SallyportError('internal', messageOf(error)));
        },
      );
    });
  }

  #forget(waiting: Waiting): void {
    if (!this.#waiting.delete(waiting)) this.#overdue.delete(waiting);
  }

  #watch(): void {
    if (this.#isWatched) return;
    this.#isWatched = true;
    setTimeout(() => this.#look(), this.#limitMs / 4).unref();
  }

  #look(): void {
    const longAgo = performance.now() - this.#limitMs;
    for (const waiting of this.#waiting) {
      if (waiting.since > longAgo) break;
      this.#waiting.delete(waiting);
      this.#overdue.add(waiting);
      waiting.giveUp();
    }
    this.#isWatched = false;
    if (this.#waiting.size > 0) this.#watch();
  }
}
