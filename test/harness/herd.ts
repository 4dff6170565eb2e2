/** A herd of clients in a process of its own, and how far it has come. */
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { HerdLine, HerdTask } from './herd-child.ts';

export class Herd implements Disposable {
  readonly clients: number;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #round = 1;
  #last: HerdLine | undefined;

  constructor(task: HerdTask) {
    this.clients = task.clients;
    const script = join(import.meta.dirname, 'herd-child.ts');
    this.#child = spawn(process.execPath, [script, JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      // Our own child wrote it.
      this.#last = JSON.parse(line) as HerdLine;
    });
  }

  /** Of this round; zeros until it has begun. */
  get now(): HerdLine {
    const { round } = this.#last ?? { round: 0 };
    return this.#last === undefined || round < this.#round
      ? { round: this.#round, inside: 0, failed: 0, elapsedMs: [] }
      : this.#last;
  }

  get isDone(): boolean {
    return this.now.inside + this.now.failed >= this.clients;
  }

  /** All of them lose their connections and come back at once. */
  again(): void {
    this.#round += 1;
    this.#child.stdin.write('again\n');
  }

  [Symbol.dispose](): void {
    this.#child.stdin.end();
  }
}
