/**
 * Keeps requests from a server that has failed so many times in a row, for so long; then one request tries it.
 *
 * A device can make a server fail by what it asks for. What one caller may have provoked is therefore held against this
 * caller: it is kept from the server while all others are served, and never counts twice in a row against the server.
 */
import type { UpstreamSettings } from '../../../common/ipc/snapshot.ts';

type BreakerSettings = UpstreamSettings['breaker'];

/** Callers that fail and are remembered at once; the oldest is forgotten for a new one. */
const maxCallers = 1_000;

/** One request; what tells it from others is that it is another object. */
export interface Attempt {
  readonly caller: string;
}

export type BreakerState = 'closed' | 'half-open' | 'open';

export class ServerBreaker {
  readonly #settings: () => BreakerSettings;
  readonly #server = new Circuit();
  readonly #callers = new Map<string, Circuit>();
  /** Who may have provoked the last failure. */
  #provoker: string | undefined;

  constructor(settings: () => BreakerSettings) {
    this.#settings = settings;
  }

  state(now: number): BreakerState {
    return this.#server.state(now);
  }

  /** Whether this caller's request may go to the server now. */
  admits(caller: string, now: number): boolean {
    if (!this.#server.admits(now)) return false;
    return this.#callers.size === 0 || (this.#callers.get(caller)?.admits(now) ?? true);
  }

  /** When it may be worth another try. */
  opensInMs(caller: string, now: number): number {
    const until = Math.max(this.#server.openUntil, this.#callers.get(caller)?.openUntil ?? 0);
    return Math.max(0, until - now);
  }

  /** The request goes to the server. MUST be followed by one of the three below, with the same attempt. */
  begin(attempt: Attempt, now: number): void {
    const { openMs } = this.#settings();
    this.#server.begin(attempt, now, openMs);
    if (this.#callers.size > 0) this.#callers.get(attempt.caller)?.begin(attempt, now, openMs);
  }

  /** It has answered. @returns whether it was kept from everybody. */
  succeeded({ caller }: Attempt): boolean {
    const wasOpen = this.#server.openUntil !== 0;
    this.#server.close();
    this.#provoker = undefined;
    if (this.#callers.size > 0) this.#callers.delete(caller);
    return wasOpen;
  }

  /**
   * @param provoked whether it can have to do with what was asked: not when there was no connection.
   * @returns whether the server is kept from everybody from now on, and was not before.
   */
  failed(attempt: Attempt, now: number, provoked: boolean): boolean {
    const { caller } = attempt;
    const settings = this.#settings();
    const again = provoked && caller === this.#provoker;
    this.#provoker = provoked ? caller : undefined;
    if (provoked) this.#circuitOf(caller).fail(settings, attempt, now);
    if (!again) return this.#server.fail(settings, attempt, now);
    this.#server.release(attempt);
    return false;
  }

  /** Nothing was learned of the server. */
  abandoned(attempt: Attempt): void {
    this.#server.release(attempt);
    if (this.#callers.size > 0) this.#callers.get(attempt.caller)?.release(attempt);
  }

  #circuitOf(caller: string): Circuit {
    let circuit = this.#callers.get(caller);
    if (circuit === undefined) {
      const [oldest] = this.#callers.keys();
      if (this.#callers.size >= maxCallers && oldest !== undefined) this.#callers.delete(oldest);
      circuit = new Circuit();
      this.#callers.set(caller, circuit);
    }
    return circuit;
  }
}

class Circuit {
  /** 0 as long as it has not opened. */
  openUntil = 0;
  #failures = 0;
  /** Half open, this request is on its way. */
  #probe: Attempt | undefined;
  /** A device may take as long as it likes to send it: then another one tries. */
  #probeUntil = 0;

  state(now: number): BreakerState {
    if (this.openUntil === 0) return 'closed';
    return now < this.openUntil ? 'open' : 'half-open';
  }

  admits(now: number): boolean {
    if (this.openUntil === 0) return true;
    return now >= this.openUntil && (this.#probe === undefined || now >= this.#probeUntil);
  }

  begin(attempt: Attempt, now: number, openMs: number): void {
    if (this.openUntil === 0 || now < this.openUntil) return;
    this.#probe = attempt;
    this.#probeUntil = now + openMs;
  }

  /** @returns whether it was closed and is open now. */
  fail({ failures, openMs }: BreakerSettings, attempt: Attempt, now: number): boolean {
    const wasClosed = this.openUntil === 0;
    // Half open, what was under way before it opened says nothing new.
    const counts = wasClosed || this.#probe === attempt;
    this.release(attempt);
    if (!counts) return false;
    this.#failures += 1;
    if (this.#failures >= failures) this.openUntil = now + openMs;
    return wasClosed && this.openUntil !== 0;
  }

  close(): void {
    this.openUntil = 0;
    this.#failures = 0;
    this.#probe = undefined;
  }

  release(attempt: Attempt): void {
    if (this.#probe === attempt) this.#probe = undefined;
  }
}
