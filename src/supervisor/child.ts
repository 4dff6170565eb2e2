/**
 * One child process: started with a private pipe at descriptor 3, pinged, and killed when it is silent. Its entry
 * point, its folder and its narrow Node permissions are given; its environment is empty but for what is named here.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { Duplex } from 'node:stream';
import { SallyportError } from '../common/base/errors.ts';
import { Link } from '../common/ipc/link.ts';
import { processLoad } from './process-stat.ts';
import type { SilenceLimits } from './silence-limits.ts';

export interface ChildCommand {
  /** Absolute path of the entry point. */
  readonly entry: string;
  readonly directory: string;
  readonly nodeFlags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Largest frame that is accepted from the child. */
  readonly maxFrameBytes: number;
}

/** A child may be silent for this long until it has started; loading its modules on a busy machine is slow. */
const startLimitTicks = 160;
/** Bytes waiting for a child that does not read; a snapshot of 100,000 identities is about 10 MB. */
const maxBufferedBytes = 256 * 1024 * 1024;

export class Child {
  readonly process: ChildProcess;
  readonly link: Link;
  readonly startedAtMs: number;
  readonly #silence: SilenceLimits;
  #started = false;
  #silentTicks = 0;
  /** Processor time that it had used at the last look, and when its silence began to count. */
  #cpuMs = 0;
  #cpuMsBefore = 0;
  #pings = 0;
  #killed = false;
  #over = false;
  /** Called once when the process has ended, whatever the reason. */
  onEnd: (reason: string) => void = () => {};

  constructor(command: ChildCommand, silence: SilenceLimits, nowMs: number) {
    this.#silence = silence;
    this.startedAtMs = nowMs;
    this.process = spawn(process.execPath, [...command.nodeFlags, command.entry], {
      cwd: command.directory,
      env: { ...command.environment },
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    const pipe = this.process.stdio[3];
    if (!(pipe instanceof Duplex)) {
      throw new SallyportError('internal', `no pipe to ${command.entry}`);
    }
    this.link = new Link(pipe, { maxFrameBytes: command.maxFrameBytes, maxBufferedBytes });
    // A child that breaks the protocol or closes its pipe is of no more use.
    this.link.onClose = () => this.kill();
    this.process.on('error', (error) => {
      // A signal that cannot be sent is an error too; only a process that never began has ended.
      if (this.process.pid === undefined) this.#end(error.message);
    });
    // Not `exit`: what the child said last may still be in the pipe then.
    this.process.once('close', (code, signal) => this.#end(signal ?? `exit code ${code}`));
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** To be called for every frame from the child. */
  heard(): void {
    this.#silentTicks = 0;
  }

  /** To be called when the child serves: from here on its silence means something. */
  started(): void {
    this.#started = true;
  }

  /** One tick of the supervisor's clock. @returns false when the child was silent for too long and has been killed. */
  tick(): boolean {
    if (this.#over || this.#killed) return true;
    this.#silentTicks += 1;
    this.link.send(0, { type: 'ping', n: (this.#pings += 1) });
    const { ticks } = this.#silence;
    const patience = this.#started ? ticks : startLimitTicks;
    if (this.#silentTicks < patience) return true;
    const isAtWork = this.#isAtWork(this.#silentTicks === patience);
    if (this.#silentTicks === patience || isAtWork) return true;
    this.kill();
    return false;
  }

  /** Whether it may still come to what it was sent last, as fast as a machine that is busy lets it. */
  #isAtWork(isFirstLook: boolean): boolean {
    const load = processLoad(this.pid);
    if (load === undefined) return false;
    if (isFirstLook) this.#cpuMsBefore = load.cpuMs;
    // Asleep at this moment it may have waited for its own threads, as a garbage collection does.
    const hasWorked = load.busy || load.cpuMs > this.#cpuMs;
    this.#cpuMs = load.cpuMs;
    const { busyTicks, busyCpuMs } = this.#silence;
    const hasTime = this.#silentTicks <= busyTicks && load.cpuMs - this.#cpuMsBefore < busyCpuMs;
    return hasTime && hasWorked && !load.stopped;
  }

  /** It was told to end, and what it has said and was not heard yet is of no interest. */
  get killed(): boolean {
    return this.#killed;
  }

  get over(): boolean {
    return this.#over;
  }

  kill(): void {
    this.#killed = true;
    if (!this.#over) this.process.kill('SIGKILL');
  }

  #end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.link.close('the process ended');
    this.onEnd(reason);
  }
}
