/**
 * What a certificate says, straight from its DER (RFC 5280 section 4.1). Text forms that other libraries make of a
 * certificate are not used: two CNs, a NUL or a newline do not survive them.
 */
import { hash } from 'node:crypto';
import { errorCodeOf, messageOf, SallyportError } from '../base/errors.ts';
import { oids } from '../codec/der/oids.ts';
import { DerReader } from '../codec/der/reader.ts';
import { contextPrimitive } from '../codec/der/tag.ts';
import { readSubjectNames } from './distinguished-name.ts';
import {
  readAlternativeNames,
  readAuthorityKeyId,
  readBasicConstraints,
  readExtendedKeyUsage,
  readExtensions,
  readKeyUsage,
  readSubjectKeyId,
} from './extensions.ts';
import type { KeyUsage } from './extensions.ts';

/** A device's certificate is under 1 kB; the bound keeps the cost of a hostile one small. */
const maxCertificateBytes = 64 * 1024;
/** RFC 5280 section 4.1.2.2. */
const maxSerialBytes = 20;

export interface CertificateFacts {
  /** Lower case, no leading zeros. */
  readonly serialHex: string;
  /** DER of the Name. */
  readonly issuer: Buffer;
  /** DER of the Name. */
  readonly subject: Buffer;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly notBefore: number;
  /** Milliseconds since 1970-01-01 UTC; the certificate holds through this second. */
  readonly notAfter: number;
  /** Every CN, as decoded: NUL, control characters and look-alike letters included. */
  readonly commonNames: readonly string[];
  /** serialNumber attributes of the subject. */
  readonly subjectSerialNumbers: readonly string[];
  readonly sanUris: readonly string[];
  readonly sanDnsNames: readonly string[];
  /** Hex of the octets: 8 digits for IPv4, 32 for IPv6. */
  readonly sanIpAddresses: readonly string[];
  readonly isCa: boolean;
  /** CAs that may follow below this one; undefined = no bound (RFC 5280 section 4.2.1.9). */
  readonly pathLength: number | undefined;
  /** Undefined when the extension is absent. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** OIDs; undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Hex. */
  readonly subjectKeyId: string | undefined;
  /** Hex. */
  readonly authorityKeyId: string | undefined;
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly spkiSha256: string;
  /** OIDs of critical extensions that this gateway does not process. */
  readonly unknownCriticalExtensions: readonly string[];
}

/**
 * The issuer's signature is not checked here. The buffers of the result are slices of `der`.
 *
 * @throws SallyportError `invalid-certificate` when `der` is not exactly one well-formed X.509 v1 or v3 certificate, an
 *   extension occurs twice, or the serial number is not a positive number of at most 20 octets.
 */
export function parseCertificate(der: Buffer): CertificateFacts {
  if (der.length > maxCertificateBytes) throw invalid('larger than 64 KiB');
  try {
    return readCertificate(der);
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'malformed') throw thrown;
    throw new SallyportError('invalid-certificate', `the certificate: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}

function readCertificate(der: Buffer): CertificateFacts {
  const outer = new DerReader(der);
  const certificate = outer.sequence();
  outer.end();
  const tbs = certificate.sequence();
  const outerAlgorithm = certificate.element();
  certificate.bitStringOctets();
  certificate.end();

  const version = readVersion(tbs);
  const serialHex = readSerial(tbs);
  // RFC 5280 section 4.1.1.2: the signed field and the one outside must agree.
  if (!tbs.element().raw.equals(outerAlgorithm.raw)) throw invalid('two signature algorithms');
  const issuer = tbs.element().raw;
  const validity = tbs.sequence();
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.end();
  const subject = tbs.element().raw;
  const { commonNames, serialNumbers } = readSubjectNames(new DerReader(subject));
  const spki = tbs.element().raw;
  // issuerUniqueID and subjectUniqueID: allowed from version 2 on and used by nobody.
  tbs.optional(contextPrimitive(1));
  tbs.optional(contextPrimitive(2));
  const extensions = readExtensionFacts(tbs, version);
  tbs.end();

  return {
    serialHex,
    issuer,
    subject,
    notBefore,
    notAfter,
    commonNames,
    subjectSerialNumbers: serialNumbers,
    spkiSha256: hash('sha256', spki, 'hex'),
    ...extensions,
  };
}

/** Version 1 leaves the field out; DER does not allow it to be written (it is the default). */
function readVersion(tbs: DerReader): number {
  const field = tbs.optionalExplicit(0);
  if (field === undefined) return 1;
  const version = field.smallInteger() + 1;
  field.end();
  if (version !== 2 && version !== 3) throw invalid('version');
  return version;
}

function readSerial(tbs: DerReader): string {
  const octets = tbs.integer();
  if ((octets[0] ?? 0) >= 0x80) throw invalid('negative serial number');
  const serialHex = octets.toString('hex').replace(/^0+/, '');
  if (serialHex === '') throw invalid('serial number zero');
  if (serialHex.length > maxSerialBytes * 2) throw invalid('serial number too long');
  return serialHex;
}

type ExtensionFacts = Pick<
  CertificateFacts,
  | 'sanUris'
  | 'sanDnsNames'
  | 'sanIpAddresses'
  | 'isCa'
  | 'pathLength'
  | 'keyUsage'
  | 'extendedKeyUsage'
  | 'subjectKeyId'
  | 'authorityKeyId'
  | 'unknownCriticalExtensions'
>;

function readExtensionFacts(tbs: DerReader, version: number): ExtensionFacts {
  let sanUris: readonly string[] = [];
  let sanDnsNames: readonly string[] = [];
  let sanIpAddresses: readonly string[] = [];
  let isCa = false;
  let pathLength: number | undefined;
  let keyUsage: ReadonlySet<KeyUsage> | undefined;
  let extendedKeyUsage: readonly string[] | undefined;
  let subjectKeyId: string | undefined;
  let authorityKeyId: string | undefined;
  const unknownCriticalExtensions: string[] = [];

  const field = tbs.optionalExplicit(3);
  if (field !== undefined && version !== 3) throw invalid('extensions before version 3');
  const extensions = field === undefined ? [] : readExtensions(field);
  field?.end();
  for (const { oid, critical, value } of extensions) {
    switch (oid) {
      case oids.subjectAltName: {
        const names = readAlternativeNames(value);
        sanUris = names.uris;
        sanDnsNames = names.dnsNames;
        sanIpAddresses = names.ipAddresses;
        break;
      }
      case oids.basicConstraints:
        ({ isCa, pathLength } = readBasicConstraints(value));
        break;
      case oids.keyUsage:
        keyUsage = readKeyUsage(value);
        break;
      case oids.extendedKeyUsage:
        extendedKeyUsage = readExtendedKeyUsage(value);
        break;
      case oids.subjectKeyIdentifier:
        subjectKeyId = readSubjectKeyId(value);
        break;
      case oids.authorityKeyIdentifier:
        authorityKeyId = readAuthorityKeyId(value);
        break;
      default:
        if (critical) unknownCriticalExtensions.push(oid);
    }
  }
  return {
    sanUris,
    sanDnsNames,
    sanIpAddresses,
    isCa,
    pathLength,
    keyUsage,
    extendedKeyUsage,
    subjectKeyId,
    authorityKeyId,
    unknownCriticalExtensions,
  };
}

function invalid(detail: string): SallyportError {
  return new SallyportError('invalid-certificate', `the certificate: ${detail}`);
}
