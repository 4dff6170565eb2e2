/** Counts on the command line. */
import { SallyportError } from '../common/base/errors.ts';
import { printable } from '../common/base/principal.ts';

/** @throws SallyportError `usage`. */
export function wholeNumber(option: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new SallyportError('usage', `${option} "${printable(text)}" is no whole number`);
}
