/**
 * Enrolment tokens of devices. A token is 256 random bits, shown once and kept as a hash. It is good for so many
 * certificates until it expires, for one device or for any that does not exist yet. One that is used up or late is
 * remembered for a while, so that whoever comes with it is told from whoever guesses.
 */
import { hash, randomBytes } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { parsePrincipalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { inTransaction } from '../store/database.ts';
import { integer, optionalText, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';
import type { Grant } from './claim.ts';

const tokenBytes = 32;
/** base64url of 32 bytes. */
const tokenPattern = /^[A-Za-z0-9_-]{43}$/;
const rememberedMs = 30 * 86_400_000;
/** Rows of tokens that are of no use any more; the oldest go first. */
const maxRemembered = 10_000;
const maxPage = 1_000;

export type TokenState = 'open' | 'used' | 'late' | 'withdrawn';

export interface EnrolmentToken {
  /** Names it in the audit log and on the command line. */
  readonly number: number;
  /** Undefined: for any device that does not exist yet. */
  readonly device: PrincipalName | undefined;
  readonly uses: number;
  readonly usesLeft: number;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly createdAt: number;
  readonly createdBy: string;
  readonly expires: number;
  readonly state: TokenState;
}

export interface NewToken {
  readonly device: PrincipalName | undefined;
  readonly ttlMs: number;
  readonly uses: number;
  readonly createdBy: string;
}

export class EnrolmentTokens {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #maxOpen: () => number;

  /** `maxOpen`: tokens that can be used at one time. */
  constructor(database: DatabaseSync, clock: Clock, maxOpen: () => number) {
    this.#database = database;
    this.#clock = clock;
    this.#maxOpen = maxOpen;
  }

  /** @throws SallyportError `quota`. */
  create({ device, ttlMs, uses, createdBy }: NewToken): {
    readonly secret: string;
    readonly token: EnrolmentToken;
  } {
    const now = this.#clock.now();
    const secret = randomBytes(tokenBytes).toString('base64url');
    this.#forgetOld(now);
    return inTransaction(this.#database, () => {
      if (this.#openCount(now) >= this.#maxOpen()) {
        throw new SallyportError('quota', `${this.#maxOpen()} enrolment tokens are open`, {
          hint: 'let them be used or expire, withdraw some, or make one token with more uses',
        });
      }
      const row = this.#database
        .prepare(
          `INSERT INTO enrolment_tokens
            (token_sha256, device, uses, uses_left, created_at, created_by, expires_at)
           VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *`,
        )
        .get(digest(secret), device ?? null, uses, uses, now, createdBy, now + ttlMs);
      if (row === undefined) throw new SallyportError('internal', 'a token was not kept');
      return { secret, token: this.#tokenOf(row) };
    });
  }

  /** The token, in whatever state; undefined when nobody ever made it. */
  find(secret: string): EnrolmentToken | undefined {
    if (!tokenPattern.test(secret)) return undefined;
    // A lookup by hash tells nothing about the token by the time it takes.
    const row = this.#database
      .prepare('SELECT * FROM enrolment_tokens WHERE token_sha256 = ?')
      .get(digest(secret));
    return row === undefined ? undefined : this.#tokenOf(row);
  }

  /** One use of a token. */
  grant(number: number): Grant {
    return {
      holds: () => this.#byNumber(number)?.state === 'open',
      use: () => {
        const { changes } = this.#database
          .prepare(
            `UPDATE enrolment_tokens SET uses_left = uses_left - 1
             WHERE number = ? AND uses_left > 0 AND withdrawn = 0 AND expires_at > ?`,
          )
          .run(number, this.#clock.now());
        return Number(changes) === 1;
      },
    };
  }

  /** Those that can be used, newest first; `before` is the number of the last one of the page before. */
  open(page: { readonly before: number; readonly limit: number }): readonly EnrolmentToken[] {
    return this.#database
      .prepare(
        `SELECT * FROM enrolment_tokens
         WHERE number < ? AND uses_left > 0 AND withdrawn = 0 AND expires_at > ?
         ORDER BY number DESC LIMIT ?`,
      )
      .all(page.before, this.#clock.now(), Math.min(page.limit, maxPage))
      .map((row) => this.#tokenOf(row));
  }

  /** It is of no use from now on. @throws SallyportError `not-found` when it is not open. */
  withdraw(number: number): EnrolmentToken {
    const token = this.#byNumber(number);
    if (token?.state !== 'open') {
      throw new SallyportError('not-found', `there is no open enrolment token ${number}`, {
        hint: 'see: sallyport enrolment list',
      });
    }
    this.#database
      .prepare('UPDATE enrolment_tokens SET withdrawn = 1 WHERE number = ?')
      .run(number);
    return token;
  }

  #byNumber(number: number): EnrolmentToken | undefined {
    const row = this.#database
      .prepare('SELECT * FROM enrolment_tokens WHERE number = ?')
      .get(number);
    return row === undefined ? undefined : this.#tokenOf(row);
  }

  #openCount(now: number): number {
    const row = this.#database
      .prepare(
        `SELECT count(*) AS n FROM enrolment_tokens
         WHERE uses_left > 0 AND withdrawn = 0 AND expires_at > ?`,
      )
      .get(now);
    return row === undefined ? 0 : integer(row, 'n');
  }

  #forgetOld(now: number): void {
    this.#database
      .prepare('DELETE FROM enrolment_tokens WHERE expires_at <= ?')
      .run(now - rememberedMs);
    this.#database
      .prepare(
        `DELETE FROM enrolment_tokens WHERE number IN
          (SELECT number FROM enrolment_tokens
           WHERE uses_left = 0 OR withdrawn = 1 OR expires_at <= ?
           ORDER BY number DESC LIMIT -1 OFFSET ?)`,
      )
      .run(now, maxRemembered);
  }

  #tokenOf(row: Row): EnrolmentToken {
    const device = optionalText(row, 'device');
    const usesLeft = integer(row, 'uses_left');
    const expires = integer(row, 'expires_at');
    const state = stateOf(integer(row, 'withdrawn') === 1, usesLeft, expires > this.#clock.now());
    return {
      number: integer(row, 'number'),
      device: device === undefined ? undefined : parsePrincipalName(device)?.name,
      uses: integer(row, 'uses'),
      usesLeft,
      createdAt: integer(row, 'created_at'),
      createdBy: text(row, 'created_by'),
      expires,
      state,
    };
  }
}

function stateOf(withdrawn: boolean, usesLeft: number, timely: boolean): TokenState {
  if (withdrawn) return 'withdrawn';
  if (usesLeft === 0) return 'used';
  return timely ? 'open' : 'late';
}

function digest(secret: string): string {
  return hash('sha256', secret, 'hex');
}
