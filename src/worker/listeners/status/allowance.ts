/** So much a second, ten seconds' worth at once: how much strangers may ask for, of each kind and each source. */
import type { Clock } from '../../../common/base/clock.ts';
import { sourceOf } from '../../../common/base/source-network.ts';

const burstSeconds = 10;
/** Sources remembered at once, about 5 MB; the one that was quiet for longest is forgotten first. */
const maxSources = 50_000;

export class Allowance {
  readonly #clock: Clock;
  readonly #perSecond: () => number;
  readonly #seconds: number;
  #used = 0;
  #at: number;

  /** @param seconds' worth that may be taken at once. */
  constructor(clock: Clock, perSecond: () => number, seconds = burstSeconds) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#seconds = seconds;
    this.#at = clock.monotonic();
  }

  /** Whether `cost` may be spent; it is, then. What costs more than all there ever is may be spent when all of it is there. */
  take(cost: number): boolean {
    const used = this.#leaked();
    const most = this.#perSecond() * this.#seconds;
    if (used > 0 && used + cost > most) return false;
    this.#used = used + cost;
    return true;
  }

  /** Spends without asking: what it costs became known too late. */
  spend(cost: number): void {
    this.#used = this.#leaked() + cost;
  }

  #leaked(): number {
    const now = this.#clock.monotonic();
    const gained = ((now - this.#at) / 1_000) * this.#perSecond();
    this.#at = now;
    this.#used = Math.max(0, this.#used - gained);
    return this.#used;
  }
}

/** The same for each source address: an IPv4 /32 or an IPv6 /64. */
export class SourceAllowances {
  readonly #clock: Clock;
  readonly #perSecond: () => number;
  readonly #sources = new Map<string, Allowance>();

  constructor(clock: Clock, perSecond: () => number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
  }

  /** To be asked for once for each connection; a source that is forgotten meanwhile has a fresh one for its next. */
  of(address: string): Allowance {
    const source = sourceOf(address);
    const known = this.#sources.get(source);
    const allowance = known ?? new Allowance(this.#clock, this.#perSecond);
    // Put last: the first ones are those to forget.
    if (known !== undefined) this.#sources.delete(source);
    this.#sources.set(source, allowance);
    const [quietest] = this.#sources.keys();
    if (this.#sources.size > maxSources && quietest !== undefined) this.#sources.delete(quietest);
    return allowance;
  }
}
