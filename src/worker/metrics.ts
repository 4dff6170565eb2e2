/** What this worker counts; control collects it every second and publishes it. */
import type { WorkerMetrics } from '../common/ipc/messages.ts';

const maxSeen = 10_000;

/** Names come from this code and never from a peer, so that nobody can grow the table. */
export class WorkerCounters {
  readonly #counters = new Map<string, { value: number }>();
  #seen = new Map<string, number>();

  readonly count = (name: string, by = 1): void => {
    const counter = this.#counters.get(name);
    if (counter === undefined) this.#counters.set(name, { value: by });
    else counter.value += by;
  };

  /** Notes when a principal was last there; bounded per report. */
  seen(principal: string, at: number): void {
    if (this.#seen.size < maxSeen) this.#seen.set(principal, at);
  }

  report(gauges: Readonly<Record<string, number>>): WorkerMetrics {
    const seen = Object.fromEntries(this.#seen);
    this.#seen = new Map();
    const counters = Object.fromEntries(
      [...this.#counters].map(([name, { value }]) => [seriesName(name, '_total'), value]),
    );
    const named = Object.fromEntries(
      Object.entries(gauges).map(([name, value]) => [seriesName(name, ''), value]),
    );
    return { counters, gauges: named, seen };
  }
}

/** `refused{code="rate"}` → `sallyport_refused_total{code="rate"}`. */
function seriesName(name: string, suffix: string): string {
  const brace = name.indexOf('{');
  const end = brace < 0 ? name.length : brace;
  return `sallyport_${name.slice(0, end)}${suffix}${name.slice(end)}`;
}
