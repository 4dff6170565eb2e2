/**
 * Bounds what a peer can make us log: so many lines a second, with as many at once as ten seconds' worth; what is left
 * out is counted and told with the next line that is written.
 */
import type { Clock } from './clock.ts';

const burstSeconds = 10;

export class LogBudget {
  readonly #clock: Clock;
  readonly #perSecond: number;
  #lines: number;
  #at: number;
  #suppressed = 0;

  constructor(perSecond: number, clock: Clock) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#lines = perSecond * burstSeconds;
    this.#at = clock.monotonic();
  }

  /** Whether a line may be written now. */
  take(): boolean {
    const now = this.#clock.monotonic();
    const gained = ((now - this.#at) / 1_000) * this.#perSecond;
    this.#lines = Math.min(this.#perSecond * burstSeconds, this.#lines + gained);
    this.#at = now;
    if (this.#lines < 1) {
      this.#suppressed += 1;
      return false;
    }
    this.#lines -= 1;
    return true;
  }

  /** Fields for the line that is written next: how many were left out since the last one. */
  suppressed(): { readonly suppressed?: number } {
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    return suppressed === 0 ? {} : { suppressed };
  }
}
