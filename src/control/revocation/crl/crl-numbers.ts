/**
 * The numbers and times of every revocation list that may still be in use, on disk: a number is never given twice and
 * times do not go back, whatever happens in between (RFC 5280 sections 5.1.2.5 and 5.2.3).
 */
import type { DatabaseSync } from 'node:sqlite';
import { inTransaction } from '../../store/database.ts';
import { integer } from '../../store/row.ts';
import type { Row } from '../../store/row.ts';

/**
 * How far the clock may have been set back: until it has caught up, lists keep the time of the last one. Beyond that the
 * last one came from a clock that was wrong, and nobody whose clock is right accepts it.
 */
export const clockStepMs = 3_600_000;

/** Times are milliseconds in whole seconds, as a list says them. */
export interface IssuedList {
  readonly number: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

export interface ReservedList extends IssuedList {
  /**
   * The oldest complete list that is still in force: what has been revoked since then makes a delta to it and to every
   * later one. Undefined = there is none.
   */
  readonly base: IssuedList | undefined;
  /** The earliest time of all lists from that one on: the clock may have been behind since, and right again. */
  readonly since: number;
  /** Of the last list that was issued on schedule; undefined = there was none. */
  readonly lastScheduledAt: number | undefined;
}

export class CrlNumbers {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** When the last list on schedule was issued; undefined = never. */
  lastScheduledAt(issuer: string): number | undefined {
    const row = this.#database
      .prepare(
        `SELECT this_update FROM crls WHERE issuer = ? AND state = 'scheduled' ORDER BY number DESC LIMIT 1`,
      )
      .get(issuer);
    return row === undefined ? undefined : integer(row, 'this_update');
  }

  /** The next number, for good: it is spent even when nothing is ever published under it. */
  reserve(issuer: string, nowMs: number, validityMs: number): ReservedList {
    const database = this.#database;
    const now = wholeSecond(nowMs);
    return inTransaction(database, () => {
      const lastRow = database
        .prepare('SELECT * FROM crls WHERE issuer = ? ORDER BY number DESC LIMIT 1')
        .get(issuer);
      const baseRow = database
        .prepare(
          `SELECT * FROM crls WHERE issuer = ? AND state <> 'reserved' AND next_update > ?
            AND this_update <= ? ORDER BY number LIMIT 1`,
        )
        .get(issuer, now, now + clockStepMs);
      const last = listOf(lastRow);
      const isTrusted = last !== undefined && last.thisUpdate <= now + clockStepMs;
      const thisUpdate = isTrusted ? Math.max(now, last.thisUpdate) : now;
      const until = wholeSecond(thisUpdate + validityMs);
      const reserved: IssuedList = {
        // Not below the seconds of the clock: a database that was restored has forgotten numbers that are out.
        number: Math.max((last?.number ?? 0) + 1, Math.floor(now / 1000)),
        thisUpdate,
        nextUpdate: isTrusted ? Math.max(until, last.nextUpdate) : until,
      };
      database
        .prepare('INSERT INTO crls (issuer, number, this_update, next_update) VALUES (?, ?, ?, ?)')
        .run(issuer, reserved.number, reserved.thisUpdate, reserved.nextUpdate);
      const base = listOf(baseRow);
      const earliest = database
        .prepare(
          'SELECT min(this_update) AS this_update FROM crls WHERE issuer = ? AND number >= ?',
        )
        .get(issuer, base?.number ?? 0);
      const since = earliest === undefined ? thisUpdate : integer(earliest, 'this_update');
      return { ...reserved, base, since, lastScheduledAt: this.lastScheduledAt(issuer) };
    });
  }

  /** It is out. Forgets the lists that are no longer in force, but not the last one on schedule. */
  published(issuer: string, number: number, scheduled: boolean, nowMs: number): void {
    const database = this.#database;
    inTransaction(database, () => {
      database
        .prepare('UPDATE crls SET state = ? WHERE issuer = ? AND number = ?')
        .run(scheduled ? 'scheduled' : 'prompt', issuer, number);
      database
        .prepare(
          // From the oldest one in force on, all: a delta to it has to know how far back the clock was.
          `DELETE FROM crls WHERE issuer = ?
            AND number < (SELECT min(number) FROM crls WHERE issuer = ? AND next_update > ?)
            AND number < (SELECT max(number) FROM crls WHERE issuer = ? AND state = 'scheduled')`,
        )
        .run(issuer, issuer, nowMs, issuer);
    });
  }
}

export function wholeSecond(timeMs: number): number {
  return Math.floor(timeMs / 1000) * 1000;
}

function listOf(row: Row | undefined): IssuedList | undefined {
  if (row === undefined) return undefined;
  return {
    number: integer(row, 'number'),
    thisUpdate: integer(row, 'this_update'),
    nextUpdate: integer(row, 'next_update'),
  };
}
