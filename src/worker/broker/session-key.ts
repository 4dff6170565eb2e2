/** The name of a session over all workers. */
import type { PrincipalName } from '../../common/base/principal.ts';

/** Two sessions have one key only when principal and client id are the same: a principal's name has no space. */
export function sessionKey(principal: PrincipalName, clientId: string): string {
  return `${principal} ${clientId}`;
}
