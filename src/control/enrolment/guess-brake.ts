/**
 * Slows down whoever comes with enrolment tokens that are none: a source may fail so often a minute, and then has to
 * wait. It is never shut out for longer than a failure takes to be forgiven, because behind one address there may be a
 * factory with one broken device. A worker that lies about sources is bounded by what all of them may fail together;
 * that bound is for tokens that are no good alone, or strangers with many addresses could use it up for everybody.
 */
import type { Clock } from '../../common/base/clock.ts';
import { sourceOf } from '../../common/base/source-network.ts';

/** Failures that one worker may report in a minute: each is a line of a log. */
const workerFailures = 600;
const minuteMs = 60_000;
/** Sources remembered at once, under 1 MB; the one that failed longest ago is forgotten first. */
const maxSources = 4_096;

/** Failures that are not forgiven yet; they leak at their limit a minute. */
interface Level {
  readonly failures: number;
  readonly at: number;
}

export class GuessBrake {
  readonly #clock: Clock;
  readonly #perMinute: () => number;
  readonly #sources = new Map<string, Level>();
  /** By slot, of which there are few. */
  readonly #workers = new Map<number, Level>();

  /** `perMinute`: failures of one source that cost it no wait. */
  constructor(clock: Clock, perMinute: () => number) {
    this.#clock = clock;
    this.#perMinute = perMinute;
  }

  /** Milliseconds until a token from this address, reported by this worker, is looked at; 0 = now. `good`: it is open. */
  waitMs(slot: number, address: string, good: boolean): number {
    const ofSource = this.#waitOf(this.#sources.get(sourceOf(address)), this.#perMinute());
    return good
      ? ofSource
      : Math.max(ofSource, this.#waitOf(this.#workers.get(slot), workerFailures));
  }

  failed(slot: number, address: string): void {
    const source = sourceOf(address);
    const level = this.#oneMore(this.#sources.get(source), this.#perMinute());
    this.#workers.set(slot, this.#oneMore(this.#workers.get(slot), workerFailures));
    // Put last: the first ones are those to forget.
    this.#sources.delete(source);
    this.#sources.set(source, level);
    const [oldest] = this.#sources.keys();
    if (this.#sources.size > maxSources && oldest !== undefined) this.#sources.delete(oldest);
  }

  #waitOf(level: Level | undefined, perMinute: number): number {
    const excess = this.#leaked(level, perMinute) + 1 - perMinute;
    return excess <= 0 ? 0 : Math.ceil((excess / perMinute) * minuteMs);
  }

  #oneMore(level: Level | undefined, perMinute: number): Level {
    return { failures: this.#leaked(level, perMinute) + 1, at: this.#clock.monotonic() };
  }

  #leaked(level: Level | undefined, perMinute: number): number {
    if (level === undefined) return 0;
    const minutes = (this.#clock.monotonic() - level.at) / minuteMs;
    return Math.max(0, level.failures - minutes * perMinute);
  }
}
