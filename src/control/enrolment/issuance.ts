/**
 * The one way from a request to a certificate, as a state machine:
 *
 *     applied ── every check ──► cleared ── authority ──► signed ── right and identity again ──► recorded ──► registered
 *
 * There is no other edge: only a `Clearance` can be signed, a `Clearance` can be made only of the evidence of every
 * mandatory check on the same application, and evidence is made only by running its check. Whatever throws on the way
 * leaves nothing behind: a certificate that is in no registry is returned to nobody.
 */
import { generateKeyPairSync } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { CertificateAuthority, IssuedCertificate } from '../ca/authority.ts';
import type { RegistryChange } from '../registry/records.ts';
import type { Claim } from './claim.ts';
import { applicationOf } from './application.ts';
import { clear, Passed } from './clearance.ts';
import type { CheckName, Clearance } from './clearance.ts';
import type { IssuanceWorld } from './issuance-world.ts';
import { writeCertificationRequest } from './write-request.ts';

export interface IssuanceOptions extends IssuanceWorld {
  readonly authority: Pick<CertificateAuthority, 'issue' | 'anchor'>;
}

export interface Enrolled {
  readonly certificate: IssuedCertificate;
  readonly change: RegistryChange;
}

/** Puts the certificate on record, synchronously. When it throws, nothing has been issued. */
export type RecordIssue = (certificate: IssuedCertificate) => void;

interface Signed {
  readonly clearance: Clearance;
  readonly certificate: IssuedCertificate;
}

/** Those whose answer can change while a signature is made; the others look at the request alone. */
const checksOfTheWorld = ['right', 'identity'] as const satisfies readonly CheckName[];

export class Issuance {
  readonly #options: IssuanceOptions;

  constructor(options: IssuanceOptions) {
    this.#options = options;
  }

  /**
   * A certificate for `claim.name` from a request in PEM or DER. It is in the registry when it resolves; the caller
   * publishes the change to the workers.
   *
   * @throws SallyportError `invalid-csr`; `unauthenticated` when the right does not exist (any more); `forbidden` when it
   *   does not reach this far; `rate` for too many renewals; `wrong-standing`, `already-exists` as
   *   `Registry.assertEnrollable`; `no-key`, `unavailable` from the authority; and what `record` throws.
   */
  async issue(claim: Claim, csr: Uint8Array | string, record: RecordIssue): Promise<Enrolled> {
    const application = applicationOf(claim, csr, this.#options.registry);
    const signed = await this.#sign(clear(application, this.#options));
    return this.#register(signed, record);
  }

  /** Every check, and no certificate: what `issue` would say now. @throws as `issue` does before it signs. */
  assess(claim: Claim, csr: Uint8Array | string): void {
    clear(applicationOf(claim, csr, this.#options.registry), this.#options);
  }

  /** For laboratories: makes the private key as well (PKCS#8 PEM), which is kept nowhere. @throws as `issue`. */
  async createLabIdentity(
    name: PrincipalName,
    role: string,
    record: RecordIssue,
  ): Promise<Enrolled & { readonly privateKey: string }> {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const csr = writeCertificationRequest(name, privateKey);
    return {
      ...(await this.issue({ right: 'lab', name, role }, csr, record)),
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    };
  }

  async #sign(clearance: Clearance): Promise<Signed> {
    const { name, request } = clearance.application;
    return { clearance, certificate: await this.#options.authority.issue(name, request.spki) };
  }

  /**
   * In one turn, so that nothing comes between the second look, the record and the registry: a signature takes its time,
   * and meanwhile the identity may have been revoked, the key registered by somebody else, the token used.
   */
  #register({ clearance, certificate }: Signed, record: RecordIssue): Enrolled {
    const { registry, authority } = this.#options;
    const { application } = clearance;
    for (const check of checksOfTheWorld) Passed.byChecking(check, application, this.#options);
    record(certificate);
    const { claim, name, role } = application;
    const change = registry.enrol(name, role, authority.anchor.name, certificate, () => {
      if ('grant' in claim && !claim.grant.use()) {
        throw new SallyportError('unauthenticated', `the ${claim.right} has been used meanwhile`);
      }
    });
    return { certificate, change };
  }
}
