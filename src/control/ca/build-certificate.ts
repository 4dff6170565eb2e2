/** A certificate as RFC 5280 section 4.1 lays it out. */
import { hash, randomBytes } from 'node:crypto';
import { oids } from '../../common/codec/der/oids.ts';
import { DerReader } from '../../common/codec/der/reader.ts';
import { contextPrimitive } from '../../common/codec/der/tag.ts';
import {
  bitString,
  boolean,
  element,
  explicit,
  namedBits,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  unsignedInteger,
  utf8String,
} from '../../common/codec/der/writer.ts';
import { keyUsages } from '../../common/identity/extensions.ts';
import type { CertificateProfile } from './profiles.ts';
import type { Signer } from './signer.ts';

export interface CertificateContent {
  readonly profile: CertificateProfile;
  /** DER Names. */
  readonly subject: Buffer;
  readonly issuer: Buffer;
  /** DER SubjectPublicKeyInfo of the subject. */
  readonly spki: Buffer;
  /** DER GeneralNames; empty = no such extension. */
  readonly alternativeNames: readonly Buffer[];
  /** DER Extensions besides those of the profile. */
  readonly extensions?: readonly Buffer[] | undefined;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** DER of the certificate. @throws as `Signer.sign`. */
export async function buildCertificate(
  content: CertificateContent,
  issuer: Signer,
): Promise<Buffer> {
  const tbs = sequence(
    explicit(0, unsignedInteger(2)),
    unsignedInteger(newSerial()),
    issuer.signatureAlgorithm,
    content.issuer,
    sequence(time(content.notBefore), time(content.notAfter)),
    content.subject,
    content.spki,
    explicit(3, sequence(...extensionsOf(content, issuer.spki))),
  );
  return sequence(tbs, issuer.signatureAlgorithm, bitString(await issuer.sign(tbs)));
}

/** A Name with one attribute per RDN. */
export function distinguishedName(attributes: readonly (readonly [string, string])[]): Buffer {
  return sequence(
    ...attributes.map(([type, value]) => setOf(sequence(oid(type), utf8String(value)))),
  );
}

/** Method 1 of RFC 7093 section 2: the first 160 bits of SHA-256 over the key's BIT STRING. */
export function keyIdentifier(spki: Buffer): Buffer {
  const info = new DerReader(spki).sequence();
  info.element();
  return hash('sha256', info.bitStringOctets(), 'buffer').subarray(0, 20);
}

/** 127 random bits: the top bit is clear because some readers take it for a sign. */
function newSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f;
  return serial.every((octet) => octet === 0) ? newSerial() : serial;
}

function extensionsOf(content: CertificateContent, issuerSpki: Buffer): Buffer[] {
  const { pathLength, keyUsage, extendedKeyUsage } = content.profile;
  const constraints =
    pathLength === undefined ? sequence() : sequence(boolean(true), unsignedInteger(pathLength));
  const usageBits = keyUsage.map((usage) => keyUsages.indexOf(usage));
  const authority = element(contextPrimitive(0), keyIdentifier(issuerSpki));
  return [
    extension(oids.basicConstraints, constraints, true),
    extension(oids.keyUsage, namedBits(usageBits), true),
    ...(extendedKeyUsage.length === 0
      ? []
      : [extension(oids.extendedKeyUsage, sequence(...extendedKeyUsage.map(oid)))]),
    ...(content.alternativeNames.length === 0
      ? []
      : [extension(oids.subjectAltName, sequence(...content.alternativeNames))]),
    extension(oids.subjectKeyIdentifier, octetString(keyIdentifier(content.spki))),
    extension(oids.authorityKeyIdentifier, sequence(authority)),
    ...(content.extensions ?? []),
  ];
}

/** DER of an Extension; `value` is the DER that it holds. */
export function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value));
}
