/** The key of a certificate and nothing else: a fraction of the work of reading all of it. */
import { DerReader } from '../codec/der/reader.ts';

/**
 * DER SubjectPublicKeyInfo (RFC 5280 section 4.1), a slice of `der`. What else the certificate says is not looked at.
 *
 * @throws SallyportError `malformed`.
 */
export function spkiOfCertificate(der: Buffer): Buffer {
  const tbs = new DerReader(der).sequence().sequence();
  tbs.optionalExplicit(0);
  tbs.integer();
  // Signature algorithm, issuer, validity, subject.
  for (let skipped = 0; skipped < 4; skipped++) tbs.element();
  return tbs.element().raw;
}
