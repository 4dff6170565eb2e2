/**
 * When the keys of session tickets change: at the same moment of the wall clock in every worker. node:tls keeps one key
 * at a time, so a ticket of before costs its device one full handshake, which waits its turn like any other.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { TicketChain } from '../../common/base/ticket-chain.ts';

/** A clock that is set meanwhile is noticed within this. */
const lookMs = 60_000;

export interface TicketRotationOptions {
  readonly chain: TicketChain;
  readonly clock: Clock;
  /** @returns how to call it off. */
  readonly later: (ms: number, action: () => void) => () => void;
}

export class TicketRotation {
  readonly #options: TicketRotationOptions;
  #cancel: () => void = () => {};

  constructor(options: TicketRotationOptions) {
    this.#options = options;
  }

  /** Of the period that is now; the caller copies what it keeps. */
  readonly secret = (): Buffer => {
    const { chain, clock } = this.#options;
    return chain.secretAt(clock.now());
  };

  /** Calls `onRotated` as soon as there is another secret, again and again. */
  start(onRotated: () => void): void {
    const { chain, clock, later } = this.#options;
    let { period } = chain.stateAt(clock.now());
    const look = (): void => {
      const before = period;
      ({ period } = chain.stateAt(clock.now()));
      if (period !== before) onRotated();
      this.#cancel = later(Math.min(lookMs, chain.untilNextMs(clock.now())), look);
    };
    look();
  }

  stop(): void {
    this.#cancel();
  }
}
