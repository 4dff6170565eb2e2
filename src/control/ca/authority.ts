/** The CA in service: signs leaf certificates with the issuing key, which only this process holds. */
import { X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalParts, spiffeId } from '../../common/base/principal.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { encodePem } from '../../common/codec/der/pem.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { TlsMaterial, TrustAnchor } from '../../common/ipc/snapshot.ts';
import type { NewCertificate } from '../registry/records.ts';
import type { MasterKey } from '../store/master-key.ts';
import { buildCertificate, distinguishedName } from './build-certificate.ts';
import { serverName, uriName } from './general-names.ts';
import type { KeyPairFiles } from './key-pair-files.ts';
import { generateKey, spkiOf } from './key-pair-files.ts';
import { backdateMs, dayMs, profiles } from './profiles.ts';
import { doesServerCertificateServe, isServerCertificateCurrent } from './server-certificate.ts';

export interface AuthorityOptions {
  readonly masterKey: MasterKey;
  readonly trustDomain: string;
  /** DNS names and IP addresses of the server certificate; never empty. */
  readonly serverNames: readonly string[];
  /** Undefined: as the profile says. */
  readonly deviceDays?: number | undefined;
  readonly serverDays?: number | undefined;
  readonly clock: Clock;
  /** Told when the server certificate could not be renewed although the old one still serves. */
  readonly logger?: Pick<Logger, 'error'> | undefined;
}

export interface IssuedCertificate extends NewCertificate {
  /** PEM: leaf, then the issuing CA. */
  readonly certificateChain: string;
}

export interface CertificateSummary {
  readonly subject: string;
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Of the DER, lower-case hex. */
  readonly sha256: string;
  readonly pem: string;
}

export interface AuthoritySummary {
  readonly root: CertificateSummary;
  readonly issuing: CertificateSummary;
  readonly server: CertificateSummary;
  /** False once the root key has been taken away. */
  readonly rootKeyHere: boolean;
}

export interface ServerPair {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

/** A server certificate that has been signed and is not yet in service. */
export interface PreparedServerTls extends ServerPair {
  readonly tls: ServerTls;
}

/** PEM: the chain, leaf first, and the PKCS#8 key. */
export type ServerTls = Pick<TlsMaterial, 'certificateChain' | 'privateKey'>;

interface IssuingCa {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

export class CertificateAuthority {
  readonly #options: AuthorityOptions;
  readonly #files: KeyPairFiles;
  readonly #root: X509Certificate;
  readonly #issuing: IssuingCa;
  readonly #issuingPem: string;
  readonly #issuingSpki: Buffer;
  readonly #issuingName: Buffer;
  readonly #issuingNotAfter: number;
  /** What is served: a renewal that fails half-way on the disk leaves it as it was. */
  #server: ServerPair | undefined;

  /** Made by `ensureAuthority`, which has checked that the parts belong together. */
  constructor(
    options: AuthorityOptions,
    files: KeyPairFiles,
    root: X509Certificate,
    issuing: IssuingCa,
    server: ServerPair | undefined,
  ) {
    const facts = parseCertificate(issuing.certificate.raw);
    this.#options = options;
    this.#files = files;
    this.#root = root;
    this.#issuing = issuing;
    this.#issuingPem = pemOf(issuing.certificate);
    this.#issuingSpki = spkiOf(issuing.key);
    this.#issuingName = facts.subject;
    this.#issuingNotAfter = facts.notAfter;
    this.#server = server;
  }

  /** PEM of the root certificate: what devices trust. */
  get rootPem(): string {
    return pemOf(this.#root);
  }

  /** The anchor `internal` of the snapshot. */
  get anchor(): TrustAnchor {
    return {
      name: 'internal',
      certificates: [this.rootPem, this.#issuingPem],
      mapping: { type: 'spiffe' },
    };
  }

  /**
   * A client certificate for `name` and the public key `spki` (DER SubjectPublicKeyInfo), whose possession and strength
   * the caller has checked. It does not outlive the issuing CA.
   *
   * @throws SallyportError `no-key` when the issuing CA has expired.
   */
  issue(name: PrincipalName, spki: Buffer): IssuedCertificate {
    const { kind, id } = principalParts(name);
    const days = (kind === 'device' ? this.#options.deviceDays : undefined) ?? profiles[kind].days;
    return this.#sign({
      profile: profiles[kind],
      days,
      commonName: id,
      spki,
      alternativeNames: [uriName(spiffeId(this.#options.trustDomain, name))],
    });
  }

  /** Current since the last `renewServerTls` or `commitServerTls`. */
  serverTls(): ServerTls {
    return this.#tlsOf(this.#requireServer());
  }

  /**
   * Issues the server certificate anew, with a new key, when the names changed or less than a third of its life is left.
   *
   * @returns whether it did. @throws SallyportError as `prepareServerTls` and `commitServerTls`.
   */
  renewServerTls(serverNames: readonly string[]): boolean {
    const prepared = this.prepareServerTls(serverNames);
    if (prepared === undefined) return false;
    this.commitServerTls(prepared);
    return true;
  }

  /**
   * A new server certificate with a new key, in memory only; undefined when the one in service is current.
   *
   * @throws SallyportError `invalid-config` for a name that no certificate can hold, `no-key` when the CA has expired.
   */
  prepareServerTls(serverNames: readonly string[]): PreparedServerTls | undefined {
    const alternativeNames = serverNames.map(serverName);
    const now = this.#options.clock.now();
    const served = this.#server?.certificate.raw;
    if (served !== undefined && isServerCertificateCurrent(served, serverNames, now)) {
      return undefined;
    }
    const key = generateKey();
    const issued = this.#sign({
      profile: profiles.server,
      days: this.#options.serverDays ?? profiles.server.days,
      commonName: serverNames.find((name) => name.length <= 64) ?? 'sallyport',
      spki: spkiOf(key),
      alternativeNames,
    });
    const pair = { certificate: new X509Certificate(issued.der), key };
    return { ...pair, tls: this.#tlsOf(pair) };
  }

  /** Puts it on disk, then into service. @throws SallyportError `io`; the one in service stays. */
  commitServerTls({ certificate, key }: PreparedServerTls): void {
    this.#files.writePair('server', key, certificate.raw);
    this.#server = { certificate, key };
  }

  /** Whether the certificate in service is valid now and has exactly these names. */
  serves(serverNames: readonly string[]): boolean {
    const served = this.#server?.certificate.raw;
    return (
      served !== undefined &&
      doesServerCertificateServe(served, serverNames, this.#options.clock.now())
    );
  }

  /**
   * The root key (PKCS#8 PEM) and certificate. The key stays on disk until `discardRootKey`, which the caller calls once
   * whoever asked has confirmed that he holds it.
   *
   * @throws SallyportError `no-key` when it has been taken away before.
   */
  exportRoot(): { readonly privateKey: string; readonly certificate: string } {
    const key = this.#files.readKey('root');
    if (!this.#root.checkPrivateKey(key)) {
      throw new SallyportError('tampered', 'the key on disk is not that of the root certificate');
    }
    return {
      privateKey: key.export({ type: 'pkcs8', format: 'pem' }),
      certificate: this.rootPem,
    };
  }

  /** Idempotent. The issuing CA goes on without it. */
  discardRootKey(): void {
    this.#files.removeKey('root');
  }

  summary(): AuthoritySummary {
    return {
      root: summaryOf(this.#root),
      issuing: summaryOf(this.#issuing.certificate),
      server: summaryOf(this.#requireServer().certificate),
      rootKeyHere: this.#files.hasKey('root'),
    };
  }

  #requireServer(): ServerPair {
    if (this.#server === undefined) {
      throw new SallyportError('internal', 'the server certificate has not been issued yet');
    }
    return this.#server;
  }

  #tlsOf({ certificate, key }: ServerPair): ServerTls {
    const privateKey = key.export({ type: 'pkcs8', format: 'pem' });
    return { certificateChain: pemOf(certificate) + this.#issuingPem, privateKey };
  }

  #sign(leaf: {
    readonly profile: (typeof profiles)[keyof typeof profiles];
    readonly days: number;
    readonly commonName: string;
    readonly spki: Buffer;
    readonly alternativeNames: readonly Buffer[];
  }): IssuedCertificate {
    const now = this.#options.clock.now();
    if (now >= this.#issuingNotAfter) {
      throw new SallyportError('no-key', 'the issuing CA has expired', {
        hint: 'its five years are over: what it has issued is void too, so begin a new data directory',
      });
    }
    const der = buildCertificate(
      {
        profile: leaf.profile,
        subject: distinguishedName([[oids.commonName, leaf.commonName]]),
        issuer: this.#issuingName,
        spki: leaf.spki,
        issuerSpki: this.#issuingSpki,
        alternativeNames: leaf.alternativeNames,
        notBefore: now - backdateMs,
        notAfter: Math.min(now + leaf.days * dayMs, this.#issuingNotAfter),
      },
      this.#issuing.key,
    );
    const { serialHex, spkiSha256, notBefore, notAfter } = parseCertificate(der);
    return {
      serial: serialHex,
      spkiSha256,
      notBefore,
      notAfter,
      der,
      certificateChain: encodePem('CERTIFICATE', der) + this.#issuingPem,
    };
  }
}

function pemOf(certificate: X509Certificate): string {
  return encodePem('CERTIFICATE', certificate.raw);
}

/** Only of our own certificates: the subject's text form would hide what a stranger puts into a name. */
function summaryOf(certificate: X509Certificate): CertificateSummary {
  const { serialHex, notBefore, notAfter } = parseCertificate(certificate.raw);
  return {
    subject: certificate.subject.replaceAll('\n', ', '),
    serial: serialHex,
    notBefore,
    notAfter,
    sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    pem: pemOf(certificate),
  };
}
