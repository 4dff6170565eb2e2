/**
 * Where new connections wait before anything is spent on them: let in at the pace that the event loop bears, network by
 * network in turn. A connection begins one handshake and one session, so this is also the pace of both.
 */
import type { Clock } from '../../common/base/clock.ts';
import { FairQueue } from './fair-queue.ts';
import type { Queued } from './fair-queue.ts';
import { HandshakePace } from './handshake-pace.ts';
import type { PaceLimits } from './handshake-pace.ts';
import type { SourceFailures } from './source-failures.ts';

export interface TurnstileLimits extends PaceLimits {
  /** Connections that wait at once. */
  readonly admissionQueue: number;
  readonly admissionWaitMs: number;
  readonly sourceSlowedPerSecond: number;
}

/** A connection at the door. One of the two is called, once, unless it leaves before. */
export interface Arrival extends Queued {
  enter(): void;
  refuse(reason: string): void;
}

export interface TurnstilePorts {
  readonly clock: Clock;
  readonly limits: () => TurnstileLimits;
  readonly failures: Pick<SourceFailures, 'admits' | 'isSlowed'>;
}

/** Also how finely the loop's lateness is seen. */
const tickMs = 10;
/** Two arrivals that are closer than this may be the beginning of a herd: from then on the loop is watched. */
const closeMs = 50;
/** After so long without an arrival it is not watched any more, which is a hundred timers a second less. */
const quietMs = 500;

export class Turnstile {
  readonly #ports: TurnstilePorts;
  readonly #queue = new FairQueue<Arrival>();
  #pace: HandshakePace | undefined;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = 0;
  #arrivedAt = Number.NEGATIVE_INFINITY;

  constructor(ports: TurnstilePorts) {
    this.#ports = ports;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** Handshakes a second that may begin now. */
  get perSecond(): number {
    return this.#pace?.perSecond ?? 0;
  }

  admit(arrival: Arrival): void {
    const now = this.#ports.clock.monotonic();
    const { admissionQueue, admissionWaitMs, sourceSlowedPerSecond } = this.#ports.limits();
    const pace = (this.#pace ??= new HandshakePace(this.#ports.limits, now));
    if (now - this.#arrivedAt < closeMs || !pace.ready(now)) this.#watch(pace, now);
    this.#arrivedAt = now;
    const { network } = arrival;
    const slowed = this.#ports.failures.isSlowed(network);
    // More of a slowed network than can be served in time would wait in vain.
    const room = Math.ceil((sourceSlowedPerSecond * admissionWaitMs) / 1_000);
    if (slowed && this.#queue.sizeOf(network) >= room) {
      arrival.refuse('source-failures');
      return;
    }
    if (!slowed && this.#queue.size === 0 && pace.ready(now)) {
      pace.took();
      arrival.enter();
      return;
    }
    this.#watch(pace, now);
    this.#queue.push(arrival, now, admissionQueue)?.refuse('queue-full');
  }

  /** Its connection has gone. */
  leave(arrival: Arrival): void {
    this.#queue.remove(arrival);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #watch(pace: HandshakePace, now: number): void {
    if (this.#timer !== undefined) return;
    pace.rested(now);
    this.#dueAt = now + tickMs;
    this.#timer = setInterval(() => this.#tick(pace), tickMs).unref();
  }

  #tick(pace: HandshakePace): void {
    const { clock, limits, failures } = this.#ports;
    const now = clock.monotonic();
    pace.sampled(now, Math.max(0, now - this.#dueAt), this.#queue.size > 0);
    this.#dueAt = now + tickMs;
    this.#queue.expire(now - limits().admissionWaitMs, (arrival) => arrival.refuse('queue-wait'));
    this.#queue.serve(
      () => pace.ready(now),
      (network) => failures.admits(network),
      (arrival) => {
        pace.took();
        arrival.enter();
      },
    );
    if (this.#queue.size === 0 && now - this.#arrivedAt > quietMs) this.close();
  }
}
