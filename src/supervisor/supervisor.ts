/**
 * Starts control and the workers, relays between them, restarts what dies, kills what is silent, drains and upgrades.
 * It reads the operator's configuration (as whoever started it may), and nothing that comes from the network.
 */
import type { Clock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import { channels, maxSlot } from '../common/ipc/frames.ts';
import type { Frame } from '../common/ipc/frames.ts';
import { parseBody } from '../common/ipc/link.ts';
import type {
  ControlToSupervisor,
  SupervisorToControl,
  SupervisorToWorker,
  WorkerKeys,
  WorkerToSupervisor,
} from '../common/ipc/messages.ts';
import { Child, tickMs } from './child.ts';
import { controlCommand, workerCommand } from './commands.ts';
import type { DataDirectory, WingUsers } from './data-directory.ts';
import { WorkerGroup } from './group.ts';
import type { WorkerProcess } from './group.ts';
import { rememberChildren } from './leftovers.ts';
import { RestartPolicy } from './restart-policy.ts';
import { removeRunFile, writeRunFile } from './run-file.ts';
import { SnapshotCache } from './snapshot-cache.ts';

/** A worker that is silent for 2 s is killed: a stopped process may hold the store's write lock. */
const workerSilenceTicks = 2_000 / tickMs;
/** Control serves no device; it may be busy with a large registry for longer. */
const controlSilenceTicks = 15_000 / tickMs;
/** What a draining process may take beyond its own drain time before it is killed. */
const drainGraceMs = 3_000;
/** Workers that may die before the gateway was ever ready; then whoever started it is told that it does not start. */
const maxFailedStarts = 5;

export interface SupervisorOptions {
  readonly data: DataDirectory;
  readonly users: WingUsers | undefined;
  readonly bundle: ConfigBundle;
  readonly readBundle: () => ConfigBundle;
  /** Overrides the configuration's `workers`. */
  readonly workers: number | undefined;
  readonly version: string;
  readonly clock: Clock;
  readonly log: (level: 'info' | 'warn' | 'error', fields: object, message: string) => void;
  readonly onReady: (info: ReadyInfo) => void;
}

export interface ReadyInfo {
  readonly listeners: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
  /** The token of the one-time operator enrolment, on the first start only. */
  readonly operatorToken: string | undefined;
}

interface ListenerPlace {
  readonly host: string;
  readonly port: number;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #startedAt: number;
  readonly #workers = new WorkerGroup();
  readonly #snapshots = new SnapshotCache();
  readonly #listeners = new Map<string, ListenerPlace>();
  readonly #controlRestarts = new RestartPolicy();
  readonly #workerRestarts = new RestartPolicy();
  readonly #timers = new Set<NodeJS.Timeout>();
  #control: Child | undefined;
  /** The control that was told to end for an upgrade: its end is no fault. */
  #retiring: Child | undefined;
  #keys: WorkerKeys | undefined;
  #wanted = 0;
  #drainMs = 10_000;
  #operatorToken: string | undefined;
  #failedStarts = 0;
  #ready = false;
  #stopping = false;
  #replacing = false;
  #exit: (code: number) => void = () => {};
  readonly #exited: Promise<number>;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#exited = new Promise((resolve) => {
      this.#exit = resolve;
    });
  }

  /** Resolves with the exit code when everything has ended. */
  run(): Promise<number> {
    this.#startControl();
    const ticker = setInterval(() => this.#tick(), tickMs);
    this.#timers.add(ticker);
    return this.#exited;
  }

  /** SIGHUP: reads the configuration again; control applies it or keeps the last good one and logs why. */
  reload(): void {
    try {
      this.#toControl({ type: 'bundle', id: 0, bundle: this.#options.readBundle() });
    } catch (error) {
      this.#toControl({ type: 'bundle', id: 0, error: messageOf(error) });
      this.#log('error', { err: messageOf(error) }, 'configuration not reloaded');
    }
  }

  /** SIGTERM: drains the workers, then control, then ends. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    removeRunFile(this.#options.data.runFile);
    this.#log('info', {}, 'draining');
    await Promise.all(this.#workers.all().map((worker) => this.#drain(worker, 'shutdown')));
    const control = this.#control;
    if (control !== undefined) {
      this.#toControl({ type: 'drain' });
      await this.#ended(control, drainGraceMs);
    }
    this.#finish(0);
  }

  /** SIGUSR2: control first, then each worker: a new one starts, the old one drains. */
  async replaceProcesses(): Promise<void> {
    if (this.#replacing || this.#stopping) {
      throw new SallyportError('already-exists', 'the processes are being replaced already');
    }
    this.#replacing = true;
    try {
      this.#log('info', {}, 'replacing processes');
      this.#snapshotsDue();
      for (const old of this.#workers.serving()) {
        const fresh = this.#startWorker();
        await this.#becomesReady(fresh);
        await this.#drain(old, 'upgrade');
      }
      // It answers what is under way and ends; the next one is then started.
      this.#retiring = this.#control;
      this.#toControl({ type: 'drain' });
    } finally {
      this.#replacing = false;
    }
  }

  #startControl(): void {
    const { data, users, version, bundle, clock } = this.#options;
    const child = new Child(
      controlCommand(data, process.env),
      controlSilenceTicks,
      clock.monotonic(),
    );
    this.#control = child;
    child.link.onFrame = (frame) => this.#fromControl(child, frame);
    child.onEnd = (reason) => this.#controlEnded(child, reason);
    const ports = Object.fromEntries([...this.#listeners].map(([name, { port }]) => [name, port]));
    this.#toControl({
      type: 'welcome',
      bundle,
      startedAt: this.#startedAt,
      version,
      ports,
      workersOverride: this.#options.workers,
      privileges: users?.control,
    });
    this.#remember();
  }

  #controlEnded(child: Child, reason: string): void {
    if (this.#control !== child) return;
    this.#control = undefined;
    if (this.#stopping) return;
    if (this.#keys === undefined) {
      // It never served: what it could not do, it will not do the next time either.
      this.#log('fatal', { reason }, 'control could not start');
      this.#finish(1);
      return;
    }
    if (this.#retiring === child) {
      this.#retiring = undefined;
      this.#startControl();
      return;
    }
    this.#log('error', { reason }, 'control ended; workers serve on while it is restarted');
    const livedMs = this.#options.clock.monotonic() - child.startedAtMs;
    this.#later(this.#controlRestarts.nextDelayMs(livedMs), () => {
      if (!this.#stopping) this.#startControl();
    });
  }

  #startWorker(): WorkerProcess {
    const keys = this.#keys;
    const slot = this.#workers.freeSlot();
    if (keys === undefined || slot > maxSlot)
      throw new SallyportError('internal', 'no keys or no slot for a worker');
    const { data, users, clock } = this.#options;
    const child = new Child(workerCommand(data), workerSilenceTicks, clock.monotonic());
    const worker: WorkerProcess = {
      slot,
      generation: this.#workers.nextGeneration(),
      child,
      state: 'starting',
    };
    this.#workers.add(worker);
    child.link.onFrame = (frame) => this.#fromWorker(worker, frame);
    child.onEnd = (reason) => this.#workerEnded(worker, reason);
    const ports = Object.fromEntries([...this.#listeners].map(([name, { port }]) => [name, port]));
    this.#toWorker(worker, {
      type: 'welcome',
      slot,
      generation: worker.generation,
      keys,
      ports,
      privileges: users?.worker,
    });
    for (const frame of this.#snapshots.frames()) child.link.forward(frame, frame.body);
    this.#toControl({ type: 'members', members: this.#workers.everyone() });
    this.#remember();
    return worker;
  }

  #workerEnded(worker: WorkerProcess, reason: string): void {
    const expected = worker.state === 'draining' || this.#stopping;
    this.#workers.remove(worker);
    this.#membersChanged();
    this.#toControl({ type: 'worker-gone', slot: worker.slot, generation: worker.generation });
    if (expected) return;
    this.#log('error', { slot: worker.slot, pid: worker.child.pid, reason }, 'worker ended');
    this.#failedStarts += 1;
    if (!this.#ready && this.#failedStarts >= maxFailedStarts) {
      this.#log('fatal', {}, 'the workers do not start');
      this.#finish(1);
      return;
    }
    const livedMs = this.#options.clock.monotonic() - worker.child.startedAtMs;
    this.#later(this.#workerRestarts.nextDelayMs(livedMs), () => this.#fillUp());
  }

  /** As many workers as are wanted; the first one alone, until it has chosen the ports that were left free. */
  #fillUp(): void {
    if (this.#stopping || this.#keys === undefined) return;
    const serving = this.#workers.serving().length;
    const portsKnown = this.#workers.ready(1) || this.#ready;
    const target = portsKnown ? this.#wanted : 1;
    for (let n = serving; n < target; n += 1) this.#startWorker();
  }

  #fromControl(child: Child, frame: Frame): void {
    child.heard();
    if (frame.channel === channels.supervisor) {
      // Control is a trusted process: it holds every key there is.
      const message = parseBody(frame.body) as ControlToSupervisor | undefined;
      if (message !== undefined) this.#handleControl(message);
      return;
    }
    if (frame.channel === channels.broadcast) {
      if (this.#snapshots.keep(frame)) this.#snapshotsDue();
      for (const worker of this.#workers.all()) worker.child.link.forward(frame, frame.body);
      return;
    }
    this.#workers.at(frame.channel)?.child.link.forward(frame, frame.body);
  }

  #handleControl(message: ControlToSupervisor): void {
    switch (message.type) {
      case 'pong':
        return;
      case 'ready':
        // The first control's keys hold for the whole run: a ticket of one worker is good on every other.
        this.#keys ??= message.keys;
        this.#wanted = message.workers;
        this.#drainMs = message.drainMs;
        this.#operatorToken ??= message.operatorToken;
        this.#toControl({ type: 'members', members: this.#workers.everyone() });
        this.#fillUp();
        return;
      case 'listening':
        this.#listeners.set(message.listener, { host: message.host, port: message.port });
        this.#readiness();
        return;
      case 'kill-worker': {
        const worker = this.#workers.at(message.slot);
        if (worker?.generation === message.generation) {
          this.#log(
            'warn',
            { slot: worker.slot, pid: worker.child.pid },
            'worker killed: it did not acknowledge',
          );
          worker.child.kill();
        }
        return;
      }
      case 'read-bundle':
        this.#answerBundle(message.id);
        return;
      case 'replace-processes':
        this.replaceProcesses().then(
          () => this.#toControl({ type: 'done', id: message.id }),
          (error: unknown) =>
            this.#toControl({ type: 'done', id: message.id, error: messageOf(error) }),
        );
        break;
      case 'drained':
        return;
      case 'failed':
        this.#log('fatal', {}, message.message);
        break;
    }
  }

  #answerBundle(id: number): void {
    try {
      this.#toControl({ type: 'bundle', id, bundle: this.#options.readBundle() });
    } catch (error) {
      this.#toControl({ type: 'bundle', id, error: messageOf(error) });
    }
  }

  #fromWorker(worker: WorkerProcess, frame: Frame): void {
    worker.child.heard();
    if (frame.channel === channels.control) {
      // The channel is ours to stamp: a worker cannot speak for another.
      this.#control?.link.forward({ ...frame, channel: worker.slot }, frame.body);
      return;
    }
    if (frame.channel !== channels.supervisor) return;
    const message = parseBody(frame.body);
    if (message !== undefined) this.#handleWorker(worker, message as WorkerToSupervisor);
  }

  /** A worker may be in an attacker's hands: nothing here does more than note where it stands. */
  #handleWorker(worker: WorkerProcess, message: WorkerToSupervisor): void {
    switch (message.type) {
      case 'joined':
        if (worker.state === 'starting') worker.state = 'joined';
        this.#membersChanged();
        return;
      case 'listening': {
        const { listener, host, port } = message;
        if (typeof listener !== 'string' || typeof host !== 'string' || !Number.isInteger(port))
          return;
        if (this.#listeners.has(listener) || this.#listeners.size >= 16) return;
        this.#listeners.set(listener, { host, port });
        this.#toControl({ type: 'listening', listener, host, port });
        return;
      }
      case 'ready':
        if (worker.state === 'joined') worker.state = 'ready';
        this.#fillUp();
        this.#readiness();
        return;
      case 'failed':
        this.#log('error', { slot: worker.slot }, String(message.message).slice(0, 500));
        if (!this.#ready && this.#workers.serving().length === 1) {
          worker.state = 'draining';
          this.#finish(1);
        }
        break;
      case 'pong':
      case 'drained':
        break;
    }
  }

  #membersChanged(): void {
    const members = this.#workers.members();
    for (const worker of this.#workers.all()) this.#toWorker(worker, { type: 'members', members });
  }

  /** `run.json` says who is there; it is written when all are, and again when one of them changed. */
  #readiness(): void {
    if (this.#stopping || this.#wanted === 0 || !this.#workers.ready(this.#wanted)) return;
    const listeners = Object.fromEntries(this.#listeners);
    writeRunFile(this.#options.data.runFile, {
      version: 1,
      ready: true,
      pid: process.pid,
      startedAt: new Date(this.#startedAt).toISOString(),
      workers: this.#workers.serving().map((worker) => worker.child.pid),
      listeners,
    });
    if (this.#ready) return;
    this.#ready = true;
    this.#options.onReady({ listeners, operatorToken: this.#operatorToken });
  }

  async #drain(worker: WorkerProcess, reason: 'shutdown' | 'upgrade'): Promise<void> {
    worker.state = 'draining';
    this.#membersChanged();
    this.#toWorker(worker, { type: 'drain', reason });
    await this.#ended(worker.child, this.#drainMs + drainGraceMs);
    this.#readiness();
  }

  /** Resolves when the process has ended; kills it after `limitMs`. */
  async #ended(child: Child, limitMs: number): Promise<void> {
    if (child.process.exitCode !== null || child.process.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      const timer = this.#later(limitMs, () => child.kill());
      child.process.once('exit', () => {
        clearTimeout(timer);
        this.#timers.delete(timer);
        resolve();
      });
    });
  }

  async #becomesReady(worker: WorkerProcess): Promise<void> {
    const deadline = this.#options.clock.monotonic() + 30_000;
    while (worker.state !== 'ready') {
      if (this.#workers.at(worker.slot) !== worker || this.#options.clock.monotonic() > deadline) {
        throw new SallyportError(
          'timeout',
          'the new worker did not become ready; the old one stays',
        );
      }
      await new Promise<void>((resolve) => this.#later(20, resolve));
    }
  }

  #tick(): void {
    for (const worker of this.#workers.all()) {
      if (!worker.child.tick()) {
        this.#log(
          'error',
          { slot: worker.slot, pid: worker.child.pid },
          'worker killed: it was silent',
        );
      }
    }
    if (this.#control?.tick() === false) this.#log('error', {}, 'control killed: it was silent');
  }

  #snapshotsDue(): void {
    this.#toControl({ type: 'want-snapshot' });
  }

  #remember(): void {
    const pids = this.#workers.all().map((worker) => worker.child.pid);
    if (this.#control !== undefined) pids.push(this.#control.pid);
    rememberChildren(this.#options.data.path, pids);
  }

  #toControl(message: SupervisorToControl): void {
    this.#control?.link.send(channels.control, message);
  }

  #toWorker(worker: WorkerProcess, message: SupervisorToWorker): void {
    worker.child.link.send(worker.slot, message);
  }

  #later(ms: number, action: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }

  #log(level: 'info' | 'warn' | 'error' | 'fatal', fields: object, message: string): void {
    this.#options.log(level === 'fatal' ? 'error' : level, fields, message);
  }

  #finish(code: number): void {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const worker of this.#workers.all()) worker.child.kill();
    this.#control?.kill();
    removeRunFile(this.#options.data.runFile);
    this.#exit(code);
  }
}
