/**
 * Whether what has been issued is what should have been, judged again by other means than those that issued it: OpenSSL
 * reads each certificate, and the table says what it must be. It finds what a defect, a hand in the database or a rule
 * that has become stricter since has left behind.
 */
import { hash, X509Certificate } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { CertificateAuthority } from '../ca/authority.ts';
import type { CertificateRecord } from '../registry/records.ts';
import type { Registry } from '../registry/registry.ts';
import { publishedKey } from './checks/published-keys.ts';
import { modulusWeakness } from './checks/rsa-modulus.ts';
import { extensionsOfIssued } from './issued-extensions.ts';

interface IssuedProblem {
  /** Of the certificate, in the form of the registry. */
  readonly serial: string;
  /** Empty for the gateway's own. */
  readonly principal: string;
  readonly problem: string;
}

interface CheckedPage {
  readonly checked: number;
  /** The `after` of the next page; undefined when this is the last. */
  readonly next: number | undefined;
  readonly problems: readonly IssuedProblem[];
}

interface IssuedCheckParts {
  readonly authority: Pick<CertificateAuthority, 'issuers' | 'rootPems' | 'serverTls'>;
  readonly registry: Pick<Registry, 'issuedAfter' | 'get' | 'otherHolderOf'>;
  readonly trustDomain: string;
  readonly clock: Clock;
}

interface Issued {
  readonly record: CertificateRecord;
  readonly certificate: X509Certificate;
  readonly issuer: X509Certificate | undefined;
  readonly nowMs: number;
  readonly trustDomain: string;
}

/** What is wrong, in words; undefined when nothing is. */
type IssuedCheck = (issued: Issued) => string | undefined;

/** RFC 5280 section 4.1.2.2; and enough of a random number that nobody foresees it. */
const serialPattern = /^[0-9a-f]{16,40}$/;

const basicConstraints = '551d13';
const keyUsage = '551d0f';
const subjectAltName = '551d11';
const extendedKeyUsage = '551d25';
const subjectKeyIdentifier = '551d0e';
const authorityKeyIdentifier = '551d23';
/** Value by identifier: not a CA; digitalSignature alone; clientAuth alone. */
const exactly: ReadonlyMap<string, string> = new Map([
  [basicConstraints, '3000'],
  [keyUsage, '03020780'],
  [extendedKeyUsage, '300a06082b06010505070302'],
]);
const critical: ReadonlySet<string> = new Set([basicConstraints, keyUsage]);
const mandatory = [...exactly.keys(), subjectAltName, subjectKeyIdentifier, authorityKeyIdentifier];
/** Where revocation is answered for: distribution points, freshest list, authority information. */
const optional: readonly string[] = ['551d1f', '551d2e', '2b06010505070101'];

/** Keys of these types have no parameters that could be chosen badly. */
const soundTypes: ReadonlySet<string | undefined> = new Set([
  'ed25519',
  'ml-dsa-44',
  'ml-dsa-65',
  'ml-dsa-87',
]);
/** Of the keys that a CA of ours may have: ECDSA with SHA-256 and SHA-384, ML-DSA-65. */
const signatures: ReadonlySet<string> = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '2.16.840.1.101.3.4.3.18',
]);

const checks: Readonly<Record<string, IssuedCheck>> = Object.freeze({
  'on record': ({ record, certificate }) => {
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
    const same =
      certificate.serialNumber.toLowerCase().replace(/^0+/, '') === record.serial &&
      certificate.validFromDate.getTime() === record.notBefore &&
      certificate.validToDate.getTime() === record.notAfter &&
      hash('sha256', spki, 'hex') === record.spkiSha256;
    return same ? undefined : 'the registry says something else than the certificate';
  },
  issuer: ({ record, certificate, issuer, nowMs }) => {
    if (issuer === undefined) {
      // A CA is retired some time after the last of its certificates has expired.
      return record.notAfter < nowMs ? undefined : 'the CA that signed it is none of ours';
    }
    if (!certificate.checkIssued(issuer)) return 'it names another issuer';
    if (!certificate.verify(issuer.publicKey)) return 'its signature does not verify';
    return certificate.validToDate > issuer.validToDate ? 'it outlives its issuer' : undefined;
  },
  signature: ({ certificate }) =>
    signatures.has(certificate.signatureAlgorithmOid)
      ? undefined
      : `it is signed with ${certificate.signatureAlgorithmOid}`,
  serial: ({ record }) =>
    serialPattern.test(record.serial) ? undefined : 'its serial number is too short or too long',
  subject: ({ record, certificate }) => {
    const { id } = principalParts(record.principal);
    return certificate.subject === `CN=${id}` ? undefined : 'its subject is not that identity';
  },
  names: ({ record, certificate, trustDomain }) =>
    certificate.subjectAltName === `URI:spiffe://${trustDomain}/${record.principal}`
      ? undefined
      : 'its alternative names are not that identity',
  purpose: ({ certificate }) => {
    const extensions = extensionsOfIssued(certificate.raw);
    if (certificate.ca || extensions === undefined)
      return 'it is a CA, or its extensions are unreadable';
    const ids = extensions.map(({ id }) => id);
    if (new Set(ids).size !== ids.length) return 'an extension is there twice';
    const missing = mandatory.find((id) => !ids.includes(id));
    if (missing !== undefined) return `the extension ${missing} is missing`;
    const wrong = extensions.find(
      (found) =>
        !(mandatory.includes(found.id) || optional.includes(found.id)) ||
        found.critical !== critical.has(found.id) ||
        (exactly.get(found.id) ?? found.value) !== found.value,
    );
    return wrong === undefined ? undefined : `the extension ${wrong.id} is not as it should be`;
  },
  key: ({ record, certificate }) => {
    const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
    const whose = publishedKey(Buffer.from(record.spkiSha256, 'hex'));
    if (whose !== undefined) return `everybody has its key: it is ${whose}`;
    if (soundTypes.has(asymmetricKeyType)) return undefined;
    if (/^ml-dsa-(?:44|65|87)$/.test(asymmetricKeyType ?? '')) return undefined;
    if (asymmetricKeyType === 'ec') {
      const curve = asymmetricKeyDetails?.namedCurve ?? 'none';
      return ['prime256v1', 'secp384r1'].includes(curve) ? undefined : `its curve is ${curve}`;
    }
    if (asymmetricKeyType !== 'rsa')
      return `its key is of the type ${asymmetricKeyType ?? 'unknown'}`;
    const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
    if (modulusLength < 2048 || publicExponent < 65_537n) return 'its RSA key is too weak';
    const { n = '' } = certificate.publicKey.export({ format: 'jwk' });
    return modulusWeakness(BigInt(`0x0${Buffer.from(n, 'base64url').toString('hex')}`));
  },
});

/** A page of what has been issued, oldest first; the first page also looks at the gateway's own certificates. */
export function checkIssued(
  parts: IssuedCheckParts,
  page: { readonly after: number; readonly limit: number },
): CheckedPage {
  const { registry } = parts;
  const issuers = new Map(
    parts.authority.issuers.map(({ id, certificate }) => [id, certificate] as const),
  );
  const own = page.after === 0 ? checkOwn(parts) : { checked: 0, problems: [] };
  const problems = [...own.problems];
  const rows = registry.issuedAfter(page.after, page.limit);
  for (const { record } of rows) {
    const { serial, principal } = record;
    const found = [...problemsOf(record, issuers.get(record.issuer), parts)];
    problems.push(...found.map((problem) => ({ serial, principal, problem })));
  }
  return {
    checked: own.checked + rows.length,
    next: rows.length < page.limit ? undefined : rows.at(-1)?.row,
    problems,
  };
}

function* problemsOf(
  record: CertificateRecord,
  issuer: X509Certificate | undefined,
  { registry, trustDomain, clock }: IssuedCheckParts,
): Generator<string> {
  const certificate = read(record.der);
  if (typeof certificate === 'string') {
    yield certificate;
    return;
  }
  const issued = { record, certificate, issuer, trustDomain, nowMs: clock.now() };
  for (const check of Object.values(checks)) {
    const problem = attempt(check, issued);
    if (problem !== undefined) yield problem;
  }
  const other = registry.otherHolderOf(record.spkiSha256, record.principal);
  if (other !== undefined) yield `${other} has the same key`;
  const holder = registry.get(record.principal);
  if (holder?.standing === 'revoked' && record.revokedAt === undefined) {
    yield 'its identity is revoked, and it is not';
  }
}

/** A key that OpenSSL does not know shows only when it is used. */
function attempt(check: IssuedCheck, issued: Issued): string | undefined {
  try {
    return check(issued);
  } catch (thrown) {
    return `OpenSSL cannot judge it: ${messageOf(thrown)}`;
  }
}

/**
 * CAs under a root of ours, each within the time of what signed it, and the server's certificate under one of them. A CA
 * that another has followed is kept for a while after its end, to answer for what it has issued.
 */
function checkOwn({
  authority,
  clock,
}: IssuedCheckParts): Pick<CheckedPage, 'checked' | 'problems'> {
  const roots = authority.rootPems.map((pem) => new X509Certificate(pem));
  const issuing = authority.issuers.map(({ certificate }) => certificate);
  const server = new X509Certificate(authority.serverTls().certificateChain);
  const own: readonly (readonly [string, X509Certificate, readonly X509Certificate[], boolean])[] =
    [
      ...roots.map((root) => ['root CA', root, [root], true] as const),
      ...issuing.map((ca) => ['issuing CA', ca, roots, true] as const),
      ['server', server, issuing, false],
    ];
  const [newestRoot] = roots;
  const [newestCa] = issuing;
  const inService: ReadonlySet<unknown> = new Set([newestRoot, newestCa, server]);
  const problems = own.flatMap(([name, certificate, above, isCa]) =>
    [
      ...problemsOfOwn(certificate, above, isCa),
      ...(inService.has(certificate) ? expiryOf(certificate, clock.now()) : []),
    ].map((problem) => ({
      serial: certificate.serialNumber.toLowerCase(),
      principal: '',
      problem: `${name}: ${problem}`,
    })),
  );
  return { checked: own.length, problems };
}

function* problemsOfOwn(
  certificate: X509Certificate,
  above: readonly X509Certificate[],
  isCa: boolean,
): Generator<string> {
  const issuer = above.find(
    (ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey),
  );
  if (issuer === undefined) yield 'no CA of ours has signed it';
  else if (certificate.validToDate > issuer.validToDate) yield 'it outlives its issuer';
  if (certificate.ca !== isCa) yield isCa ? 'it is not a CA' : 'it is a CA';
}

function expiryOf({ validToDate }: X509Certificate, nowMs: number): readonly string[] {
  return nowMs >= validToDate.getTime() + 1_000 ? ['it has expired'] : [];
}

function read(der: Uint8Array): X509Certificate | string {
  try {
    return new X509Certificate(der);
  } catch (thrown) {
    return `OpenSSL cannot read it: ${messageOf(thrown)}`;
  }
}
