/**
 * Devices with ML-DSA keys (FIPS 204), which Debian's OpenSSL does not know yet: requests as RFC 9881 and RFC 2986 lay
 * them out.
 */
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { contextConstructed } from '../../src/common/codec/der/tag.ts';
import {
  bitString,
  element,
  oid,
  sequence,
  setOf,
  unsignedInteger,
  utf8String,
} from '../../src/common/codec/der/writer.ts';
import type { Request } from './openssl.ts';

const algorithms = {
  'ml-dsa-44': '2.16.840.1.101.3.4.3.17',
  'ml-dsa-65': '2.16.840.1.101.3.4.3.18',
  'ml-dsa-87': '2.16.840.1.101.3.4.3.19',
} as const;

export type MlDsa = keyof typeof algorithms;

/** Files of a key and a request for it. @param spoil changes the signature */
export function makeMlDsaRequest(folder: string, id: string, kind: MlDsa, spoil = false): Request {
  mkdirSync(folder, { recursive: true });
  const { privateKey, publicKey } = generateKeyPair(kind);
  const info = sequence(
    unsignedInteger(0),
    sequence(setOf(sequence(oid('2.5.4.3'), utf8String(id)))),
    publicKey.export({ type: 'spki', format: 'der' }),
    element(contextConstructed(0)),
  );
  const signature = sign(null, info, privateKey);
  if (spoil) signature.writeUInt8(signature.readUInt8(100) ^ 1, 100);
  const request = sequence(info, sequence(oid(algorithms[kind])), bitString(signature));
  const base64 = request.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  const files = { key: join(folder, `${id}.key`), csr: join(folder, `${id}.csr`) };
  writeFileSync(files.key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  writeFileSync(
    files.csr,
    `-----BEGIN CERTIFICATE REQUEST-----\n${base64}\n-----END CERTIFICATE REQUEST-----\n`,
  );
  return files;
}

/** The overloads of node:crypto take one name each. */
function generateKeyPair(kind: MlDsa) {
  switch (kind) {
    case 'ml-dsa-44':
      return generateKeyPairSync(kind);
    case 'ml-dsa-65':
      return generateKeyPairSync(kind);
    case 'ml-dsa-87':
      return generateKeyPairSync(kind);
  }
}
