/** The public half of a key that has been taken away before it came into service: `ca/<name>.pub`. */
import { createPublicKey } from 'node:crypto';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { decodePem, encodePem } from '../../common/codec/der/pem.ts';
import { readFileIfPresent, writeFileAtomic } from '../store/files.ts';
import { caFolder } from './certificate-files.ts';

const maxFileBytes = 16 * 1024;

/** DER SubjectPublicKeyInfo; undefined when there is none. @throws SallyportError `io`, `tampered`. */
export function readPublicKey(name: string): Buffer | undefined {
  const path = pathOf(name);
  const pem = readFileIfPresent(path, maxFileBytes);
  if (pem === undefined) return undefined;
  try {
    const [der = Buffer.alloc(0)] = decodePem('PUBLIC KEY', pem.toString('latin1'));
    return createPublicKey({ key: der, format: 'der', type: 'spki' }).export({
      format: 'der',
      type: 'spki',
    });
  } catch (thrown) {
    throw new SallyportError('tampered', `${path}: ${messageOf(thrown)}`, {
      hint: 'restore it from a backup',
      cause: thrown,
    });
  }
}

/** @throws SallyportError `io`. */
export function writePublicKey(name: string, spki: Buffer): void {
  writeFileAtomic(pathOf(name), encodePem('PUBLIC KEY', spki));
}

function pathOf(name: string): string {
  return `${caFolder}/${name}.pub`;
}
