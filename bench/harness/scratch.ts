/**
 * Everything that a run leaves on the machine, so that nothing stays: one folder for all files, and the processes that
 * were started. Both go when this process ends, whichever way.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treeOf } from './process-tree.ts';

// 0700. Short, because a unix socket's path has 107 bytes.
const folder = mkdtempSync(join(tmpdir(), 'sp-'));
// What the test harness makes in the temporary folder goes the same way.
process.env['TMPDIR'] = folder;

const running = new Set<ChildProcess>();

for (const [signal, number] of [
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const) {
  // Without a handler the process would end and no `exit` handler would run.
  process.once(signal, () => process.exit(128 + number));
}

process.on('exit', () => {
  for (const child of running) killTree(child);
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

/** A new folder, 0700. */
export function scratchFolder(prefix: string): string {
  return mkdtempSync(join(folder, `${prefix}-`));
}

export class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #exit: Promise<void>;
  #ended = false;

  /** @param log file that gets what it writes. */
  constructor(command: readonly [string, ...string[]], log: string) {
    const [program, ...args] = command;
    const output = openSync(log, 'a', 0o600);
    this.#child = spawn(program, args, {
      // Daemons live in sbin, which is not on everybody's PATH.
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    running.add(this.#child);
    this.#exit = new Promise((resolve) => {
      const gone = (): void => {
        this.#ended = true;
        running.delete(this.#child);
        resolve();
      };
      this.#child.once('exit', gone);
      this.#child.once('error', gone);
    });
  }

  get ended(): boolean {
    return this.#ended;
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.#child.spawnfile} could not be started`);
    return pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM');
    const late = setTimeout(() => killTree(this.#child), 5_000);
    await this.#exit;
    clearTimeout(late);
  }
}

/** The workers of a master that is killed would live on. */
function killTree({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  for (const each of treeOf(pid)) {
    try {
      process.kill(each, 'SIGKILL');
    } catch {
      // It was quicker.
    }
  }
}
