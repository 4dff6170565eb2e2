/** What control knows of the workers and the listeners, from the supervisor and from the workers' own reports. */
import { systemClock } from '../common/base/clock.ts';
import type { Clock } from '../common/base/clock.ts';
import { parsePrincipalName } from '../common/base/principal.ts';
import type { Member, WorkerMetrics } from '../common/ipc/messages.ts';
import type { ListenAddress } from '../common/ipc/snapshot.ts';

/** Entries of one report that are looked at; a worker sends a few hundred. */
const maxEntries = 20_000;
/** Principals of one report that are written to the registry, which is synchronous; the next report has the others. */
const maxSeen = 5_000;

export interface WorkerLoad {
  readonly connections: number;
  readonly sessions: number;
}

/** What the workers are doing about one spool, all together. */
export interface SpoolLoad {
  readonly inFlight: number;
  /** Workers whose breaker is not closed. */
  readonly breakersOpen: number;
}

interface Reported extends WorkerLoad {
  readonly gauges: Readonly<Record<string, number>>;
}

export class WorkerTable {
  readonly listeners = new Map<string, ListenAddress>();
  readonly #load = new Map<number, Reported>();
  /** Ports that the run already uses; their hosts come with the first report. */
  readonly knownPorts: Readonly<Record<string, number>>;
  readonly #clock: Clock;
  #members: readonly Member[] = [];

  constructor(knownPorts: Readonly<Record<string, number>>, clock: Clock = systemClock) {
    this.knownPorts = knownPorts;
    this.#clock = clock;
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  setMembers(members: readonly Member[]): void {
    this.#members = members;
    const slots = new Set(members.map(({ slot }) => slot));
    for (const slot of this.#load.keys()) if (!slots.has(slot)) this.#load.delete(slot);
  }

  /** It ended; what takes its slot is another. */
  gone(slot: number, generation: number): void {
    this.setMembers(
      this.#members.filter((each) => each.slot !== slot || each.generation !== generation),
    );
  }

  at(slot: number): Member | undefined {
    return this.#members.find((member) => member.slot === slot);
  }

  load(slot: number): WorkerLoad {
    const { connections = 0, sessions = 0 } = this.#load.get(slot) ?? {};
    return { connections, sessions };
  }

  /** From the last reports, which are a second old at most. */
  spool(spool: string): SpoolLoad {
    const read = (name: string): number[] =>
      [...this.#load.values()].map(({ gauges }) => gauges[`${name}{spool="${spool}"}`] ?? 0);
    return {
      inFlight: read('sallyport_spool_in_flight').reduce((sum, each) => sum + each, 0),
      breakersOpen: read('sallyport_backend_breaker').filter((each) => each > 0).length,
    };
  }

  /** From a worker, so untrusted. @returns the report when it has the form of one. */
  accept(slot: number, report: unknown): WorkerMetrics | undefined {
    if (!isRecord(report)) return undefined;
    const counters = numbers(report['counters']);
    const gauges = numbers(report['gauges']);
    const seen = times(report['seen'], this.#clock.now());
    if (counters === undefined || gauges === undefined || seen === undefined) return undefined;
    this.#load.set(slot, {
      connections: gauges['sallyport_connections'] ?? 0,
      sessions: gauges['sallyport_sessions'] ?? 0,
      gauges,
    });
    return { counters, gauges, seen };
  }
}

function numbers(value: unknown): Record<string, number> | undefined {
  if (!isRecord(value)) return undefined;
  const entries = Object.entries(value);
  if (entries.length > maxEntries) return undefined;
  const kept = Object.create(null) as Record<string, number>; // typed `any` by the library
  for (const [name, number] of entries) {
    if (typeof number === 'number' && Number.isFinite(number)) kept[name] = number;
  }
  return kept;
}

/** Principal → when it was seen. A worker's clock is the machine's, so nothing is seen later than now. */
function times(value: unknown, nowMs: number): Record<string, number> | undefined {
  if (!isRecord(value)) return undefined;
  const kept = Object.create(null) as Record<string, number>; // typed `any` by the library
  let count = 0;
  for (const [name, atMs] of Object.entries(value)) {
    if (count === maxSeen) break;
    if (typeof atMs !== 'number' || !Number.isSafeInteger(atMs) || atMs < 0) continue;
    if (parsePrincipalName(name) === undefined) continue;
    kept[name] = Math.min(atMs, nowMs);
    count += 1;
  }
  return kept;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
