/**
 * The roots and issuing CAs of all generations. Each step writes one file, and each state that a crash can leave is
 * either completed with the key that is already there or refused: nothing is ever made beside what should be there.
 *
 * A generation begins when its certificate is written, so a rotation has one moment at which it takes effect: a new root
 * does nothing until an issuing CA under it is there, which is written last.
 */
import { createPublicKey } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { encodePem } from '../../common/codec/der/pem.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { buildCertificate, distinguishedName, keyIdentifier } from './build-certificate.ts';
import {
  caFolder,
  crossNameOf,
  generationsOf,
  hasCertificate,
  nameOf,
  readCertificate,
  removeCertificate,
  retiredGenerations,
  retiredNameOf,
  writeCertificate,
} from './certificate-files.ts';
import type { KeyStore } from './key-store.ts';
import { readPublicKey, writePublicKey } from './public-keys.ts';
import { dayMs, ownBackdateMs, profiles } from './profiles.ts';
import type { Signer } from './signer.ts';

/** RFC 5280 appendix A.1, ub-organization-name. */
const maxOrganizationCharacters = 64;
/** After the last certificate under an issuing CA has expired: late renewals and late questions still find it. */
const retireAfterMs = 90 * dayMs;
/** A root leaves room for its issuing CA and for the certificate of the root that follows it. */
const pathLengthForNext = 2;

export interface Root {
  readonly generation: number;
  readonly certificate: X509Certificate;
  readonly pem: string;
  /** DER of the Name. */
  readonly subject: Buffer;
  readonly notAfter: number;
  /** Its key, certified by the root before it; undefined for the first. */
  readonly cross: X509Certificate | undefined;
}

/** An issuing CA. */
export interface Issuer {
  /** Subject key identifier, lower-case hex: what names it in paths, in the registry and in OCSP. */
  readonly id: string;
  readonly certificate: X509Certificate;
  readonly pem: string;
  readonly signer: Signer;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly notAfter: number;
}

interface IssuingCa extends Issuer {
  readonly generation: number;
  readonly notBefore: number;
  /** DER of the Name. */
  readonly subject: Buffer;
  readonly root: Root;
}

/** MUST NOT reject: the new CA is on disk by then, and would issue after the next start whatever has been told. */
export type Announce = () => Promise<void>;

export interface HierarchyOptions {
  readonly keys: KeyStore;
  readonly trustDomain: string;
  readonly clock: Clock;
}

/**
 * Makes the first root and the first issuing CA when they are missing.
 *
 * @throws SallyportError `no-key` or `tampered` when the files do not belong together or a key is missing that cannot be
 *   made again; `io`, `unavailable`.
 */
export async function openHierarchy(options: HierarchyOptions): Promise<Hierarchy> {
  await finishRetirements(options.keys);
  if (generationsOf('root').length === 0) await makeFirstRoot(options);
  const roots = generationsOf('root').map(readRoot);
  const [oldest] = roots.slice(-1);
  if (generationsOf('issuing').length === 0 && oldest !== undefined) {
    await makeIssuing(options, 1, oldest, await rootSigner(options.keys, oldest, []));
  }
  const issuers: IssuingCa[] = [];
  for (const generation of generationsOf('issuing')) {
    issuers.push(await readIssuing(options.keys, generation, roots));
  }
  return new Hierarchy(options, roots, issuers);
}

export class Hierarchy {
  readonly #options: HierarchyOptions;
  #roots: readonly Root[];
  #issuers: readonly IssuingCa[];
  /** On disk, to be trusted, and not issuing yet. */
  #announced: IssuingCa | undefined;
  /** Root keys that somebody has been given: no other is removed. */
  readonly #exported = new Set<string>();
  /** Root keys that never leave their hardware. */
  readonly #staying = new Set<string>();
  /** Two that ask for the same key at once get the same. */
  readonly #making = new Map<string, Promise<Buffer>>();

  /** Made by `openHierarchy`, which has checked that the parts belong together. Both newest first, neither empty. */
  constructor(options: HierarchyOptions, roots: readonly Root[], issuers: readonly IssuingCa[]) {
    this.#options = options;
    this.#roots = roots;
    this.#issuers = issuers;
  }

  /** Newest first; the first of them issues. */
  get issuers(): readonly IssuingCa[] {
    return this.#issuers;
  }

  get issuing(): IssuingCa {
    const [newest] = this.#issuers;
    if (newest === undefined) throw new SallyportError('internal', 'there is no issuing CA');
    return newest;
  }

  /** The root over the CA that issues. */
  get root(): Root {
    return this.issuing.root;
  }

  rootOf(issuer: Issuer): Root | undefined {
    return this.#issuers.find(({ id }) => id === issuer.id)?.root;
  }

  /** Issuing CAs under which certificates are or will soon be valid, newest first. */
  get trusted(): readonly IssuingCa[] {
    return this.#announced === undefined ? this.#issuers : [this.#announced, ...this.#issuers];
  }

  /** The roots over them, newest first. */
  get roots(): readonly Root[] {
    return this.#roots.filter((root) => this.trusted.some((issuer) => issuer.root === root));
  }

  /**
   * A new issuing CA under the root of the present one.
   *
   * @param rootKeys of roots whose keys are not here.
   * @param announce resolves when everybody trusts the new one; only then it begins to issue.
   * @throws SallyportError `no-key`, `io`, `unavailable`; nothing has changed then.
   */
  async rotateIssuing(rootKeys: readonly Signer[], announce: Announce): Promise<void> {
    const { root } = this.issuing;
    await this.#beginIssuing(root, await rootSigner(this.#options.keys, root, rootKeys), announce);
  }

  /**
   * A new root, which the present one vouches for, and a new issuing CA under it. Whoever trusts the old root finds a
   * path by way of the cross certificate; whoever trusts the new one needs no other.
   *
   * @param rootKeys, announce as `rotateIssuing`. @throws SallyportError as `rotateIssuing`, and `usage` when the present
   *   root cannot vouch for another.
   */
  async rotateRoot(rootKeys: readonly Signer[], announce: Announce): Promise<void> {
    const present = this.root;
    const [newest = present] = this.#roots;
    // One that a crash kept from coming into service is taken up again: devices may already know it.
    const root = newest === present ? await this.#makeNextRoot(present, rootKeys) : newest;
    await this.#beginIssuing(root, await rootSigner(this.#options.keys, root, rootKeys), announce);
  }

  /**
   * Makes the keys of the next generations, so that devices can be told of them long before. Idempotent.
   *
   * @throws SallyportError `io`, `unavailable`.
   */
  async prepareNext(): Promise<void> {
    await this.nextKey('issuing');
    await this.nextKey('root');
  }

  /** DER SubjectPublicKeyInfo of the key that the next rotation will use; made when it is not there yet. */
  async nextKey(role: 'root' | 'issuing'): Promise<Buffer> {
    const name = this.#nextName(role);
    const taken = role === 'root' ? readPublicKey(name) : undefined;
    if (taken !== undefined) return taken;
    const making = this.#making.get(name) ?? this.#findOrMake(name);
    this.#making.set(name, making);
    try {
      return await making;
    } finally {
      this.#making.delete(name);
    }
  }

  /**
   * PKCS#8 PEM of every root key that is here and may leave: the present one's first, then the next one's, then older
   * ones'. A key in hardware stays there.
   *
   * @throws SallyportError `no-key` when there is none, or they never leave their hardware; `tampered`.
   */
  async exportRootKeys(): Promise<string> {
    const { keys } = this.#options;
    const pems: string[] = [];
    let refusal = new SallyportError('no-key', 'the root key is not here');
    for (const name of await this.#rootKeysHere()) {
      try {
        pems.push(`${(await keys.exportKey(name)).trimEnd()}\n`);
        this.#exported.add(name);
      } catch (thrown) {
        if (!(thrown instanceof SallyportError) || thrown.code !== 'no-key') throw thrown;
        refusal = thrown;
        this.#staying.add(name);
      }
    }
    if (pems.length === 0) throw refusal;
    return pems.join('');
  }

  /**
   * Idempotent. The issuing CAs go on without them. The public half of the next one stays, for who pins it.
   *
   * @throws SallyportError `usage`, and removes none, when one is here that nobody has exported; `io`, `unavailable`.
   */
  async discardRootKeys(): Promise<void> {
    const { keys } = this.#options;
    const here = (await this.#rootKeysHere()).filter((name) => !this.#staying.has(name));
    const unknown = here.find((name) => !this.#exported.has(name));
    if (unknown !== undefined) {
      throw new SallyportError('usage', `the key "${unknown}" has not been exported`, {
        hint: 'export again: since then a rotation has made a key, or control was started anew',
      });
    }
    const next = this.#nextName('root');
    if (here.includes(next)) writePublicKey(next, await this.nextKey('root'));
    for (const name of here) await keys.remove(name);
  }

  async hasRootKey(): Promise<boolean> {
    return this.#options.keys.has(nameOf('root', this.root.generation));
  }

  /**
   * Gives up issuing CAs that nothing valid is under any more. Their keys are destroyed, their certificates kept.
   *
   * @param lastExpiry of an issuer's certificates, milliseconds; undefined = it has issued none.
   * @returns their ids. @throws SallyportError `io`, `unavailable`; it is tried again the next time.
   */
  async retire(lastExpiry: (issuerId: string) => number | undefined): Promise<readonly string[]> {
    const now = this.#options.clock.now();
    const over = this.#issuers.filter((issuer, index) => {
      const successor = this.#issuers[index - 1];
      if (successor === undefined) return false;
      const last = Math.max(lastExpiry(issuer.id) ?? 0, successor.notBefore);
      return now >= last + retireAfterMs;
    });
    for (const { generation, certificate } of over) {
      writeCertificate(retiredNameOf(generation), certificate.raw);
    }
    this.#issuers = this.#issuers.filter((issuer) => !over.includes(issuer));
    await finishRetirements(this.#options.keys);
    return over.map(({ id }) => id);
  }

  async #findOrMake(name: string): Promise<Buffer> {
    const { keys } = this.#options;
    return ((await keys.find(name)) ?? (await keys.make(name))).spki;
  }

  async #makeNextRoot(present: Root, rootKeys: readonly Signer[]): Promise<Root> {
    const { keys } = this.#options;
    assertMayVouch(present);
    const voucher = await rootSigner(keys, present, rootKeys);
    const generation = present.generation + 1;
    const signer = await this.#nextRootSigner(rootKeys);
    const subject = caName('Root CA', signer.spki, this.#options.trustDomain);
    const cross = await buildCertificate(
      {
        profile: profiles.cross,
        subject,
        issuer: present.subject,
        spki: signer.spki,
        alternativeNames: [],
        ...validity(this.#options.clock, profiles.cross.days, present.notAfter),
      },
      voucher,
    );
    writeCertificate(crossNameOf(generation), cross);
    writeCertificate(nameOf('root', generation), await selfSigned(this.#options, subject, signer));
    const root = readRoot(generation);
    this.#roots = [root, ...this.#roots];
    return root;
  }

  async #nextRootSigner(rootKeys: readonly Signer[]): Promise<Signer> {
    const spki = await this.nextKey('root');
    const found =
      rootKeys.find((given) => given.spki.equals(spki)) ??
      (await this.#options.keys.find(this.#nextName('root')));
    return found ?? notHere('the next root');
  }

  async #beginIssuing(root: Root, signer: Signer, announce: Announce): Promise<void> {
    const generation = this.issuing.generation + 1;
    // From its certificate on it is there, so nothing is asked of its key afterwards: a token may be lost at any moment.
    const key = await makeIssuing(this.#options, generation, root, signer);
    const issuing = issuingOf(generation, this.#roots, key);
    this.#announced = issuing;
    await announce();
    this.#issuers = [issuing, ...this.#issuers];
    this.#announced = undefined;
  }

  #nextName(role: 'root' | 'issuing'): string {
    return nameOf(role, this[role].generation + 1);
  }

  async #rootKeysHere(): Promise<readonly string[]> {
    const { keys } = this.#options;
    const present = nameOf('root', this.root.generation);
    const older = this.#roots.map(({ generation }) => nameOf('root', generation));
    const here: string[] = [];
    for (const name of new Set([present, this.#nextName('root'), ...older])) {
      if (await keys.has(name)) here.push(name);
    }
    return here;
  }
}

async function makeFirstRoot(options: HierarchyOptions): Promise<void> {
  if (generationsOf('issuing').length > 0 || retiredGenerations().length > 0) {
    throw new SallyportError('tampered', 'the root certificate is gone', {
      hint: `restore ${caFolder}/root.pem from a backup or from a device's ca.crt`,
    });
  }
  const name = nameOf('root', 1);
  const signer = (await options.keys.find(name)) ?? (await options.keys.make(name));
  const subject = caName('Root CA', signer.spki, options.trustDomain);
  writeCertificate(name, await selfSigned(options, subject, signer));
}

async function selfSigned(
  { clock }: HierarchyOptions,
  subject: Buffer,
  signer: Signer,
): Promise<Buffer> {
  const { spki } = signer;
  const profile = profiles.root;
  const period = validity(clock, profile.days);
  const content = { profile, subject, issuer: subject, spki, alternativeNames: [], ...period };
  return buildCertificate(content, signer);
}

/** @returns its key. */
async function makeIssuing(
  { keys, trustDomain, clock }: HierarchyOptions,
  generation: number,
  root: Root,
  signer: Signer,
): Promise<Signer> {
  const name = nameOf('issuing', generation);
  const key = (await keys.find(name)) ?? (await keys.make(name));
  const { spki } = key;
  const der = await buildCertificate(
    {
      profile: profiles.issuing,
      subject: caName('Issuing CA', spki, trustDomain),
      issuer: root.subject,
      spki,
      alternativeNames: [],
      ...validity(clock, profiles.issuing.days, root.notAfter),
    },
    signer,
  );
  writeCertificate(name, der);
  return key;
}

function readRoot(generation: number): Root {
  const name = nameOf('root', generation);
  const certificate = readCertificate(name);
  if (!certificate.ca || !certificate.verify(certificate.publicKey)) {
    throw mismatch(name, 'it does not sign itself');
  }
  const { subject, notAfter } = parseCertificate(certificate.raw);
  const crossName = crossNameOf(generation);
  const cross = hasCertificate(crossName) ? readCertificate(crossName) : undefined;
  if (cross !== undefined && !cross.publicKey.equals(certificate.publicKey)) {
    throw mismatch(crossName, 'its key is another');
  }
  return { generation, certificate, pem: pemOf(certificate), subject, notAfter, cross };
}

async function readIssuing(
  keys: KeyStore,
  generation: number,
  roots: readonly Root[],
): Promise<IssuingCa> {
  return issuingOf(generation, roots, await keys.find(nameOf('issuing', generation)));
}

function issuingOf(
  generation: number,
  roots: readonly Root[],
  signer: Signer | undefined,
): IssuingCa {
  const name = nameOf('issuing', generation);
  const certificate = readCertificate(name);
  const root = roots.find(
    (each) =>
      certificate.checkIssued(each.certificate) && certificate.verify(each.certificate.publicKey),
  );
  if (root === undefined) throw mismatch(name, 'the root did not sign it');
  if (signer === undefined) {
    throw new SallyportError('no-key', `the key of the ${name} certificate is not here`, {
      hint: `restore the folder ${caFolder} from a backup`,
    });
  }
  if (!holdsKeyOf(certificate, signer)) throw mismatch(name, 'its key is another');
  const { subject, notBefore, notAfter } = parseCertificate(certificate.raw);
  const id = keyIdentifier(signer.spki).toString('hex');
  const pem = pemOf(certificate);
  return { id, certificate, pem, signer, notBefore, notAfter, generation, subject, root };
}

/** The key of a root, which signs nothing but CAs; one that the operator keeps is given back for the occasion. */
async function rootSigner(keys: KeyStore, root: Root, given: readonly Signer[]): Promise<Signer> {
  const name = nameOf('root', root.generation);
  const here = await keys.find(name);
  if (here !== undefined && !holdsKeyOf(root.certificate, here)) {
    throw mismatch(name, 'its key is another');
  }
  return here ?? given.find((each) => holdsKeyOf(root.certificate, each)) ?? notHere('the root');
}

function notHere(what: string): never {
  throw new SallyportError('no-key', `the key of ${what} is not here`, {
    hint: 'give the file that "ca export-root" wrote: sallyport ca rotate --root-key FILE; or restore the data directory from a backup',
  });
}

/** @throws SallyportError `usage`. */
function assertMayVouch(root: Root): void {
  const { pathLength } = parseCertificate(root.certificate.raw);
  if (pathLength === undefined || pathLength >= pathLengthForNext) return;
  throw new SallyportError(
    'usage',
    'the certificate of this root does not let it vouch for another',
    {
      hint: 'devices that trust it would be cut off: begin a new data directory, and give devices both roots meanwhile',
    },
  );
}

/** What a crash has left of `retire`; the newest issuing CA is never touched. */
async function finishRetirements(keys: KeyStore): Promise<void> {
  const [newest = 0] = generationsOf('issuing');
  for (const generation of retiredGenerations()) {
    if (generation >= newest) continue;
    const name = nameOf('issuing', generation);
    removeCertificate(name);
    await keys.remove(name);
  }
}

function holdsKeyOf(certificate: X509Certificate, { spki }: Signer): boolean {
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  return certificate.publicKey.equals(key);
}

/** The key's identifier in the name keeps CAs of two installations, and of two generations, apart. */
function caName(role: string, spki: Buffer, trustDomain: string): Buffer {
  return distinguishedName([
    [oids.organizationName, trustDomain.slice(0, maxOrganizationCharacters)],
    [oids.commonName, `Sallyport ${role} ${keyIdentifier(spki).toString('hex', 0, 4)}`],
  ]);
}

function validity(
  clock: Clock,
  days: number,
  notAfterAtMost = Number.POSITIVE_INFINITY,
): { readonly notBefore: number; readonly notAfter: number } {
  const now = clock.now();
  return {
    notBefore: now - ownBackdateMs,
    notAfter: Math.min(now + days * dayMs, notAfterAtMost),
  };
}

function pemOf(certificate: X509Certificate): string {
  return encodePem('CERTIFICATE', certificate.raw);
}

function mismatch(name: string, why: string): SallyportError {
  return new SallyportError('tampered', `the ${name} certificate does not fit: ${why}`, {
    hint: `restore the folder ${caFolder} from a backup`,
  });
}
