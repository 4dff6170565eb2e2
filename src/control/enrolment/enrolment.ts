/**
 * The one way to a certificate: the request is checked, then the registry, then it is signed, then it is put on record,
 * then it is registered.
 */
import { generateKeyPairSync, hash } from 'node:crypto';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { CertificateAuthority, IssuedCertificate } from '../ca/authority.ts';
import type { RegistryChange } from '../registry/records.ts';
import type { Registry } from '../registry/registry.ts';
import { checkCsr } from './check-csr.ts';

export interface EnrolmentOptions {
  readonly authority: CertificateAuthority;
  readonly registry: Registry;
  readonly trustDomain: string;
}

export interface Enrolled {
  readonly certificate: IssuedCertificate;
  readonly change: RegistryChange;
}

/**
 * Puts the certificate on record. When it throws, nothing has been issued: the certificate is in no registry and is
 * returned to nobody.
 */
export type RecordIssue = (certificate: IssuedCertificate) => void;

export class Enrolment {
  readonly #options: EnrolmentOptions;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
  }

  /**
   * A certificate for `name` from a request in PEM or DER. It is in the registry before it is returned.
   *
   * @throws SallyportError `invalid-csr`; `wrong-standing` or `already-exists` as `Registry.assertEnrollable`; `no-key`.
   */
  enrol(
    name: PrincipalName,
    role: string,
    csr: Uint8Array | string,
    record: RecordIssue,
  ): Enrolled {
    const { trustDomain } = this.#options;
    return this.#certify(name, role, checkCsr(csr, { name, trustDomain }), record);
  }

  /** For laboratories: makes the private key as well (PKCS#8 PEM), which is kept nowhere. @throws as `enrol`. */
  createLabIdentity(
    name: PrincipalName,
    role: string,
    record: RecordIssue,
  ): Enrolled & { readonly privateKey: string } {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    return {
      ...this.#certify(name, role, spki, record),
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    };
  }

  #certify(name: PrincipalName, role: string, spki: Buffer, record: RecordIssue): Enrolled {
    const { authority, registry } = this.#options;
    const anchor = authority.anchor.name;
    registry.assertEnrollable(name, role, anchor, hash('sha256', spki, 'hex'));
    const certificate = authority.issue(name, spki);
    record(certificate);
    return { certificate, change: registry.enrol(name, role, anchor, certificate) };
  }
}
