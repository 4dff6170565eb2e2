/** Clients of the Eclipse Paho project as Debian ships them: the Python library, driven by a script, and the C samples. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { repositoryRoot } from './cli.ts';
import type { Identity } from './gateway.ts';
import type { MqttVersion } from './mqtt-bytes.ts';
import { within } from './waiting.ts';

const limitMs = 60_000;
/** For a program to end that is asked to. */
const politeMs = 2_000;

/** Names as paho spells them; `CorrelationData` in hexadecimal. */
type PahoProperties = Readonly<Record<string, unknown>>;

export interface PahoMessage {
  readonly topic: string;
  readonly payload: string;
  readonly qos: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly properties?: PahoProperties;
}

export interface PahoConnect {
  readonly port: number;
  readonly identity: Identity;
  readonly version: MqttVersion;
  readonly id: string;
  readonly clean: boolean;
  readonly will?: PahoMessage;
  readonly properties?: PahoProperties;
  /** Where it is `websockets`, `port` is the one of the HTTPS listener. */
  readonly transport?: 'tcp' | 'websockets';
}

interface PahoOptions {
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  readonly retainHandling?: 0 | 1 | 2;
}

type PahoFilter = readonly [filter: string, qos: 0 | 1 | 2, options?: PahoOptions];

type Event = Readonly<Record<string, unknown>>;

/** One client of python3-paho-mqtt, in a process of its own. It acknowledges by itself. */
export class PahoPython implements AsyncDisposable {
  /** Whether CONNACK said that a session was present. */
  present = false;
  /** Of CONNACK. */
  properties: PahoProperties = {};
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  readonly #events: Event[] = [];
  #changed = Promise.withResolvers<void>();
  #ended = false;
  #errors = '';

  static async connect(options: PahoConnect): Promise<PahoPython> {
    const paho = new PahoPython();
    try {
      const { identity, will, transport = 'tcp', ...rest } = options;
      const { ca, crt, key } = identity;
      // The script wants every field of a will.
      const told = will === undefined ? {} : { will: { retain: false, ...will } };
      paho.#tell('connect', { ...rest, transport, ca, crt, key, ...told });
      await paho.connected();
      return paho;
    } catch (error) {
      await paho[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor() {
    // Debian's interpreter, which has Debian's packages, whatever else is on the PATH.
    const script = join(repositoryRoot, 'test', 'interop', 'paho_client.py');
    const child = spawn('/usr/bin/python3', [script], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    const end = (): void => void child.kill('SIGKILL');
    process.once('exit', end);
    this.#closed = new Promise((resolve) => {
      child.once('close', () => {
        process.off('exit', end);
        this.#ended = true;
        this.#wakeAll();
        resolve();
      });
    });
    child.stdin.on('error', () => {});
    child.stderr.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      // Its script writes objects.
      this.#events.push(JSON.parse(line) as Event);
      this.#wakeAll();
    });
  }

  /** @returns the codes of the SUBACK. */
  async subscribe(
    filters: readonly PahoFilter[],
    properties: PahoProperties = {},
  ): Promise<unknown> {
    return (await this.#ask('subscribe', { filters, properties }, 'subscribed'))['codes'];
  }

  async unsubscribe(...filters: readonly string[]): Promise<void> {
    await this.#ask('unsubscribe', { filters }, 'unsubscribed');
  }

  /** Resolves when the exchange of its QoS is over. */
  async publish(message: PahoMessage): Promise<void> {
    await this.#ask('publish', { ...message }, 'published');
  }

  /** The next message that has come or comes. */
  async message(): Promise<Required<PahoMessage>> {
    // What `on_message` of the script tells.
    return (await this.#event('message')) as unknown as Required<PahoMessage>;
  }

  /** When it has connected, or has connected once more. */
  async connected(): Promise<void> {
    const connected = await this.#event('connected');
    assert.equal(connected['code'], 0);
    this.present = connected['present'] === true;
    // What `on_connect` of the script tells.
    this.properties = connected['properties'] as PahoProperties;
  }

  /** When its connection is over. @returns the code of the server's DISCONNECT, or one of paho's own. */
  async closed(): Promise<unknown> {
    return (await this.#event('closed'))['code'];
  }

  /** The network fails, and it connects again by itself. */
  async cut(): Promise<void> {
    await this.#ask('cut', {}, 'closed');
  }

  /** With DISCONNECT, which has a reason and properties in MQTT 5. */
  async leave(code = 0, properties: PahoProperties = {}): Promise<void> {
    await this.#ask('disconnect', { code, properties }, 'closed');
    await this[Symbol.asyncDispose]();
  }

  /** Its process is killed, and with it the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await within(this.#closed, limitMs, 'the end of paho');
  }

  #ask(order: string, facts: object, answer: string): Promise<Event> {
    this.#tell(order, facts);
    return this.#event(answer);
  }

  #tell(order: string, facts: object): void {
    this.#child.stdin?.write(`${JSON.stringify({ do: order, ...facts })}\n`);
  }

  #event(name: string): Promise<Event> {
    return within(this.#found(name), limitMs, `${name} at paho`);
  }

  async #found(name: string): Promise<Event> {
    for (;;) {
      const at = this.#events.findIndex((each) => each['event'] === name);
      const [found] = at < 0 ? [] : this.#events.splice(at, 1);
      if (found !== undefined) return found;
      if (this.#ended) throw new Error(`paho ended before ${name}: ${this.#errors}`);
      await this.#changed.promise;
    }
  }

  #wakeAll(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

export interface SampleTarget {
  readonly port: number;
  readonly identity: Identity;
  readonly version: MqttVersion;
  readonly qos: 0 | 1 | 2;
  /** paho_c_… of the asynchronous library, which is the default, or paho_cs_… of the synchronous one. */
  readonly sample?: 'paho_c' | 'paho_cs';
  /** Where it is `wss`, `port` is the one of the HTTPS listener. */
  readonly scheme?: 'ssl' | 'wss';
}

/** Publishes one message with paho_c_pub or paho_cs_pub. @returns its exit code and what it wrote. */
export async function pahoPub(
  target: SampleTarget,
  topic: string,
  message: string,
  extra: readonly string[] = [],
): Promise<{ readonly code: number | null; readonly output: string }> {
  const args = ['-t', topic, '-m', message, ...sampleArguments(target), ...extra];
  const child = spawn(`${target.sample ?? 'paho_c'}_pub`, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitMs,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** paho_c_sub or paho_cs_sub: prints what it receives, a line each, until it is disposed of. */
export class PahoSub implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  #wake: () => void = () => {};

  constructor(target: SampleTarget, filter: string, extra: readonly string[] = []) {
    const program = `${target.sample ?? 'paho_c'}_sub`;
    const args = ['-oL', program, '-t', filter, ...sampleArguments(target), ...extra];
    const child = spawn('stdbuf', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const end = (): void => void child.kill('SIGKILL');
    process.once('exit', end);
    this.#closed = new Promise((resolve) => {
      child.once('close', () => {
        process.off('exit', end);
        resolve();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        this.#wake();
      });
    }
  }

  /** The first line that ends like that. */
  async line(ending: string): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => line.endsWith(ending));
      if (found !== undefined) return found;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const what = `${ending} at paho_c_sub: ${this.lines.join('; ')}`;
      await within(promise, limitMs, what.slice(0, 1_000));
    }
  }

  /** Without a DISCONNECT. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await within(this.#closed, limitMs, 'the end of paho_c_sub');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM');
    // One whose subscription was refused hears of nothing any more.
    const late = setTimeout(() => this.#child.kill('SIGKILL'), politeMs);
    await within(this.#closed, limitMs, 'the end of paho_c_sub');
    clearTimeout(late);
  }
}

function sampleArguments(target: SampleTarget): readonly string[] {
  const { port, identity, version, qos, scheme = 'ssl' } = target;
  const { ca, crt, key } = identity;
  const path = scheme === 'wss' ? '/mqtt' : '';
  const address = ['-c', `${scheme}://localhost:${port}${path}`, '-V', version === 5 ? '5' : '311'];
  return [...address, '-q', String(qos), '--cafile', ca, '--cert', crt, '--key', key];
}
