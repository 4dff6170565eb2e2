/**
 * Admission before any TLS work is spent: limits per source address, on handshakes under way and on connections in all.
 * A source is an IPv4 address or an IPv6 /64, what one subscriber line can make up.
 */
import type { Clock } from '../../common/base/clock.ts';

export interface AdmissionLimits {
  /** One second's worth may come at once: a site whose power is back connects together. */
  readonly sourceConnectionsPerSecond: number;
  readonly sourceConnections: number;
  /** Connections that have not authenticated yet: in all, and from one source. */
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
  readonly #ports: AdmissionPorts;
  readonly #sources = new Map<string, Source>();
  #halfOpen = 0;
  #open = 0;
  #forgotAt = Number.NEGATIVE_INFINITY;

  constructor(ports: AdmissionPorts) {
    this.#ports = ports;
  }

  get open(): number {
    return this.#open;
  }

  get halfOpen(): number {
    return this.#halfOpen;
  }

  /** A place for a new connection from `address`, or why there is none. Each place MUST be left once. */
  enter(address: string): Place | string {
    const limits = this.#ports.limits();
    if (this.#open >= limits.sessions) return 'sessions';
    if (this.#halfOpen >= limits.halfOpen) return 'half-open';
    const key = sourceKey(address);
    const now = this.#ports.clock.monotonic();
    let source = this.#sources.get(key);
    if (source === undefined) {
      if (this.#sources.size >= maxSources && !this.#forgetIdle(now)) return 'sources';
      source = { open: 0, halfOpen: 0, windowStart: now, count: 0, previous: 0 };
      this.#sources.set(key, source);
    }
    const entered = source;
    if (recent(entered, now) >= limits.sourceConnectionsPerSecond) return 'source-rate';
    if (entered.open >= limits.sourceConnections) return 'source-connections';
    if (entered.halfOpen >= limits.sourceHalfOpen) return 'source-half-open';
    entered.count += 1;
    entered.open += 1;
    entered.halfOpen += 1;
    this.#open += 1;
    this.#halfOpen += 1;
    return new Place(
      () => {
        entered.halfOpen -= 1;
        this.#halfOpen -= 1;
      },
      () => {
        entered.open -= 1;
        this.#open -= 1;
      },
    );
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

/** What one admitted connection holds: a half-open place until its peer has authenticated, an open one until it closes. */
export class Place {
  readonly #established: () => void;
  readonly #left: () => void;
  #halfOpen = true;
  #open = true;

  constructor(established: () => void, left: () => void) {
    this.#established = established;
    this.#left = left;
  }

  established(): void {
    if (!this.#halfOpen) return;
    this.#halfOpen = false;
    this.#established();
  }

  leave(): void {
    this.established();
    if (!this.#open) return;
    this.#open = false;
    this.#left();
  }
}

function sourceKey(address: string): string {
  if (!address.includes(':')) return address;
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice(7);
  return expandIpv6(address).slice(0, 4).join(':');
}

function expandIpv6(address: string): string[] {
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? [];
  const left = head === '' ? [] : head.split(':');
  if (tail === undefined) return left;
  const right = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0');
  return [...left, ...zeros, ...right];
}
