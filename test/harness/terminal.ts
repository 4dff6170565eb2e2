/**
 * An interactive bash on a terminal of its own, as somebody has who pastes lines out of a README: with job control, and
 * with everything that is said, by jobs in the background too, on one screen.
 */
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { within } from './waiting.ts';

export interface TerminalOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  /** A command that becomes the terminal's, such as `unshare -n`. */
  readonly under?: readonly string[];
}

/** Whatever a line starts, it is back at the prompt by then. */
const lineLimitMs = 120_000;
const showLimitMs = 60_000;
const prompt = 'PASTE-HERE> ';

export class Terminal implements AsyncDisposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<void>;
  readonly #wakes = new Set<() => void>();
  #screen = '';

  static async open(options: TerminalOptions): Promise<Terminal> {
    const terminal = new Terminal(options);
    try {
      // In two pieces, so that what is typed is not taken for a prompt.
      await terminal.paste(`PS1='${prompt.slice(0, 3)}''${prompt.slice(3)}'`);
      return terminal;
    } catch (error) {
      await terminal[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor({ cwd, env = {}, under = [] }: TerminalOptions) {
    // `script` makes the terminal; it writes no transcript, and ends with the shell.
    const shell = 'bash --noprofile --norc --noediting -i';
    const [program, ...args] = [...under, 'script', '-qec', shell, '/dev/null'];
    this.#process = spawn(program, args, {
      cwd,
      env: { ...process.env, TERM: 'dumb', HISTFILE: '', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#process.stdin.on('error', () => {});
    this.#ended = new Promise((resolve, reject) => {
      this.#process.once('error', reject);
      this.#process.once('close', () => resolve());
    });
    this.#ended.catch(() => {});
    this.#process.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#screen += text.replaceAll('\r\n', '\n');
      for (const wake of this.#wakes) wake();
    });
  }

  /** Everything that is on the screen. */
  get screen(): string {
    return this.#screen;
  }

  /** Types a line and waits for the next prompt. @returns what the screen has got meanwhile. */
  async paste(line: string): Promise<string> {
    const at = this.#screen.length;
    const before = this.#prompts();
    this.#process.stdin.write(`${line}\n`);
    await this.#until(
      () => this.#prompts() > before || undefined,
      lineLimitMs,
      `the end of ${line}`,
    );
    return this.#screen.slice(at);
  }

  /** What matches, as soon as it is on the screen, from `since` on; a job's line may stand behind a prompt. */
  shows(pattern: RegExp, since = 0): Promise<string> {
    return this.#until(
      () => pattern.exec(this.#screen.slice(since).replaceAll(prompt, ''))?.[0],
      showLimitMs,
      `${pattern.toString()} on the screen`,
    );
  }

  async leave(): Promise<void> {
    this.#process.stdin.write('exit\n');
    await within(this.#ended, showLimitMs, 'the end of the shell');
  }

  /** The terminal goes away, which the shell and its jobs are told by SIGHUP. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await within(this.#ended, showLimitMs, 'the end of the terminal');
  }

  #prompts(): number {
    return this.#screen.split(prompt).length - 1;
  }

  async #until<T>(look: () => T | undefined, limitMs: number, what: string): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<T>();
    const wake = (): void => {
      const found = look();
      if (found !== undefined) resolve(found);
    };
    this.#wakes.add(wake);
    wake();
    const ended = this.#ended.then(() => {
      throw new Error('the shell ended');
    });
    ended.catch(() => {});
    try {
      return await within(Promise.race([promise, ended]), limitMs, what);
    } catch (error) {
      throw new Error(`${what}: ${this.#screen}`, { cause: error });
    } finally {
      this.#wakes.delete(wake);
    }
  }
}
