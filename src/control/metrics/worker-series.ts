/**
 * What the workers counted, by slot. A worker counts from its own start; a slot counts on when its worker is replaced,
 * so that `rate()` over a slot never sees a counter go back.
 */
import type { WorkerMetrics } from '../../common/ipc/messages.ts';
import { parseSeriesName } from './series-name.ts';
import type { SeriesName } from './series-name.ts';

/** Series per slot, a few for each spool: a worker that is taken over must not fill the memory of control. */
export const maxSeriesPerSlot = 2_000;

interface Slot {
  generation: number;
  readonly names: Map<string, SeriesName>;
  /** Sums of the slot's earlier workers. */
  readonly earlier: Map<string, number>;
  counters: Map<string, number>;
  gauges: Map<string, number>;
}

export interface Reading {
  readonly type: 'counter' | 'gauge';
  readonly slot: number;
  readonly series: SeriesName;
  readonly value: number;
}

export class WorkerSeries {
  readonly #slots = new Map<number, Slot>();
  #refused = 0;

  /** Values that were not taken since the start: not a series of ours, or one too many. */
  get refused(): number {
    return this.#refused;
  }

  /** What a worker reports replaces what it reported before; a report of an older generation is ignored. */
  accept(slotNumber: number, generation: number, metrics: WorkerMetrics): void {
    const slot = this.#slotFor(slotNumber, generation);
    if (slot === undefined) return;
    for (const [text, value] of Object.entries(metrics.counters)) {
      // A report that comes late must not turn a counter back.
      if (value < (slot.counters.get(text) ?? 0)) continue;
      if (this.#admits(slot, text, value)) slot.counters.set(text, value);
    }
    slot.gauges = new Map(
      Object.entries(metrics.gauges).filter(([text, value]) => this.#admits(slot, text, value)),
    );
  }

  /** The worker of a slot ended: its gauges are history, its counts stay. */
  workerGone(slotNumber: number, generation: number): void {
    const slot = this.#slots.get(slotNumber);
    if (slot !== undefined && slot.generation <= generation) slot.gauges = new Map();
  }

  read(): readonly Reading[] {
    const readings: Reading[] = [];
    for (const [number, slot] of [...this.#slots].toSorted(([a], [b]) => a - b)) {
      for (const [text, series] of slot.names) {
        const value = total(slot, text);
        if (value !== undefined) readings.push({ type: 'counter', slot: number, series, value });
        const gauge = slot.gauges.get(text);
        if (gauge !== undefined) {
          readings.push({ type: 'gauge', slot: number, series, value: gauge });
        }
      }
    }
    return readings;
  }

  #slotFor(number: number, generation: number): Slot | undefined {
    const known = this.#slots.get(number);
    if (known === undefined) {
      const slot: Slot = {
        generation,
        names: new Map(),
        earlier: new Map(),
        counters: new Map(),
        gauges: new Map(),
      };
      this.#slots.set(number, slot);
      return slot;
    }
    if (generation < known.generation) return undefined;
    if (generation > known.generation) {
      for (const text of known.counters.keys()) known.earlier.set(text, total(known, text) ?? 0);
      known.counters = new Map();
      known.gauges = new Map();
      known.generation = generation;
    }
    return known;
  }

  #admits(slot: Slot, text: string, value: number): boolean {
    if (Number.isFinite(value)) {
      if (slot.names.has(text)) return true;
      const name = slot.names.size < maxSeriesPerSlot ? parseSeriesName(text) : undefined;
      if (name !== undefined) {
        slot.names.set(text, name);
        return true;
      }
    }
    this.#refused += 1;
    return false;
  }
}

function total(slot: Slot, text: string): number | undefined {
  const earlier = slot.earlier.get(text);
  const now = slot.counters.get(text);
  return earlier === undefined && now === undefined ? undefined : (earlier ?? 0) + (now ?? 0);
}
