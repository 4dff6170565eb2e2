/**
 * The lists of one issuer over time: issued when they are asked for, one issue after the other, and not so often that
 * revoking a fleet device by device would leave no time for anything else.
 */
import type { Clock } from '../../../common/base/clock.ts';
import { messageOf } from '../../../common/base/errors.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { StatusIssuer } from '../issuer.ts';
import { clockStepMs } from './crl-numbers.ts';
import { issueLists } from './issue-lists.ts';
import type { ListParts, SignedLists } from './issue-lists.ts';

/** An issue begins this long after the one before, or ten times as long as that one took. */
const restMs = 1_000;
const restFactor = 10;

export interface IssuerListsParts extends ListParts {
  readonly clock: Clock;
  readonly later: (ms: number, action: () => void) => () => void;
  /** From one list on schedule to the next. */
  readonly intervalMs: number;
  readonly logger: Pick<Logger, 'error' | 'debug'>;
}

export class IssuerLists {
  readonly #issuer: StatusIssuer;
  /** Asked at each issue: settings change while it runs. */
  readonly #parts: () => IssuerListsParts;
  #lists: SignedLists | undefined;
  #wanted = false;
  #failed = false;
  #restUntil = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;

  constructor(issuer: StatusIssuer, parts: () => IssuerListsParts) {
    this.#issuer = issuer;
    this.#parts = parts;
  }

  /** Undefined until the first were signed. */
  get lists(): SignedLists | undefined {
    return this.#lists;
  }

  /** The issue that is under way or about to begin; never rejects. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  get isDue(): boolean {
    return this.#lists === undefined || this.#failed || this.#isScheduleDue();
  }

  /** New lists that say all that is known by now. Resolves when they are out or could not be signed; never rejects. */
  issue(): Promise<void> {
    this.#wanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#wanted) {
      await this.#rest();
      this.#wanted = false;
      const parts = this.#parts();
      const { clock, logger } = parts;
      const began = clock.monotonic();
      try {
        this.#lists = await issueLists(this.#issuer, this.#isScheduleDue(), clock.now(), parts);
        this.#failed = false;
        const { number } = this.#lists.complete;
        logger.debug({ issuer: this.#issuer.id, number }, 'revocation list issued');
      } catch (error) {
        this.#failed = true;
        const fields = { issuer: this.#issuer.id, err: messageOf(error) };
        logger.error(fields, 'revocation list not issued; the last one stays');
      }
      const now = clock.monotonic();
      this.#restUntil = now + Math.max(restMs, restFactor * (now - began));
    }
  }

  #rest(): Promise<void> | undefined {
    const { clock, later } = this.#parts();
    const ms = this.#restUntil - clock.monotonic();
    if (ms <= 0) return undefined;
    return new Promise((resolve) => void later(ms, resolve));
  }

  #isScheduleDue(): boolean {
    const { clock, numbers, intervalMs } = this.#parts();
    const last = numbers.lastScheduledAt(this.#issuer.id);
    // A list from a clock that was ahead is no reason to wait until this one is there.
    const sinceMs = clock.now() - (last ?? Number.NEGATIVE_INFINITY);
    return sinceMs >= intervalMs || sinceMs < -clockStepMs;
  }
}
