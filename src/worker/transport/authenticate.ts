/**
 * From a peer certificate to a principal. Everything is checked here on every connection, resumed ones included: what
 * TLS said when the session began may have stopped being true. The order is RFC 5280 §6.1's: signature, validity,
 * revocation, then names.
 */
import { hash, X509Certificate } from 'node:crypto';
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

/** Certificates whose signature was verified, by their hash; saves a signature check (90 µs) a reconnect. */
const maxVerified = 10_000;
/** An anchor's own certificates form a short chain; a longer one is a loop. */
const maxChain = 8;

interface AnchorCertificate {
  readonly anchor: TrustAnchor;
  readonly certificate: X509Certificate;
  /** When this certificate and all above it in its anchor hold, milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  #trustDomain = '';
  #issuers: readonly AnchorCertificate[] = [];
  readonly #verified = new Map<string, AnchorCertificate>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** Tickets and cached verdicts of earlier anchors end with them. */
  setAnchors(trustDomain: string, material: TlsMaterial): void {
    this.#trustDomain = trustDomain;
    this.#verified.clear();
    this.#issuers = material.anchors.flatMap(anchorCertificates);
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
    const key = hash('sha256', der, 'base64');
    const now = this.#options.clock.now();
    const known = this.#verified.get(key);
    // OpenSSL looks at the CA's dates on a full handshake only; a resumed session must not outlive its CA.
    if (known !== undefined) return holds(known, now) ? known.anchor : undefined;
    const leaf = new X509Certificate(der);
    const issuer = this.#issuers.find(
      (each) =>
        holds(each, now) &&
        leaf.checkIssued(each.certificate) &&
        leaf.verify(each.certificate.publicKey),
    );
    if (issuer === undefined) return undefined;
    if (this.#verified.size >= maxVerified) this.#verified.clear();
    this.#verified.set(key, issuer);
    return issuer.anchor;
  }
}

function holds({ notBefore, notAfter }: AnchorCertificate, now: number): boolean {
  return now >= notBefore && now <= notAfter;
}

function anchorCertificates(anchor: TrustAnchor): AnchorCertificate[] {
  const certificates = anchor.certificates.map((pem) => new X509Certificate(pem));
  return certificates.map((certificate) => {
    const chain = [certificate];
    for (let above = issuerOf(certificate, certificates); above !== undefined;) {
      chain.push(above);
      above = chain.length < maxChain ? issuerOf(above, certificates) : undefined;
    }
    return {
      anchor,
      certificate,
      notBefore: Math.max(...chain.map((each) => each.validFromDate.getTime())),
      notAfter: Math.min(...chain.map((each) => each.validToDate.getTime())),
    };
  });
}

/** The certificate among `certificates` that signed this one; undefined when it signed itself. */
function issuerOf(
  certificate: X509Certificate,
  certificates: readonly X509Certificate[],
): X509Certificate | undefined {
  return certificates.find(
    (each) =>
      each !== certificate && certificate.checkIssued(each) && certificate.verify(each.publicKey),
  );
}

function refused(detail: string, commonName: string): Authentication {
  return { ok: false, detail, commonName };
}
