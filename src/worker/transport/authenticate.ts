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
import {
  principalOfCertificate,
  untimelyForClient,
} from '../../common/identity/principal-of-certificate.ts';
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

/** Certificates that were let in, by their hash: 90 µs of signature check and twice 30 µs of parsing a reconnect. */
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

/** What does not change about a certificate as long as the trust anchors do not. */
interface Verified {
  readonly issuer: AnchorCertificate;
  readonly principal: PrincipalName;
  readonly serialHex: string;
  readonly commonName: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  #trustDomain = '';
  #issuers: readonly AnchorCertificate[] = [];
  readonly #verified = new Map<string, Verified>();

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
    const key = hash('sha256', der, 'base64');
    const known = this.#verified.get(key);
    return known === undefined
      ? this.#firstSeen(der, key, verifyError)
      : this.#seenBefore(known, verifyError);
  }

  #firstSeen(der: Buffer, key: string, verifyError: string | undefined): Authentication {
    let facts: CertificateFacts;
    try {
      facts = parseCertificate(der);
    } catch {
      return refused('the certificate cannot be read', '');
    }
    const commonName = facts.commonNames[0] ?? '';
    if (verifyError !== undefined) return refused(verifyError, commonName);
    const now = this.#options.clock.now();
    const issuer = this.#issuerOf(der, now);
    if (issuer === undefined) return refused(untrusted, commonName);
    const mapped = principalOfCertificate(facts, issuer.anchor, this.#trustDomain, now);
    if (!mapped.ok) return refused(mapped.reason, commonName);
    const { principal } = mapped;
    const { serialHex, notBefore, notAfter } = facts;
    const verified = { issuer, principal, serialHex, commonName, notBefore, notAfter };
    if (this.#verified.size >= maxVerified) this.#verified.clear();
    this.#verified.set(key, verified);
    return this.#accepted(verified);
  }

  /** All that can have changed since: OpenSSL's word on this handshake, the time, and what is revoked. */
  #seenBefore(known: Verified, verifyError: string | undefined): Authentication {
    if (verifyError !== undefined) return refused(verifyError, known.commonName);
    const now = this.#options.clock.now();
    // OpenSSL looks at the CA's dates on a full handshake only; a resumed session must not outlive its CA.
    if (!holds(known.issuer, now)) return refused(untrusted, known.commonName);
    const untimely = untimelyForClient(known, now);
    return untimely === undefined ? this.#accepted(known) : refused(untimely, known.commonName);
  }

  #accepted({ issuer, principal, serialHex, commonName, notAfter }: Verified): Authentication {
    return {
      ok: true,
      principal,
      anchor: issuer.anchor,
      serialHex,
      commonName,
      notAfterMs: notAfter,
      revoked: this.#options.isRevoked(issuer.anchor.name, serialHex),
    };
  }

  /**
   * The CA that signed this certificate, by signature and not by name: the CA of one anchor may write the other's name
   * into an intermediate of its own.
   */
  #issuerOf(der: Buffer, now: number): AnchorCertificate | undefined {
    const leaf = new X509Certificate(der);
    return this.#issuers.find(
      (each) =>
        holds(each, now) &&
        leaf.checkIssued(each.certificate) &&
        leaf.verify(each.certificate.publicKey),
    );
  }
}

const untrusted = 'no trusted issuer signed the certificate';

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
