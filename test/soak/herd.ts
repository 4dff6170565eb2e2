/**
 * A fleet that comes back all at once: `node test/soak/herd.ts devices=20000 live=100 rounds=2 workers=2 paced=1`.
 *
 * devices   of the fleet; each has a certificate of its own, and tries again after a pause that doubles
 * live      sessions that are there all the time, and ping in turn
 * rounds    the first begins from nothing; then all devices lose their connections and come back
 * workers   of the gateway, with the limits that it has by default
 * paced     0 = everybody is let in at once, to see what admission is for
 *
 * Prints progress on standard error, and the outcome of each round as a JSON line; exits 0 when all came back in each.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { Herd } from '../harness/herd.ts';
import { readMetrics } from '../harness/metrics.ts';
import type { Metrics } from '../harness/metrics.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';

const defaults = { devices: 20_000, live: 100, rounds: 2, workers: 2, paced: 1 };
type Settings = typeof defaults;

const devicesPerCommand = 1_000;
const pingEveryMs = 10;
const quietMs = 10_000;
const roundLimitMs = 600_000;
/** Files that a process needs besides its connections. */
const spareFiles = 500;
/** 127.16.0.0. */
const firstNetwork = 16 << 8;
const clientsOfNetwork = 250;

const unpaced =
  'limits: { handshakesPerSecond: 1000000, eventLoopDelay: 1h, halfOpen: 1000000, sourceFailures: 1000000 }';

function settingsOf(words: readonly string[]): Settings {
  const settings = { ...defaults };
  for (const word of words) {
    const [name = '', text = ''] = word.split('=');
    const known = (Object.keys(defaults) as (keyof Settings)[]).find((key) => key === name); // its own keys
    if (known === undefined || text === '' || !(Number(text) >= 0)) {
      throw new Error(`${word}: one of ${Object.keys(defaults).join('=N ')}=N`);
    }
    settings[known] = Number(text);
  }
  return settings;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Files that a process may have open. */
function openFiles(): number {
  const [, soft = '1024'] =
    /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft);
}

/** Sessions that ping one after the other, and how long each answer took. */
class Live {
  readonly #sessions: readonly RawMqtt[];
  #takenMs: number[] = [];
  #isOver = false;
  /** Why it stopped, when it did so by itself. */
  readonly #pinging: Promise<string | undefined>;

  static async of(gateway: Gateway, identities: readonly Identity[]): Promise<Live> {
    const sessions: RawMqtt[] = [];
    for (const identity of identities) {
      const session = await RawMqtt.open({ port: gateway.mqttsPort, identity });
      // The turn of each to ping may come late on a machine that is busy.
      await session.connect({ clientId: 'live', keepAlive: 0 });
      sessions.push(session);
    }
    return new Live(sessions);
  }

  private constructor(sessions: readonly RawMqtt[]) {
    this.#sessions = sessions;
    this.#pinging = this.#ping().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
  }

  /** Of the pings since the last call. */
  latencies(): { readonly p50: number; readonly p99: number; readonly max: number } {
    const sorted = this.#takenMs.toSorted((a, b) => a - b);
    this.#takenMs = [];
    const at = (part: number): number => {
      const value = sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
      return Number((value ?? Number.NaN).toFixed(1));
    };
    return { p50: at(0.5), p99: at(0.99), max: at(1) };
  }

  /** @throws Error when a session was lost. */
  async end(): Promise<void> {
    this.#isOver = true;
    const problem = await this.#pinging;
    for (const session of this.#sessions) session[Symbol.dispose]();
    if (problem !== undefined) throw new Error(`a live session ended: ${problem}`);
  }

  async #ping(): Promise<void> {
    for (let turn = 0; !this.#isOver; turn += 1) {
      const began = performance.now();
      await this.#sessions[turn % this.#sessions.length]?.ping();
      this.#takenMs.push(performance.now() - began);
      await delay(pingEveryMs);
    }
  }
}

async function enrol(gateway: Gateway, count: number): Promise<readonly Identity[]> {
  const made: Identity[] = [];
  while (made.length < count) {
    const size = Math.min(devicesPerCommand, count - made.length);
    const ids = Array.from({ length: size }, (_, i) => `d${made.length + i}`);
    made.push(...(await gateway.devices(...ids)));
    say(`${made.length} devices have certificates`);
  }
  return made;
}

function herdsOf(gateway: Gateway, devices: readonly Identity[]): readonly Herd[] {
  const room = openFiles() - spareFiles;
  const count = Math.ceil(devices.length / room);
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((devices.length * i) / count);
    const to = Math.floor((devices.length * (i + 1)) / count);
    const manifest = gateway.at(`herd-${i}.json`);
    writeFileSync(manifest, JSON.stringify(devices.slice(from, to)), { mode: 0o600 });
    return new Herd({
      port: gateway.mqttsPort,
      manifest,
      clients: to - from,
      firstNetwork: firstNetwork + i * Math.ceil(room / clientsOfNetwork),
      retries: true,
    });
  });
}

const refusals = [
  'queue-full',
  'queue-wait',
  'half-open',
  'source-rate',
  'source-failures',
  'sessions',
];

function refusedIn(metrics: Metrics): Readonly<Record<string, number>> {
  const name = 'sallyport_admission_refused_total';
  return Object.fromEntries(refusals.map((reason) => [reason, metrics.sum(name, { reason })]));
}

/** @returns whether all came back and none was lost. */
async function watch(
  gateway: Gateway,
  herds: readonly Herd[],
  live: Live,
  round: number,
): Promise<boolean> {
  const before = refusedIn(await readMetrics(gateway));
  const deadline = performance.now() + roundLimitMs;
  let waited = 0;
  while (!herds.every((herd) => herd.isDone) && performance.now() < deadline) {
    await delay(1_000);
    const metrics = await readMetrics(gateway);
    const waiting = metrics.sum('sallyport_admission_waiting');
    waited = Math.max(waited, waiting);
    const inside = herds.reduce((sum, herd) => sum + herd.now.inside, 0);
    say(
      `round ${round}: ${inside} are in, ${waiting} wait, ` +
        `${Math.round(metrics.sum('sallyport_admission_per_second'))} a second may`,
    );
  }
  const after = refusedIn(await readMetrics(gateway));
  const taken = herds.flatMap((herd) => herd.now.elapsedMs).toSorted((a, b) => a - b);
  const failed = herds.reduce((sum, herd) => sum + herd.now.failed, 0);
  const devices = herds.reduce((sum, herd) => sum + herd.clients, 0);
  const seconds = (part: number): number =>
    Number(
      ((taken[Math.max(0, Math.ceil(part * taken.length) - 1)] ?? Number.NaN) / 1_000).toFixed(1),
    );
  const outcome = {
    round,
    devices,
    inside: taken.length,
    lost: failed,
    backAfterSeconds: { half: seconds(0.5), ninety: seconds(0.9), all: seconds(1) },
    mostWaiting: waited,
    refused: Object.fromEntries(
      refusals.map((each) => [each, (after[each] ?? 0) - (before[each] ?? 0)]),
    ),
    livePingMs: live.latencies(),
  };
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  return taken.length === devices && failed === 0;
}

async function run(settings: Settings): Promise<boolean> {
  await using gateway = await startGateway({
    workers: settings.workers,
    config: settings.paced === 0 ? unpaced : '',
  });
  const devices = await enrol(gateway, settings.devices);
  const bystanders = await gateway.devices(
    ...Array.from({ length: settings.live }, (_, i) => `live-${i}`),
  );
  const live = await Live.of(gateway, bystanders);
  await delay(quietMs);
  process.stdout.write(`${JSON.stringify({ settings, quietPingMs: live.latencies() })}\n`);
  const herds = herdsOf(gateway, devices);
  try {
    let sound = true;
    for (let round = 1; round <= settings.rounds; round += 1) {
      if (round > 1) for (const herd of herds) herd.again();
      sound = (await watch(gateway, herds, live, round)) && sound;
    }
    await live.end();
    return sound;
  } catch (error) {
    say(gateway.log.tail());
    throw error;
  } finally {
    for (const herd of herds) herd[Symbol.dispose]();
  }
}

try {
  process.exitCode = (await run(settingsOf(parseArgs({ allowPositionals: true }).positionals)))
    ? 0
    : 1;
} catch (error) {
  say(`NOT SOUND: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
process.exit();
