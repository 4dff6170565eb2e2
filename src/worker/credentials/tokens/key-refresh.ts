/** Asks control for newer keys of an issuer, when a token names one that is not known. */
import type { TokenPorts } from './ports.ts';

/**
 * Between two requests for the keys of one issuer: anybody can name a key that does not exist. A token by a key that has
 * just come into use waits no longer than this.
 */
const askAgainMs = 10_000;

export class KeyRefresh {
  readonly #ports: Pick<TokenPorts, 'clock' | 'refreshKeys'>;
  /** By issuer, of whom there are as many as are configured. Monotonic. */
  readonly #askedAt = new Map<string, number>();

  constructor(ports: Pick<TokenPorts, 'clock' | 'refreshKeys'>) {
    this.#ports = ports;
  }

  ask(issuer: string): void {
    const now = this.#ports.clock.monotonic();
    const askedAt = this.#askedAt.get(issuer);
    if (askedAt !== undefined && now - askedAt < askAgainMs) return;
    this.#askedAt.set(issuer, now);
    this.#ports.refreshKeys(issuer);
  }
}
