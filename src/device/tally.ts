/** What a fleet has done so far, counted by all of its devices. */
import { createHistogram } from 'node:perf_hooks';
import type { ErrorCode } from '../common/base/errors.ts';

/** Microseconds; a message that takes longer is counted as this. */
const longestLatencyMicros = 600_000_000;

export interface LatencyMs {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export class Tally {
  /** Readings made; each is sent, and sent again on the next connection until it has an answer. */
  sent = 0;
  acknowledged = 0;
  /** Readings whose device was turned away for good, or stopped, before they had an answer. */
  abandoned = 0;
  /** Times at which a reading was due and too many waited for their answers: it was not made. */
  heldBack = 0;
  commandsAnswered = 0;
  /** Connections that ended or could not be made, and were tried again. */
  reconnects = 0;
  /** Readings that the gateway refused. */
  readonly refused = new Map<ErrorCode, number>();
  /** Status messages and answers to commands that it refused. */
  readonly refusedOthers = new Map<ErrorCode, number>();
  /** Why connections ended, when it was not the device that ended them. */
  readonly ended = new Map<ErrorCode, number>();
  readonly #latencyMicros = createHistogram({
    lowest: 1,
    highest: longestLatencyMicros,
    figures: 3,
  });

  acknowledgedAfter(ms: number): void {
    this.acknowledged += 1;
    const micros = Math.round(ms * 1_000);
    this.#latencyMicros.record(Math.min(longestLatencyMicros, Math.max(1, micros)));
  }

  /** Readings without an answer. */
  get unanswered(): number {
    return this.sent - this.acknowledged - this.abandoned - total(this.refused);
  }

  /** From a reading's first transmission to its acknowledgement; undefined before there is one. */
  get latencyMs(): LatencyMs | undefined {
    if (this.#latencyMicros.count === 0) return undefined;
    const ms = (micros: number): number => Math.round(micros / 10) / 100;
    return {
      p50: ms(this.#latencyMicros.percentile(50)),
      p99: ms(this.#latencyMicros.percentile(99)),
      max: ms(this.#latencyMicros.max),
    };
  }
}

export function countIn(counts: Map<ErrorCode, number>, code: ErrorCode): void {
  counts.set(code, (counts.get(code) ?? 0) + 1);
}

function total(counts: ReadonlyMap<ErrorCode, number>): number {
  let sum = 0;
  for (const count of counts.values()) sum += count;
  return sum;
}
