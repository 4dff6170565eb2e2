/**
 * What `tls.approvedOnly` means: algorithms of FIPS 140-3's list (SP 800-140C and -140D), as of FIPS 186-5, 203, 204 and
 * SP 800-56A. Everything that it takes away is named, so that nobody has to find out from a device that is refused.
 */
import { X509Certificate } from 'node:crypto';
import { messageOf } from '../base/errors.ts';
import { approvedGroups } from '../base/tls-profile.ts';

/** One line each, for operators. */
export const ruledOut: readonly string[] = Object.freeze([
  'TLS 1.2: OpenSSL cannot be told to insist on the extended master secret, without which its key derivation is not approved',
  'key exchange by X25519 alone: not in SP 800-56A; X25519MLKEM768, P-256 and P-384 remain',
  'ChaCha20-Poly1305: AES-GCM remains',
  'trust anchors with RSA keys below 2,048 bits, with keys on other curves than those of FIPS 186-5, or signed with SHA-1',
]);

const curves: ReadonlySet<string | undefined> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
const smallestModulusBits = 2048;

/** What of a configuration's TLS is not approved, by the key that says so; `wrote` tells what was written and what filled in. */
export function unapprovedTls(
  { minVersion, groups }: { readonly minVersion: string; readonly groups: readonly string[] },
  wrote: (key: 'minVersion' | 'groups') => boolean,
): readonly (readonly [key: 'minVersion' | 'groups', problem: string])[] {
  const problems: (readonly ['minVersion' | 'groups', string])[] = [];
  if (wrote('minVersion') && minVersion !== '1.3') {
    problems.push(['minVersion', 'is below 1.3, which tls.approvedOnly rules out']);
  }
  const others = groups.filter((group) => !approvedGroups.some((approved) => approved === group));
  if (wrote('groups') && others.length > 0) {
    problems.push(['groups', `names ${others.join(', ')}, which tls.approvedOnly rules out`]);
  }
  return problems;
}

/** Why one of these certificates may vouch for nobody, as the end of a sentence; undefined when all may. */
export function unapprovedCertificates(pems: readonly string[]): string | undefined {
  for (const pem of pems) {
    const problem = certificateProblem(pem);
    if (problem !== undefined)
      return `has a certificate ${problem}, which tls.approvedOnly rules out`;
  }
  return undefined;
}

function certificateProblem(pem: string): string | undefined {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch (thrown) {
    return `that cannot be read (${messageOf(thrown)})`;
  }
  // A root's own signature proves nothing that is relied on.
  const isRoot = certificate.verify(certificate.publicKey);
  if (!isRoot && /sha1|md5/iu.test(certificate.signatureAlgorithm ?? '')) {
    return `signed with ${certificate.signatureAlgorithm ?? ''}`;
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
  switch (type) {
    case 'ec':
      return curves.has(details?.namedCurve)
        ? undefined
        : `on the curve ${details?.namedCurve ?? '?'}`;
    case 'rsa':
    case 'rsa-pss':
      return (details?.modulusLength ?? 0) >= smallestModulusBits
        ? undefined
        : `with an RSA key of ${details?.modulusLength ?? 0} bits`;
    case 'ed25519':
    case 'ed448':
    case 'ml-dsa-44':
    case 'ml-dsa-65':
    case 'ml-dsa-87':
      return undefined;
    default:
      return `with a key of the type ${type ?? 'unknown'}`;
  }
}
