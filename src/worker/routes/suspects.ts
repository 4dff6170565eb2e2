/**
 * Messages at which the backend fails while it takes others. One that does so for good keeps its partition waiting, and
 * with it the devices that share it: after a while it is given up as one that the backend has refused.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { MessageId } from './ports.ts';

/** So often, and for so long: a backend that restarts a few times must not cost a message. */
const failuresEnough = 8;
const sinceEnoughMs = 60_000;
/** A lane has 256 partitions at most, and one message in each stands first. */
const maxSuspects = 256;

interface Suspect {
  readonly sinceMs: number;
  failures: number;
  /** How many requests the backend had taken when it failed last. */
  accepted: number;
}

export class Suspects {
  readonly #clock: Clock;
  readonly #known = new Map<MessageId, Suspect>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The backend has failed at this message, sent alone.
   *
   * @param accepted requests that it has taken so far: a failure without another one taken meanwhile says nothing.
   * @returns whether to give the message up.
   */
  failed(id: MessageId, accepted: number): boolean {
    const now = this.#clock.monotonic();
    const suspect = this.#known.get(id);
    if (suspect === undefined) {
      const [oldest] = this.#known.keys();
      if (this.#known.size >= maxSuspects && oldest !== undefined) this.#known.delete(oldest);
      this.#known.set(id, { sinceMs: now, failures: 1, accepted });
      return false;
    }
    if (suspect.accepted === accepted) return false;
    suspect.accepted = accepted;
    suspect.failures += 1;
    return suspect.failures >= failuresEnough && now - suspect.sinceMs >= sinceEnoughMs;
  }

  settled(id: MessageId): void {
    if (this.#known.size > 0) this.#known.delete(id);
  }
}
