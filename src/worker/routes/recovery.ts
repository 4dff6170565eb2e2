/**
 * When a backend may be tried, as one worker sees it. A lane that fails waits by itself, as long as the others do well: a
 * backend that fails for one device's message must not keep the messages of all others. When several lanes fail and none
 * does well, nothing is sent for a while, the longer the more often it has failed in a row; then one request is the
 * probe, of a lane that has not failed if there is one, and only when it succeeds the others follow.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { Timers } from './ports.ts';

/** Failures in a row from which the operator is told. A single one may be a connection that was closed when idle. */
const openAfter = 3;
/** Messages refused one after the other and none accepted: it is no longer about the messages (a wrong path, a token). */
const refusedInARow = 16;
/** Lanes that fail with no success among them: then it is the backend. */
const failingLanes = 2;
/** Lanes that have not failed have this long to send the probe. */
const probeFirstMs = 50;
/** A backend may ask for this much patience and no more. */
const maxRetryAfterMs = 300_000;

export interface RetrySettings {
  readonly minMs: number;
  readonly maxMs: number;
}

export interface RecoveryParts {
  readonly timers: Timers;
  readonly clock: Clock;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  readonly retry: () => RetrySettings;
  /** Requests may be sent: one, or as many as there are. */
  readonly onResume: () => void;
  readonly onOpen: (trouble: Trouble) => void;
  readonly onClose: (downMs: number) => void;
}

export interface Trouble {
  readonly failures: number;
  readonly reason: string;
  readonly waitMs: number;
}

/** The request to which it was given tells with it how it went. */
export type Pass = number;

export class Recovery {
  readonly #parts: RecoveryParts;
  #state: 'flowing' | 'waiting' | 'ready' | 'probing' = 'flowing';
  /** Requests that began before the last failure have nothing to say about what came after it. */
  #round: Pass = 0;
  #failures = 0;
  #failingSince = 0;
  /** Lanes that have failed since any did well; and how often each has since it did well itself. */
  readonly #failing = new Set<object>();
  readonly #laneFailures = new WeakMap<object, number>();
  #accepted = 0;
  /** Messages that were refused since one was accepted. */
  #refused = 0;
  /** Nobody else wants to be the probe. */
  #anyLane = false;
  #cancel: (() => void) | undefined;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** The lane may send no request now; `onResume` tells. */
  holds(lane: object): boolean {
    if (this.#state === 'ready') return !this.#anyLane && this.#failing.has(lane);
    return this.#state !== 'flowing';
  }

  /** The next request is the only one. */
  get probing(): boolean {
    return this.#state === 'ready' || this.#state === 'probing';
  }

  get breaker(): 'closed' | 'half-open' | 'open' {
    if (this.#failures < openAfter) return 'closed';
    return this.probing ? 'half-open' : 'open';
  }

  /** Since the start of this worker. */
  get acceptedRequests(): number {
    return this.#accepted;
  }

  /** Undefined: not now. Whoever has a pass MUST tell how it went. */
  admit(lane: object): Pass | undefined {
    if (this.holds(lane)) return undefined;
    if (this.#state === 'ready') this.#state = 'probing';
    return this.#round;
  }

  /** The backend has taken what it was sent. */
  accepted(pass: Pass, lane: object): void {
    this.#accepted += 1;
    this.#refused = 0;
    this.answered(pass, lane);
  }

  /**
   * A message has been refused for good. A backend that refuses all of them is tried as one that fails: otherwise the
   * dead letters would overflow with what it takes as soon as it is itself again.
   */
  refused(pass: Pass, lane: object, reason: string): void {
    this.#refused += 1;
    if (this.#refused < refusedInARow) this.answered(pass, lane);
    else this.#fail(pass, lane, reason, undefined, true);
  }

  /** The backend has answered, whatever it said about the messages. */
  answered(pass: Pass, lane: object): void {
    this.#laneFailures.delete(lane);
    if (pass !== this.#round || this.#state === 'waiting') return;
    const wasOpen = this.#failures >= openAfter;
    this.#failures = 0;
    this.#failing.clear();
    if (wasOpen) this.#parts.onClose(this.#parts.clock.monotonic() - this.#failingSince);
    if (this.#state === 'flowing') return;
    this.#state = 'flowing';
    this.#parts.onResume();
  }

  /**
   * @param retryAfterMs what the backend asked for: of itself, and so for all lanes.
   * @returns how long the lane has to wait by itself, milliseconds.
   */
  failed(pass: Pass, lane: object, reason: string, retryAfterMs: number | undefined): number {
    return this.#fail(pass, lane, reason, retryAfterMs, retryAfterMs !== undefined);
  }

  /** @param all it is about the backend and so for all lanes. */
  #fail(
    pass: Pass,
    lane: object,
    reason: string,
    retryAfterMs: number | undefined,
    all: boolean,
  ): number {
    if (pass !== this.#round || this.#state === 'waiting') return 0;
    if (this.#failures === 0) this.#failingSince = this.#parts.clock.monotonic();
    this.#failures += 1;
    this.#failing.add(lane);
    const ofLane = (this.#laneFailures.get(lane) ?? 0) + 1;
    this.#laneFailures.set(lane, ofLane);
    const alone = this.#state === 'flowing' && this.#failing.size < failingLanes;
    const laneOnly = alone && !all;
    const waitMs = this.#waitMs(laneOnly ? ofLane : this.#failures, retryAfterMs);
    if (this.#failures === openAfter) {
      this.#parts.onOpen({ failures: this.#failures, reason, waitMs: Math.round(waitMs) });
    }
    if (laneOnly) return waitMs;
    this.#round += 1;
    this.#state = 'waiting';
    this.#cancel = this.#parts.timers.after(waitMs, () => this.#getReady());
    return 0;
  }

  #getReady(): void {
    this.#state = 'ready';
    this.#anyLane = false;
    this.#cancel = this.#parts.timers.after(probeFirstMs, () => {
      this.#anyLane = true;
      if (this.#state === 'ready') this.#parts.onResume();
    });
    this.#parts.onResume();
  }

  stop(): void {
    this.#cancel?.();
  }

  #waitMs(failures: number, retryAfterMs: number | undefined): number {
    const { minMs, maxMs } = this.#parts.retry();
    if (retryAfterMs !== undefined) {
      return Math.min(Math.max(retryAfterMs, minMs), Math.max(maxMs, maxRetryAfterMs));
    }
    // 2^31 is more than any setting: the exponent is bounded so that the product stays a number.
    const most = Math.min(maxMs, minMs * 2 ** Math.min(failures, 31));
    return Math.max(minMs, most / 2) + this.#parts.random() * (most - Math.max(minMs, most / 2));
  }
}
