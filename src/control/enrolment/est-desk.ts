/**
 * EST (RFC 7030, RFC 8951), decided: a worker has terminated TLS and HTTP and hands the request over, and takes the
 * answer as it is. Who may have a certificate for what is said by a claim; what a claim is good for is the issuance's
 * to judge.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import type { EnrolmentConfig } from '../../common/config/config.ts';
import { principalOfCertificate } from '../../common/identity/principal-of-certificate.ts';
import type { EstAnswer } from '../../common/ipc/control-calls.ts';
import type { AuditLog } from '../audit-log/audit-log.ts';
import type { CertificateAuthority } from '../ca/authority.ts';
import { verifyChain } from '../ca/verify-chain.ts';
import type { RegistryChange } from '../registry/records.ts';
import type { Registry } from '../registry/registry.ts';
import { fromBase64 } from './certs-only.ts';
import { readCertificationRequest } from './certification-request.ts';
import type { Claim } from './claim.ts';
import type { EnrolmentTally } from './enrolment-tally.ts';
import {
  attributesAnswer,
  certificatesAnswer,
  methodAnswer,
  notFoundAnswer,
  notImplementedAnswer,
  pendingAnswer,
  refusalAnswer,
  wrongTypeAnswer,
} from './est-answers.ts';
import { readEstRequest } from './est-request.ts';
import type { EstRequest } from './est-request.ts';
import type { GuessBrake } from './guess-brake.ts';
import type { Issuance } from './issuance.ts';
import type { Manufacturers } from './manufacturers.ts';
import type { PendingRequest, PendingRequests } from './pending-requests.ts';
import { refused } from './refused.ts';
import type { EnrolmentToken, EnrolmentTokens } from './tokens.ts';

/** What control itself cannot do now, a worker may ask again after. */
const retryLaterMs = 60_000;
const deviceRole = 'device';

export interface EstDeskParts {
  readonly clock: Clock;
  readonly trustDomain: string;
  readonly settings: () => EnrolmentConfig;
  readonly authority: Pick<CertificateAuthority, 'anchor' | 'crossPems'>;
  readonly registry: Pick<Registry, 'get'>;
  readonly issuance: Pick<Issuance, 'issue' | 'assess'>;
  readonly tokens: EnrolmentTokens;
  readonly pending: PendingRequests;
  readonly manufacturers: Manufacturers;
  readonly brake: GuessBrake;
  readonly tally: EnrolmentTally;
  readonly auditLog: Pick<AuditLog, 'append'>;
  /** Resolves when the workers know, are known not to answer, or have been waited for long enough. */
  readonly publish: (change: RegistryChange) => Promise<void>;
}

/** What is known of a request so far: for the record, should it be refused. */
interface Attempt {
  readonly slot: number;
  readonly address: string;
  readonly operation: string;
  actor: string;
  target: string;
  retryAfterMs: number;
}

/** Somebody who has come with something that may be good for a certificate of a new key. */
interface Applicant {
  readonly claim: Claim & { readonly right: 'token' | 'manufacturer' };
  /** By which a request that waits is known again. */
  readonly credential: string;
  /** @throws SallyportError `unauthenticated` when it is good for nothing any more. */
  readonly assertGood: () => void;
  /** Uses up what is good for one request that waits. @returns false when it is gone. */
  readonly pay: () => boolean;
  /** The certificate has been issued. */
  readonly issued: () => void;
}

export class EstDesk {
  readonly #parts: EstDeskParts;

  constructor(parts: EstDeskParts) {
    this.#parts = parts;
  }

  /**
   * @param fields an `EstCall`, as a worker claims it to be.
   * @throws what is a defect; every refusal is an answer.
   */
  async answer(slot: number, fields: Readonly<Record<string, unknown>>): Promise<EstAnswer> {
    let attempt = attemptOf(slot, { address: 'unknown', operation: '' });
    try {
      const request = readEstRequest(fields, bodyCharacters(this.#parts.settings().csrBytes));
      attempt = attemptOf(slot, request);
      return await this.#answer(attempt, request);
    } catch (thrown) {
      if (!(thrown instanceof SallyportError)) throw thrown;
      const { actor, target, operation, address: source } = attempt;
      const { code } = thrown;
      const message = messageOf(thrown);
      this.#parts.tally.refused({ actor, target, operation, source, worker: slot, code, message });
      return refusalAnswer(code, attempt.retryAfterMs);
    }
  }

  async #answer(attempt: Attempt, request: EstRequest): Promise<EstAnswer> {
    // Section 3.2.2: a label names another CA or profile, and there is one.
    if (request.label !== undefined) return notFoundAnswer;
    const { method } = request;
    switch (request.operation) {
      case 'cacerts':
        return method === 'GET' ? this.#caCertificates() : methodAnswer('GET');
      case 'csrattrs':
        return method === 'GET' ? attributesAnswer(this.#parts.settings()) : methodAnswer('GET');
      case 'simpleenroll':
        return method === 'POST' ? this.#enrol(attempt, request) : methodAnswer('POST');
      case 'simplereenroll':
        return method === 'POST' ? this.#renew(attempt, request) : methodAnswer('POST');
      case 'serverkeygen':
      case 'fullcmc':
        return notImplementedAnswer;
      default:
        return notFoundAnswer;
    }
  }

  /** Section 4.1.3: the roots, what a chain from them needs, and what leads from one root to the next. */
  #caCertificates(): EstAnswer {
    const { anchor, crossPems } = this.#parts.authority;
    const pems = [...anchor.certificates, ...crossPems];
    return certificatesAnswer(pems.flatMap((pem) => decodePem('CERTIFICATE', pem)));
  }

  /** Section 4.2.1: by a token, or else by the certificate of the connection. */
  async #enrol(attempt: Attempt, request: EstRequest): Promise<EstAnswer> {
    if (request.contentType !== 'application/pkcs10') return wrongTypeAnswer;
    const { secret, certificate } = request;
    if (secret !== undefined) return this.#enrolByToken(attempt, secret, request);
    if (certificate === undefined) {
      throw new SallyportError('unauthenticated', 'neither a token nor a certificate');
    }
    attempt.actor = 'certificate';
    const device = this.#parts.manufacturers.find(certificate);
    if (device === undefined) return this.#renew(attempt, request);
    const { name, role, spkiSha256 } = device;
    attempt.actor = `manufacturer:${device.manufacturer}`;
    attempt.target = name;
    return this.#enrolApplicant(attempt, csrOf(request), {
      claim: { right: 'manufacturer', name, role: this.#roleOf(name, role), certificate },
      credential: `manufacturer:${spkiSha256}`,
      assertGood: () => {},
      pay: () => true,
      issued: () => this.#parts.manufacturers.remember(device),
    });
  }

  async #enrolByToken(attempt: Attempt, secret: string, request: EstRequest): Promise<EstAnswer> {
    const { brake, tokens } = this.#parts;
    const token = tokens.find(secret);
    const waitMs = brake.waitMs(attempt.slot, attempt.address, token?.state === 'open');
    if (waitMs > 0) {
      attempt.retryAfterMs = waitMs;
      throw new SallyportError('rate', 'too many tokens from there were no good');
    }
    attempt.actor = 'token';
    try {
      if (token === undefined) throw new SallyportError('unauthenticated', 'no such token');
      attempt.actor = `token:${token.number}`;
      return await this.#enrolApplicant(attempt, csrOf(request), this.#bearer(token, request));
    } catch (thrown) {
      const code = errorCodeOf(thrown);
      if (code === 'unauthenticated' || code === 'forbidden') {
        brake.failed(attempt.slot, attempt.address);
      }
      throw thrown;
    }
  }

  #bearer(token: EnrolmentToken, request: EstRequest): Applicant {
    const { number, device } = token;
    const asked = nameIn(csrOf(request));
    if (device !== undefined && asked !== undefined && asked !== device) {
      throw new SallyportError('forbidden', `the token is for ${device}, the request for ${asked}`);
    }
    const name = device ?? asked;
    if (name === undefined)
      throw refused('the request names no device, and neither does the token');
    const grant = this.#parts.tokens.grant(number);
    return {
      claim: {
        right: 'token',
        name,
        role: this.#roleOf(name, deviceRole),
        named: device !== undefined,
        grant,
      },
      credential: `token:${number}`,
      assertGood: () => {
        if (token.state === 'open') return;
        throw new SallyportError('unauthenticated', `the token is ${token.state}`);
      },
      pay: () => grant.use(),
      issued: () => {},
    };
  }

  /** At once, or when an operator has approved it: then the same request comes again until he has. */
  async #enrolApplicant(attempt: Attempt, csr: Buffer, applicant: Applicant): Promise<EstAnswer> {
    const { pending, issuance, tally, auditLog, settings } = this.#parts;
    const { claim, credential } = applicant;
    const { name, role } = claim;
    attempt.target = name;
    const { spki } = readCertificationRequest(csr);
    const spkiSha256 = hash('sha256', spki, 'hex');
    const known = pending.find({ credential, name, spkiSha256 });
    if (known !== undefined) return this.#decided(attempt, csr, applicant, known);
    applicant.assertGood();
    if (!needsApproval(claim.right, settings().approval)) {
      return this.#issue(attempt, csr, claim, applicant.issued);
    }
    issuance.assess(claim, csr);
    const source = attempt.address;
    const request = pending.add({ credential, name, role, spkiSha256, source }, applicant.pay);
    auditLog.append({
      actor: attempt.actor,
      action: 'enrolment-pending',
      target: name,
      detail: { request: request.number, spkiSha256, role, source },
    });
    tally.count('pending');
    return pendingAnswer(request.number, settings().approvalRetryMs);
  }

  async #decided(
    attempt: Attempt,
    csr: Buffer,
    applicant: Applicant,
    { number, name, role, spkiSha256, state }: PendingRequest,
  ): Promise<EstAnswer> {
    const { pending, tally, settings } = this.#parts;
    switch (state) {
      case 'waiting':
        tally.count('pending');
        return pendingAnswer(number, settings().approvalRetryMs);
      case 'denied':
        throw new SallyportError('forbidden', `request ${number} was denied`);
      case 'approved': {
        attempt.actor = `request:${number}`;
        const claim: Claim = {
          right: 'approval',
          name,
          role: this.#roleOf(name, role),
          spkiSha256,
          of: applicant.claim,
          grant: pending.grant(number),
        };
        return this.#issue(attempt, csr, claim, applicant.issued);
      }
    }
  }

  /** Section 4.2.2: the certificate of the connection says who it is, and that it is due is the issuance's to judge. */
  async #renew(attempt: Attempt, request: EstRequest): Promise<EstAnswer> {
    if (request.contentType !== 'application/pkcs10') return wrongTypeAnswer;
    const { certificate } = request;
    if (certificate === undefined) {
      throw new SallyportError('unauthenticated', 'renewing takes the certificate that is renewed');
    }
    attempt.actor = 'certificate';
    const name = this.#holderOf(certificate);
    attempt.actor = name;
    attempt.target = name;
    return this.#issue(attempt, csrOf(request), { right: 'renewal', name, certificate });
  }

  async #issue(
    attempt: Attempt,
    csr: Buffer,
    claim: Claim,
    issued: () => void = () => {},
  ): Promise<EstAnswer> {
    const { issuance, auditLog, tally, publish } = this.#parts;
    const { certificate, change } = await issuance.issue(claim, csr, ({ serial, notAfter }) => {
      auditLog.append({
        actor: attempt.actor,
        action: claim.right === 'renewal' ? 'renew' : 'enrol',
        target: claim.name,
        detail: {
          serial,
          role: claim.right === 'renewal' ? undefined : claim.role,
          notAfter: new Date(notAfter).toISOString(),
          source: attempt.address,
          worker: attempt.slot,
        },
      });
    });
    issued();
    tally.count('issued');
    await publish(change);
    return certificatesAnswer([certificate.der]);
  }

  /** Whom one of our own certificates names. Expired or not: whether that matters is the issuance's to judge. */
  #holderOf(certificate: Buffer): PrincipalName {
    const { authority, clock, trustDomain } = this.#parts;
    const now = clock.now();
    const { anchor, facts } = verifyChain(certificate, [authority.anchor], now);
    const mapped = principalOfCertificate(
      facts,
      anchor,
      trustDomain,
      Math.min(now, facts.notAfter),
    );
    if (mapped.ok) return mapped.principal;
    throw new SallyportError('unauthenticated', `the certificate is refused: ${mapped.reason}`);
  }

  /** Who exists keeps his role: enrolling again does not change it. */
  #roleOf(name: PrincipalName, role: string): string {
    return this.#parts.registry.get(name)?.role ?? role;
  }
}

function attemptOf(
  slot: number,
  { address, operation }: Pick<EstRequest, 'address' | 'operation'>,
): Attempt {
  return {
    slot,
    address,
    operation,
    actor: 'anonymous',
    target: '',
    retryAfterMs: retryLaterMs,
  };
}

function needsApproval(
  right: 'token' | 'manufacturer',
  approval: EnrolmentConfig['approval'],
): boolean {
  return approval === 'all' || approval === right;
}

/** Base64 in short lines is half as long again as what it says. */
function bodyCharacters(csrBytes: number): number {
  return Math.ceil(csrBytes * 1.5) + 256;
}

function csrOf({ body }: EstRequest): Buffer {
  const der = fromBase64(body);
  if (der === undefined) throw refused('the request is not base64');
  return der;
}

/** The device that a request asks to be; undefined when it names none. */
function nameIn(csr: Buffer): PrincipalName | undefined {
  const { commonNames } = readCertificationRequest(csr);
  const [commonName] = commonNames;
  if (commonName === undefined) return undefined;
  if (commonNames.length > 1) throw refused(`the request has ${commonNames.length} CNs`);
  try {
    return principalName('device', commonName);
  } catch (thrown) {
    throw refused(messageOf(thrown));
  }
}
