/** `WWW-Authenticate`: which proofs are taken, and what was wrong with the one that came (RFC 6750 section 3, RFC 9449 section 7.1). */
import { proofAlgorithms } from './dpop-proof.ts';
import type { TokenError } from './verdict.ts';

export type Scheme = 'Bearer' | 'DPoP';

export interface ChallengeFacts {
  /** Undefined: no token came, and nothing is said to be wrong with it (RFC 6750 section 3.1). */
  readonly scheme: Scheme | undefined;
  readonly error: TokenError | undefined;
  /** The trust domain. */
  readonly realm: string;
  /** What a token would have to have. */
  readonly scopes: readonly string[];
}

const algorithms = `algs="${proofAlgorithms.join(' ')}"`;

export function challenge({ scheme, error, realm, scopes }: ChallengeFacts): string {
  const where = `realm="${realm}"`;
  if (scheme === undefined) return `Bearer ${where}, DPoP ${where}, ${algorithms}`;
  const parameters = [where];
  if (error !== undefined) parameters.push(`error="${error}"`);
  if (error === 'insufficient_scope') parameters.push(`scope="${scopes.join(' ')}"`);
  if (scheme === 'DPoP') parameters.push(algorithms);
  return `${scheme} ${parameters.join(', ')}`;
}
