/**
 * A CA's key and certificate on disk: `ca/<name>.key.sealed` and `ca/<name>.pem`. The key is always written first, so
 * that a crash in between leaves a key without a certificate, which the next start completes with the same key. A pair
 * that replaces another is written whole before either takes its name.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  X509Certificate,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { decodePem, encodePem } from '../../common/codec/der/pem.ts';
import {
  isPresent,
  readFileIfPresent,
  removeFile,
  writeFileAtomic,
  writeFilesAtomic,
} from '../store/files.ts';
import type { MasterKey } from '../store/master-key.ts';

/** Relative to the current directory: control's folder. */
export const caFolder = 'ca';
const maxFileBytes = 64 * 1024;

export type KeyPairName = 'root' | 'issuing' | 'server';

export class KeyPairFiles {
  readonly #masterKey: MasterKey;

  constructor(masterKey: MasterKey) {
    this.#masterKey = masterKey;
  }

  hasKey(name: KeyPairName): boolean {
    return isPresent(keyPath(name));
  }

  hasCertificate(name: KeyPairName): boolean {
    return isPresent(certificatePath(name));
  }

  /** Makes a P-256 key, seals it to disk and returns it. */
  makeKey(name: KeyPairName): KeyObject {
    const privateKey = generateKey();
    writeFileAtomic(keyPath(name), this.#sealed(name, privateKey));
    return privateKey;
  }

  /**
   * Replaces key and certificate. A failure or a crash in between leaves the old pair or, at worst, the new key beside
   * the old certificate.
   *
   * @throws SallyportError `io`.
   */
  writePair(name: KeyPairName, privateKey: KeyObject, certificate: Buffer): void {
    writeFilesAtomic([
      [keyPath(name), this.#sealed(name, privateKey)],
      [certificatePath(name), encodePem('CERTIFICATE', certificate)],
    ]);
  }

  /** @throws SallyportError `no-key` when it is not there or sealed under another master key; `tampered`. */
  readKey(name: KeyPairName): KeyObject {
    const sealed = readFileIfPresent(keyPath(name), maxFileBytes);
    if (sealed === undefined) {
      throw new SallyportError('no-key', `the key of the ${name} certificate is not here`);
    }
    const key = this.#masterKey.open(sealed, context(name));
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  }

  removeKey(name: KeyPairName): void {
    removeFile(keyPath(name));
  }

  writeCertificate(name: KeyPairName, der: Buffer): void {
    writeFileAtomic(certificatePath(name), encodePem('CERTIFICATE', der));
  }

  /** @throws SallyportError `io` when it is not there, `tampered` when it is not one certificate. */
  readCertificate(name: KeyPairName): X509Certificate {
    const path = certificatePath(name);
    const pem = readFileIfPresent(path, maxFileBytes);
    if (pem === undefined) throw new SallyportError('io', `${path} is gone`);
    try {
      const [der, ...more] = decodePem('CERTIFICATE', pem.toString('latin1'));
      if (der !== undefined && more.length === 0) return new X509Certificate(der);
      throw new SallyportError('tampered', 'not exactly one certificate');
    } catch (thrown) {
      throw new SallyportError('tampered', `${path}: ${messageOf(thrown)}`, {
        hint: 'restore it from a backup',
        cause: thrown,
      });
    }
  }

  #sealed(name: KeyPairName, privateKey: KeyObject): Buffer {
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    const sealed = this.#masterKey.seal(der, context(name));
    der.fill(0);
    return sealed;
  }
}

/** A P-256 key, in memory only. */
export function generateKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** DER SubjectPublicKeyInfo of a private key. */
export function spkiOf(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
}

function keyPath(name: KeyPairName): string {
  return `${caFolder}/${name}.key.sealed`;
}

function certificatePath(name: KeyPairName): string {
  return `${caFolder}/${name}.pem`;
}

function context(name: KeyPairName): string {
  return `ca/${name}.key`;
}
