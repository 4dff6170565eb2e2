/** mosquitto_pub and mosquitto_sub as Debian ships them: clients that know nothing of the gateway. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Identity } from './gateway.ts';
import { within } from './waiting.ts';

export type MosquittoVersion = 'mqttv31' | 'mqttv311' | 'mqttv5';

export interface MosquittoTarget {
  readonly port: number;
  readonly identity: Identity;
  readonly version?: MosquittoVersion;
}

export interface PubResult {
  readonly code: number | undefined;
  readonly output: string;
}

const limitMs = 60_000;
/** For a subscriber to say DISCONNECT and end. */
const politeMs = 10_000;

/** Publishes one message and waits for its acknowledgement. */
export function mosquittoPub(
  target: MosquittoTarget,
  topic: string,
  message: string,
  extra: readonly string[] = [],
): Promise<PubResult> {
  return runMosquitto('mosquitto_pub', target, ['-t', topic, '-m', message, '-q', '1', ...extra]);
}

/** Runs one of the programs to its end. @param input - what it reads on standard input */
export function runMosquitto(
  program: 'mosquitto_pub' | 'mosquitto_sub' | 'mosquitto_rr',
  target: MosquittoTarget,
  args: readonly string[],
  input = '',
): Promise<PubResult> {
  const child = spawn(program, [...connectionArguments(target), ...args], {
    timeout: limitMs,
    // A subscriber that is asked to end says that all was well.
    killSignal: 'SIGKILL',
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  let output = '';
  const keep = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? undefined, output }));
  });
}

export interface SubscriberLine {
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly payload: string;
}

/** A subscriber that runs until it is disposed of. */
export class MosquittoSub implements AsyncDisposable {
  readonly messages: SubscriberLine[] = [];
  readonly #child: ChildProcess;
  readonly #closed: Promise<number | undefined>;
  readonly #wakes = new Set<() => void>();
  #output = '';
  #subscribed = false;
  #ended = false;

  /** Resolves when the gateway has granted the subscription. */
  static async start(
    target: MosquittoTarget,
    filter: string,
    extra: readonly string[] = [],
  ): Promise<MosquittoSub> {
    const subscriber = new MosquittoSub(target, filter, extra);
    try {
      await subscriber.#until(() => (subscriber.#subscribed ? true : undefined), 'SUBACK');
      return subscriber;
    } catch (error) {
      await subscriber[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(target: MosquittoTarget, filter: string, extra: readonly string[]) {
    // -d says when the subscription was granted. stdbuf, because what goes to a pipe would wait for a full buffer.
    const format = ['-d', '-F', 'MESSAGE %t %q %r %p'];
    const command = ['-oL', 'mosquitto_sub', ...connectionArguments(target), '-t', filter];
    const child = spawn('stdbuf', [...command, '-q', '1', ...format, ...extra], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    // It ends with the test process whatever happens.
    const end = (): void => void child.kill('SIGKILL');
    process.once('exit', end);
    this.#closed = new Promise((resolve) => {
      child.once('close', (code) => {
        process.off('exit', end);
        this.#ended = true;
        this.#wakeAll();
        resolve(code ?? undefined);
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#line(line));
    }
  }

  message(wanted: (message: SubscriberLine) => boolean): Promise<SubscriberLine> {
    return this.#until(() => this.messages.find(wanted), `a message ${wanted.toString()}`);
  }

  /** What it has written, once that matches. */
  said(pattern: RegExp): Promise<string> {
    return this.#until(
      () => (pattern.test(this.#output) ? this.#output : undefined),
      pattern.toString(),
    );
  }

  /** Without a DISCONNECT. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await within(this.#closed, limitMs, 'the end of mosquitto_sub');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM');
    // Its handler takes a lock that it may hold already, when it writes a line, and then waits for ever.
    const polite = within(this.#closed, politeMs, 'the end of mosquitto_sub');
    await polite.catch(() => this.kill());
  }

  async #until<T>(look: () => T | undefined, what: string): Promise<T> {
    let wake: () => void = () => {};
    const found = new Promise<T>((resolve, reject) => {
      wake = () => {
        const value = look();
        if (value !== undefined) resolve(value);
        else if (this.#ended)
          reject(new Error(`mosquitto_sub ended before ${what}: ${this.#output}`));
      };
    });
    this.#wakes.add(wake);
    wake();
    try {
      return await within(found, limitMs, `${what} at mosquitto_sub: ${this.#output}`);
    } finally {
      this.#wakes.delete(wake);
    }
  }

  #line(line: string): void {
    this.#output += `${line}\n`;
    const [, topic, qos, retain, payload] = /^MESSAGE (\S+) (\d) (\d) (.*)$/.exec(line) ?? [];
    if (topic !== undefined && payload !== undefined) {
      this.messages.push({ topic, qos: Number(qos), retain: retain === '1', payload });
    }
    if (/^Subscribed \(mid: \d+\): [012](, [012])*$/.test(line)) this.#subscribed = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#wakes) wake();
  }
}

function connectionArguments({ port, identity, version }: MosquittoTarget): string[] {
  const { ca, crt, key } = identity;
  const address = ['-h', 'localhost', '-p', String(port), '-V', version ?? 'mqttv5'];
  return address.concat('--cafile', ca, '--cert', crt, '--key', key);
}
