/**
 * From a peer certificate to a principal. Everything is checked here on every connection, resumed ones included: what
 * TLS said when the session began may have stopped being true. The order is RFC 5280 §6.1's: signature, validity,
 * revocation, then names.
 */
import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { CertificateFacts } from '../../common/identity/certificate.ts';
import { principalOfCertificate } from '../../common/identity/principal-of-certificate.ts';
import type { TlsMaterial, TrustAnchor } from '../../common/ipc/snapshot.ts';

export type Authentication =
  | {
      readonly ok: true;
      readonly principal: PrincipalName;
      readonly anchor: TrustAnchor;
      readonly serialHex: string;
      readonly commonName: string;
      readonly notAfterMs: number;
      /** The certificate itself was revoked before it expired. */
      readonly revoked: boolean;
    }
  | { readonly ok: false; readonly detail: string; readonly commonName: string };

export interface AuthenticatorOptions {
  readonly clock: Clock;
  readonly isRevoked: (anchor: string, serialHex: string) => boolean;
}

/** Certificates whose chain was verified, by the certificate's own bytes; saves a signature check (90 µs) a reconnect. */
const maxVerified = 10_000;

interface AnchorCertificate {
  readonly anchor: TrustAnchor;
  readonly certificate: X509Certificate;
}

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  #trustDomain = '';
  #issuers: readonly AnchorCertificate[] = [];
  readonly #verified = new Map<string, TrustAnchor>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** Tickets and cached verdicts of earlier anchors end with them. */
  setAnchors(trustDomain: string, material: TlsMaterial): void {
    this.#trustDomain = trustDomain;
    this.#verified.clear();
    this.#issuers = material.anchors.flatMap((anchor) =>
      anchor.certificates.map((pem) => ({ anchor, certificate: new X509Certificate(pem) })),
    );
  }

  authenticate(der: Buffer | undefined, verifyError: string | undefined): Authentication {
    if (der === undefined) return refused('no certificate', '');
    let facts: CertificateFacts;
    try {
      facts = parseCertificate(der);
    } catch {
      return refused('the certificate cannot be read', '');
    }
    const commonName = facts.commonNames[0] ?? '';
    if (verifyError !== undefined) return refused(verifyError, commonName);
    const anchor = this.#anchorOf(der);
    if (anchor === undefined)
      return refused('no trusted issuer signed the certificate', commonName);
    const now = this.#options.clock.now();
    const mapped = principalOfCertificate(facts, anchor, this.#trustDomain, now);
    if (!mapped.ok) return refused(mapped.reason, commonName);
    return {
      ok: true,
      principal: mapped.principal,
      anchor,
      serialHex: facts.serialHex,
      commonName,
      notAfterMs: facts.notAfter,
      revoked: this.#options.isRevoked(anchor.name, facts.serialHex),
    };
  }

  /**
   * The anchor whose CA signed this certificate, by signature and not by name: the CA of one anchor may write the
   * other's name into an intermediate of its own.
   */
  #anchorOf(der: Buffer): TrustAnchor | undefined {
    const key = der.toString('latin1');
    const known = this.#verified.get(key);
    if (known !== undefined) return known;
    const leaf = new X509Certificate(der);
    const now = this.#options.clock.now();
    for (const { anchor, certificate } of this.#issuers) {
      if (!leaf.checkIssued(certificate) || !leaf.verify(certificate.publicKey)) continue;
      if (now < certificate.validFromDate.getTime() || now > certificate.validToDate.getTime())
        continue;
      if (this.#verified.size >= maxVerified) this.#verified.clear();
      this.#verified.set(key, anchor);
      return anchor;
    }
    return undefined;
  }
}

function refused(detail: string, commonName: string): Authentication {
  return { ok: false, detail, commonName };
}
