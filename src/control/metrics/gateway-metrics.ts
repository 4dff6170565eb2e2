/**
 * The metrics of the whole gateway as Prometheus' text: what control knows, and what the workers reported, by slot.
 */
import { Counter, Gauge, Registry } from 'prom-client';
import type { WorkerMetrics } from '../../common/ipc/messages.ts';
import type { AnchorListState } from '../revocation/external/external-crls.ts';
import { registerCrls } from './crl-metrics.ts';
import { registerOwnCrls } from './own-crl-metrics.ts';
import type { ControlState } from './ports.ts';
import { registerTokens } from './token-metrics.ts';
import type { TokenState } from './token-metrics.ts';
import { WorkerSeries } from './worker-series.ts';
import type { Reading } from './worker-series.ts';

export class GatewayMetrics {
  readonly #series = new WorkerSeries();
  readonly #control = new Registry();

  /** All of them are asked at every scrape and must be quick. */
  constructor(
    state: () => ControlState,
    crls: () => readonly AnchorListState[] = () => [],
    tokens: () => TokenState = () => ({ issuers: [], outcomes: new Map() }),
  ) {
    registerProcess(this.#control);
    registerState(this.#control, state, this.#series);
    registerCrls(this.#control, crls);
    registerOwnCrls(this.#control, () => state().lists);
    registerTokens(this.#control, tokens);
  }

  /** A worker's report; its contents are not trusted. */
  accept(slot: number, generation: number, metrics: WorkerMetrics): void {
    this.#series.accept(slot, generation, metrics);
  }

  workerGone(slot: number, generation: number): void {
    this.#series.workerGone(slot, generation);
  }

  async text(): Promise<string> {
    const workers = workerRegistry(this.#series.read());
    return (await this.#control.metrics()) + (await workers.metrics());
  }
}

/**
 * The few figures of the control process that one acts on. prom-client's default set would name the version of the
 * runtime, walk /proc at each scrape and keep observers running in between.
 */
function registerProcess(registry: Registry): void {
  const registers = [registry];
  void new Counter({
    name: 'sallyport_control_cpu_seconds_total',
    help: 'Processor time of the control process.',
    registers,
    collect() {
      this.reset();
      const { user, system } = process.cpuUsage();
      this.inc((user + system) / 1e6);
    },
  });
  void new Gauge({
    name: 'sallyport_control_resident_memory_bytes',
    help: 'Resident memory of the control process.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
}

function registerState(registry: Registry, state: () => ControlState, series: WorkerSeries): void {
  const registers = [registry];
  void new Gauge({
    name: 'sallyport_control_started_seconds',
    help: 'When the gateway started, in seconds since 1970.',
    registers,
    collect() {
      this.set(state().startedAt / 1000);
    },
  });
  void new Gauge({
    name: 'sallyport_control_identities',
    help: 'Identities in the registry.',
    labelNames: ['kind'],
    registers,
    collect() {
      for (const [kind, count] of Object.entries(state().identities)) this.set({ kind }, count);
    },
  });
  void new Gauge({
    name: 'sallyport_control_worker_lag',
    help: 'Snapshot frames that a worker has not acknowledged yet.',
    labelNames: ['worker'],
    registers,
    collect() {
      this.reset();
      const { seq, workers } = state();
      for (const { slot, acknowledgedSeq } of workers) {
        this.set({ worker: String(slot) }, Math.max(0, seq - acknowledgedSeq));
      }
    },
  });
  void new Counter({
    name: 'sallyport_control_enrolments_total',
    help: 'Requests of EST for a certificate, by what became of them.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of state().enrolments) this.inc({ outcome }, count);
    },
  });
  void new Gauge({
    name: 'sallyport_control_certificates_expiring',
    help: 'Identities whose last certificate ends within so many days; 0 = has ended.',
    labelNames: ['days'],
    registers,
    collect() {
      for (const [days, count] of Object.entries(state().expiring)) this.set({ days }, count);
    },
  });
  void new Gauge({
    name: 'sallyport_control_certificate_ends_seconds',
    help: "When the certificates of the CA and the gateway's own end, in seconds since 1970.",
    labelNames: ['certificate'],
    registers,
    collect() {
      for (const [certificate, endsMs] of Object.entries(state().ends)) {
        this.set({ certificate }, endsMs / 1000);
      }
    },
  });
  void new Gauge({
    name: 'sallyport_control_clock_synchronized',
    help: 'Whether chrony or systemd-timesyncd has the clock of this machine under control; absent when neither is there.',
    registers,
    collect() {
      this.remove();
      const { clock } = state();
      if (clock !== undefined) this.set(clock.synchronized ? 1 : 0);
    },
  });
  void new Gauge({
    name: 'sallyport_control_clock_offset_seconds',
    help: 'How far the clock of this machine is ahead of its time servers; negative = behind; absent when nobody knows.',
    registers,
    collect() {
      this.remove();
      const { clock } = state();
      if (clock?.aheadSeconds !== undefined) this.set(clock.aheadSeconds);
    },
  });
  void new Counter({
    name: 'sallyport_control_refused_series_total',
    help: 'Values reported by workers that were not taken: unknown form, or too many.',
    registers,
    collect() {
      this.reset();
      this.inc(series.refused);
    },
  });
}

/** Made anew for each scrape: the readings are the state, prom-client writes them down. */
function workerRegistry(readings: readonly Reading[]): Registry {
  const registry = new Registry();
  const byMetric = new Map<string, Reading[]>();
  for (const reading of readings) {
    const group = byMetric.get(reading.series.metric);
    // The first kind seen is the kind of the metric: one name cannot be a counter here and a gauge there.
    if (group === undefined) byMetric.set(reading.series.metric, [reading]);
    else if (group[0]?.type === reading.type) group.push(reading);
  }
  for (const [name, group] of byMetric) writeMetric(registry, name, group);
  return registry;
}

function writeMetric(registry: Registry, name: string, group: readonly Reading[]): void {
  const labelNames = new Set(['worker']);
  for (const { series } of group) for (const [label] of series.labels) labelNames.add(label);
  const configuration = {
    name,
    help: 'Reported by the workers.',
    labelNames: [...labelNames],
    registers: [registry],
  };
  const metric = group[0]?.type === 'gauge' ? new Gauge(configuration) : new Counter(configuration);
  for (const { slot, series, value } of group) {
    metric.inc({ ...Object.fromEntries(series.labels), worker: String(slot) }, value);
  }
}
