/**
 * The secret of TLS session tickets, one for each period of the wall clock. Each follows from the one before by a
 * function that cannot be undone, and replaces it: who takes a process over finds nothing with which to open what was
 * recorded in earlier periods. Every process that began with the same secret in the same period has the same one later.
 */
import { hash } from 'node:crypto';

/** SHA-256 of it and the secret is the next one: a microsecond a step, should a clock be set after years. */
const step = Buffer.from('sallyport ticket chain 1 ');

export interface TicketState {
  /** base64, 32 bytes. */
  readonly secret: string;
  /** The period whose secret it is. */
  readonly period: number;
  readonly rotationMs: number;
}

export class TicketChain {
  readonly rotationMs: number;
  #secret: Buffer;
  #period: number;

  constructor({ secret, period, rotationMs }: TicketState) {
    this.rotationMs = rotationMs;
    this.#secret = Buffer.from(secret, 'base64');
    this.#period = period;
  }

  /** A chain that begins in the period of `nowMs`, by the wall clock. */
  static from(secret: string, rotationMs: number, nowMs: number): TicketChain {
    return new TicketChain({ secret, period: Math.floor(nowMs / rotationMs), rotationMs });
  }

  /**
   * 32 bytes, which the next call may overwrite. A clock that goes back does not bring back what is gone: the last secret
   * then stays.
   */
  secretAt(nowMs: number): Buffer {
    const wanted = Math.floor(nowMs / this.rotationMs);
    while (this.#period < wanted) {
      const steps = Buffer.concat([step, this.#secret]);
      const next = hash('sha256', steps, 'buffer');
      steps.fill(0);
      this.#secret.fill(0);
      this.#secret = next;
      this.#period += 1;
    }
    return this.#secret;
  }

  stateAt(nowMs: number): TicketState {
    const secret = this.secretAt(nowMs).toString('base64');
    return { secret, period: this.#period, rotationMs: this.rotationMs };
  }

  /** How long from `nowMs` until the next period begins; at least a millisecond. */
  untilNextMs(nowMs: number): number {
    return Math.max(1, (Math.floor(nowMs / this.rotationMs) + 1) * this.rotationMs - nowMs);
  }
}
