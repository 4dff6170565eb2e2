/** What a request may ask for: exactly what its certificate will say anyway. Everything else is refused, not dropped. */
import { errorCodeOf, messageOf } from '../../../common/base/errors.ts';
import { spiffeId } from '../../../common/base/principal.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import {
  readAlternativeNames,
  readBasicConstraints,
  readExtendedKeyUsage,
  readKeyUsage,
} from '../../../common/identity/extensions.ts';
import { refused } from '../refused.ts';
import type { CsrCheck, CsrExpectation } from './check.ts';

type ExtensionCheck = (value: Buffer, expected: CsrExpectation) => string | undefined;

/** OID → what is wrong with the value, or undefined. */
const accepted: ReadonlyMap<string, ExtensionCheck> = new Map([
  [oids.subjectAltName, alternativeNamesProblem],
  [oids.basicConstraints, basicConstraintsProblem],
  [oids.keyUsage, keyUsageProblem],
  [oids.extendedKeyUsage, extendedKeyUsageProblem],
]);

export const checkExtensions: CsrCheck = ({ extensions }, expected) => {
  for (const { oid, value } of extensions) {
    const problemOf = accepted.get(oid);
    const problem =
      problemOf === undefined
        ? `the extension ${oid} cannot be asked for`
        : problemIn(problemOf, value, expected);
    if (problem === undefined) continue;
    throw refused(
      problem,
      'make the request without extensions: the CA adds the right ones by itself',
    );
  }
};

function problemIn(
  problemOf: ExtensionCheck,
  value: Buffer,
  expected: CsrExpectation,
): string | undefined {
  try {
    return problemOf(value, expected);
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'malformed') throw thrown;
    return `a requested extension cannot be read: ${messageOf(thrown)}`;
  }
}

function alternativeNamesProblem(value: Buffer, expected: CsrExpectation): string | undefined {
  const { uris, dnsNames, ipAddresses, others } = readAlternativeNames(value);
  const count = uris.length + dnsNames.length + ipAddresses.length + others;
  const own = spiffeId(expected.trustDomain, expected.name);
  return count === 1 && uris[0] === own
    ? undefined
    : `the request asks for other names than ${own} (subjectAltName)`;
}

function basicConstraintsProblem(value: Buffer): string | undefined {
  const { isCa, pathLength } = readBasicConstraints(value);
  return isCa || pathLength !== undefined ? 'the request asks to be a CA (CA:TRUE)' : undefined;
}

function keyUsageProblem(value: Buffer, { profile }: CsrExpectation): string | undefined {
  const asked = [...readKeyUsage(value)];
  const excess = asked.filter((usage) => !profile.keyUsage.includes(usage));
  return excess.length === 0 ? undefined : `the request asks for keyUsage ${excess.join(', ')}`;
}

function extendedKeyUsageProblem(value: Buffer, { profile }: CsrExpectation): string | undefined {
  const asked = readExtendedKeyUsage(value);
  const excess = asked.filter((purpose) => !profile.extendedKeyUsage.includes(purpose));
  return excess.length === 0
    ? undefined
    : `the request asks for extendedKeyUsage ${excess.slice(0, 4).join(', ')}`;
}
