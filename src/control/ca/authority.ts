/** The CA in service: signs leaf certificates with the issuing key, which only this process holds or may use. */
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { principalParts, spiffeId } from '../../common/base/principal.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { decodePem, encodePem } from '../../common/codec/der/pem.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { TlsMaterial, TrustAnchor } from '../../common/ipc/snapshot.ts';
import type { NewCertificate } from '../registry/records.ts';
import type { MasterKey } from '../store/master-key.ts';
import { buildCertificate, distinguishedName } from './build-certificate.ts';
import { generationsOf } from './certificate-files.ts';
import type { CaRole } from './certificate-files.ts';
import { serverName, uriName } from './general-names.ts';
import type { Announce, Hierarchy, Issuer } from './hierarchy.ts';
import { pinOf } from './pins.ts';
import { backdateMs, dayMs, ownBackdateMs, profiles } from './profiles.ts';
import type { CertificateProfile } from './profiles.ts';
import type { SealedKeys } from './sealed-keys.ts';
import { doesServerCertificateServe, isServerCertificateCurrent } from './server-certificate.ts';
import { removeServersBefore, serverKey, writeServerPair } from './server-pair.ts';
import type { ServerPair } from './server-pair.ts';
import { softwareSigner } from './signer.ts';
import type { Signer } from './signer.ts';

export interface AuthorityOptions {
  readonly masterKey: MasterKey;
  readonly trustDomain: string;
  /** DNS names and IP addresses of the server certificate; never empty. */
  readonly serverNames: readonly string[];
  /** Undefined: as the profile says. */
  readonly deviceDays?: number | undefined;
  readonly serverDays?: number | undefined;
  readonly clock: Clock;
  /** DER Extensions of what this issuer signs for devices, services, operators and the server. */
  readonly leafExtensions?: ((issuer: Issuer) => readonly Buffer[]) | undefined;
  /** Whether devices may know the server by this key (SHA-256 of its SubjectPublicKeyInfo, base64) alone. */
  readonly isPinned?: ((pin: string) => boolean) | undefined;
  /** Told of what could not be done and will be tried again. */
  readonly logger?: Pick<Logger, 'error'> | undefined;
}

export interface IssuedCertificate extends NewCertificate {
  /** Subject key identifier of the issuing CA, hex. */
  readonly issuer: string;
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
  /** CAs before these under which certificates may still live: roots, then issuing CAs, newest first. */
  readonly older: readonly CertificateSummary[];
  /** False once the root key has been taken away. */
  readonly rootKeyHere: boolean;
}

/** A server certificate that has been signed and is not yet in service. */
export interface PreparedServerTls {
  readonly pair: ServerPair;
  readonly tls: ServerTls;
}

/** PEM: the chain, leaf first, and the PKCS#8 key. */
export type ServerTls = Pick<TlsMaterial, 'certificateChain' | 'privateKey'>;

interface AuthorityParts {
  readonly hierarchy: Hierarchy;
  readonly serverKeys: SealedKeys;
  readonly server: ServerPair | undefined;
  readonly rootKeyHere: boolean;
}

interface Leaf {
  readonly profile: CertificateProfile;
  readonly days: number;
  readonly commonName: string;
  readonly spki: Buffer;
  readonly alternativeNames: readonly Buffer[];
}

export class CertificateAuthority {
  readonly #options: AuthorityOptions;
  readonly #hierarchy: Hierarchy;
  readonly #serverKeys: SealedKeys;
  /** What is served: a renewal that fails half-way on the disk leaves it as it was. */
  #server: ServerPair | undefined;
  #rootKeyHere: boolean;

  /** Made by `ensureAuthority`. */
  constructor(options: AuthorityOptions, parts: AuthorityParts) {
    this.#options = options;
    this.#hierarchy = parts.hierarchy;
    this.#serverKeys = parts.serverKeys;
    this.#server = parts.server;
    this.#rootKeyHere = parts.rootKeyHere;
  }

  /** Issuing CAs, newest first; the first of them issues, the others answer for what they have issued. */
  get issuers(): readonly Issuer[] {
    return this.#hierarchy.issuers;
  }

  /** The CA that issues now. */
  get issuing(): Issuer {
    return this.#hierarchy.issuing;
  }

  /** PEM of the root certificate: what devices trust. */
  get rootPem(): string {
    return this.#hierarchy.root.pem;
  }

  /** PEM of the roots over all issuing CAs, newest first. */
  get rootPems(): readonly string[] {
    return this.#hierarchy.roots.map(({ pem }) => pem);
  }

  /** PEM of the certificates by which older roots vouch for newer ones, newest first, as long as they are valid. */
  get crossPems(): readonly string[] {
    return this.#hierarchy.roots.flatMap(({ cross }) => this.#validPem(cross));
  }

  /** The anchor `internal` of the snapshot: every CA under which certificates may live. */
  get anchor(): TrustAnchor {
    return {
      name: 'internal',
      certificates: [...this.rootPems, ...this.#hierarchy.trusted.map(({ pem }) => pem)],
      mapping: { type: 'spiffe' },
    };
  }

  /**
   * A client certificate for `name` and the public key `spki` (DER SubjectPublicKeyInfo), whose possession and strength
   * the caller has checked. It does not outlive the issuing CA.
   *
   * @throws SallyportError `no-key` when the issuing CA has expired; as `Signer.sign`.
   */
  async issue(name: PrincipalName, spki: Buffer): Promise<IssuedCertificate> {
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
   * Issues the server certificate anew when `prepareServerTls` says so.
   *
   * @returns whether it did. @throws SallyportError as `prepareServerTls` and `commitServerTls`.
   */
  async renewServerTls(serverNames: readonly string[]): Promise<boolean> {
    const prepared = await this.prepareServerTls(serverNames);
    if (prepared === undefined) return false;
    await this.commitServerTls(prepared);
    return true;
  }

  /**
   * A new server certificate, in memory only, when the one in service has other names, less than a third of its life
   * left or another issuer than the CA that issues now; otherwise undefined. Its key is the next one, or the present one
   * as long as devices may have it pinned: only an operator lets that go.
   *
   * @param key `next` makes a certificate in any case, for the next key. @throws SallyportError `invalid-config` for a
   *   name that no certificate can hold, `no-key` when the CA has expired, `io`; as `Signer.sign`.
   */
  async prepareServerTls(
    serverNames: readonly string[],
    key?: 'next',
  ): Promise<PreparedServerTls | undefined> {
    const alternativeNames = serverNames.map(serverName);
    const issuer = this.#hierarchy.issuing;
    if (key === undefined && this.#isServerCurrent(serverNames)) return undefined;
    const generation = this.#nextServerGeneration(key);
    const privateKey = await serverKey(this.#serverKeys, generation);
    const issued = await this.#sign({
      profile: profiles.gateway,
      days: this.#options.serverDays ?? profiles.gateway.days,
      commonName: serverNames.find((name) => name.length <= 64) ?? 'sallyport',
      spki: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
      alternativeNames,
    });
    const certificate = new X509Certificate(issued.der);
    const pair: ServerPair = { generation, certificate, key: privateKey, issuer };
    return { pair, tls: this.#tlsOf(pair) };
  }

  /** Puts it on disk, then into service. @throws SallyportError `io`; the one in service stays. */
  async commitServerTls({ pair }: PreparedServerTls): Promise<void> {
    writeServerPair(pair);
    this.#server = pair;
    await this.prepareNext();
  }

  /**
   * Makes the keys of the next generations, so that devices can be told of them long before, and removes what the server
   * no longer needs. What fails is logged and tried again the next time.
   */
  async prepareNext(): Promise<void> {
    try {
      this.#rootKeyHere = await this.#hierarchy.hasRootKey();
      await this.#hierarchy.prepareNext();
      if (this.#server === undefined) return;
      await removeServersBefore(this.#serverKeys, this.#server.generation);
      await serverKey(this.#serverKeys, this.#server.generation + 1);
    } catch (thrown) {
      this.#options.logger?.error({ err: messageOf(thrown) }, 'the next keys are not made yet');
    }
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
   * A new issuing CA, under the present root or under a new one. The server certificate has to be prepared anew after it.
   *
   * @param rootKeys PEM with the root keys that are not here; they are not kept.
   * @param announce MUST NOT reject; told when `anchor` has changed, before the new CA issues.
   * @throws SallyportError as `Hierarchy.rotateIssuing` and `Hierarchy.rotateRoot`; nothing has changed then.
   */
  async rotate(
    role: 'root' | 'issuing',
    rootKeys: string | undefined,
    announce: Announce,
  ): Promise<void> {
    const signers = signersOf(rootKeys);
    if (role === 'root') await this.#hierarchy.rotateRoot(signers, announce);
    else await this.#hierarchy.rotateIssuing(signers, announce);
    // It has taken effect: what is looked at now may fail and is looked at again.
    await this.prepareNext();
  }

  /** As `Hierarchy.retire`. */
  async retire(lastExpiry: (issuerId: string) => number | undefined): Promise<readonly string[]> {
    return this.#hierarchy.retire(lastExpiry);
  }

  /**
   * DER SubjectPublicKeyInfo of the key in service and of the one that the next rotation will use.
   *
   * @throws SallyportError `io`, `unavailable`, when the next one cannot be made.
   */
  async keysOf(role: CaRole): Promise<{ readonly current: Buffer; readonly next: Buffer }> {
    if (role !== 'server') {
      return {
        current: spkiOf(this.#certificateOf(role)),
        next: await this.#hierarchy.nextKey(role),
      };
    }
    const { generation } = this.#requireServer();
    const next = createPublicKey(await serverKey(this.#serverKeys, generation + 1));
    return {
      current: spkiOf(this.#certificateOf(role)),
      next: next.export({ type: 'spki', format: 'der' }),
    };
  }

  /**
   * The root keys that are here (PKCS#8 PEM, the present one first) and the root certificate. The keys stay until
   * `discardRootKey`, which the caller calls once whoever asked has confirmed that he holds them.
   *
   * @throws SallyportError `no-key` when they have been taken away before or never leave their hardware; `tampered`.
   */
  async exportRoot(): Promise<{ readonly privateKey: string; readonly certificate: string }> {
    const privateKey = await this.#hierarchy.exportRootKeys();
    const key = createPrivateKey(privateKey);
    if (this.#rootKeyHere && !this.#hierarchy.root.certificate.checkPrivateKey(key)) {
      throw new SallyportError('tampered', 'the key on disk is not that of the root certificate');
    }
    return { privateKey, certificate: this.rootPem };
  }

  /** As `Hierarchy.discardRootKeys`. */
  async discardRootKey(): Promise<void> {
    await this.#hierarchy.discardRootKeys();
    this.#rootKeyHere = await this.#hierarchy.hasRootKey();
  }

  /** When the certificates in service end, milliseconds. */
  get ends(): Readonly<Record<CaRole, number>> {
    const { root, issuing } = this.#hierarchy;
    const server = parseCertificate(this.#requireServer().certificate.raw);
    return { root: root.notAfter, issuing: issuing.notAfter, server: server.notAfter };
  }

  summary(): AuthoritySummary {
    return {
      root: summaryOf(this.#certificateOf('root')),
      issuing: summaryOf(this.#certificateOf('issuing')),
      server: summaryOf(this.#certificateOf('server')),
      older: [
        ...this.#hierarchy.roots.filter((root) => root !== this.#hierarchy.root),
        ...this.issuers.slice(1),
      ].map(({ certificate }) => summaryOf(certificate)),
      rootKeyHere: this.#rootKeyHere,
    };
  }

  #certificateOf(role: CaRole): X509Certificate {
    if (role === 'server') return this.#requireServer().certificate;
    return this.#hierarchy[role].certificate;
  }

  #isServerCurrent(serverNames: readonly string[]): boolean {
    const server = this.#server;
    return (
      server !== undefined &&
      server.issuer.id === this.#hierarchy.issuing.id &&
      isServerCertificateCurrent(server.certificate.raw, serverNames, this.#options.clock.now())
    );
  }

  #nextServerGeneration(key: 'next' | undefined): number {
    if (this.#server === undefined) return (generationsOf('server')[0] ?? 0) + 1;
    const { generation, certificate } = this.#server;
    const isKept =
      key === undefined && this.#options.isPinned?.(pinOf(spkiOf(certificate))) === true;
    return isKept ? generation : generation + 1;
  }

  #requireServer(): ServerPair {
    if (this.#server === undefined) {
      throw new SallyportError('internal', 'the server certificate has not been issued yet');
    }
    return this.#server;
  }

  /** With the path to the root before the present one, for devices that know only that. */
  #tlsOf({ certificate, key, issuer }: ServerPair): ServerTls {
    const root = this.#hierarchy.rootOf(issuer);
    const chain = [pemOf(certificate), issuer.pem, ...this.#validPem(root?.cross)];
    return {
      certificateChain: chain.join(''),
      privateKey: key.export({ type: 'pkcs8', format: 'pem' }),
    };
  }

  #validPem(certificate: X509Certificate | undefined): readonly string[] {
    if (certificate === undefined) return [];
    const { notAfter } = parseCertificate(certificate.raw);
    return this.#options.clock.now() < notAfter ? [pemOf(certificate)] : [];
  }

  async #sign(leaf: Leaf): Promise<IssuedCertificate> {
    const issuer = this.#hierarchy.issuing;
    const now = this.#options.clock.now();
    if (now >= issuer.notAfter) {
      throw new SallyportError('no-key', 'the issuing CA has expired', {
        hint: 'what it has issued is void too: run "sallyport ca rotate", and enrol devices again',
      });
    }
    const der = await buildCertificate(
      {
        profile: leaf.profile,
        subject: distinguishedName([[oids.commonName, leaf.commonName]]),
        issuer: issuer.subject,
        spki: leaf.spki,
        alternativeNames: leaf.alternativeNames,
        extensions: this.#options.leafExtensions?.(issuer),
        notBefore: now - (leaf.profile === profiles.gateway ? ownBackdateMs : backdateMs),
        notAfter: Math.min(now + leaf.days * dayMs, issuer.notAfter),
      },
      issuer.signer,
    );
    const { serialHex, spkiSha256, notBefore, notAfter } = parseCertificate(der);
    return {
      issuer: issuer.id,
      serial: serialHex,
      spkiSha256,
      notBefore,
      notAfter,
      der,
      certificateChain: encodePem('CERTIFICATE', der) + issuer.pem,
    };
  }
}

/** PEM of PKCS#8 keys. @throws SallyportError `usage` when there is none in it, `no-key` for one of another kind. */
function signersOf(pem: string | undefined): readonly Signer[] {
  if (pem === undefined) return [];
  try {
    const signers = decodePem('PRIVATE KEY', pem).map((key) =>
      softwareSigner(createPrivateKey({ key, format: 'der', type: 'pkcs8' })),
    );
    if (signers.length > 0) return signers;
  } catch (thrown) {
    if (thrown instanceof SallyportError && thrown.code === 'no-key') throw thrown;
  }
  throw new SallyportError('usage', 'there is no private key (PKCS#8) in the file', {
    hint: 'give the file that "ca export-root" wrote',
  });
}

function spkiOf(certificate: X509Certificate): Buffer {
  return certificate.publicKey.export({ type: 'spki', format: 'der' });
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
