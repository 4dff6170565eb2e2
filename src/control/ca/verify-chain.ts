/** Which trust anchor vouches for a client certificate that somebody else, a worker for one, says is good. */
import { X509Certificate } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { CertificateFacts } from '../../common/identity/certificate.ts';
import type { TrustAnchor } from '../../common/ipc/snapshot.ts';

/**
 * The anchor by signature, never by name alone. An anchor lists its root and every intermediate that may sign clients,
 * so the path is one step long.
 *
 * @throws SallyportError `invalid-certificate` when no valid CA certificate of any anchor has signed it.
 */
export function verifyChain(
  leafDer: Buffer,
  anchors: readonly TrustAnchor[],
  nowMs: number,
): { readonly anchor: TrustAnchor; readonly facts: CertificateFacts } {
  const facts = parseCertificate(leafDer);
  const leaf = readX509(leafDer);
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

function readX509(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (thrown) {
    throw new SallyportError('invalid-certificate', 'the certificate cannot be read', {
      cause: thrown,
    });
  }
}
