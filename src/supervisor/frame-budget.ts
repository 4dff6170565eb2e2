/**
 * Bounds what one worker can make the supervisor pass on to control. A healthy worker sends a few frames a second; what
 * control cannot take would pile up here, and it must be the flooding worker that pays for it.
 */
export interface FrameBudgetLimits {
  readonly framesPerSecond: number;
  readonly bytesPerSecond: number;
}

export class FrameBudget {
  readonly #limits: FrameBudgetLimits;
  #second = 0;
  #frames = 0;
  #bytes = 0;

  constructor(limits: FrameBudgetLimits) {
    this.#limits = limits;
  }

  /** @returns false when this frame is more than a healthy worker sends. */
  take(bytes: number, nowMs: number): boolean {
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#frames = 0;
      this.#bytes = 0;
    }
    this.#frames += 1;
    this.#bytes += bytes;
    return (
      this.#frames <= this.#limits.framesPerSecond && this.#bytes <= this.#limits.bytesPerSecond
    );
  }
}
