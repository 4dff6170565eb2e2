/** What is wrong with what the server showed, in the order in which a device would stumble over it. */
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { printable } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { CertificateFacts } from '../../common/identity/certificate.ts';
import { validityFindings } from './credentials.ts';
import { fault, info, minute, warning } from './finding.ts';
import type { Finding } from './finding.ts';

export interface ServerView {
  /** The name or address under which devices reach it. */
  readonly name: string;
  /** As sent, leaf first. */
  readonly chain: readonly X509Certificate[];
  /** What the device trusts; undefined = not told. */
  readonly roots: readonly X509Certificate[] | undefined;
}

export function serverFindings(
  { name, chain, roots }: ServerView,
  now: number,
): readonly Finding[] {
  const [leaf, ...others] = chain;
  if (leaf === undefined) {
    return [
      fault(
        'server-no-certificate',
        'the server shows no certificate',
        'this is no TLS server for devices; check host and port',
      ),
    ];
  }
  let facts: CertificateFacts;
  try {
    facts = parseCertificate(leaf.raw);
  } catch {
    return [
      fault(
        'server-unreadable',
        'the certificate of the server cannot be read',
        'issue it again; Sallyport does at its next start',
      ),
    ];
  }
  const found = [
    ...validityFindings('server', 'the certificate of the server', facts, now),
    ...others.flatMap((ca) =>
      validityFindings(
        'server-ca',
        `the CA certificate "${oneLine(ca.subject)}" that the server sends`,
        { notBefore: ca.validFromDate.getTime(), notAfter: ca.validToDate.getTime() },
        now,
      ),
    ),
    ...nameFindings(name, leaf, facts),
    ...purposeFindings(facts),
    ...trustFindings(chain, roots, now),
  ];
  return found.some(({ severity }) => severity === 'fault')
    ? found
    : [
        info(
          'server-certificate',
          `the certificate of the server is good for ${name} until ${minute(facts.notAfter)}`,
        ),
        ...found,
      ];
}

function nameFindings(
  name: string,
  leaf: X509Certificate,
  { sanDnsNames }: CertificateFacts,
): readonly Finding[] {
  // RFC 9525 section 6: names and addresses are looked for in subjectAltName only.
  const matches =
    isIP(name) === 0
      ? leaf.checkHost(name, { subject: 'never' }) !== undefined
      : leaf.checkIP(name) !== undefined;
  if (matches) return [];
  const has = leaf.subjectAltName ?? '';
  return [
    fault(
      'server-name',
      has === ''
        ? `the certificate of the server has no names at all, so it is not that of ${name}`
        : `the certificate of the server is not that of ${name}; it has ${oneLine(has)}`,
      sanDnsNames.length > 0 && isIP(name) !== 0
        ? 'connect by a name that it has, or add the address to serverNames and reload'
        : 'connect by a name that it has, or add this one to serverNames and reload',
    ),
  ];
}

function purposeFindings(facts: CertificateFacts): readonly Finding[] {
  const wrong = wrongPurpose(facts);
  if (wrong === undefined) return [];
  return [
    fault(
      'server-wrong-eku',
      `the certificate is not for a TLS server: ${wrong}`,
      "issue a server certificate; a device's certificate cannot be used on the server's side",
    ),
  ];
}

function wrongPurpose({ extendedKeyUsage, keyUsage, isCa }: CertificateFacts): string | undefined {
  if (extendedKeyUsage?.includes(oids.serverAuth) === false)
    return 'extendedKeyUsage without serverAuth';
  if (keyUsage?.has('digitalSignature') === false) return 'keyUsage without digitalSignature';
  return isCa ? 'it is the certificate of a CA' : undefined;
}

function trustFindings(
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[] | undefined,
  now: number,
): readonly Finding[] {
  if (roots === undefined) {
    return [
      warning(
        'not-verified',
        'whether the device trusts the server was not checked',
        "give the device's root certificate with --ca",
      ),
    ];
  }
  const top = topOf(chain);
  const anchor = roots.find((root) => isIssuedBy(top, root) || root.raw.equals(top.raw));
  if (anchor !== undefined) {
    return validityFindings(
      'root',
      `the root certificate "${oneLine(anchor.subject)}" of --ca`,
      { notBefore: anchor.validFromDate.getTime(), notAfter: anchor.validToDate.getTime() },
      now,
    );
  }
  const issuer = oneLine(top.issuer);
  const sameName = roots.some(({ subject }) => subject === top.issuer);
  if (chain.length === 1 && top.issuer !== top.subject && !sameName) {
    return [
      fault(
        'server-chain-incomplete',
        `the server sends its own certificate only, and "${issuer}", which issued it, is not in --ca`,
        'have the server send the issuing CA behind its certificate; if it does not need one, --ca is the root of another installation',
      ),
    ];
  }
  return [
    fault(
      'server-other-root',
      sameName
        ? `the chain of the server ends at "${issuer}"; the root in --ca has that name and another key`
        : `the chain of the server ends at "${issuer}", which is not in --ca`,
      'give the device the root of this installation: sallyport ca show, or ca.crt of an enrolment',
    ),
  ];
}

/** The last certificate that the leaf leads to within what was sent. */
function topOf(chain: readonly X509Certificate[]): X509Certificate {
  const [leaf, ...rest] = chain;
  let top = leaf as X509Certificate; // the caller has looked
  const left = new Set(rest);
  for (;;) {
    const above = [...left].find((each) => isIssuedBy(top, each));
    if (above === undefined) return top;
    left.delete(above);
    top = above;
  }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** Node has no text at all for a name without attributes, whatever its types say. */
function oneLine(text: string | undefined): string {
  return printable((text ?? '').replaceAll('\n', ', '));
}
