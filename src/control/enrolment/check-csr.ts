/** Whether a certificate signing request may be signed: a table of checks, read from top to bottom. */
import { usualKeyKinds } from '../../common/base/key-kinds.ts';
import type { KeyKind } from '../../common/base/key-kinds.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { profiles } from '../ca/profiles.ts';
import { readCertificationRequest } from './certification-request.ts';
import { checkAttributes } from './checks/attributes.ts';
import type { CsrCheck, CsrExpectation } from './checks/check.ts';
import { checkExtensions } from './checks/extensions.ts';
import { checkKeyStrength } from './checks/key-strength.ts';
import { checkProofOfPossession } from './checks/proof-of-possession.ts';
import { checkSignatureAlgorithm } from './checks/signature-algorithm.ts';
import { checkSubject } from './checks/subject.ts';

/** Cheapest first, except that nothing is believed of a request before the proof that it comes from the key's owner. */
export const csrChecks = Object.freeze({
  'signature-algorithm': checkSignatureAlgorithm,
  'key-strength': checkKeyStrength,
  'proof-of-possession': checkProofOfPossession,
  subject: checkSubject,
  attributes: checkAttributes,
  extensions: checkExtensions,
}) satisfies Readonly<Record<string, CsrCheck>>;

export type CsrCheckName = keyof typeof csrChecks;

/** What the certificate of `name` says, which is all that may be asked for, with a key of those `keys`. */
export function expectationFor(
  name: PrincipalName,
  trustDomain: string,
  keys: readonly KeyKind[] = usualKeyKinds,
): CsrExpectation {
  const profile = profiles[principalParts(name).kind];
  const allowed = profile.keys.filter((kind) => keys.includes(kind));
  return { name, trustDomain, profile: { ...profile, keys: allowed } };
}

/**
 * The DER SubjectPublicKeyInfo to certify: the only thing that is taken from a request.
 *
 * @throws SallyportError `invalid-csr`; the message says what is wrong, the hint what to do.
 */
export function checkCsr(
  pemOrDer: Uint8Array | string,
  { name, trustDomain }: Pick<CsrExpectation, 'name' | 'trustDomain'>,
): Buffer {
  const request = readCertificationRequest(pemOrDer);
  const expected = expectationFor(name, trustDomain);
  for (const check of Object.values(csrChecks)) check(request, expected);
  return request.spki;
}
