/** Progress for people, on standard error: one line that is written over on a terminal, a line now and then elsewhere. */
import type { Terminal } from './context.ts';

const liveMs = 500;
const plainMs = 5_000;
/** Of a terminal that does not say how wide it is. */
const usualColumns = 80;

export class Progress implements Disposable {
  readonly #terminal: Terminal;
  readonly #live: boolean;
  readonly #timer: NodeJS.Timeout;
  #isShown = false;

  /** @param text what to show now; undefined for nothing. */
  constructor(terminal: Terminal, text: () => string | undefined) {
    this.#terminal = terminal;
    this.#live = terminal.liveColumns !== undefined;
    this.#timer = setInterval(() => this.#show(text()), this.#live ? liveMs : plainMs);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#isShown) this.#terminal.err('\r\u001b[2K');
    this.#isShown = false;
  }

  #show(text: string | undefined): void {
    if (text === undefined) return;
    if (!this.#live) {
      this.#terminal.err(`${text}\n`);
      return;
    }
    // A line that wraps could not be written over.
    const columns = this.#terminal.liveColumns?.() ?? 0;
    this.#terminal.err(`\r\u001b[2K${text.slice(0, (columns > 0 ? columns : usualColumns) - 1)}`);
    this.#isShown = true;
  }
}
