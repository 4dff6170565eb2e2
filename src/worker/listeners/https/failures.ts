/** What a device is told when its request was allowed and could not be done. */
import { SallyportError } from '../../../common/base/errors.ts';
import type { Exchange } from '../http/exchange.ts';

/** @throws what is not one of the stores' own errors: a defect. */
export function refuseFor(exchange: Exchange, error: unknown): void {
  if (!(error instanceof SallyportError) || error.code === 'internal') throw error;
  exchange.refuse(error.code === 'quota' ? 'quota' : 'unavailable', error.message, 'store');
}
