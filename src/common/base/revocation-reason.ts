/** Why a certificate was revoked, as CRLs and OCSP say it: CRLReason (RFC 5280 section 5.3.1). */
import { SallyportError } from './errors.ts';

/** Those that an operator can give for a certificate that is not a CA's. */
export const revocationReasons = Object.freeze({
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
});
export type RevocationReason = keyof typeof revocationReasons;

/** Names of the standard that do not apply, and what to do. */
const otherReasons: ReadonlyMap<string, string> = new Map([
  ['cacompromise', 'it is for the certificate of a CA'],
  ['aacompromise', 'it is for attribute authorities'],
  ['certificatehold', 'revoking is for good: suspend holds it back until it is resumed'],
  ['removefromcrl', 'revoking is for good'],
]);

const byPlainName: ReadonlyMap<string, RevocationReason> = new Map(
  // The keys of the table above, which has no others.
  (Object.keys(revocationReasons) as RevocationReason[]).map((name) => [plain(name), name]),
);

/**
 * The reason that an operator's words begin with: `keyCompromise`, `key-compromise`, `keyCompromise: sold on a flea
 * market`. Words that begin with no reason of the standard are for the audit log alone: `unspecified`.
 *
 * @throws SallyportError `usage` for one of the standard's that does not apply.
 */
export function revocationReasonOf(words: string | undefined): RevocationReason {
  const [, first] = /^\s*([A-Za-z][A-Za-z_-]*)\s*(?::|$)/.exec(words ?? '') ?? [];
  if (first === undefined) return 'unspecified';
  const refused = otherReasons.get(plain(first));
  if (refused !== undefined) {
    throw new SallyportError('usage', `${first} is not a reason to revoke: ${refused}`, {
      hint: `reasons: ${Object.keys(revocationReasons).join(', ')}`,
    });
  }
  return byPlainName.get(plain(first)) ?? 'unspecified';
}

function plain(name: string): string {
  return name.replaceAll(/[-_]/g, '').toLowerCase();
}
