/**
 * A backend that a test controls while it runs: it can be told to be slow, to refuse, to hang or to die, be killed and
 * started again on the same port, and has written down everything that it accepted.
 */
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { BackendSettings, Behaviour } from './backend-behaviour.ts';
import { BackendRecord, parseRecord } from './backend-record.ts';
import type { Arrival } from './backend-record.ts';
import { temporaryFolder } from './temporary-folder.ts';
import type { TemporaryFolder } from './temporary-folder.ts';
import { until, within } from './waiting.ts';

type BackendProcess = ChildProcessByStdio<Writable, Readable, null>;

export interface BackendOptions {
  readonly tls?: BackendSettings['tls'];
  /** What it does from its first request on; accepts everything when it is left out. */
  readonly behaviour?: Behaviour;
}

const program = new URL('backend-process.ts', import.meta.url).pathname;
const startLimitMs = 60_000;
const answerLimitMs = 30_000;

export async function startBackend(options: BackendOptions = {}): Promise<Backend> {
  const backend = new Backend(options);
  try {
    await backend.start();
    return backend;
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
}

export class Backend implements AsyncDisposable {
  /** The file in which it writes down what came. */
  readonly recordPath: string;
  readonly #options: BackendOptions;
  readonly #folder: TemporaryFolder = temporaryFolder();
  readonly #record = new BackendRecord();
  readonly #decoder = new StringDecoder();
  #read = 0;
  #partial = '';
  #port = 0;
  #process: BackendProcess | undefined;
  #answers: AsyncIterator<string, undefined> | undefined;
  #exit: Promise<void> = Promise.resolve();

  constructor(options: BackendOptions) {
    this.#options = options;
    this.recordPath = this.#folder.at('record.jsonl');
  }

  /** The same through all its lives. */
  get port(): number {
    return this.#port;
  }

  /** For `to: [ { http: … } ]` of a route. */
  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.#port}/ingest`;
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('the backend does not run');
    return pid;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Starts it, again on the same port; it behaves as at its first start unless it is told otherwise. */
  async start(...behaviours: readonly Behaviour[]): Promise<void> {
    if (this.#process !== undefined) throw new Error('the backend runs already');
    const [first = this.#options.behaviour ?? accept, ...more] = behaviours;
    const settings: BackendSettings = {
      record: this.recordPath,
      port: this.#port,
      behaviours: [first, ...more],
      ...(this.#options.tls === undefined ? {} : { tls: this.#options.tls }),
    };
    const child = spawn(process.execPath, [program, JSON.stringify(settings)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    // Writing to one that has just died is answered by its end.
    child.stdin.on('error', () => {});
    this.#process = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#exit = new Promise((resolve) => {
      child.once('exit', () => {
        this.#process = undefined;
        resolve();
      });
    });
    const answer: unknown = JSON.parse(await this.#answer(startLimitMs));
    if (typeof answer !== 'object' || answer === null || !('port' in answer)) {
      throw new Error('the backend says no port');
    }
    this.#port = Number(answer.port);
  }

  /** From the next request on; given several, one for each request, and the last one stays. */
  async behave(first: Behaviour, ...more: readonly Behaviour[]): Promise<void> {
    if (this.#process === undefined) throw new Error('the backend does not run');
    this.#process.stdin.write(`${JSON.stringify([first, ...more])}\n`);
    await this.#answer(answerLimitMs);
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#process?.kill('SIGKILL');
    await this.ended();
  }

  /** Resolves when it is gone, as after `{ do: 'die' }`. */
  async ended(): Promise<void> {
    await within(this.#exit, answerLimitMs, 'the end of the backend');
  }

  /** SIGSTOP, as a machine that hangs: connections stay open and nothing is read. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /** What it has written down so far, in all its lives; it grows whenever it is asked for. */
  record(): BackendRecord {
    this.#readOn();
    return this.#record;
  }

  /** The first event that it accepted, or accepts in time, and that satisfies the predicate. */
  async arrival(wanted: (event: Arrival) => boolean, limitMs = answerLimitMs): Promise<Arrival> {
    let looked = 0;
    return until('an event at the backend', limitMs, () => {
      const fresh = this.record().arrivals.slice(looked);
      looked += fresh.length;
      return fresh.find(wanted);
    });
  }

  /** The record as soon as it satisfies the predicate. */
  async recorded(
    what: string,
    wanted: (record: BackendRecord) => boolean,
    limitMs = answerLimitMs,
  ): Promise<BackendRecord> {
    return until(what, limitMs, () => {
      const record = this.record();
      return wanted(record) ? record : undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.kill();
    } finally {
      this.#folder[Symbol.dispose]();
    }
  }

  /** @throws Error when it ends instead of answering. */
  async #answer(limitMs: number): Promise<string> {
    const next = this.#answers?.next();
    if (next === undefined) throw new Error('the backend does not run');
    const answer = await within(next, limitMs, 'an answer of the backend');
    if (answer.done === true) throw new Error('the backend ended');
    return answer.value;
  }

  /** Only what is new: the record of a long run is large. A line that is still being written waits. */
  #readOn(): void {
    const descriptor = openSync(this.recordPath, 'a+');
    try {
      const chunk = Buffer.allocUnsafe(1024 * 1024);
      for (;;) {
        const bytes = readSync(descriptor, chunk, 0, chunk.length, this.#read);
        if (bytes === 0) return;
        this.#read += bytes;
        const text = this.#partial + this.#decoder.write(chunk.subarray(0, bytes));
        const end = text.lastIndexOf('\n') + 1;
        this.#partial = text.slice(end);
        for (const request of parseRecord(text.slice(0, end))) this.#record.add(request);
      }
    } finally {
      closeSync(descriptor);
    }
  }
}

const accept: Behaviour = { do: 'accept' };
