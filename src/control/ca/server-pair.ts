/**
 * The gateway's own certificate and key. The key of the next generation is made long before, so that devices can be told
 * of it; what begins a generation is its certificate. TLS needs the key in memory, so it is always one of ours, sealed.
 */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import {
  generationsOf,
  nameOf,
  readCertificate,
  removeCertificate,
  writeCertificate,
} from './certificate-files.ts';
import type { Issuer } from './hierarchy.ts';
import type { SealedKeys } from './sealed-keys.ts';

export interface ServerPair {
  readonly generation: number;
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  readonly issuer: Issuer;
}

/** The newest that is whole and signed by a CA that is here; undefined when there is none. @throws SallyportError. */
export function readServerPair(
  keys: SealedKeys,
  issuers: readonly Issuer[],
): ServerPair | undefined {
  for (const generation of generationsOf('server')) {
    const name = nameOf('server', generation);
    const certificate = readCertificate(name);
    const key = keys.open(name);
    const issuer = issuers.find((each) => certificate.verify(each.certificate.publicKey));
    if (issuer !== undefined && key !== undefined && certificate.checkPrivateKey(key)) {
      return { generation, certificate, key, issuer };
    }
  }
  return undefined;
}

/** The key of that generation; made when there is none. @throws SallyportError `io`, `no-key`, `tampered`. */
export async function serverKey(keys: SealedKeys, generation: number): Promise<KeyObject> {
  const name = nameOf('server', generation);
  const key = keys.open(name);
  if (key !== undefined) return key;
  await keys.make(name);
  const made = keys.open(name);
  if (made === undefined) throw new SallyportError('io', `the key "${name}" is gone`);
  return made;
}

/** One file, written whole or not at all. @throws SallyportError `io`. */
export function writeServerPair({ generation, certificate }: ServerPair): void {
  writeCertificate(nameOf('server', generation), certificate.raw);
}

/** Removes what was before `generation`. @throws SallyportError `io`. */
export async function removeServersBefore(keys: SealedKeys, generation: number): Promise<void> {
  for (const older of generationsOf('server')) {
    if (older >= generation) continue;
    const name = nameOf('server', older);
    await keys.remove(name);
    removeCertificate(name);
  }
}
