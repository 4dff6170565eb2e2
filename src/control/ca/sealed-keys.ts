/**
 * The CA's keys on disk, `ca/<name>.key.sealed`, each encrypted under the master key and bound to its name. Opened, a
 * key is in this process's memory.
 */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import type { CaKeyKind } from '../../common/base/key-kinds.ts';
import { isPresent, readFileIfPresent, removeFile, writeFileAtomic } from '../store/files.ts';
import type { MasterKey } from '../store/master-key.ts';
import { caFolder } from './certificate-files.ts';
import type { KeyStore } from './key-store.ts';
import { softwareSigner } from './signer.ts';
import type { Signer } from './signer.ts';

const maxFileBytes = 64 * 1024;

export class SealedKeys implements KeyStore {
  readonly #masterKey: MasterKey;
  readonly #kind: CaKeyKind;

  /** @param kind of the keys that it makes. */
  constructor(masterKey: MasterKey, kind: CaKeyKind = 'P-256') {
    this.#masterKey = masterKey;
    this.#kind = kind;
  }

  async has(name: string): Promise<boolean> {
    return isPresent(pathOf(name));
  }

  async find(name: string): Promise<Signer | undefined> {
    const key = this.open(name);
    return key === undefined ? undefined : softwareSigner(key);
  }

  async make(name: string): Promise<Signer> {
    if (isPresent(pathOf(name))) {
      throw new SallyportError('already-exists', `there is a key "${name}" already`);
    }
    const key = generateKey(this.#kind);
    const der = key.export({ type: 'pkcs8', format: 'der' });
    const sealed = this.#masterKey.seal(der, contextOf(name));
    der.fill(0);
    writeFileAtomic(pathOf(name), sealed);
    return softwareSigner(key);
  }

  async remove(name: string): Promise<void> {
    removeFile(pathOf(name));
  }

  async exportKey(name: string): Promise<string> {
    const key = this.open(name);
    if (key === undefined) throw new SallyportError('no-key', `the key "${name}" is not here`);
    return key.export({ type: 'pkcs8', format: 'pem' });
  }

  /** The key itself, for those that a TLS server needs in memory. @throws as `find`. */
  open(name: string): KeyObject | undefined {
    const sealed = readFileIfPresent(pathOf(name), maxFileBytes);
    if (sealed === undefined) return undefined;
    const key = this.#masterKey.open(sealed, contextOf(name));
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  }
}

/** In memory only. */
export function generateKey(kind: CaKeyKind = 'P-256'): KeyObject {
  if (kind === 'ML-DSA-65') return generateKeyPairSync('ml-dsa-65').privateKey;
  return generateKeyPairSync('ec', { namedCurve: kind }).privateKey;
}

function pathOf(name: string): string {
  return `${caFolder}/${name}.key.sealed`;
}

function contextOf(name: string): string {
  return `ca/${name}.key`;
}
