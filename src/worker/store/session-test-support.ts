/** Workers of a test that share a folder: each with its sessions, all by the same hands of the clock. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../common/base/clock.ts';
import type { Logger } from '../../common/base/logger.ts';
import { silentLogger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { SessionLimits } from '../broker/sessions.ts';
import type { Timers } from '../routes/ports.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';
import { openSessions } from './open-sessions.ts';
import type { OpenedSessions } from './open-sessions.ts';
import { RecordCipher } from './record-cipher.ts';
import type { SessionTables } from './session-tables.ts';

const manyLimits: SessionLimits = {
  sessionsPerIdentity: 1_000,
  queuedMessages: 100_000,
  queuedBytes: 100_000_000,
  whenQueueFull: 'drop-newest',
};

/** Rings when the test turns the hands. */
class HandTimers implements Timers {
  now = 1_000_000;
  readonly #waiting = new Set<{ readonly at: number; readonly wake: () => void }>();

  after(ms: number, wake: () => void): () => void {
    const timer = { at: this.now + ms, wake };
    this.#waiting.add(timer);
    return () => this.#waiting.delete(timer);
  }

  /** Rings what is due in the order of time. */
  turn(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const [next] = [...this.#waiting].toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > until) break;
      this.#waiting.delete(next);
      this.now = Math.max(this.now, next.at);
      next.wake();
    }
    this.now = until;
  }
}

export interface TestWorker extends OpenedSessions {
  readonly slot: number;
  readonly tables: SessionTables;
}

export class TestWorkers {
  readonly timers = new HandTimers();
  readonly told: string[] = [];
  /** `<principal> <payload>` of each will, in the order in which they were published. */
  readonly wills: string[] = [];
  readonly counted = new Map<string, number>();
  readonly environment: LmdbEnvironment;
  readonly clock: Clock;
  limits: () => SessionLimits;
  /** Those that have not died. */
  present: readonly number[] = [];
  home = 0;
  readonly revoked = new Set<PrincipalName>();
  publishWill: () => Promise<void> = async () => {};
  onSessionChanged: (key: string) => Promise<void> = async () => {};
  logger: Logger = silentLogger;
  readonly directory: string;

  /** Otherwise the hands are those of `timers`, and nothing is ever full. */
  constructor(clock?: Clock, limits: () => SessionLimits = () => manyLimits) {
    this.clock = clock ?? { now: () => this.timers.now, monotonic: () => this.timers.now };
    this.limits = limits;
    this.directory = mkdtempSync(join(tmpdir(), 'sallyport-sessions-'));
    this.environment = LmdbEnvironment.open({
      directory: this.directory,
      names: ['other'],
      clock: this.clock,
    });
  }

  /**
   * A process that takes the slot; one that had it before is dead.
   *
   * @param micros and `wallMicros`: the clocks of the machine.
   */
  start(slot: number, micros?: () => number, wallMicros?: () => number): TestWorker {
    this.present = [...new Set([...this.present, slot])];
    const tables = this.environment.sessions(slot);
    const opened = openSessions(
      {
        workers: {
          slots: () => this.present,
          isPresent: (other) => this.present.includes(other),
          isHome: () => this.home === slot,
        },
        isRevoked: (principal) => this.revoked.has(principal),
        timers: this.timers,
        onSessionChanged: async (key) => {
          this.told.push(key);
          await this.onSessionChanged(key);
        },
        publishWill: async (principal, message) => {
          this.wills.push(`${principal} ${message.payload.toString()}`);
          await this.publishWill();
        },
        count: (name, by = 1) => this.counted.set(name, (this.counted.get(name) ?? 0) + by),
      },
      {
        tables,
        ids: this.environment.spools(slot, micros, wallMicros).ids,
        cipher: new RecordCipher(Buffer.alloc(32, 1)),
        limits: () => this.limits(),
        clock: this.clock,
        logger: this.logger,
      },
    );
    return { ...opened, slot, tables };
  }

  /** It does nothing any more, and the others know. */
  kill({ slot, tables }: TestWorker): void {
    tables.close();
    this.present = this.present.filter((other) => other !== slot);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.environment.close();
    rmSync(this.directory, { recursive: true });
  }
}
