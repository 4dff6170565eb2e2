/**
 * The CA's certificates on disk, `ca/<name>.pem`. Each role has generations: `issuing` is the first issuing CA,
 * `issuing-2` the next. What is newest is what has a certificate: a key of the next generation may lie beside it long
 * before, and the one file that begins a generation is its certificate.
 */
import { readdirSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { decodePem, encodePem } from '../../common/codec/der/pem.ts';
import { isPresent, readFileIfPresent, removeFile, writeFileAtomic } from '../store/files.ts';

/** Relative to the current directory: control's folder. */
export const caFolder = 'ca';
const maxFileBytes = 64 * 1024;

export type CaRole = 'root' | 'issuing' | 'server';

/** The name of a key and its certificate; generations count from 1. */
export function nameOf(role: CaRole, generation: number): string {
  return generation === 1 ? role : `${role}-${generation}`;
}

/** The certificate by which the root before this one vouches for it. */
export function crossNameOf(generation: number): string {
  return `${nameOf('root', generation)}.cross`;
}

/** Of an issuing CA under which nothing is valid any more. */
export function retiredNameOf(generation: number): string {
  return `${nameOf('issuing', generation)}.retired`;
}

/** Generations of a role that have a certificate, newest first. @throws SallyportError `io`. */
export function generationsOf(role: CaRole): number[] {
  return generationsIn(new RegExp(`^${role}(?:-([1-9]\\d{0,5}))?\\.pem$`));
}

/** As `generationsOf`, of issuing CAs that have been retired. */
export function retiredGenerations(): number[] {
  return generationsIn(/^issuing(?:-([1-9]\d{0,5}))?\.retired\.pem$/);
}

export function hasCertificate(name: string): boolean {
  return isPresent(pathOf(name));
}

/** @throws SallyportError `io`. */
export function writeCertificate(name: string, der: Uint8Array): void {
  writeFileAtomic(pathOf(name), encodePem('CERTIFICATE', der));
}

export function removeCertificate(name: string): void {
  removeFile(pathOf(name));
}

/** @throws SallyportError `io` when it is not there, `tampered` when it is not one certificate. */
export function readCertificate(name: string): X509Certificate {
  const path = pathOf(name);
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

function generationsIn(pattern: RegExp): number[] {
  return namesInFolder()
    .flatMap((name) => {
      const match = pattern.exec(name);
      return match === null ? [] : [Number(match[1] ?? 1)];
    })
    .toSorted((a, b) => b - a);
}

function namesInFolder(): string[] {
  try {
    return readdirSync(caFolder);
  } catch (thrown) {
    throw new SallyportError('io', `cannot read ${caFolder}: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}

function pathOf(name: string): string {
  return `${caFolder}/${name}.pem`;
}
