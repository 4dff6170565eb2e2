/** How many tokens a service may have: so many at once, and as many again in a minute. */
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';

const minuteMs = 60_000;

/** Tokens that are not forgiven yet; they leak at the limit a minute. */
interface Level {
  readonly tokens: number;
  readonly at: number;
}

export class TokenBudget {
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** By service, of which there are as many as are registered: who is not is not asked for. */
  readonly #levels = new Map<PrincipalName, Level>();

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
  }

  /** Milliseconds until there is one for it; 0 = now. */
  waitMs(service: PrincipalName, perMinute: number): number {
    const excess = this.#leaked(service, perMinute) + 1 - perMinute;
    return excess <= 0 ? 0 : Math.ceil((excess / perMinute) * minuteMs);
  }

  charge(service: PrincipalName, perMinute: number): void {
    const tokens = this.#leaked(service, perMinute) + 1;
    this.#levels.set(service, { tokens, at: this.#clock.monotonic() });
  }

  #leaked(service: PrincipalName, perMinute: number): number {
    const level = this.#levels.get(service);
    if (level === undefined) return 0;
    const minutes = (this.#clock.monotonic() - level.at) / minuteMs;
    return Math.max(0, level.tokens - minutes * perMinute);
  }
}
