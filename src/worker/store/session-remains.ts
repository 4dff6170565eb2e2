/**
 * Removes what sessions that are over leave behind: their queues, which may be long. That a session is over is a mark
 * in the store, written when it ended, so that what one process does not get to another one does.
 */
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { SessionId } from '../broker/sessions.ts';
import type { SessionTables } from './session-tables.ts';

/** What is left by others, for one look. */
const unclearedPerSweep = 1_000;

export class SessionRemains {
  readonly #tables: SessionTables;
  readonly #logger: Logger;
  readonly #waiting = new Set<SessionId>();
  #clearing: Promise<void> | undefined;

  constructor(tables: SessionTables, logger: Logger) {
    this.#tables = tables;
    this.#logger = logger;
  }

  /** Soon, and one after the other. */
  clear(session: SessionId): void {
    this.#waiting.add(session);
    this.#clearing ??= this.#clearAll();
  }

  /** Also what others have left. Resolves when nothing is left to do. */
  async sweep(): Promise<void> {
    for (const session of this.#tables.uncleared(unclearedPerSweep)) this.clear(session);
    await this.#clearing;
  }

  /** Never rejects. */
  async #clearAll(): Promise<void> {
    for (const session of this.#waiting) {
      try {
        await this.#tables.clear(session);
      } catch (error) {
        // The mark stays, and with it the next attempt.
        this.#logger.debug({ err: messageOf(error) }, 'what a session left was not removed');
      }
      this.#waiting.delete(session);
    }
    this.#clearing = undefined;
  }
}
