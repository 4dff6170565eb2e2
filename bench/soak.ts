/**
 * `npm run soak -- sessions=100000 [seconds=600] [rate=sessions/10] [ramp=500] [workers=N] [identities=sessions]`: a
 * gateway of its own under that many mutual-TLS MQTT sessions, held by client processes of up to 20,000 each, that publish
 * at that rate (QoS 0, one subscriber) for so long. Fewer identities save memory on the clients' side, and make workers
 * that serve the same one ask for each message: that is another test. Progress goes to standard error, the outcome as one JSON object to standard output.
 * Exit 0 only when every session was let in, none was lost and every message arrived.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Gateway, Identity } from '../test/harness/gateway.ts';
import { onAllCores, openFilesLimit, thisMachine } from './harness/machine.ts';
import { residentBytes, treeOf } from './harness/process-tree.ts';
import { scratchFolder } from './harness/scratch.ts';
import { enrol, startRaised } from './harness/sallyport.ts';
import { loadCredentials } from './load/credentials.ts';
import { MqttSession } from './load/mqtt-session.ts';
import type { AgentLine, AgentPublish, AgentTask } from './load/soak-words.ts';
import { ageMs } from './load/stamped-payload.ts';
import { tlsContext } from './load/tls-client.ts';

const sessionsPerProcess = 20_000;
/** Files that a process needs besides its sessions. */
const spareFiles = 500;
const pingMs = 60_000;
/** PINGREQ, MQTT 5.0 section 3.12. */
const pingRequest = Buffer.of(0xc0, 0);
/** For messages that are still on their way when the last has been sent. */
const arrivalMs = 10_000;

interface Settings {
  readonly sessions: number;
  readonly seconds: number;
  readonly rate: number;
  readonly ramp: number;
  readonly workers: number;
  readonly identities: number;
}

function settingsFrom(args: readonly string[]): Settings {
  const given = new Map<string, number>();
  for (const arg of args) {
    const [, name = '', value] = /^([a-z]+)=(\d+)$/.exec(arg) ?? [];
    if (!['sessions', 'seconds', 'rate', 'ramp', 'workers', 'identities'].includes(name)) {
      throw new Error(
        `"${arg}" is not one of sessions=N seconds=N rate=N ramp=N workers=N identities=N`,
      );
    }
    given.set(name, Number(value));
  }
  const sessions = given.get('sessions') ?? 20_000;
  const filesWant = Math.ceil(sessions / (openFilesLimit() - spareFiles));
  return {
    sessions,
    seconds: given.get('seconds') ?? 600,
    rate: given.get('rate') ?? sessions / 10,
    ramp: given.get('ramp') ?? 500,
    workers: given.get('workers') ?? Math.max(thisMachine().cores, filesWant),
    identities: Math.min(given.get('identities') ?? sessions, sessions),
  };
}

class Agent {
  readonly #child: ChildProcess;
  #last: AgentLine | undefined;
  #wake: () => void = () => {};
  #exited = false;

  constructor(task: AgentTask) {
    const script = join(import.meta.dirname, 'soak-agent.ts');
    const child = spawn(process.execPath, [script, JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child = child;
    child.once('exit', () => {
      this.#exited = true;
      this.#wake();
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      // Our own agent wrote it.
      this.#last = JSON.parse(line) as AgentLine;
      this.#wake();
    });
    // It ends when its standard input does, which is when this process ends.
  }

  get last(): AgentLine | undefined {
    return this.#last;
  }

  async reaches(event: AgentLine['event']): Promise<void> {
    while (this.#last?.event !== event) {
      if (this.#exited) throw new Error('a client process ended');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  publish(order: AgentPublish): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  end(): void {
    this.#child.stdin?.end();
  }
}

/** Counts what arrives, and how long it took. */
class Subscriber {
  readonly ages: number[] = [];

  static async open(gateway: Gateway, service: Identity): Promise<Subscriber> {
    const context = tlsContext(loadCredentials(service));
    const target = { port: gateway.mqttsPort, localAddress: '127.0.0.1', context };
    const session = await MqttSession.open(target, service.id);
    await session.subscribe('devices/+/telemetry');
    // It says nothing else, and after one and a half times its keep alive nobody would be there (MQTT-3.1.2-22).
    setInterval(() => session.send(pingRequest), pingMs).unref();
    return new Subscriber(session);
  }

  private constructor(session: MqttSession) {
    session.onMessage = (bytes, _body, end) => this.ages.push(ageMs(bytes, end));
  }

  /** Resolves when so many have come, or when it has been waited for long enough. */
  async awaits(count: number): Promise<void> {
    const deadline = performance.now() + arrivalMs;
    while (this.ages.length < count && performance.now() < deadline) await delay(50);
  }
}

function startAgents(
  settings: Settings,
  port: number,
  identities: readonly Identity[],
): readonly Agent[] {
  const room = Math.min(sessionsPerProcess, openFilesLimit() - spareFiles);
  const count = Math.ceil(settings.sessions / room);
  const folder = scratchFolder('soak');
  return Array.from({ length: count }, (_, i) => {
    const first = Math.floor((settings.sessions * i) / count);
    const sessions = Math.floor((settings.sessions * (i + 1)) / count) - first;
    // Shares do not overlap, and each has at least one.
    const from = Math.floor((identities.length * i) / count);
    const to = Math.max(from + 1, Math.floor((identities.length * (i + 1)) / count));
    const manifest = join(folder, `identities-${i}.json`);
    writeFileSync(manifest, JSON.stringify(identities.slice(from, to)), { mode: 0o600 });
    const perSecond = settings.ramp / count;
    return new Agent({ port, manifest, sessions, firstSource: first, perSecond });
  });
}

/** Of the gateway's warnings, those shown of one second. */
const mostComplaints = 20;

interface Sums {
  readonly connected: number;
  readonly failed: number;
  readonly ended: number;
  readonly sent: number;
  readonly residentBytes: number;
}

function sums(agents: readonly Agent[]): Sums {
  const sum = (pick: (line: AgentLine) => number): number =>
    agents.reduce((total, { last }) => total + (last === undefined ? 0 : pick(last)), 0);
  return {
    connected: sum((line) => line.connected),
    failed: sum((line) => line.failed),
    ended: sum((line) => line.ended),
    sent: sum((line) => line.sent),
    residentBytes: sum((line) => line.residentBytes),
  };
}

function percentile(sorted: readonly number[], part: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  return Number((value ?? Number.NaN).toFixed(2));
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function soak(settings: Settings): Promise<boolean> {
  const { sessions, seconds, rate, workers, identities } = settings;
  say(`starting a gateway with ${workers} workers`);
  await using gateway = await startRaised({
    workers,
    under: onAllCores,
    limits: [
      `sessions: ${openFilesLimit() - spareFiles}`,
      `sessionsPerIdentity: ${Math.max(4, Math.ceil(sessions / identities) + 1)}`,
    ],
  });
  say(`enrolling ${identities} devices`);
  const devices = await enrol(gateway, identities);
  const subscriber = await Subscriber.open(gateway, await gateway.service('be', 'backend'));
  const before = residentBytes(treeOf(gateway.pid));
  const perSession = (): number => {
    const { connected, ended } = sums(agents);
    const grown = residentBytes(treeOf(gateway.pid)) - before;
    return Math.round(grown / Math.max(1, connected - ended) / 100) / 10;
  };
  let complainedUpTo = gateway.log.end;
  const complaints = (): void => {
    const complaining = ['warn', 'error', 'fatal'];
    const lines = gateway.log.lines(
      (line) => complaining.includes(String(line.get('level'))),
      complainedUpTo,
    );
    complainedUpTo = gateway.log.end;
    for (const line of lines.slice(0, mostComplaints))
      say(JSON.stringify(Object.fromEntries(line)));
    if (lines.length > mostComplaints) say(`… and ${lines.length - mostComplaints} lines more`);
  };
  const started = performance.now();
  const agents = startAgents(settings, gateway.mqttsPort, devices);
  const progress = setInterval(() => {
    complaints();
    const { connected, failed, ended, sent } = sums(agents);
    const at = ((performance.now() - started) / 1_000).toFixed(0);
    say(
      `${at} s: ${connected - ended} of ${sessions} sessions, ${failed} refused, ${ended} lost; ` +
        `${sent} sent, ${subscriber.ages.length} arrived; ${perSession()} kB a session`,
    );
  }, 1_000);
  try {
    await Promise.all(agents.map((agent) => agent.reaches('connected')));
    const rampSeconds = (performance.now() - started) / 1_000;
    const idleKilobytes = perSession();
    for (const agent of agents) agent.publish({ perSecond: rate / agents.length, seconds });
    await Promise.all(agents.map((agent) => agent.reaches('published')));
    const outcome = sums(agents);
    await subscriber.awaits(outcome.sent);
    const arrived = subscriber.ages.length;
    const ages = subscriber.ages.toSorted((a, b) => a - b);
    process.stdout.write(
      `${JSON.stringify({
        machine: thisMachine(),
        settings,
        clientProcesses: agents.length,
        connected: outcome.connected,
        refused: outcome.failed,
        lost: outcome.ended,
        rampSeconds: Number(rampSeconds.toFixed(1)),
        sent: outcome.sent,
        arrived,
        dropped: outcome.sent - arrived,
        latencyMs: {
          p50: percentile(ages, 0.5),
          p99: percentile(ages, 0.99),
          max: percentile(ages, 1),
        },
        kilobytesPerSession: { idle: idleKilobytes, afterTraffic: perSession() },
        clientKilobytesPerSession: Math.round(outcome.residentBytes / sessions / 1_000),
        reasons: agents.map(({ last }) => last?.reasons ?? {}),
      })}\n`,
    );
    return outcome.connected === sessions && outcome.ended === 0 && outcome.sent === arrived;
  } finally {
    clearInterval(progress);
    for (const agent of agents) agent.end();
  }
}

try {
  process.exitCode = (await soak(settingsFrom(process.argv.slice(2)))) ? 0 : 1;
} catch (error) {
  say(`sallyport: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
// The subscriber's session may still be open.
process.exit();
