/** What the listener for those without client certificates needs besides what HTTPS needs; the composition root fits it. */
import type { PrincipalName } from '../../../../common/base/principal.ts';
import type { Signatures } from '../../../credentials/signatures.ts';
import type { Tokens } from '../../../credentials/tokens/tokens.ts';
import type { HttpsPorts } from '../ports.ts';

export interface SignedHttpsPorts extends HttpsPorts {
  readonly signatures: Pick<Signatures, 'signedRequest' | 'authenticateBySignature'>;
  readonly tokens: Pick<Tokens, 'authenticate' | 'invitation'>;
  /** Somebody has proven who it is. */
  readonly seen: (name: PrincipalName) => void;
}
