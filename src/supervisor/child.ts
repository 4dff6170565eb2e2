/**
 * One child process: started with a private pipe at descriptor 3, pinged, and killed when it is silent. Its entry
 * point, its folder and its narrow Node permissions are given; its environment is empty but for what is named here.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { Duplex } from 'node:stream';
import { SallyportError } from '../common/base/errors.ts';
import { Link } from '../common/ipc/link.ts';

export interface ChildCommand {
  /** Absolute path of the entry point. */
  readonly entry: string;
  readonly directory: string;
  readonly nodeFlags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Largest frame that is accepted from the child. */
  readonly maxFrameBytes: number;
}

/** A child may take this long from its start to its first frame; loading its modules on a busy machine is slow. */
const startLimitTicks = 160;
/** 250 ms each. Silence is counted in the supervisor's own ticks, so that a machine that stalls kills nobody. */
export const tickMs = 250;
/** Bytes waiting for a child that does not read; a snapshot of 100,000 identities is about 10 MB. */
const maxBufferedBytes = 256 * 1024 * 1024;

export class Child {
  readonly process: ChildProcess;
  readonly link: Link;
  readonly startedAtMs: number;
  readonly #silenceLimitTicks: number;
  #heard = false;
  #silentTicks = 0;
  #pings = 0;
  #over = false;
  /** Called once when the process has ended, whatever the reason. */
  onEnd: (reason: string) => void = () => {};

  constructor(command: ChildCommand, silenceLimitTicks: number, nowMs: number) {
    this.#silenceLimitTicks = silenceLimitTicks;
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
    this.#heard = true;
    this.#silentTicks = 0;
  }

  /** One tick of the supervisor's clock. @returns false when the child was silent for too long and has been killed. */
  tick(): boolean {
    if (this.#over) return true;
    this.#silentTicks += 1;
    this.link.send(0, { type: 'ping', n: (this.#pings += 1) });
    const limit = this.#heard ? this.#silenceLimitTicks : startLimitTicks;
    if (this.#silentTicks <= limit) return true;
    this.kill();
    return false;
  }

  get over(): boolean {
    return this.#over;
  }

  kill(): void {
    if (!this.#over) this.process.kill('SIGKILL');
  }

  #end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.link.close('the process ended');
    this.onEnd(reason);
  }
}
