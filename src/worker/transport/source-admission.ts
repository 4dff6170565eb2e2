/**
 * Admission before any TLS work is spent: limits per source address, on handshakes under way and on connections in all.
 * See source-network.ts for what a source is.
 */
import type { Clock } from '../../common/base/clock.ts';
import { HalfOpen } from './half-open.ts';
import { SourceFailures } from './source-failures.ts';
import type { FailureLimits } from './source-failures.ts';
import { networkOf, sourceOf } from '../../common/base/source-network.ts';

export interface AdmissionLimits extends FailureLimits {
  /** One second's worth may come at once: a site whose power is back connects together. */
  readonly sourceConnectionsPerSecond: number;
  readonly sourceConnections: number;
  /** Connections whose handshake has begun and that have not authenticated yet: in all, and from one source. */
  readonly halfOpen: number;
  readonly sourceHalfOpen: number;
  /** Connections that this worker holds at once. */
  readonly sessions: number;
}

export interface AdmissionPorts {
  readonly clock: Clock;
  readonly limits: () => AdmissionLimits;
}

interface Source {
  open: number;
  halfOpen: number;
  /** Start of the second that `count` counts; `previous` is the one before it. */
  windowStart: number;
  count: number;
  previous: number;
}

/** Sources remembered at once: about 10 MB. More than that at a time is an attack from everywhere. */
const maxSources = 100_000;

export class SourceAdmission {
  readonly failures: SourceFailures;
  readonly #ports: AdmissionPorts;
  readonly #sources = new Map<string, Source>();
  readonly #halfOpen = new HalfOpen<Place>();
  #open = 0;
  #forgotAt = Number.NEGATIVE_INFINITY;

  constructor(ports: AdmissionPorts) {
    this.#ports = ports;
    this.failures = new SourceFailures(ports);
  }

  get open(): number {
    return this.#open;
  }

  get halfOpen(): number {
    return this.#halfOpen.size;
  }

  /** A place for a new connection, whoever it is from, or why there is none. Each place MUST be left once. */
  enter(): Place | string {
    if (this.#open >= this.#ports.limits().sessions) return 'sessions';
    this.#open += 1;
    return new Place(this);
  }

  /** The peer at `address` is not who may be served: its network pays. */
  failed(address: string): void {
    this.failures.failed(networkOf(address));
  }

  /** For `Place`. @returns why that source may have no more connections, else what it has. */
  charge(address: string): Source | string {
    const limits = this.#ports.limits();
    const key = sourceOf(address);
    const now = this.#ports.clock.monotonic();
    let source = this.#sources.get(key);
    if (source === undefined) {
      if (this.#sources.size >= maxSources && !this.#forgetIdle(now)) return 'sources';
      source = { open: 0, halfOpen: 0, windowStart: now, count: 0, previous: 0 };
      this.#sources.set(key, source);
    }
    if (recent(source, now) >= limits.sourceConnectionsPerSecond) return 'source-rate';
    if (source.open >= limits.sourceConnections) return 'source-connections';
    source.count += 1;
    source.open += 1;
    return source;
  }

  /** For `Place`. */
  begin(place: Place, source: Source, network: string): string | undefined {
    const { halfOpen, sourceHalfOpen } = this.#ports.limits();
    if (source.halfOpen >= sourceHalfOpen) return 'source-half-open';
    const gone = this.#halfOpen.add(network, place, halfOpen);
    if (gone === place) return 'half-open';
    source.halfOpen += 1;
    gone?.displaced();
    return undefined;
  }

  /** For `Place`. */
  noLongerHalfOpen(place: Place, source: Source, network: string): void {
    source.halfOpen -= 1;
    this.#halfOpen.delete(network, place);
  }

  /** For `Place`. */
  left(source: Source | undefined): void {
    if (source !== undefined) source.open -= 1;
    this.#open -= 1;
  }

  /** Drops sources that have nothing open and nothing to remember. @returns false when none could be dropped. */
  #forgetIdle(now: number): boolean {
    // Walking the table for each of a flood's connections would be the attack.
    if (now - this.#forgotAt < 1_000) return false;
    this.#forgotAt = now;
    const before = this.#sources.size;
    for (const [key, source] of this.#sources) {
      if (source.open === 0 && now - source.windowStart > 2_000) this.#sources.delete(key);
    }
    return this.#sources.size < before;
  }
}

/** Connections of the last second: the running second, and of the one before it the part that is less than 1 s ago. */
function recent(source: Source, now: number): number {
  const age = now - source.windowStart;
  if (age >= 1_000) {
    source.previous = age < 2_000 ? source.count : 0;
    source.count = 0;
    source.windowStart = age < 2_000 ? source.windowStart + 1_000 : now;
  }
  const elapsed = Math.min(1, (now - source.windowStart) / 1_000);
  return source.count + Math.floor(source.previous * (1 - elapsed));
}

/**
 * What one connection holds: an open place until it closes, its source's share from when the source is known, and a
 * half-open place from the beginning of its handshake until its peer has authenticated.
 */
export class Place {
  readonly #admission: SourceAdmission;
  #source: Source | undefined;
  #network = '';
  /** There while it is half-open. */
  #onDisplaced: (() => void) | undefined;
  #open = true;

  constructor(admission: SourceAdmission) {
    this.#admission = admission;
  }

  /** Where the connection is from, once. @returns why it may not stay; it MUST be left then, too. */
  from(address: string): string | undefined {
    const source = this.#admission.charge(address);
    if (typeof source === 'string') return source;
    this.#source = source;
    this.#network = networkOf(address);
    return undefined;
  }

  /**
   * The handshake begins. After `from`, once.
   *
   * @param onDisplaced its half-open place is somebody else's now, and the connection MUST be ended. Not called once the
   * peer has authenticated.
   * @returns why it may not.
   */
  begin(onDisplaced: () => void): string | undefined {
    if (this.#source === undefined) return 'no source';
    const refusal = this.#admission.begin(this, this.#source, this.#network);
    if (refusal === undefined) this.#onDisplaced = onDisplaced;
    return refusal;
  }

  /** For `SourceAdmission`. */
  displaced(): void {
    const onDisplaced = this.#onDisplaced;
    this.#endHalfOpen();
    onDisplaced?.();
  }

  /** The peer has authenticated, which is to its network's credit. */
  established(): void {
    if (this.#onDisplaced === undefined) return;
    this.#endHalfOpen();
    this.#admission.failures.succeeded(this.#network);
  }

  /** The handshake has failed. */
  failed(): void {
    this.#admission.failures.failed(this.#network);
  }

  leave(): void {
    this.#endHalfOpen();
    if (!this.#open) return;
    this.#open = false;
    this.#admission.left(this.#source);
  }

  #endHalfOpen(): void {
    if (this.#onDisplaced === undefined || this.#source === undefined) return;
    this.#onDisplaced = undefined;
    this.#admission.noLongerHalfOpen(this, this.#source, this.#network);
  }
}
