/**
 * One worker at a time opens the store, while no other one writes to it: who opens an LMDB environment may undo what is
 * committed at that moment (src/worker/store/lmdb-gate.ts).
 *
 * A worker that has the store open is asked to hold, and has ended or has said that it does before another is welcomed.
 * Nothing is acknowledged to devices meanwhile, so it is short: when somebody does not answer in time all go on, and it is
 * tried again. Who does not open the store in time, or never holds, is killed.
 */
import type { SupervisorToWorker } from '../common/ipc/messages.ts';
import { tickMs } from './silence-limits.ts';
import type { WorkerWord } from './worker-words.ts';

// In ticks, as silence is counted: a machine that stalls kills nobody.

/** For all to hold, at the first attempt; twice as long at each that follows, for workers with seconds of work before them. */
const holdTicks = 1_000 / tickMs;
const longestHoldTicks = 8_000 / tickMs;
const restTicks = 1_000 / tickMs;
/** From the welcome until the store is open. */
const openTicks = 10_000 / tickMs;
/** Without an answer to any attempt. A worker that is stopped is killed long before, and a disk may stall for a while. */
const neverTicks = 45_000 / tickMs;
/** Between attempts to wake somebody, which keep the supervisor from everything else for a moment. */
const wakeTicks = 1_000 / tickMs;

export interface OpeningsParts<W> {
  readonly tell: (
    worker: W,
    message: Extract<SupervisorToWorker, { type: 'hold' | 'go-on' }>,
  ) => void;
  /** It opens the store now. */
  readonly welcome: (worker: W) => void;
  /** Others wait for it in vain: it MUST be ended. */
  readonly late: (worker: W, why: string) => void;
  /**
   * Another user is gone: these may wait for a lock that is free (lock-waiters.ts).
   *
   * @returns those for which it has to be tried again.
   */
  readonly wake: (workers: readonly W[]) => readonly W[];
}

interface Opening<W> {
  readonly worker: W;
  readonly number: number;
  /** Who has not said that it holds; undefined when all have, and the store is being opened. */
  waitsFor: Set<W> | undefined;
  since: number;
}

export class Openings<W> {
  readonly #parts: OpeningsParts<W>;
  /** In the order in which they came up. */
  readonly #queue: W[] = [];
  /** Those that have the store open, or are opening it. */
  readonly #users = new Set<W>();
  /** Since when a user has been asked in vain. */
  readonly #askedSince = new Map<W, number>();
  #opening: Opening<W> | undefined;
  #count = 0;
  /** Users, since the last of them ended, that may wait for a lock that is free. */
  #asleep: readonly W[] = [];
  /** Attempts in a row at which somebody did not hold in time. */
  #failures = 0;
  #ticks = 0;
  #restsUntil = 0;

  constructor(parts: OpeningsParts<W>) {
    this.#parts = parts;
  }

  heard(worker: W, word: WorkerWord): void {
    if (word.type === 'up') this.#up(worker);
    else if (word.type === 'held') this.#holds(worker, word.opening);
    else if (word.type === 'joined') this.#opened(worker);
  }

  /** Its process is gone. */
  ended(worker: W): void {
    if (this.#users.delete(worker)) this.#asleep = this.#parts.wake([...this.#users]);
    this.#askedSince.delete(worker);
    const at = this.#queue.indexOf(worker);
    if (at >= 0) this.#queue.splice(at, 1);
    if (this.#opening?.worker === worker) this.#goOn();
    else this.#isStill(worker);
  }

  /** To be called every `tickMs`. */
  tick(): void {
    this.#ticks += 1;
    if (this.#asleep.length > 0 && this.#ticks % wakeTicks === 0) {
      this.#asleep = this.#parts.wake(this.#asleep);
    }
    const opening = this.#opening;
    if (opening === undefined) {
      this.#next();
    } else if (opening.waitsFor === undefined) {
      if (this.#ticks - opening.since <= openTicks) return;
      opening.since = Number.POSITIVE_INFINITY;
      this.#parts.late(opening.worker, 'it did not open the store');
    } else if (this.#ticks - opening.since > this.#holdTicks) {
      this.#giveUp(opening.worker, opening.waitsFor);
    }
  }

  get #holdTicks(): number {
    return Math.min(holdTicks * 2 ** this.#failures, longestHoldTicks);
  }

  #up(worker: W): void {
    // A worker may be in an attacker's hands: it has one turn.
    if (this.#users.has(worker) || this.#queue.includes(worker)) return;
    if (this.#opening?.worker === worker) return;
    this.#queue.push(worker);
    this.#next();
  }

  #holds(worker: W, opening: number): void {
    this.#askedSince.delete(worker);
    // It may have gone on since one of before.
    if (this.#opening?.number === opening) this.#isStill(worker);
  }

  #opened(worker: W): void {
    if (this.#opening?.worker === worker && this.#opening.waitsFor === undefined) this.#goOn();
  }

  #next(): void {
    if (this.#opening !== undefined || this.#ticks < this.#restsUntil) return;
    const worker = this.#queue.shift();
    if (worker === undefined) return;
    this.#count += 1;
    const number = this.#count;
    this.#opening = { worker, number, waitsFor: new Set(this.#users), since: this.#ticks };
    for (const user of this.#users) {
      if (!this.#askedSince.has(user)) this.#askedSince.set(user, this.#ticks);
      this.#parts.tell(user, { type: 'hold', opening: number });
    }
    this.#open();
  }

  #isStill(worker: W): void {
    if (this.#opening?.waitsFor?.delete(worker) === true) this.#open();
  }

  #open(): void {
    const opening = this.#opening;
    if (opening?.waitsFor?.size !== 0) return;
    opening.waitsFor = undefined;
    opening.since = this.#ticks;
    this.#failures = 0;
    this.#users.add(opening.worker);
    this.#parts.welcome(opening.worker);
  }

  /** Those who have not answered are told to go on too: they will have read both. */
  #giveUp(worker: W, silent: ReadonlySet<W>): void {
    this.#failures += 1;
    this.#restsUntil = this.#ticks + restTicks;
    this.#queue.unshift(worker);
    this.#goOn();
    for (const user of silent) {
      const since = this.#askedSince.get(user) ?? this.#ticks;
      if (this.#ticks - since > neverTicks) this.#parts.late(user, 'it did not stop writing');
    }
  }

  #goOn(): void {
    const opened = this.#opening?.worker;
    this.#opening = undefined;
    for (const user of this.#users) {
      if (user !== opened) this.#parts.tell(user, { type: 'go-on' });
    }
    this.#next();
  }
}
