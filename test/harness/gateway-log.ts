/** The JSON lines that all processes of a gateway write to standard error, in the order of their arrival. */
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { within } from './waiting.ts';

export type LogLine = ReadonlyMap<string, unknown>;
export type LogPredicate = (line: LogLine) => boolean;

interface Waiter {
  readonly predicate: LogPredicate;
  readonly resolve: (line: LogLine) => void;
}

const tailLines = 15;

export class GatewayLog {
  readonly #texts: string[] = [];
  readonly #lines: LogLine[] = [];
  readonly #waiters = new Set<Waiter>();

  constructor(stderr: Readable) {
    createInterface({ input: stderr }).on('line', (text) => this.#add(text));
  }

  /** Where the log ends now; give it to `logged` to look only at what comes later. */
  get end(): number {
    return this.#lines.length;
  }

  /** The first line from `since` on that satisfies the predicate, as soon as there is one. */
  async logged(predicate: LogPredicate, since = 0, limitMs = 30_000): Promise<LogLine> {
    const found = this.#lines.slice(since).find(predicate);
    if (found !== undefined) return found;
    const { promise, resolve } = Promise.withResolvers<LogLine>();
    const waiter = { predicate, resolve };
    this.#waiters.add(waiter);
    try {
      return await within(promise, limitMs, `a line of the log: ${predicate.toString()}`);
    } catch (error) {
      throw new Error(this.tail(), { cause: error });
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /** The lines from `since` on, so far, that satisfy the predicate. */
  lines(predicate: LogPredicate, since = 0): readonly LogLine[] {
    return this.#lines.slice(since).filter(predicate);
  }

  /** Everything written so far, also what is no JSON. */
  get text(): string {
    return this.#texts.join('\n');
  }

  /** The last lines, for the message of a failure. */
  tail(): string {
    return `the log ends with\n${this.#texts.slice(-tailLines).join('\n')}`;
  }

  #add(text: string): void {
    this.#texts.push(text);
    const line = parseLine(text);
    if (line === undefined) return;
    this.#lines.push(line);
    for (const waiter of this.#waiters) if (waiter.predicate(line)) waiter.resolve(line);
  }
}

function parseLine(text: string): LogLine | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? new Map(Object.entries(value)) : undefined;
  } catch {
    return undefined;
  }
}
