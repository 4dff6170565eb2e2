/** JSON lines by pino, on standard error. Field names are the field's own: `ssl_client_s_dn`, `principal`, `code`. */
import { destination, pino, stdTimeFunctions } from 'pino';
import type { Logger } from './logger.ts';

/** Characters of log that wait for a sink that does not read; what comes then is dropped, and service goes on. */
const maxWaiting = 4 * 1024 * 1024;

/**
 * Lines that come within this time are one write. With a write for each line, two of a connection, a thread was woken
 * for each, which took the core from the event loop (libuv's threads alone: 28 µs a connection, now 8). Only `kill -9`
 * loses what is younger than this; every other end writes it first.
 */
const gatherMs = 20;
/** Characters of lines that are gathered no longer. */
const gathered = 8 * 1024;
/** Less than this the sink does not write by itself, but when it is told to; the largest that it takes. */
const sinkHoldsBytes = 16 * 1024 - 1;

/** What a thread of libuv needs at most to write what it was given, when the sink reads. */
const underWayMs = 50;
const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

export interface JsonLogger extends Logger {
  setLevel(level: string): void;
}

/** What pino writes to: gathers lines, and hands them on in order while the sink is not writing. */
class Gathering {
  readonly #sink = destination({ fd: 2, sync: false, minLength: sinkHoldsBytes });
  #lines = '';
  #timer: NodeJS.Timeout | undefined;
  #writing = false;

  constructor() {
    this.#sink.on('drain', () => this.#written());
    // A sink that is gone is no reason to stop: there is nobody left to tell.
    this.#sink.on('error', () => this.#written());
  }

  write(line: string): void {
    if (this.#lines.length + line.length > maxWaiting) return;
    this.#lines += line;
    if (this.#lines.length >= gathered) this.#handOn();
    else this.#wait();
  }

  /** pino calls it after a line of level fatal, whose process may not live to see the timer. */
  flushSync(): void {
    // A thread is writing, or about to, what came before; a process that ends at once would cancel it.
    if (this.#writing) Atomics.wait(nobodyWakes, 0, 0, underWayMs);
    const lines = this.#take();
    if (lines !== '') this.#sink.write(lines);
    this.#sink.flushSync();
  }

  #wait(): void {
    // Writing ends with a look at what has come meanwhile.
    if (!this.#writing) this.#timer ??= setTimeout(() => this.#handOn(), gatherMs).unref();
  }

  #handOn(): void {
    if (this.#writing) return;
    this.#writing = true;
    this.#sink.write(this.#take());
    this.#sink.flush();
  }

  #written(): void {
    this.#writing = false;
    if (this.#lines !== '') this.#wait();
  }

  #take(): string {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const lines = this.#lines;
    this.#lines = '';
    return lines;
  }
}

export function jsonLogger(fields: Readonly<Record<string, unknown>>): JsonLogger {
  const gathering = new Gathering();
  // What explains an end is written just before it.
  process.on('exit', () => {
    try {
      gathering.flushSync();
    } catch {
      // Gone, or not reading.
    }
  });
  const logger = pino(
    {
      level: 'info',
      base: { ...fields },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    gathering,
  );
  return {
    debug: (object, message) => logger.debug(object, message),
    info: (object, message) => logger.info(object, message),
    warn: (object, message) => logger.warn(object, message),
    error: (object, message) => logger.error(object, message),
    fatal: (object, message) => logger.fatal(object, message),
    isLevelEnabled: (level) => logger.isLevelEnabled(level),
    setLevel: (level) => {
      logger.level = level;
    },
  };
}
