import { SallyportError } from '../../common/base/errors.ts';

/** Why a request is not signed, as an operator reads it. */
export function refused(message: string, hint?: string): SallyportError {
  return new SallyportError('invalid-csr', message, hint === undefined ? {} : { hint });
}
