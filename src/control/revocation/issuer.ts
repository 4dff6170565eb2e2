/** A CA whose certificates we answer for, as revocation lists and OCSP name it. */
import { hash } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';
import { DerReader } from '../../common/codec/der/reader.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { Signer } from '../ca/signer.ts';

export interface StatusIssuer {
  /** Its key identifier, hex: that of its certificate and of the authorityKeyIdentifier in what it has issued. */
  readonly id: string;
  readonly certificate: X509Certificate;
  readonly signer: Signer;
  /** Milliseconds. */
  readonly notAfter: number;
}

/** By which OCSP names an issuer (RFC 6960 section 4.1.1): what the protocol uses, and what replaces it. */
export const certIdHashes = ['sha1', 'sha256'] as const;
export type CertIdHash = (typeof certIdHashes)[number];

export interface IssuerFacts {
  /** DER of its Name. */
  readonly name: Buffer;
  readonly keyIdentifier: Buffer;
  /** Of the Name's DER. */
  readonly nameHash: Readonly<Record<CertIdHash, Buffer>>;
  /** Of the key: content of the BIT STRING without the octet of unused bits. */
  readonly keyHash: Readonly<Record<CertIdHash, Buffer>>;
}

const known = new WeakMap<X509Certificate, IssuerFacts>();

export function issuerFacts({ id, certificate, signer }: StatusIssuer): IssuerFacts {
  const cached = known.get(certificate);
  if (cached !== undefined) return cached;
  const name = parseCertificate(certificate.raw).subject;
  const info = new DerReader(signer.spki).sequence();
  info.element();
  const key = info.bitStringOctets();
  const facts: IssuerFacts = {
    name,
    keyIdentifier: Buffer.from(id, 'hex'),
    nameHash: hashes(name),
    keyHash: hashes(key),
  };
  known.set(certificate, facts);
  return facts;
}

function hashes(content: Buffer): Record<CertIdHash, Buffer> {
  return { sha1: hash('sha1', content, 'buffer'), sha256: hash('sha256', content, 'buffer') };
}
