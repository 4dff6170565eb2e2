/**
 * One-time enrolments of operators. A token is 256 random bits, shown once and kept as a hash; it is good for one
 * certificate, for one name, until it expires.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { parsePrincipalName } from '../../common/base/principal.ts';

const tokenBytes = 32;
/** Invitations that wait at once; more are a mistake or an attack on the disk. */
const maxOpen = 1_000;

export class Invitations {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;

  constructor(database: DatabaseSync, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** @returns the token and when it expires, milliseconds. @throws SallyportError `quota`. */
  invite(name: PrincipalName, ttlMs: number): { readonly token: string; readonly expires: number } {
    const now = this.#clock.now();
    this.#database.prepare('DELETE FROM invitations WHERE expires_at <= ?').run(now);
    const open = this.#database.prepare('SELECT count(*) AS n FROM invitations').get()?.['n'];
    if (Number(open) >= maxOpen) {
      throw new SallyportError('quota', `${maxOpen} invitations are open`, {
        hint: 'let them be used or expire first',
      });
    }
    const token = randomBytes(tokenBytes).toString('base64url');
    const expires = now + ttlMs;
    this.#database
      .prepare('INSERT INTO invitations (token_sha256, principal, expires_at) VALUES (?, ?, ?)')
      .run(digest(token), name, expires);
    return { token, expires };
  }

  /** As `invite`, and every earlier invitation of this name is void. */
  replace(name: PrincipalName, ttlMs: number): ReturnType<Invitations['invite']> {
    this.#database.prepare('DELETE FROM invitations WHERE principal = ?').run(name);
    return this.invite(name, ttlMs);
  }

  /** The name that the token invites; undefined when it is unknown, used or late. Does not use it up. */
  find(token: string): PrincipalName | undefined {
    const row = this.#database
      .prepare('SELECT principal FROM invitations WHERE token_sha256 = ? AND expires_at > ?')
      .get(digest(token), this.#clock.now());
    const principal = row?.['principal'];
    return typeof principal === 'string' ? parsePrincipalName(principal)?.name : undefined;
  }

  /** Uses the token up. @returns false when somebody else already has. */
  use(token: string): boolean {
    const { changes } = this.#database
      .prepare('DELETE FROM invitations WHERE token_sha256 = ? AND expires_at > ?')
      .run(digest(token), this.#clock.now());
    return Number(changes) === 1;
  }
}

/** A lookup by hash tells nothing about the token by the time it takes. */
function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
