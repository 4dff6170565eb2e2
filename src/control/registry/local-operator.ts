/** Whoever uses the Unix socket, where a principal's name is needed. Nobody can be enrolled under it. */
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';

export const localOperator = principalName('operator', 'local');

/** @throws SallyportError `usage`: what that name did would look like what the command line did. */
export function assertNotLocalOperator(name: PrincipalName): void {
  if (name !== localOperator) return;
  throw new SallyportError('usage', `${name} is the command line on the gateway itself`, {
    hint: 'choose another name',
  });
}
