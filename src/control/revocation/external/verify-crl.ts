/** Who signed a revocation list: the authority of the anchor by its key, never by its name alone (RFC 5280 section 6.3.3). */
import { verify, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { decodePem } from '../../../common/codec/der/pem.ts';
import { parseCertificate } from '../../../common/identity/certificate.ts';
import type { CertificateFacts } from '../../../common/identity/certificate.ts';
import type { CrlHead } from './read-crl.ts';

/** OID → digest; undefined where the algorithm brings its own. SHA-1 is not one of them. */
const digests: ReadonlyMap<string, string | undefined> = new Map([
  [oids.ecdsaWithSha256, 'sha256'],
  [oids.ecdsaWithSha384, 'sha384'],
  [oids.ecdsaWithSha512, 'sha512'],
  [oids.sha256WithRsa, 'sha256'],
  [oids.sha384WithRsa, 'sha384'],
  [oids.sha512WithRsa, 'sha512'],
  [oids.ed25519, undefined],
]);

/** One CA certificate of an anchor. */
export interface CrlAuthority {
  readonly pem: string;
  readonly facts: CertificateFacts;
  readonly key: KeyObject;
  /** It signs no other certificate of the anchor, so it signs clients: there must be a list of it. */
  readonly signsClients: boolean;
}

/** The authorities of an anchor, in the order of its file. @throws SallyportError `invalid-certificate`, `malformed`. */
export function crlAuthorities(pem: string): CrlAuthority[] {
  const unique = new Map<string, X509Certificate>();
  for (const der of decodePem('CERTIFICATE', pem)) {
    const certificate = readX509(der);
    unique.set(certificate.fingerprint256, certificate);
  }
  const certificates = [...unique.values()];
  return certificates.map((certificate) => ({
    pem: certificate.toString(),
    facts: parseCertificate(certificate.raw),
    key: certificate.publicKey,
    signsClients: !certificates.some(
      (each) =>
        each !== certificate && each.checkIssued(certificate) && each.verify(certificate.publicKey),
    ),
  }));
}

/**
 * The authority that signed it. The signature is verified on another thread: a list may have many megabytes.
 *
 * @throws SallyportError `integrity`.
 */
export async function verifyCrl(
  head: CrlHead,
  authorities: readonly CrlAuthority[],
): Promise<CrlAuthority> {
  const named = authorities.filter(({ facts }) => facts.subject.equals(head.issuer));
  if (named.length === 0) throw refused('no authority of the anchor is its issuer');
  if (!digests.has(head.signatureAlgorithm)) {
    throw refused(`it is signed with ${head.signatureAlgorithm}, which is not accepted`);
  }
  for (const authority of named) {
    if (mayHaveSigned(authority.facts, head) && (await hasSigned(authority, head)))
      return authority;
  }
  throw refused('no authority of the anchor has signed it');
}

/** Section 6.3.3 (f), and the key that the list names, if it names one. */
function mayHaveSigned(facts: CertificateFacts, head: CrlHead): boolean {
  if (facts.keyUsage?.has('cRLSign') === false) return false;
  const { authorityKeyId } = head;
  return (
    authorityKeyId === undefined ||
    facts.subjectKeyId === undefined ||
    authorityKeyId === facts.subjectKeyId
  );
}

function hasSigned({ key }: CrlAuthority, head: CrlHead): Promise<boolean> {
  const digest = digests.get(head.signatureAlgorithm);
  return new Promise((resolve) => {
    // An algorithm that is not of the key's kind is an error of the library, and no signature.
    const done = (error: Error | null, valid: boolean): void => resolve(error === null && valid);
    try {
      verify(digest, head.signed, key, head.signature, done);
    } catch {
      resolve(false);
    }
  });
}

function readX509(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (thrown) {
    throw new SallyportError('invalid-certificate', 'a certificate of the anchor cannot be read', {
      cause: thrown,
    });
  }
}

function refused(detail: string): SallyportError {
  return new SallyportError('integrity', `the list is refused: ${detail}`);
}
