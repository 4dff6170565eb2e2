/** A secret from a file, as the bytes that it is. */
import { SallyportError } from '../common/base/errors.ts';
import { printable } from '../common/base/principal.ts';
import { readSmallBytes } from './files.ts';

/** `raw`: each byte of the file as it is. */
export const secretEncodings = ['raw', 'hex', 'base64'] as const;

/** One of 64 bytes, in hex and with line breaks, is far below. */
const maxBytes = 4_096;

/** @throws SallyportError `usage` when the file is not what `encoding` says; `io`, `too-large`. */
export function readSecretFile(path: string, encoding = 'raw'): Buffer {
  if (!secretEncodings.some((known) => known === encoding)) {
    throw new SallyportError('usage', `there is no encoding "${printable(encoding)}"`, {
      hint: `use one of: ${secretEncodings.join(', ')}`,
    });
  }
  const bytes = readSmallBytes(path, maxBytes);
  if (bytes.length === 0) throw new SallyportError('usage', `${path} is empty`);
  const text = bytes.toString('latin1');
  if (encoding === 'raw') {
    // A key with one byte more than the device's signs nothing that the gateway would take, and nobody sees why.
    if (!/^[\x20-\x7e]+\r?\n$/.test(text)) return bytes;
    throw new SallyportError(
      'usage',
      `${path} ends with a line break: is that a part of the key?`,
      {
        hint: 'write it without one (printf %s), or say --encoding hex or base64',
      },
    );
  }
  const compact = text.replace(/\s+/g, '');
  const decoded = Buffer.from(compact, encoding as 'hex' | 'base64'); // the others of the list
  const again = decoded.toString(encoding as 'hex' | 'base64');
  if (again.replace(/=+$/, '') === normal(compact, encoding)) return decoded;
  throw new SallyportError('usage', `${path} is not ${encoding}`);
}

/** As Buffer writes it, which skips what it cannot read. */
function normal(text: string, encoding: string): string {
  return encoding === 'hex'
    ? text.toLowerCase()
    : text.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
}
