/**
 * Slows down identities that connect again and again. One that has begun as many sessions in a minute as it may is
 * refused; then it is let in once after each wait, and the waits double while it goes on. Every try counts, so that
 * who keeps trying waits longest, and who rests for a minute or two is as before.
 */
import type { Clock } from '../../common/base/clock.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';

export interface ConnectLimits {
  /** Sessions that one identity may begin per minute, and at once; a service another number. */
  readonly perMinute: number;
  readonly servicePerMinute: number;
  /** The longest wait, milliseconds. */
  readonly longestMs: number;
}

interface Tries {
  /** Leaks at the rate of its kind. */
  level: number;
  at: number;
  /** The wait that is on or was last; 0 when there was none lately. */
  waitMs: number;
  until: number;
}

const firstWaitMs = 1_000;
/** Identities remembered at once, about 10 MB; the one that tried least recently is forgotten first. */
const maxIdentities = 100_000;

export class ConnectBrake {
  readonly #clock: Clock;
  readonly #limits: () => ConnectLimits;
  readonly #identities = new Map<PrincipalName, Tries>();

  constructor(clock: Clock, limits: () => ConnectLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  get size(): number {
    return this.#identities.size;
  }

  /** A try. @returns whether it may go on. */
  admits(principal: PrincipalName): boolean {
    const now = this.#clock.monotonic();
    const { longestMs } = this.#limits();
    const perMinute = this.#perMinute(principal);
    const tries = this.#identities.get(principal) ?? { level: 0, at: now, waitMs: 0, until: now };
    tries.level = Math.min(leaked(tries, now, perMinute) + 1, 2 * perMinute);
    tries.at = now;
    // Put last: the first ones are those to forget.
    this.#identities.delete(principal);
    this.#identities.set(principal, tries);
    const [oldest] = this.#identities.keys();
    if (this.#identities.size > maxIdentities && oldest !== undefined)
      this.#identities.delete(oldest);
    if (now < tries.until) return false;
    if (tries.level <= perMinute) {
      if (tries.level <= perMinute / 2) tries.waitMs = 0;
      return true;
    }
    const isFirst = tries.waitMs === 0;
    tries.waitMs = Math.min(longestMs, isFirst ? firstWaitMs : 2 * tries.waitMs);
    tries.until = now + tries.waitMs;
    return !isFirst;
  }

  /** Forgets who has rested. To be called every second or so. */
  sweep(): void {
    if (this.#identities.size === 0) return;
    const now = this.#clock.monotonic();
    for (const [principal, tries] of this.#identities) {
      if (now < tries.until || leaked(tries, now, this.#perMinute(principal)) > 0) return;
      this.#identities.delete(principal);
    }
  }

  #perMinute(principal: PrincipalName): number {
    const { perMinute, servicePerMinute } = this.#limits();
    return principalParts(principal).kind === 'service' ? servicePerMinute : perMinute;
  }
}

function leaked({ level, at }: Tries, now: number, perMinute: number): number {
  return Math.max(0, level - ((now - at) / 60_000) * perMinute);
}
