/**
 * What our own CAs say of the certificates that they have issued: revocation lists, OCSP answers for whoever asks, and
 * those that handshakes staple. Workers carry them; they are signed here.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type { CaConfig } from '../common/config/config.ts';
import type { CrlAnswer, OcspAnswer } from '../common/ipc/control-calls.ts';
import type { Staple } from '../common/ipc/snapshot.ts';
import { deltaUrl } from './ca/status-urls.ts';
import { Revocations } from './registry/revocations.ts';
import { CertificateLists } from './revocation/crl/certificate-lists.ts';
import type { ListState } from './revocation/crl/certificate-lists.ts';
import { CrlNumbers } from './revocation/crl/crl-numbers.ts';
import type { StatusIssuer } from './revocation/issuer.ts';
import { OcspResponder } from './revocation/ocsp/responder.ts';
import { Staples } from './revocation/ocsp/staples.ts';
import type { CallFields, CallHandler } from './worker-calls.ts';

const anchor = 'internal';
/** The largest that `limits.ocspRequestBytes` lets pass, in base64. */
const maxRequestCharacters = 128 * 1024;
/** Lists are large and change seldom: each worker asks for a few of them a minute. */
const listsPerSecond = 20;
const atOnce = 32;

export interface RevocationDeskParts {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly later: (ms: number, action: () => void) => () => void;
  /** Newest first; the first one issues. */
  readonly issuers: () => readonly StatusIssuer[];
  readonly settings: () => Pick<CaConfig, 'statusUrl' | 'crl' | 'ocsp'>;
  /** OCSP requests of one worker that it lets through in a second. */
  readonly callsPerSecond: number;
  /** DER of the certificates that workers serve with. */
  readonly serverCertificates: () => readonly Buffer[];
  /** DER of others that the gateway has issued to itself. */
  readonly ownCertificates: () => readonly Buffer[];
  readonly setStaples: (staples: readonly Staple[]) => void;
  readonly logger: Pick<Logger, 'error' | 'debug'>;
}

export class RevocationDesk {
  readonly #lists: CertificateLists;
  readonly #responder: OcspResponder;
  readonly #staples: Staples;
  readonly #callsPerSecond: number;

  constructor(parts: RevocationDeskParts) {
    const { database, clock, later, logger, settings } = parts;
    const revocations = new Revocations(database);
    // A CA that has expired can sign nothing that anybody accepts, and what it has issued has expired with it.
    const issuers = (): readonly StatusIssuer[] =>
      parts.issuers().filter(({ notAfter }) => clock.now() < notAfter);
    this.#callsPerSecond = parts.callsPerSecond;
    this.#lists = new CertificateLists({
      clock,
      later,
      issuers,
      settings: () => settings().crl,
      deltaUrl: (issuer) => {
        const base = settings().statusUrl;
        return base === undefined ? undefined : deltaUrl(base, issuer);
      },
      revocations,
      numbers: new CrlNumbers(database),
      logger,
    });
    this.#responder = new OcspResponder({
      clock,
      issuers,
      settings: () => settings().ocsp,
      revocations,
      logger,
    });
    this.#staples = new Staples({
      clock,
      issuers,
      certificates: parts.serverCertificates,
      others: parts.ownCertificates,
      validityMs: () => settings().ocsp.stapleValidityMs,
      responder: this.#responder,
      revocations,
      publish: parts.setStaples,
      logger,
    });
  }

  /** Of each CA whose list is out. */
  get states(): readonly ListState[] {
    return this.#lists.states;
  }

  /** Before the first snapshot: its server certificate has an answer to staple. Never rejects. */
  async prepare(): Promise<void> {
    await this.#staples.check();
  }

  /** Renews what is due: to be called again and again, and when certificates or CAs have changed. Never rejects. */
  async check(): Promise<void> {
    await Promise.all([this.#staples.check(), this.#lists.check()]);
  }

  /**
   * To be called in the same turn as the change of the registry, before workers are told.
   *
   * @param certificates `<anchor>:<serial>`.
   */
  revoked(certificates: readonly string[]): void {
    const serials = certificates.flatMap((certificate) =>
      certificate.startsWith(`${anchor}:`) ? [certificate.slice(anchor.length + 1)] : [],
    );
    if (serials.length === 0) return;
    this.#responder.revoked(serials);
    this.#lists.noticeRevoked();
  }

  /** What workers ask for. */
  get handlers(): Readonly<Record<'ocsp' | 'crl', CallHandler>> {
    return {
      ocsp: {
        perSecond: this.#callsPerSecond,
        atOnce,
        answer: (_slot, call) => this.#answerOcsp(call),
      },
      crl: { perSecond: listsPerSecond, atOnce, answer: (_slot, call) => this.#answerCrl(call) },
    };
  }

  async #answerOcsp({ request }: CallFields): Promise<OcspAnswer> {
    if (typeof request !== 'string' || request.length > maxRequestCharacters) {
      throw new SallyportError('malformed', 'no OCSP request');
    }
    const { der, cacheUntil, serials } = await this.#responder.answer(
      Buffer.from(request, 'base64'),
    );
    return {
      der: der.toString('base64'),
      cacheUntil,
      certificates: serials.map((serial) => `${anchor}:${serial}`),
    };
  }

  async #answerCrl({ issuer, delta, have }: CallFields): Promise<CrlAnswer> {
    if ((issuer !== undefined && typeof issuer !== 'string') || typeof delta !== 'boolean') {
      throw new SallyportError('malformed', 'no question for a revocation list');
    }
    const { der, number, nextUpdate } = await this.#lists.current(issuer, delta);
    return { der: have === number ? undefined : der.toString('base64'), number, nextUpdate };
  }
}
