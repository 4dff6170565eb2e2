/**
 * Requests that wait for an operator (RFC 7030 section 4.2.3, status 202). A device is stateless: it sends the same
 * request again until it gets another answer, so a request is known by what it came with, the device and the key. What
 * is approved is this key for this device, once.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { inTransaction } from '../store/database.ts';
import { integer, optionalText, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';
import type { Grant } from './claim.ts';

const maxPage = 1_000;
const maxReasonCharacters = 500;
/**
 * Keys of one device that came with the same credential, decided or not. A manufacturer's certificate is not used up, and
 * a device that makes a new key whenever it starts would take the places of all the others.
 */
const maxKeys = 4;

const states = ['waiting', 'approved', 'denied'] as const;
export type RequestState = (typeof states)[number];
export type Decision = Exclude<RequestState, 'waiting'>;

export interface PendingRequest {
  /** Names it in the audit log and on the command line. */
  readonly number: number;
  /** `token:<number>` or `manufacturer:<SHA-256 of the certificate's key>`. */
  readonly credential: string;
  readonly name: PrincipalName;
  readonly role: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly spkiSha256: string;
  /** Where it came from, as a worker told. */
  readonly source: string;
  readonly state: RequestState;
  readonly decidedBy: string | undefined;
  readonly reason: string | undefined;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly createdAt: number;
  readonly expires: number;
}

export type NewRequest = Pick<
  PendingRequest,
  'credential' | 'name' | 'role' | 'spkiSha256' | 'source'
>;

export interface PendingLimits {
  /** Requests that are kept at once. */
  readonly requests: number;
  /** How long one is kept. */
  readonly keptMs: number;
}

export class PendingRequests {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #limits: () => PendingLimits;

  constructor(database: DatabaseSync, clock: Clock, limits: () => PendingLimits) {
    this.#database = database;
    this.#clock = clock;
    this.#limits = limits;
  }

  /**
   * @param pay uses up what the request came with, in the same transaction. @returns false when it is gone.
   * @throws SallyportError `quota` when too many wait, in all or of this device, `unauthenticated` when `pay` says so.
   */
  add(request: NewRequest, pay: () => boolean): PendingRequest {
    const now = this.#clock.now();
    const { requests, keptMs } = this.#limits();
    return inTransaction(this.#database, () => {
      this.#database.prepare('DELETE FROM enrolment_requests WHERE expires_at <= ?').run(now);
      const counted = this.#database.prepare('SELECT count(*) AS n FROM enrolment_requests').get();
      if (counted === undefined || integer(counted, 'n') >= requests) {
        throw new SallyportError('quota', `${requests} enrolment requests are kept`, {
          hint: 'approve or deny some, or raise enrolment.requests',
        });
      }
      if (this.#keysOf(request) >= maxKeys) {
        throw new SallyportError('quota', `${maxKeys} keys of ${request.name} are kept`, {
          hint: 'approve one, or let them expire',
        });
      }
      if (!pay()) throw new SallyportError('unauthenticated', 'the token has been used meanwhile');
      const { credential, name, role, spkiSha256, source } = request;
      const row = this.#database
        .prepare(
          `INSERT INTO enrolment_requests
            (credential, principal, role, spki_sha256, source, state, created_at, expires_at)
           VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?) RETURNING *`,
        )
        .get(credential, name, role, spkiSha256, source, now, now + keptMs);
      if (row === undefined) throw new SallyportError('internal', 'a request was not kept');
      return requestOf(row);
    });
  }

  find(
    request: Pick<NewRequest, 'credential' | 'name' | 'spkiSha256'>,
  ): PendingRequest | undefined {
    const row = this.#database
      .prepare(
        `SELECT * FROM enrolment_requests
         WHERE credential = ? AND principal = ? AND spki_sha256 = ? AND expires_at > ?`,
      )
      .get(request.credential, request.name, request.spkiSha256, this.#clock.now());
    return row === undefined ? undefined : requestOf(row);
  }

  /** Oldest first; `after` is the number of the last one of the page before. */
  list(page: { readonly after: number; readonly limit: number }): readonly PendingRequest[] {
    return this.#database
      .prepare(
        `SELECT * FROM enrolment_requests WHERE number > ? AND expires_at > ?
         ORDER BY number LIMIT ?`,
      )
      .all(page.after, this.#clock.now(), Math.min(page.limit, maxPage))
      .map(requestOf);
  }

  /**
   * The request that `decide` would decide: one that waits, or one of the other decision whose certificate has not been
   * fetched.
   *
   * @throws SallyportError `not-found`; `already-exists` when it is decided so already.
   */
  decidable(number: number, state: Decision): PendingRequest {
    const request = this.#byNumber(number);
    if (request === undefined) {
      throw new SallyportError('not-found', `there is no enrolment request ${number}`, {
        hint: 'see: sallyport enrolment list',
      });
    }
    if (request.state === state) {
      throw new SallyportError('already-exists', `request ${number} is ${state} already`);
    }
    return request;
  }

  /** @throws as `decidable`. */
  decide(
    number: number,
    state: Decision,
    { by, reason }: { readonly by: string; readonly reason: string | undefined },
  ): PendingRequest {
    const request = this.decidable(number, state);
    const words = reason?.slice(0, maxReasonCharacters);
    this.#database
      .prepare(
        'UPDATE enrolment_requests SET state = ?, decided_by = ?, reason = ? WHERE number = ?',
      )
      .run(state, by, words ?? null, number);
    return { ...request, state, decidedBy: by, reason: words };
  }

  /** The one certificate that an approval is good for. */
  grant(number: number): Grant {
    return {
      holds: () => this.#byNumber(number)?.state === 'approved',
      use: () => {
        const { changes } = this.#database
          .prepare(
            `DELETE FROM enrolment_requests
             WHERE number = ? AND state = 'approved' AND expires_at > ?`,
          )
          .run(number, this.#clock.now());
        return Number(changes) === 1;
      },
    };
  }

  #keysOf({ credential, name }: NewRequest): number {
    const row = this.#database
      .prepare(
        'SELECT count(*) AS n FROM enrolment_requests WHERE credential = ? AND principal = ?',
      )
      .get(credential, name);
    return row === undefined ? 0 : integer(row, 'n');
  }

  #byNumber(number: number): PendingRequest | undefined {
    const row = this.#database
      .prepare('SELECT * FROM enrolment_requests WHERE number = ? AND expires_at > ?')
      .get(number, this.#clock.now());
    return row === undefined ? undefined : requestOf(row);
  }
}

function requestOf(row: Row): PendingRequest {
  const state = states.find((known) => known === text(row, 'state'));
  if (state === undefined) throw new SallyportError('tampered', 'the database holds another state');
  return {
    number: integer(row, 'number'),
    credential: text(row, 'credential'),
    name: text(row, 'principal') as PrincipalName, // only principal names are ever inserted
    role: text(row, 'role'),
    spkiSha256: text(row, 'spki_sha256'),
    source: text(row, 'source'),
    state,
    decidedBy: optionalText(row, 'decided_by'),
    reason: optionalText(row, 'reason'),
    createdAt: integer(row, 'created_at'),
    expires: integer(row, 'expires_at'),
  };
}
