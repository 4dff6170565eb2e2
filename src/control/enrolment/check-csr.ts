/** Whether a certificate signing request may be signed: a table of checks, read from top to bottom. */
import { readCertificationRequest } from './certification-request.ts';
import { checkAttributes } from './checks/attributes.ts';
import type { CsrCheck, CsrExpectation } from './checks/check.ts';
import { checkExtensions } from './checks/extensions.ts';
import { checkKeyStrength } from './checks/key-strength.ts';
import { checkProofOfPossession } from './checks/proof-of-possession.ts';
import { checkSignatureAlgorithm } from './checks/signature-algorithm.ts';
import { checkSubject } from './checks/subject.ts';

/** Cheapest first, except that nothing is believed of a request before the proof that it comes from the key's owner. */
const csrChecks: readonly CsrCheck[] = [
  checkSignatureAlgorithm,
  checkKeyStrength,
  checkProofOfPossession,
  checkSubject,
  checkAttributes,
  checkExtensions,
];

/**
 * The DER SubjectPublicKeyInfo to certify: the only thing that is taken from a request.
 *
 * @throws SallyportError `invalid-csr`; the message says what is wrong, the hint what to do.
 */
export function checkCsr(pemOrDer: Uint8Array | string, expected: CsrExpectation): Buffer {
  const request = readCertificationRequest(pemOrDer);
  for (const check of csrChecks) check(request, expected);
  return request.spki;
}
