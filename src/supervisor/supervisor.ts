/**
 * Starts control and the workers, relays between them, restarts what dies, kills what is silent, drains and upgrades.
 * It reads the operator's configuration (as whoever started it may), and nothing that comes from the network.
 */
import type { Clock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import { TicketChain } from '../common/base/ticket-chain.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import { channels, maxSlot } from '../common/ipc/frames.ts';
import type { Frame } from '../common/ipc/frames.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { parseBody } from '../common/ipc/link.ts';
import type {
  ClockReading,
  ControlToSupervisor,
  SupervisorToControl,
  SupervisorToWorker,
  WorkerKeys,
} from '../common/ipc/messages.ts';
import { Child } from './child.ts';
import { controlCommand, workerCommand } from './commands.ts';
import type { DataDirectory, WingUsers } from './data-directory.ts';
import { describe, WorkerGroup } from './group.ts';
import type { WorkerProcess } from './group.ts';
import { rememberChildren } from './leftovers.ts';
import { FrameBudget } from './frame-budget.ts';
import { wakeLockWaiters } from './lock-waiters.ts';
import { Openings } from './openings.ts';
import { operatorFiles } from './operator-files.ts';
import { RestartPolicy } from './restart-policy.ts';
import { removeRunFile, writeRunFile } from './run-file.ts';
import { controlSilence, tickMs, workerSilence } from './silence-limits.ts';
import { SnapshotCache } from './snapshot-cache.ts';
import { parseWorkerWord } from './worker-words.ts';

/** What a draining process may take beyond its own drain time before it is killed. */
const drainGraceMs = 3_000;
/** From its start to its readiness; a worker that takes longer is replaced. */
const readyLimitMs = 45_000;
/** Between two tries to start a process when the system has none to give. */
const retryStartMs = 1_000;
/** Configurations that control may still say it has applied. */
const maxOffered = 4;
const workerFrames = { framesPerSecond: 2_000, bytesPerSecond: 8 * 1024 * 1024 };
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

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #startedAt: number;
  readonly #workers = new WorkerGroup();
  readonly #snapshots = new SnapshotCache();
  readonly #openings: Openings<WorkerProcess>;
  readonly #listeners = new Map<string, ReadyInfo['listeners'][string]>();
  readonly #controlRestarts = new RestartPolicy();
  readonly #workerRestarts = new RestartPolicy();
  readonly #timers = new Set<NodeJS.Timeout>();
  #control: Child | undefined;
  /** The control that was told to end for an upgrade: its end is no fault. */
  #retiring: Child | undefined;
  #keys: Omit<WorkerKeys, 'tickets'> | undefined;
  /** Of the whole run: a ticket of one worker is good on every other. */
  #tickets: TicketChain | undefined;
  #wanted = 0;
  #drainMs = 10_000;
  /** What control starts with: the last configuration that was in force. */
  #bundle: ConfigBundle;
  /** Configurations handed to control, by the question they answer; 0 is SIGHUP's. */
  readonly #offered = new Map<number, ConfigBundle>();
  #reloadDue = false;
  #operatorToken: string | undefined;
  #failedStarts = 0;
  #memberChanges = 0;
  #ready = false;
  #stopping = false;
  #replacing = false;
  #exit: (code: number) => void = () => {};
  readonly #exited: Promise<number>;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#bundle = options.bundle;
    this.#openings = new Openings({
      tell: (worker, message) => this.#toWorker(worker, message),
      welcome: (worker) => worker.welcome(),
      late: (worker, why) => this.#kill(worker, why),
      wake: wakeLockWaiters,
    });
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

  /** For control, which watches it. */
  clockRead(reading: ClockReading | undefined): void {
    this.#toControl({ type: 'clock', reading });
  }

  /** SIGHUP: reads the configuration again; control applies it or keeps the last good one and logs why. */
  reload(): void {
    // A control that is being started is told when it can hear.
    if (this.#control === undefined) this.#reloadDue = true;
    else this.#offerBundle(0);
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

  /** SIGUSR2: for each worker a new one starts and the old one drains; then control is replaced. */
  async replaceProcesses(): Promise<void> {
    if (!this.#ready || this.#replacing || this.#stopping) {
      throw new SallyportError('busy', 'the gateway starts, stops or is being upgraded already', {
        hint: 'try again when it is ready',
      });
    }
    this.#replacing = true;
    try {
      this.#log('info', {}, 'replacing processes');
      this.#toControl({ type: 'want-snapshot' });
      for (const old of this.#workers.serving()) {
        // One that died meanwhile has been replaced already.
        if (this.#workers.at(old.slot) !== old) continue;
        const fresh = this.#startWorker();
        await this.#becomesReady(fresh);
        await this.#drain(old, 'upgrade');
        this.#assertRunning();
      }
      // It answers what is under way and ends; the next one is then started.
      this.#retiring = this.#control;
      this.#toControl({ type: 'drain' });
    } finally {
      this.#replacing = false;
    }
  }

  #startControl(): void {
    const { data, users, version, clock } = this.#options;
    const bundle = this.#bundle;
    const files = operatorFiles(parseConfig(bundle), process.env);
    const child = new Child(controlCommand(data, files), controlSilence, clock.monotonic());
    this.#control = child;
    child.link.onFrame = (frame) => this.#fromControl(child, frame);
    child.onEnd = (reason) => this.#controlEnded(child, reason);
    this.#toControl({
      type: 'welcome',
      bundle,
      startedAt: this.#startedAt,
      version,
      ports: this.#ports(),
      members: this.#workers.everyone(),
      announce: !this.#ready,
      workersOverride: this.#options.workers,
      privileges: users?.control,
    });
    // One that replaces another has not heard where the workers listen; its own listener it tells itself.
    for (const [listener, { host, port }] of this.#listeners) {
      if (listener !== 'admin') this.#toControl({ type: 'listening', listener, host, port });
    }
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
      this.#restartControl();
      return;
    }
    this.#log('error', { reason }, 'control ended; workers serve on while it is restarted');
    const livedMs = this.#options.clock.monotonic() - child.startedAtMs;
    this.#later(this.#controlRestarts.nextDelayMs(livedMs), () => this.#restartControl());
  }

  #restartControl(): void {
    if (this.#stopping) return;
    try {
      this.#startControl();
    } catch (error) {
      this.#log('error', { err: messageOf(error) }, 'control could not be started');
      this.#later(retryStartMs, () => this.#restartControl());
    }
  }

  #startWorker(): WorkerProcess {
    const keys = this.#keys;
    const ticketKeys = this.#tickets;
    const slot = this.#workers.freeSlot();
    if (keys === undefined || ticketKeys === undefined || slot > maxSlot)
      throw new SallyportError('internal', 'no keys or no slot for a worker');
    const { data, users, clock } = this.#options;
    const child = new Child(workerCommand(data), workerSilence, clock.monotonic());
    const generation = this.#workers.nextGeneration();
    const worker: WorkerProcess = {
      slot,
      generation,
      child,
      budget: new FrameBudget(workerFrames),
      welcome: () => {
        // All others wait for it until it has opened the store: its silence means something from now on.
        child.started();
        worker.welcomedAtMs = clock.monotonic();
        const tickets = ticketKeys.stateAt(clock.now());
        const all = { keys: { ...keys, tickets }, ports: this.#ports(), privileges: users?.worker };
        this.#toWorker(worker, { type: 'welcome', slot, generation, ...all });
      },
      welcomedAtMs: undefined,
      state: 'starting',
    };
    this.#workers.add(worker);
    child.link.onFrame = (frame) => this.#guard(worker, () => this.#fromWorker(worker, frame));
    child.onEnd = (reason) => this.#workerEnded(worker, reason);
    for (const frame of this.#snapshots.frames()) child.link.forward(frame, frame.body);
    this.#toControl({ type: 'members', members: this.#workers.everyone() });
    this.#remember();
    return worker;
  }

  #workerEnded(worker: WorkerProcess, reason: string): void {
    this.#openings.ended(worker);
    const expected = worker.state === 'draining' || this.#stopping;
    this.#workers.remove(worker);
    this.#membersChanged();
    this.#toControl({ type: 'worker-gone', slot: worker.slot, generation: worker.generation });
    if (expected) return;
    this.#log('error', { ...describe(worker), reason }, 'worker ended');
    if (this.#ready) this.#writeRun();
    this.#failedStarts += 1;
    if (!this.#ready && this.#failedStarts >= maxFailedStarts) {
      this.#log('fatal', {}, 'the workers do not start');
      this.#finish(1);
      return;
    }
    const livedMs = this.#options.clock.monotonic() - worker.child.startedAtMs;
    this.#fillUpIn(this.#workerRestarts.nextDelayMs(livedMs));
  }

  /** Of the listeners that there are. */
  #ports(): Record<string, number> {
    return Object.fromEntries([...this.#listeners].map(([name, { port }]) => [name, port]));
  }

  #fillUpIn(ms: number): void {
    this.#later(ms, () => this.#fillUp());
  }

  /** As many workers as are wanted; the first one alone, until it has chosen the ports that were left free. */
  #fillUp(): void {
    if (this.#stopping || this.#keys === undefined) return;
    const serving = this.#workers.serving().length;
    const portsKnown = this.#workers.ready(1) || this.#ready;
    const target = portsKnown ? this.#wanted : 1;
    try {
      for (let n = serving; n < target; n += 1) this.#startWorker();
    } catch (error) {
      this.#log('error', { err: messageOf(error) }, 'a worker could not be started');
      this.#fillUpIn(retryStartMs);
    }
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
      if (this.#snapshots.keep(frame)) this.#toControl({ type: 'want-snapshot' });
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
        this.#control?.started();
        this.#takeKeys(message.keys);
        this.#wanted = message.workers;
        this.#drainMs = message.drainMs;
        this.#operatorToken ??= message.operatorToken;
        this.#toControl({ type: 'members', members: this.#workers.everyone() });
        if (this.#reloadDue) this.#offerBundle(0);
        this.#reloadDue = false;
        this.#fillUp();
        return;
      case 'listening':
        this.#listeners.set(message.listener, { host: message.host, port: message.port });
        this.#readiness();
        return;
      case 'kill-worker': {
        const worker = this.#workers.at(message.slot);
        if (worker?.generation === message.generation)
          this.#kill(worker, 'it did not acknowledge', 'warn');
        return;
      }
      case 'read-bundle':
        this.#offerBundle(message.id);
        return;
      case 'applied':
        this.#bundle = this.#offered.get(message.id) ?? this.#bundle;
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

  /** The first control's keys hold for the whole run. */
  #takeKeys({ tickets, ...keys }: WorkerKeys): void {
    this.#keys ??= keys;
    this.#tickets ??= new TicketChain(tickets);
  }

  #offerBundle(id: number): void {
    try {
      const bundle = this.#options.readBundle();
      this.#offered.delete(id);
      this.#offered.set(id, bundle);
      const [oldest] = this.#offered.keys();
      if (this.#offered.size > maxOffered && oldest !== undefined) this.#offered.delete(oldest);
      this.#toControl({ type: 'bundle', id, bundle });
    } catch (error) {
      this.#toControl({ type: 'bundle', id, error: messageOf(error) });
    }
  }

  #fromWorker(worker: WorkerProcess, frame: Frame): void {
    if (worker.child.killed) return;
    worker.child.heard();
    if (!worker.budget.take(frame.body.length, this.#options.clock.monotonic())) {
      this.#kill(worker, 'it floods control');
    } else if (frame.channel === channels.control) {
      // The channel is ours to stamp: a worker cannot speak for another.
      this.#control?.link.forward({ ...frame, channel: worker.slot }, frame.body);
    } else if (frame.channel === channels.supervisor) {
      this.#handleWorker(worker, frame.body);
    }
  }

  /** Nothing here does more than note where the worker stands. */
  #handleWorker(worker: WorkerProcess, body: Buffer): void {
    const word = parseWorkerWord(body);
    if (word !== undefined) this.#openings.heard(worker, word);
    switch (word?.type) {
      case 'joined':
        if (worker.state !== 'starting') return;
        worker.state = 'joined';
        worker.child.started();
        this.#membersChanged();
        break;
      case 'listening': {
        const { listener, host, port } = word;
        if (this.#listeners.has(listener)) return;
        this.#listeners.set(listener, { host, port });
        this.#toControl({ type: 'listening', listener, host, port });
        break;
      }
      case 'ready':
        if (worker.state !== 'joined') return;
        worker.state = 'ready';
        this.#fillUp();
        this.#readiness();
        break;
      case 'failed':
        this.#log('error', describe(worker), word.message);
        if (!this.#ready && this.#workers.serving().length === 1) {
          worker.state = 'draining';
          this.#finish(1);
        } else {
          // It is replaced, after a while that grows.
          worker.child.kill();
        }
        break;
      case 'pong':
      case 'up':
      case 'held':
      case 'drained':
      case undefined:
        break;
    }
  }

  #membersChanged(): void {
    this.#memberChanges += 1;
    const members = this.#workers.members();
    const message = { type: 'members', members, change: this.#memberChanges } as const;
    for (const worker of this.#workers.all()) this.#toWorker(worker, message);
  }

  /** `run.json` says who is there; it is written when all are, and again when one of them changed. */
  #readiness(): void {
    if (this.#stopping || this.#wanted === 0 || !this.#workers.ready(this.#wanted)) return;
    this.#writeRun();
    if (this.#ready) return;
    this.#ready = true;
    const listeners = Object.fromEntries(this.#listeners);
    this.#options.onReady({ listeners, operatorToken: this.#operatorToken });
    this.#toControl({ type: 'announced' });
  }

  #writeRun(): void {
    const ready = this.#workers.all().filter((worker) => worker.state === 'ready');
    this.#attempt('run.json was not written', () =>
      writeRunFile(this.#options.data.runFile, {
        version: 1,
        ready: true,
        pid: process.pid,
        startedAt: new Date(this.#startedAt).toISOString(),
        workers: ready.map((worker) => worker.child.pid),
        listeners: Object.fromEntries(this.#listeners),
      }),
    );
  }

  /** A full disk must not end the gateway. */
  #attempt(failure: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#log('error', { err: messageOf(error) }, failure);
    }
  }

  async #drain(worker: WorkerProcess, reason: 'shutdown' | 'upgrade'): Promise<void> {
    // One that serves nobody yet is not worth the time of those that wait for it.
    if (worker.state === 'starting') worker.child.kill();
    worker.state = 'draining';
    this.#membersChanged();
    this.#toWorker(worker, { type: 'drain', reason });
    await this.#ended(worker.child, this.#drainMs + drainGraceMs);
    this.#readiness();
  }

  /** Resolves when the process has ended; kills it after `limitMs`. */
  async #ended(child: Child, limitMs: number): Promise<void> {
    if (child.over) return;
    await new Promise<void>((resolve) => {
      const timer = this.#later(limitMs, () => child.kill());
      child.process.once('close', () => {
        clearTimeout(timer);
        this.#timers.delete(timer);
        resolve();
      });
    });
  }

  async #becomesReady(worker: WorkerProcess): Promise<void> {
    while (worker.state !== 'ready') {
      this.#assertRunning();
      // It ended, or was killed because it took too long.
      if (this.#workers.at(worker.slot) !== worker) {
        throw new SallyportError('timeout', 'the new worker did not become ready; the old stay');
      }
      await new Promise<void>((resolve) => this.#later(20, resolve));
    }
  }

  #assertRunning(): void {
    if (this.#stopping) throw new SallyportError('not-running', 'the gateway is stopping');
  }

  #tick(): void {
    const now = this.#options.clock.monotonic();
    // Nothing from which tickets of earlier periods could be opened stays in memory.
    this.#tickets?.secretAt(this.#options.clock.now());
    this.#openings.tick();
    for (const worker of this.#workers.all()) {
      if (!worker.child.tick()) {
        this.#log('error', describe(worker), 'worker killed: it was silent');
      } else if (
        (worker.state === 'starting' || worker.state === 'joined') &&
        now - (worker.welcomedAtMs ?? now) > readyLimitMs
      ) {
        this.#kill(worker, 'it did not become ready');
      }
    }
    if (this.#control?.tick() === false) this.#log('error', {}, 'control killed: it was silent');
  }

  #kill(worker: WorkerProcess, why: string, level: 'warn' | 'error' = 'error'): void {
    this.#log(level, describe(worker), `worker killed: ${why}`);
    worker.child.kill();
  }

  #children(): readonly Child[] {
    const workers = this.#workers.all().map(({ child }) => child);
    return this.#control === undefined ? workers : [...workers, this.#control];
  }

  #remember(): void {
    const pids = this.#children().map(({ pid }) => pid);
    this.#attempt('children.json was not written', () =>
      rememberChildren(this.#options.data.path, pids),
    );
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
    removeRunFile(this.#options.data.runFile);
    const children = this.#children();
    for (const child of children) child.kill();
    // The lock on the data is kept until nobody works on it any more.
    const ended = children.map((child) => this.#ended(child, drainGraceMs));
    void Promise.all(ended).then(() => this.#exit(code));
  }

  /** Whatever goes wrong with what one worker sent costs that worker and nothing else. */
  #guard(worker: WorkerProcess, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#log('error', { ...describe(worker), err: messageOf(error) }, 'worker killed');
      worker.child.kill();
    }
  }
}
