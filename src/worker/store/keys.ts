/** What a key of a store may be, and in which order keys come. */
import { printable } from '../../common/base/principal.ts';
import { SallyportError } from '../../common/base/errors.ts';

/** LMDB takes 1,978 bytes with pages of 4 KiB; the rest is for what a backend puts before a key. */
export const maxKeyBytes = 1_900;

/** @throws SallyportError `usage` */
export function checkKey(key: string): void {
  const bytes = Buffer.byteLength(key);
  if (bytes > 0 && bytes <= maxKeyBytes && key.isWellFormed()) return;
  throw new SallyportError('usage', `"${printable(key)}" is no key: ${bytes} bytes`);
}

/** By their bytes in UTF-8, which is not the order of JavaScript's strings. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
