/**
 * A backend that is down for long, under load: `node test/soak/backend-outage.ts minutes=10 devices=50 rate=4`.
 *
 * minutes   that the backend is down
 * devices   half of them over MQTT with a window of 8, the others wait for each answer, over MQTT and HTTPS
 * rate      messages a second of each device
 * workers   of the gateway
 * killEvery seconds between two SIGKILLs of a worker while the backend is down; 0 = none
 *
 * Prints a line every ten seconds and the verdict; exits 0 when every message that a device was promised has arrived, in
 * order, and was repeated under its own id only.
 */
import { parseArgs } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { startBackend } from '../harness/backend.ts';
import type { Backend } from '../harness/backend.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import { NumberedLoad } from '../harness/numbered-load.ts';
import { anonymousBytes, residentBytes } from '../harness/processes.ts';

const defaults = { minutes: 10, devices: 50, rate: 4, workers: 2, killEvery: 0 };
type Settings = typeof defaults;

const progressEveryMs = 10_000;
/** Under load before the backend goes and after it has caught up. */
const aroundMs = 10_000;
const drainLimitMs = 600_000;

function settingsOf(words: readonly string[]): Settings {
  const settings = new Map<string, number>(Object.entries(defaults));
  for (const word of words) {
    const [name = '', text = ''] = word.split('=');
    const value = Number(text);
    if (!settings.has(name) || text === '' || !(value >= 0)) {
      throw new Error(`${word}: one of ${[...settings.keys()].map((key) => `${key}=N`).join(' ')}`);
    }
    settings.set(name, value);
  }
  const value = (name: keyof Settings): number => settings.get(name) ?? defaults[name];
  return {
    minutes: value('minutes'),
    devices: value('devices'),
    rate: value('rate'),
    workers: value('workers'),
    killEvery: value('killEvery'),
  };
}

function configOf(backend: Backend): string {
  const rates = 'limits: { identityRates: { device: { limit: 100000/s, burst: 100000 } } }';
  return [
    'routes:',
    `  telemetry: { match: devices/+/telemetry, rate: [], to: [ { http: '${backend.url}', batch: 100 } ] }`,
    `  diagnostics: { match: devices/+/diagnostics, rate: [], to: [ { http: '${backend.url}' } ] }`,
    rates,
  ].join('\n');
}

const mebibyte = 1024 ** 2;
const started = performance.now();

function say(text: string): void {
  const seconds = Math.round((performance.now() - started) / 1_000);
  process.stdout.write(`${String(seconds).padStart(5)} s  ${text}\n`);
}

/** Of each worker: MiB in RAM, and how many of them belong to no file; the mapped store counts as a file. */
function memory(gateway: Gateway): string {
  const mebibytes = (bytes: number): string => (bytes / mebibyte).toFixed(0);
  return gateway
    .processes()
    .workers.map((pid) => {
      try {
        return `${mebibytes(residentBytes(pid))} (${mebibytes(anonymousBytes(pid))})`;
      } catch {
        // It has just been killed.
        return '–';
      }
    })
    .join(' + ');
}

async function progress(gateway: Gateway, load: NumberedLoad): Promise<void> {
  const metrics = await readMetrics(gateway);
  const waiting = metrics.sum('sallyport_spool_waiting');
  const bytes = metrics.sum('sallyport_spool_bytes') / mebibyte;
  say(
    `${load.promised().length} acknowledged, ${waiting} wait (${bytes.toFixed(1)} MiB), workers ${memory(gateway)} MiB, ` +
      `${load.refusals.length} refused, ${load.connections} connections`,
  );
}

/** Every ten seconds until the time is over. */
async function watch(gateway: Gateway, load: NumberedLoad, ms: number): Promise<void> {
  const until = performance.now() + ms;
  for (let left = ms; left > 0; left = until - performance.now()) {
    await delay(Math.min(left, progressEveryMs));
    await progress(gateway, load);
  }
}

async function killWorkers(gateway: Gateway, everyMs: number, signal: AbortSignal): Promise<void> {
  for (let i = 0; ; i += 1) {
    await delay(everyMs, undefined, { signal });
    const { workers } = gateway.processes();
    const victim = workers[i % workers.length];
    if (victim === undefined) continue;
    say(`SIGKILL to worker ${victim}`);
    process.kill(victim, 'SIGKILL');
  }
}

async function run(settings: Settings): Promise<void> {
  await using backend = await startBackend();
  await using gateway = await startGateway({
    workers: settings.workers,
    config: configOf(backend),
  });
  const ids = Array.from({ length: settings.devices }, (_, i) => `soak-${i + 1}`);
  const identities = await gateway.devices(...ids);
  say(`ready: ${JSON.stringify(settings)}; workers ${memory(gateway)} MiB`);
  const everyMs = 1_000 / settings.rate;
  const load = new NumberedLoad({ identities, gateway: () => gateway, everyMs });
  await watch(gateway, load, aroundMs);

  say('the backend is killed');
  await backend.kill();
  const before = load.promised().length;
  const killing = new AbortController();
  const killer =
    settings.killEvery === 0
      ? undefined
      : killWorkers(gateway, settings.killEvery * 1_000, killing.signal);
  killer?.catch(() => {});
  await watch(gateway, load, settings.minutes * 60_000);
  killing.abort();

  const owed = load.promised();
  const arrived = owed.length - backend.record().missing(owed).length;
  say(
    `the backend is back; ${owed.length - before} were taken meanwhile, ${owed.length - arrived} are owed`,
  );
  const earlier = backend.record().arrivals.length;
  const [back, backAt] = [performance.now(), Date.now()];
  await backend.start();
  const { arrivals } = await backend.recorded(
    'everything from the outage at the backend',
    (record) => record.missing(owed).length === 0,
    drainLimitMs,
  );
  const drainMs = performance.now() - back;
  const firstMs = (arrivals[earlier]?.request.at ?? backAt) - backAt;
  const perSecond = (owed.length - arrived) / (drainMs / 1_000);
  say(
    `drained in ${(drainMs / 1_000).toFixed(1)} s (${perSecond.toFixed(0)}/s), the first after ${(firstMs / 1_000).toFixed(1)} s`,
  );
  await watch(gateway, load, aroundMs);
  await load.stop();
  const { repetitions } = await load.arrived(backend);
  await progress(gateway, load);
  say(
    `sound: ${load.promised().length} acknowledged, all arrived in order; ${repetitions} repeated under their id, ` +
      `${load.repeated} sent again by devices`,
  );
  await gateway.stop();
}

try {
  await run(settingsOf(parseArgs({ allowPositionals: true }).positionals));
} catch (error) {
  say(`NOT SOUND: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
