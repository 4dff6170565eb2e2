/**
 * Networks from which handshakes and authentications fail again and again are let in more slowly: each attempt costs us
 * a signature and the peer next to nothing. What succeeds pays back, so that a shared address with one broken device
 * behind it stays open to the others.
 */
import type { Clock } from '../../common/base/clock.ts';

export interface FailureLimits {
  /** Failures of one network per minute, and at once. */
  readonly sourceFailures: number;
  /** Connections a second of a network that has had more. */
  readonly sourceSlowedPerSecond: number;
}

export interface FailurePorts {
  readonly clock: Clock;
  readonly limits: () => FailureLimits;
}

interface Failures {
  /** Not yet forgiven. Leaks at `sourceFailures` a minute. */
  level: number;
  at: number;
  /** While it is slowed: when the next connection may come. */
  nextAt: number;
}

/** Networks remembered at once, about 10 MB; the one that was quiet for longest is forgotten first. */
const maxNetworks = 50_000;
/** A network is slowed for two minutes at most after its last failure. */
const mostMinutes = 2;

export class SourceFailures {
  readonly #ports: FailurePorts;
  readonly #networks = new Map<string, Failures>();

  constructor(ports: FailurePorts) {
    this.#ports = ports;
  }

  failed(network: string): void {
    const now = this.#ports.clock.monotonic();
    const { sourceFailures } = this.#ports.limits();
    const level = Math.min(this.#level(network, now) + 1, sourceFailures * (mostMinutes + 1));
    const nextAt = this.#networks.get(network)?.nextAt ?? now;
    // Put last: the first ones are those to forget.
    this.#networks.delete(network);
    this.#networks.set(network, { level, at: now, nextAt });
    const [quietest] = this.#networks.keys();
    if (this.#networks.size > maxNetworks && quietest !== undefined)
      this.#networks.delete(quietest);
  }

  succeeded(network: string): void {
    const known = this.#networks.get(network);
    if (known === undefined) return;
    const now = this.#ports.clock.monotonic();
    known.level = this.#level(network, now) - 1;
    known.at = now;
    if (known.level <= 0) this.#networks.delete(network);
  }

  isSlowed(network: string): boolean {
    if (this.#networks.size === 0) return false;
    const now = this.#ports.clock.monotonic();
    return this.#level(network, now) > this.#ports.limits().sourceFailures;
  }

  /** Whether a connection may come in now. Charged when it may. */
  admits(network: string): boolean {
    if (!this.isSlowed(network)) return true;
    const known = this.#networks.get(network);
    const now = this.#ports.clock.monotonic();
    if (known === undefined) return true;
    if (now < known.nextAt) return false;
    known.nextAt = now + 1_000 / this.#ports.limits().sourceSlowedPerSecond;
    return true;
  }

  #level(network: string, now: number): number {
    const known = this.#networks.get(network);
    if (known === undefined) return 0;
    const leaked = ((now - known.at) / 60_000) * this.#ports.limits().sourceFailures;
    return Math.max(0, known.level - leaked);
  }
}
