/**
 * Remembers what may come only once: nonces of signatures, signatures that have none, ids of tokens. The store behind it
 * is shared by all workers and protocols and survives them; what it cannot remember is refused.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { Durability } from '../../common/ipc/snapshot.ts';
import type { OnceStore } from './ports.ts';
import { onceKeyBytes } from './ports.ts';

/** `new`: goes on. `full`: the owner has had too many remembered. `unable`: the store does not answer. */
export type Remembered = 'new' | 'seen' | 'full' | 'unable';

export interface ReplayGuardParts {
  readonly store: OnceStore;
  readonly durability: () => Durability;
  /** How many of one owner this worker remembers within the time for which the last of them is kept. */
  readonly perOwner: () => number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Of the latest ones this worker knows that they have been seen without asking the store. */
const keptInMemory = 16_384;
/** Owners whose use is counted; beyond it those that were counted first are forgotten. */
const countedOwners = 100_000;
/** A store that is down is told of once in a while and not for every message. */
const complainEveryMs = 10_000;

interface Use {
  count: number;
  /** Monotonic; the count begins anew then. */
  until: number;
}

export class ReplayGuard {
  readonly #parts: ReplayGuardParts;
  #newer = new Set<string>();
  #older = new Set<string>();
  readonly #uses = new Map<string, Use>();
  #complainedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: ReplayGuardParts) {
    this.#parts = parts;
  }

  /**
   * Whoever calls MUST have verified before that `nonce` comes from `owner`: nobody can fill the memory of another.
   * Never rejects; only `new` may go on.
   *
   * @param owner a principal's name, or whatever else the nonce is unique for.
   * @param nonce of bounded length. Different kinds need different prefixes.
   * @param ttlMs from now until which a replay would pass every other check.
   */
  remember(owner: string, nonce: string, ttlMs: number): Remembered | Promise<Remembered> {
    const key = hash('sha256', `${owner}\0${nonce}`, 'buffer').subarray(0, onceKeyBytes);
    const name = key.toString('latin1');
    if (this.#newer.has(name) || this.#older.has(name)) return 'seen';
    if (!this.#mayHaveAnother(owner, ttlMs)) return 'full';
    return this.#asked(key, name, ttlMs);
  }

  async #asked(key: Buffer, name: string, ttlMs: number): Promise<Remembered> {
    const { store, durability, clock } = this.#parts;
    try {
      const isNew = await store.putIfAbsent(key, clock.now() + ttlMs, durability());
      this.#keep(name);
      return isNew ? 'new' : 'seen';
    } catch (error) {
      this.#complain(error);
      return 'unable';
    }
  }

  /** As long as it is in memory it is refused, also when its time is over: nothing good ever comes a second time. */
  #keep(name: string): void {
    if (this.#newer.size >= keptInMemory / 2) {
      this.#older = this.#newer;
      this.#newer = new Set();
    }
    this.#newer.add(name);
  }

  #mayHaveAnother(owner: string, ttlMs: number): boolean {
    const now = this.#parts.clock.monotonic();
    let use = this.#uses.get(owner);
    if (use === undefined || use.until <= now) {
      this.#uses.delete(owner);
      if (this.#uses.size >= countedOwners) this.#forgetFirst();
      use = { count: 0, until: now + ttlMs };
      this.#uses.set(owner, use);
    }
    if (use.count >= this.#parts.perOwner()) return false;
    use.count += 1;
    return true;
  }

  #forgetFirst(): void {
    for (const owner of this.#uses.keys()) {
      this.#uses.delete(owner);
      return;
    }
  }

  #complain(error: unknown): void {
    const { clock, logger } = this.#parts;
    const now = clock.monotonic();
    if (now - this.#complainedAt < complainEveryMs) return;
    this.#complainedAt = now;
    logger.error({ err: messageOf(error) }, 'nonces cannot be stored: what is signed is refused');
  }
}
