/**
 * Circuit breakers, one per identity and route, kept only for identities that are failing. They outlive a reload of
 * the policy when the same object is handed to the next one.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { BreakerDocument } from '../../common/config/breaker-document.ts';

interface Breaker {
  failures: number;
  firstAtMs: number;
  /** 0 until it has opened. */
  openUntilMs: number;
}

/** Breakers remembered at once, about 2 MB; the oldest is forgotten for a new one. */
const maxBreakers = 10_000;

export class Breakers {
  readonly #clock: Clock;
  readonly #breakers = new Map<string, Breaker>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#breakers.size;
  }

  /** Milliseconds for which it is open; 0 when it is closed. */
  openForMs(route: string, principal: PrincipalName): number {
    // Most of the time nobody is failing: then no key is built.
    if (this.#breakers.size === 0) return 0;
    const breaker = this.#breakers.get(keyOf(route, principal));
    return breaker === undefined ? 0 : Math.max(0, breaker.openUntilMs - this.#clock.monotonic());
  }

  /** A payload check has refused a message. After the time it was open, the first failure opens it again. */
  failed(route: string, principal: PrincipalName, settings: BreakerDocument): void {
    const key = keyOf(route, principal);
    const now = this.#clock.monotonic();
    let breaker = this.#breakers.get(key);
    if (breaker === undefined) {
      this.#makeRoom();
      breaker = { failures: 0, firstAtMs: now, openUntilMs: 0 };
      this.#breakers.set(key, breaker);
    } else if (breaker.openUntilMs === 0 && now - breaker.firstAtMs > settings.withinMs) {
      breaker.failures = 0;
      breaker.firstAtMs = now;
    }
    breaker.failures += 1;
    if (breaker.failures >= settings.failures) breaker.openUntilMs = now + settings.openMs;
  }

  /** A message was accepted: whatever went wrong before is over. */
  passed(route: string, principal: PrincipalName): void {
    if (this.#breakers.size > 0) this.#breakers.delete(keyOf(route, principal));
  }

  #makeRoom(): void {
    if (this.#breakers.size < maxBreakers) return;
    const oldest = this.#breakers.keys().next();
    if (oldest.done !== true) this.#breakers.delete(oldest.value);
  }
}

function keyOf(route: string, principal: PrincipalName): string {
  return `${route}\n${principal}`;
}
