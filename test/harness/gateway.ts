/**
 * A real gateway: `sallyport up` on loopback and free ports, with its data in a temporary folder. It is ended by pid,
 * with everything it started, also when a test fails.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, watch, writeFileSync } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { commandLine, repositoryRoot, runCli } from './cli.ts';
import type { CliOptions, CliResult } from './cli.ts';
import { GatewayLog } from './gateway-log.ts';
import { allGone, childrenOf, processesOn } from './processes.ts';
import type { ChildProcesses } from './processes.ts';
import { temporaryFolder } from './temporary-folder.ts';
import type { TemporaryFolder } from './temporary-folder.ts';
import { until, within } from './waiting.ts';

export interface GatewayOptions {
  /** YAML, without `listeners`, which the harness sets. */
  readonly config?: string;
  /** One more line of `listeners`, or another one for a listener that is there anyway. */
  readonly listener?: string;
  readonly workers?: number;
  /** Name → text of files beside the configuration, which names them: schemas, secrets. Readable by their owner only. */
  readonly files?: Readonly<Record<string, string>>;
  /** A folder of the caller's, with data, configuration and identities, for a gateway that follows another one. */
  readonly folder?: TemporaryFolder;
  readonly env?: NodeJS.ProcessEnv;
  /** Octal. */
  readonly umask?: string;
  /** A command that becomes the gateway's, such as `taskset -c 0`; it MUST keep its process id. */
  readonly under?: readonly [string, ...string[]];
}

export interface RunFile {
  readonly version: number;
  readonly ready: boolean;
  readonly pid: number;
  readonly startedAt: string;
  readonly workers: readonly number[];
  readonly listeners: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
}

/** Files of a principal: its key, its chain, and the root to trust. */
export interface Identity {
  readonly id: string;
  readonly key: string;
  readonly crt: string;
  readonly ca: string;
}

const startLimitMs = 60_000;
const stopLimitMs = 60_000;

export async function startGateway(options: GatewayOptions = {}): Promise<Gateway> {
  const gateway = new Gateway(options);
  try {
    await gateway.becomesReady();
    return gateway;
  } catch (error) {
    await gateway[Symbol.asyncDispose]();
    throw error;
  }
}

/** The default of every listener; those that few tests need are off. */
const anyPort = '{ host: 127.0.0.1, port: 0 }';
const listeners = { mqtts: anyPort, https: anyPort, est: false, status: false, admin: anyPort };

/** The configuration of a test: free ports on loopback, and whatever the test adds. */
export function configText(added: string, listener?: string): string {
  return [
    'listeners:',
    ...Object.entries(listeners).flatMap(([name, address]) =>
      listener?.startsWith(`${name}:`) === true ? [] : [`  ${name}: ${address}`],
    ),
    ...(listener === undefined ? [] : [`  ${listener}`]),
    'serverNames: [ localhost, 127.0.0.1 ]',
    added,
    '',
  ].join('\n');
}

export class Gateway implements AsyncDisposable {
  readonly dataDir: string;
  readonly configPath: string;
  readonly log: GatewayLog;
  readonly #folder: TemporaryFolder;
  readonly #folderIsOurs: boolean;
  readonly #process: ChildProcess;
  readonly #exit: Promise<number | NodeJS.Signals>;
  /** Nobody writes to its log any more, and all of that has come. */
  readonly #closed: Promise<void>;
  #ended = false;
  #stdout = '';

  constructor(options: GatewayOptions) {
    const folder = options.folder ?? temporaryFolder();
    this.#folder = folder;
    this.#folderIsOurs = options.folder === undefined;
    this.dataDir = folder.at('data');
    this.configPath = folder.at('sallyport.yaml');
    mkdirSync(this.dataDir, { recursive: true });
    for (const [name, contents] of Object.entries(options.files ?? {})) {
      writeFileSync(folder.at(name), contents, { mode: 0o600 });
    }
    this.configure(options.config ?? '', options.listener);
    const args = ['up', '--data', this.dataDir, '--config', this.configPath];
    args.push('--workers', String(options.workers ?? 1));
    const command = commandLine(args, options.umask);
    const [program, ...rest] =
      options.under === undefined ? command : ([...options.under, ...command] as const);
    this.#process = spawn(program, rest, {
      cwd: repositoryRoot,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this);
    this.#exit = new Promise((resolve) => {
      this.#process.once('exit', (code, signal) => {
        this.#ended = true;
        running.delete(this);
        resolve(code ?? signal ?? 'SIGKILL');
      });
    });
    this.#closed = new Promise((resolve) => {
      this.#process.once('close', () => resolve());
    });
    const { stdout, stderr } = this.#process;
    assert.ok(stdout !== null && stderr !== null);
    stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.log = new GatewayLog(stderr);
  }

  /** Of the supervisor. */
  get pid(): number {
    assert.ok(this.#process.pid !== undefined, 'the gateway could not be started');
    return this.#process.pid;
  }

  /** What it has printed, once that matches. */
  async printed(pattern: RegExp): Promise<string> {
    return until(`${pattern} on standard output`, 30_000, () =>
      pattern.test(this.#stdout) ? this.#stdout : undefined,
    );
  }

  /** A path in the gateway's temporary folder, outside its data. */
  at(...names: readonly string[]): string {
    return this.#folder.at(...names);
  }

  /** Writes the configuration; the gateway hears of it when it is told to reload. */
  configure(added: string, listener?: string): void {
    writeFileSync(this.configPath, configText(added, listener));
  }

  async becomesReady(): Promise<RunFile> {
    return this.runFile(() => true, startLimitMs);
  }

  /** `run.json` as soon as there is one that satisfies `accept`. */
  async runFile(accept: (run: RunFile) => boolean, limitMs = 60_000): Promise<RunFile> {
    let watcher: FSWatcher | undefined;
    const seen = new Promise<RunFile>((resolve) => {
      const look = (): void => {
        const run = this.#readRunFile();
        // One that a killed gateway left behind is there until this one removes it.
        if (run?.pid === this.pid && accept(run)) resolve(run);
      };
      watcher = watch(this.dataDir, look);
      // It may have been written before the watch began.
      look();
    });
    const ended = this.#exit.then((how) => {
      throw new Error(`the gateway ended (${how}): ${this.log.tail()}`);
    });
    try {
      return await within(Promise.race([seen, ended]), limitMs, `run.json; ${this.log.tail()}`);
    } finally {
      watcher?.close();
    }
  }

  run(): RunFile {
    const run = this.#readRunFile();
    assert.ok(run !== undefined, 'there is no run.json');
    return run;
  }

  get mqttsPort(): number {
    const { mqtts } = this.run().listeners;
    assert.ok(mqtts !== undefined, 'no mqtts listener');
    return mqtts.port;
  }

  get httpsPort(): number {
    const { https } = this.run().listeners;
    assert.ok(https !== undefined, 'no https listener');
    return https.port;
  }

  get estPort(): number {
    const { est } = this.run().listeners;
    assert.ok(est !== undefined, 'no EST listener');
    return est.port;
  }

  get statusPort(): number {
    const { status } = this.run().listeners;
    assert.ok(status !== undefined, 'no status listener');
    return status.port;
  }

  processes(): ChildProcesses {
    return childrenOf(this.pid);
  }

  /** Pid of control; there is one unless it has just died. */
  get controlPid(): number {
    const [pid] = this.processes().control;
    assert.ok(pid !== undefined, 'no control process');
    return pid;
  }

  cli(...args: readonly string[]): Promise<CliResult> {
    return this.cliWith({}, ...args);
  }

  cliWith(options: CliOptions, ...args: readonly string[]): Promise<CliResult> {
    return runCli([...args, '--data', this.dataDir], options);
  }

  /** Like `cli`, for what has to work. */
  async ok(...args: readonly string[]): Promise<CliResult> {
    const result = await this.cli(...args);
    assert.equal(result.code, 0, `sallyport ${args.join(' ')}: ${result.stderr}${result.stdout}`);
    return result;
  }

  async device(id: string): Promise<Identity> {
    const [device] = await this.devices(id);
    assert.ok(device !== undefined);
    return device;
  }

  /** Several at the cost of one command. */
  async devices(...ids: readonly string[]): Promise<readonly Identity[]> {
    const out = this.#newLab();
    await this.ok('device', 'create', ...ids, '--out', out);
    return ids.map((id) => identityIn(out, id));
  }

  async service(name: string, role: string): Promise<Identity> {
    const out = this.#newLab();
    await this.ok('service', 'create', name, '--role', role, '--out', out);
    return identityIn(out, name);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Resolves with the exit code, or the signal, of the supervisor. */
  exited(limitMs = stopLimitMs): Promise<number | NodeJS.Signals> {
    return within(this.#exit, limitMs, `the end of the gateway; ${this.log.tail()}`);
  }

  /** SIGTERM; what has to hold after it is asserted here, once for all tests. */
  async stop(): Promise<void> {
    const { control, workers } = this.processes();
    this.signal('SIGTERM');
    assert.equal(await this.exited(), 0, this.log.tail());
    assert.equal(existsSync(join(this.dataDir, 'run.json')), false, 'run.json is still there');
    await allGone([...control, ...workers], 2_000);
    await within(this.#closed, 10_000, 'the end of the log');
  }

  /** SIGKILL to every process at once, as a power cut would. */
  async kill(): Promise<void> {
    const pids = this.killNow();
    await this.exited();
    await allGone(pids, 5_000);
  }

  /** Without waiting, for the end of the test process. @returns the pids. */
  killNow(): readonly number[] {
    // Also those that a supervisor left behind: this is what ends them when a test shows that nothing else does.
    const pids = processesOn(this.dataDir);
    if (!this.#ended) pids.unshift(this.pid);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It was quicker.
      }
    }
    return pids;
  }

  /** Ends what still runs and removes the temporary folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.kill();
    } finally {
      if (this.#folderIsOurs) this.#folder[Symbol.dispose]();
    }
  }

  #newLab(): string {
    return mkdtempSync(this.#folder.at('lab-'));
  }

  #readRunFile(): RunFile | undefined {
    try {
      // Its shape is asserted by the tests that are about it.
      return JSON.parse(readFileSync(join(this.dataDir, 'run.json'), 'utf8')) as RunFile;
    } catch {
      return undefined;
    }
  }
}

const running = new Set<Gateway>();
process.on('exit', () => {
  for (const gateway of running) gateway.killNow();
});

function identityIn(folder: string, id: string): Identity {
  return {
    id,
    key: join(folder, `${id}.key`),
    crt: join(folder, `${id}.crt`),
    ca: join(folder, 'ca.crt'),
  };
}
