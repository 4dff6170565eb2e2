/** A connection that is to end has so long to take what it is told; then it is cut off. */
import type { Clock } from '../../../common/base/clock.ts';

export class Cut {
  readonly #clock: Clock;
  readonly #cut: () => void;
  #set: { readonly timer: NodeJS.Timeout; readonly at: number } | undefined;

  constructor(clock: Clock, cut: () => void) {
    this.#clock = clock;
    this.#cut = cut;
  }

  get isSet(): boolean {
    return this.#set !== undefined;
  }

  /** Never later than what was said before. */
  after(limitMs: number): void {
    const at = this.#clock.monotonic() + limitMs;
    if (this.#set !== undefined && this.#set.at <= at) return;
    clearTimeout(this.#set?.timer);
    this.#set = { timer: setTimeout(this.#cut, limitMs), at };
  }

  /** The connection is gone, or somebody else's. */
  cancel(): void {
    clearTimeout(this.#set?.timer);
  }
}
