/**
 * How long to wait before the next attempt: doubled each time up to a bound, and each wait somewhere in the upper half
 * of its step, so that a fleet that lost its gateway at one moment does not come back at one moment.
 */
import type { RandomSource } from './random.ts';

export interface BackoffLimits {
  readonly minMs: number;
  readonly maxMs: number;
}

export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: RandomSource;
  #stepMs: number;

  constructor(limits: BackoffLimits, random: RandomSource) {
    this.#limits = limits;
    this.#random = random;
    this.#stepMs = limits.minMs;
  }

  nextMs(): number {
    const step = this.#stepMs;
    this.#stepMs = Math.min(step * 2, this.#limits.maxMs);
    return step * (0.5 + this.#random() / 2);
  }

  reset(): void {
    this.#stepMs = this.#limits.minMs;
  }
}
