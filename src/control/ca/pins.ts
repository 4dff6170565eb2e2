/**
 * Which keys firmware may have pinned. A pin is what a device compares that trusts a key and no certificate (RFC 7469
 * section 2.4). The gateway cannot see what is in a firmware, so it takes every pair of pins that was ever shown for
 * one that somebody has built in.
 */
import { hash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { integer, text } from '../store/row.ts';
import type { CaRole } from './certificate-files.ts';

/** The pins of the key in service and of the key after it. */
interface PinPair {
  readonly current: string;
  readonly next: string;
}

/** When pins were last shown, milliseconds; undefined = never. */
interface PinnedSince {
  /** To firmware that knows the key in service and not the one after it. */
  readonly cutOff: number | undefined;
  /** To firmware that knows both, and none after them. */
  readonly lastChange: number | undefined;
}

/** Base64 of SHA-256 over a DER SubjectPublicKeyInfo. */
export function pinOf(spki: Buffer): string {
  return hash('sha256', spki, 'base64');
}

export class ShownPins {
  readonly #database: DatabaseSync;
  readonly #clock: Pick<Clock, 'now'>;

  constructor(database: DatabaseSync, clock: Pick<Clock, 'now'>) {
    this.#database = database;
    this.#clock = clock;
  }

  record(role: CaRole, { current, next }: PinPair): void {
    this.#database
      .prepare(
        `INSERT INTO pins_shown (role, current, next, shown_at) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET shown_at = excluded.shown_at`,
      )
      .run(role, current, next, this.#clock.now());
  }

  has(role: CaRole, pin: string): boolean {
    return this.#pairsWith(role, pin).length > 0;
  }

  /** What a change from the current to the next key does to firmware. */
  before(role: CaRole, { current, next }: PinPair): PinnedSince {
    const known = this.#pairsWith(role, current);
    const latest = (pairs: typeof known): number | undefined =>
      pairs.length === 0 ? undefined : Math.max(...pairs.map(({ shownAt }) => shownAt));
    return {
      cutOff: latest(known.filter(({ pins }) => !pins.includes(next))),
      lastChange: latest(known.filter(({ pins }) => pins.includes(next))),
    };
  }

  #pairsWith(
    role: CaRole,
    pin: string,
  ): readonly { readonly pins: readonly string[]; readonly shownAt: number }[] {
    return this.#database
      .prepare(
        'SELECT current, next, shown_at FROM pins_shown WHERE role = ? AND (current = ? OR next = ?)',
      )
      .all(role, pin, pin)
      .map((row) => ({
        pins: [text(row, 'current'), text(row, 'next')],
        shownAt: integer(row, 'shown_at'),
      }));
  }
}
