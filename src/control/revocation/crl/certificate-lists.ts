/**
 * The revocation lists of every CA of ours: on schedule, and whenever something is revoked. A CA that no longer issues
 * goes on here as long as certificates under it live.
 */
import type { Clock } from '../../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import type { Logger } from '../../../common/base/logger.ts';
import { settledWithin } from '../../../common/base/settled-within.ts';
import type { Revocations } from '../../registry/revocations.ts';
import type { StatusIssuer } from '../issuer.ts';
import type { CrlNumbers } from './crl-numbers.ts';
import type { SignedList } from './issue-lists.ts';
import { IssuerLists } from './issuer-lists.ts';

/** How long somebody who asks waits for a list that is being signed; then he gets the one before. */
const waitMs = 5_000;

export interface CrlSettings {
  /** From one list on schedule to the next. */
  readonly intervalMs: number;
  /** Until a complete list must have been replaced. */
  readonly validityMs: number;
  readonly deltaValidityMs: number;
}

export interface CertificateListsParts {
  readonly clock: Clock;
  readonly later: (ms: number, action: () => void) => () => void;
  /** Newest first; the first one issues. None whose certificate has expired. */
  readonly issuers: () => readonly StatusIssuer[];
  readonly settings: () => CrlSettings;
  /** Where the delta of an issuer is found; undefined = nowhere. */
  readonly deltaUrl: (issuer: string) => string | undefined;
  readonly revocations: Pick<Revocations, 'revoked'>;
  readonly numbers: CrlNumbers;
  readonly logger: Pick<Logger, 'error' | 'debug'>;
}

export interface ListState {
  readonly issuer: string;
  readonly number: number;
  /** Milliseconds. */
  readonly nextUpdate: number;
}

export class CertificateLists {
  readonly #parts: CertificateListsParts;
  /** By issuer. */
  readonly #byIssuer = new Map<string, IssuerLists>();

  constructor(parts: CertificateListsParts) {
    this.#parts = parts;
  }

  /** Of each issuer whose list is out. */
  get states(): readonly ListState[] {
    return [...this.#byIssuer].flatMap(([issuer, { lists }]) =>
      lists === undefined
        ? []
        : [{ issuer, number: lists.complete.number, nextUpdate: lists.complete.nextUpdate }],
    );
  }

  /**
   * Issues what is due: to be called at the start and then again and again. Resolves when it is out or could not be
   * signed; never rejects.
   */
  async check(): Promise<void> {
    const issuers = this.#parts.issuers();
    const ids = new Set(issuers.map(({ id }) => id));
    for (const id of this.#byIssuer.keys()) if (!ids.has(id)) this.#byIssuer.delete(id);
    try {
      const due = issuers.map((issuer) => this.#of(issuer)).filter(({ isDue }) => isDue);
      await Promise.all(due.map((lists) => lists.issue()));
    } catch (error) {
      const fields = { err: messageOf(error) };
      this.#parts.logger.error(fields, 'revocation lists not looked after; the last ones stay');
    }
  }

  /** Something was revoked: whoever asks from now on waits for a list that says so. */
  noticeRevoked(): void {
    for (const issuer of this.#parts.issuers()) void this.#of(issuer).issue();
  }

  /**
   * The newest list.
   *
   * @param issuer undefined = the one that issues.
   * @throws SallyportError `not-found` when there is no such issuer, or no delta because nobody can have an earlier
   *   list; `unavailable` when it cannot be signed.
   */
  async current(issuer: string | undefined, delta: boolean): Promise<SignedList> {
    const issuers = this.#parts.issuers();
    const found = issuer === undefined ? issuers[0] : issuers.find(({ id }) => id === issuer);
    if (found === undefined) throw new SallyportError('not-found', 'there is no such issuer');
    const state = this.#of(found);
    const running = state.lists === undefined ? state.issue() : state.running;
    if (running !== undefined) await settledWithin(running, waitMs);
    const { lists } = state;
    if (lists === undefined) {
      throw new SallyportError('unavailable', 'the revocation list could not be signed');
    }
    if (!delta) return lists.complete;
    if (lists.delta !== undefined) return lists.delta;
    throw new SallyportError('not-found', 'there is no delta yet');
  }

  #of(issuer: StatusIssuer): IssuerLists {
    let lists = this.#byIssuer.get(issuer.id);
    if (lists === undefined) {
      lists = new IssuerLists(issuer, () => this.#partsOf(issuer.id));
      this.#byIssuer.set(issuer.id, lists);
    }
    return lists;
  }

  #partsOf(issuer: string) {
    const { settings, deltaUrl, ...parts } = this.#parts;
    return { ...parts, ...settings(), deltaUrl: deltaUrl(issuer) };
  }
}
