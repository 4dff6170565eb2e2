/** Which trust anchor vouches for a client certificate that somebody else, a worker for one, says is good. */
import { X509Certificate } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import { DerReader } from '../../common/codec/der/reader.ts';
import { tag } from '../../common/codec/der/tag.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { CertificateFacts } from '../../common/identity/certificate.ts';
import type { TrustAnchor } from '../../common/ipc/snapshot.ts';

/**
 * The anchor by signature, never by name alone. An anchor lists its root and every intermediate that may sign clients,
 * so the path is one step long.
 *
 * @throws SallyportError `invalid-certificate` when no valid CA certificate of any anchor has signed it, or not with
 *   SHA-256 or better.
 */
export function verifyChain(
  leafDer: Buffer,
  anchors: readonly TrustAnchor[],
  nowMs: number,
): { readonly anchor: TrustAnchor; readonly facts: CertificateFacts } {
  const facts = parseCertificate(leafDer);
  const leaf = readX509(leafDer);
  if (!isSoundlySigned(leafDer)) {
    throw new SallyportError('invalid-certificate', 'the certificate is signed with a weak digest');
  }
  for (const anchor of anchors) {
    for (const der of anchor.certificates.flatMap((pem) => decodePem('CERTIFICATE', pem))) {
      if (signedBy(leaf, facts, der, nowMs)) return { anchor, facts };
    }
  }
  throw new SallyportError('invalid-certificate', 'no trust anchor has signed the certificate');
}

function signedBy(
  leaf: X509Certificate,
  facts: CertificateFacts,
  issuerDer: Buffer,
  nowMs: number,
): boolean {
  const issuer = parseCertificate(issuerDer);
  if (!issuer.subject.equals(facts.issuer) || !issuer.isCa) return false;
  if (issuer.keyUsage?.has('keyCertSign') === false) return false;
  if (nowMs < issuer.notBefore || nowMs >= issuer.notAfter + 1000) return false;
  return leaf.verify(new X509Certificate(issuerDer).publicKey);
}

const soundSignatures: ReadonlySet<string> = new Set([
  oids.ecdsaWithSha256,
  oids.ecdsaWithSha384,
  oids.ecdsaWithSha512,
  oids.sha256WithRsa,
  oids.sha384WithRsa,
  oids.sha512WithRsa,
  oids.ed25519,
  oids.ed448,
  oids.mlDsa44,
  oids.mlDsa65,
  oids.mlDsa87,
]);

/**
 * MD5 and SHA-1 signatures can be moved to another certificate (RFC 9155, RFC 6151). In handshakes OpenSSL looks at that;
 * a certificate that a manufacturer has signed comes by a listener that takes any.
 */
function isSoundlySigned(der: Buffer): boolean {
  const certificate = new DerReader(der).sequence();
  certificate.element();
  const { content, raw } = certificate.expect(tag.sequence);
  const algorithm = new DerReader(content).oid();
  // What RSASSA-PSS digests with is in its parameters, and is SHA-1 where they say nothing (RFC 4055 section 3.1).
  const isSoundPss = algorithm === oids.rsaPss && sha2.some((digest) => raw.includes(digest));
  return isSoundPss || soundSignatures.has(algorithm);
}

/** DER of the OIDs of SHA-256, SHA-384 and SHA-512. */
const sha2 = [1, 2, 3].map((last) =>
  Buffer.from([0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last]),
);

function readX509(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (thrown) {
    throw new SallyportError('invalid-certificate', 'the certificate cannot be read', {
      cause: thrown,
    });
  }
}
