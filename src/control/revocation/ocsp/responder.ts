/**
 * Answers OCSP requests (RFC 6960, and its light profile RFC 5019) for every CA of ours. What is asked again is signed
 * once in half the time that an answer holds; a signature for one request alone, because of its nonce or of a serial
 * number that nobody issued, is rationed like the first one of a certificate.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../../../common/base/errors.ts';
import { LogBudget } from '../../../common/base/log-budget.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { CertificateStatus, Revocations } from '../../registry/revocations.ts';
import { wholeSecond } from '../crl/crl-numbers.ts';
import { issuerFacts } from '../issuer.ts';
import type { StatusIssuer } from '../issuer.ts';
import { KeptAnswers } from './kept-answers.ts';
import type { KeptAnswer } from './kept-answers.ts';
import { certIdOf, readOcspRequest } from './ocsp-request.ts';
import type { CertId, OcspRequest } from './ocsp-request.ts';
import { signedAnswer, unsignedAnswer } from './ocsp-response.ts';
import type { UnsignedStatus } from './ocsp-response.ts';

/** Of failing signatures: keys in hardware that is gone would fill the log. */
const linesPerSecond = 0.1;
/** How long an answer is given on that should have been renewed and could not be. */
const stretchMs = 10_000;

export interface OcspSettings {
  /** How long an answer may be used; it is renewed after half of it. */
  readonly validityMs: number;
  /** Certificates whose answers are kept. */
  readonly keptAnswers: number;
  /** Signatures a second that are not for the gateway itself; beyond it the answer is `tryLater`. */
  readonly signaturesPerSecond: number;
}

export interface OcspResponderParts {
  readonly clock: Clock;
  /** Newest first. None whose certificate has expired. */
  readonly issuers: () => readonly StatusIssuer[];
  readonly settings: () => OcspSettings;
  readonly revocations: Pick<Revocations, 'statusOf'>;
  readonly logger: Pick<Logger, 'error'>;
}

export interface OcspReply {
  /** DER OCSPResponse. */
  readonly der: Buffer;
  /** Milliseconds: until then the same request gets the same answer; undefined = it is for this one request. */
  readonly cacheUntil: number | undefined;
  /** Hex, of the certificates that it speaks of: when one of them is revoked, it is void. */
  readonly serials: readonly string[];
}

export class OcspResponder {
  readonly #parts: OcspResponderParts;
  readonly #kept: KeptAnswers;
  readonly #logBudget: LogBudget;
  /** Renewals under way, by what is renewed. */
  readonly #renewals = new Map<string, Promise<KeptAnswer>>();
  /** Advances with everything that is revoked. */
  #revision = 0;
  #second = Number.NaN;
  #signedInSecond = 0;

  constructor(parts: OcspResponderParts) {
    this.#parts = parts;
    this.#kept = new KeptAnswers(() => parts.settings().keptAnswers);
    this.#logBudget = new LogBudget(linesPerSecond, parts.clock);
  }

  /** Always an answer: what goes wrong here is one of the standard's. */
  async answer(request: Buffer): Promise<OcspReply> {
    let asked: OcspRequest;
    try {
      asked = readOcspRequest(request);
    } catch (thrown) {
      if (errorCodeOf(thrown) !== 'malformed') throw thrown;
      return unsigned('malformedRequest');
    }
    const issuer = this.#issuerOf(asked.certificates);
    // RFC 5019 section 2.2.3: what we can say nothing of with authority is not signed for.
    if (issuer === undefined) return unsigned('unauthorized');
    try {
      return await this.#answer(issuer, asked);
    } catch (thrown) {
      return this.#failed(thrown);
    }
  }

  /** These are revoked, hex: nothing that was said of them before is said again. */
  revoked(serials: Iterable<string>): void {
    this.#revision += 1;
    const issuers = this.#parts.issuers();
    for (const serial of serials) {
      for (const { id } of issuers) this.#kept.drop(keptUnder(id, serial));
    }
  }

  /**
   * An answer about a certificate of our own, for handshakes that staple it. Not rationed.
   *
   * @throws SallyportError as `Signer.sign`; `internal` when `issuer` has not issued it.
   */
  async staple(issuer: StatusIssuer, serial: string, validityMs: number): Promise<KeptAnswer> {
    const certId = certIdOf(issuerFacts(issuer), serial);
    if (this.#statusOf(issuer, certId) === undefined) {
      throw new SallyportError('internal', `${issuer.id} has not issued ${serial}`);
    }
    return this.#sign(issuer, [certId], validityMs, undefined);
  }

  async #answer(issuer: StatusIssuer, asked: OcspRequest): Promise<OcspReply> {
    const { certificates, nonce } = asked;
    const [single, ...others] = certificates;
    if (single?.serial !== undefined && others.length === 0 && nonce === undefined) {
      const serials = [single.serial];
      const kept = this.#kept.get(keptUnder(issuer.id, single.serial), single);
      const now = this.#parts.clock.now();
      if (kept !== undefined && now >= kept.thisUpdate && now < kept.renewAt) {
        return { der: kept.der, cacheUntil: kept.renewAt, serials };
      }
      if (this.#statusOf(issuer, single) !== undefined) {
        const { der, cacheUntil } = await this.#renewed(issuer, single, single.serial, kept);
        return { der, cacheUntil, serials };
      }
    }
    this.#charge();
    const { validityMs } = this.#parts.settings();
    const { der } = await this.#sign(issuer, certificates, validityMs, nonce);
    return { der, cacheUntil: undefined, serials: certificates.flatMap((id) => id.serial ?? []) };
  }

  /** A new answer; the one before as long as it holds and a new one cannot be had. */
  async #renewed(
    issuer: StatusIssuer,
    certId: CertId,
    serial: string,
    before: KeptAnswer | undefined,
  ): Promise<{ readonly der: Buffer; readonly cacheUntil: number }> {
    const certificate = keptUnder(issuer.id, serial);
    const revision = this.#revision;
    try {
      const answer = await this.#renew(issuer, certId, certificate);
      return { der: answer.der, cacheUntil: answer.renewAt };
    } catch (thrown) {
      const now = this.#parts.clock.now();
      const holds = before !== undefined && now >= before.thisUpdate && now < before.nextUpdate;
      if (!holds || revision !== this.#revision) {
        throw thrown;
      }
      return { der: before.der, cacheUntil: Math.min(now + stretchMs, before.nextUpdate) };
    }
  }

  /** Many who ask for the same at once get the same. */
  #renew(issuer: StatusIssuer, certId: CertId, certificate: string): Promise<KeptAnswer> {
    const what = `${certificate} ${certId.hash ?? ''} ${certId.hasNull}`;
    const underWay = this.#renewals.get(what);
    if (underWay !== undefined) return underWay;
    this.#charge();
    const { validityMs } = this.#parts.settings();
    const keep = (answer: KeptAnswer): void => this.#kept.set(certificate, certId, answer);
    const renewal = this.#sign(issuer, [certId], validityMs, undefined, keep).finally(() =>
      this.#renewals.delete(what),
    );
    this.#renewals.set(what, renewal);
    return renewal;
  }

  /** @param keep called in the same turn in which the answer is known to hold. */
  async #sign(
    issuer: StatusIssuer,
    certificates: readonly CertId[],
    validityMs: number,
    nonce: Buffer | undefined,
    keep?: (answer: KeptAnswer) => void,
  ): Promise<KeptAnswer> {
    for (;;) {
      const revision = this.#revision;
      const now = this.#parts.clock.now();
      const thisUpdate = wholeSecond(now);
      const nextUpdate = Math.min(wholeSecond(now + validityMs), issuer.notAfter);
      const answers = certificates.map((certId) => ({
        certId: certId.raw,
        status: this.#statusOf(issuer, certId),
      }));
      const terms = { answers, thisUpdate, nextUpdate, nonce };
      const der = await signedAnswer(issuerFacts(issuer), issuer.signer, terms);
      // Signing takes time, in hardware most of all; something may have been revoked meanwhile.
      const isStale =
        revision !== this.#revision &&
        certificates.some(
          (certId, i) => !isDeepStrictEqual(this.#statusOf(issuer, certId), answers[i]?.status),
        );
      if (isStale) continue;
      const answer = { der, thisUpdate, renewAt: (now + nextUpdate) / 2, nextUpdate };
      keep?.(answer);
      return answer;
    }
  }

  /** The CA that can answer: that of the first certificate that one of ours may have issued. */
  #issuerOf(certificates: readonly CertId[]): StatusIssuer | undefined {
    const issuers = this.#parts.issuers();
    for (const certId of certificates) {
      const found = issuers.find((issuer) => isOf(issuer, certId));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #statusOf(issuer: StatusIssuer, certId: CertId): CertificateStatus | undefined {
    const { serial } = certId;
    if (serial === undefined || !isOf(issuer, certId)) return undefined;
    return this.#parts.revocations.statusOf(issuer.id, serial);
  }

  /** @throws SallyportError `rate`. */
  #charge(): void {
    const second = Math.floor(this.#parts.clock.monotonic() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#signedInSecond = 0;
    }
    this.#signedInSecond += 1;
    if (this.#signedInSecond > this.#parts.settings().signaturesPerSecond) {
      throw new SallyportError('rate', 'too many OCSP answers to sign');
    }
  }

  #failed(thrown: unknown): OcspReply {
    const code = errorCodeOf(thrown);
    if (code === 'rate') return unsigned('tryLater');
    if (this.#logBudget.take()) {
      const fields = { err: messageOf(thrown), ...this.#logBudget.suppressed() };
      this.#parts.logger.error(fields, 'OCSP answer not signed');
    }
    return unsigned(code === 'unavailable' ? 'tryLater' : 'internalError');
  }
}

function unsigned(status: UnsignedStatus): OcspReply {
  return { der: unsignedAnswer(status), cacheUntil: undefined, serials: [] };
}

function isOf(issuer: StatusIssuer, { hash, issuerNameHash, issuerKeyHash }: CertId): boolean {
  if (hash === undefined) return false;
  const { nameHash, keyHash } = issuerFacts(issuer);
  return keyHash[hash].equals(issuerKeyHash) && nameHash[hash].equals(issuerNameHash);
}

function keptUnder(issuer: string, serial: string): string {
  return `${issuer}:${serial}`;
}
