/** An OCSP request, as RFC 6960 section 4.1 lays it out; what it says is a stranger's. */
import { SallyportError } from '../../../common/base/errors.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { DerReader } from '../../../common/codec/der/reader.ts';
import { contextConstructed, tag } from '../../../common/codec/der/tag.ts';
import {
  nullValue,
  octetString,
  oid,
  sequence,
  unsignedInteger,
} from '../../../common/codec/der/writer.ts';
import { readExtensions } from '../../../common/identity/extensions.ts';
import type { CertIdHash, IssuerFacts } from '../issuer.ts';

/** Each costs a look into the registry and bytes of the answer. RFC 5019 section 2.1.1 allows one. */
const maxCertificates = 16;
/** RFC 9654 section 2.1. */
const maxNonceBytes = 128;
/** RFC 5280 section 4.1.2.2; one more where the top bit is set. */
const maxSerialBytes = 21;
/** The longest digest. */
const maxHashBytes = 64;

const hashNames: ReadonlyMap<string, CertIdHash> = new Map([
  [oids.sha1, 'sha1'],
  [oids.sha256, 'sha256'],
]);

/** The buffers are slices of the request. */
export interface CertId {
  /** DER, to be repeated in the answer. */
  readonly raw: Buffer;
  /** Undefined: one that we do not compute, so that the issuer is none of ours. */
  readonly hash: CertIdHash | undefined;
  /** The hash has the parameters NULL, and not none. */
  readonly hasNull: boolean;
  readonly issuerNameHash: Buffer;
  readonly issuerKeyHash: Buffer;
  /** Lower-case hex without leading zeros; undefined: not positive, so that nobody has issued it. */
  readonly serial: string | undefined;
}

export interface OcspRequest {
  /** At least one. */
  readonly certificates: readonly CertId[];
  /** The nonce extension's value, to be repeated in the answer. */
  readonly nonce: Buffer | undefined;
}

/**
 * A signature on it is not looked at: everybody may ask (section 2.3, `sigRequired` is not ours to say).
 *
 * @throws SallyportError `malformed`.
 */
export function readOcspRequest(der: Buffer): OcspRequest {
  const outer = new DerReader(der);
  const request = outer.sequence();
  outer.end();
  const signed = request.sequence();
  request.optional(contextConstructed(0));
  request.end();
  const version = signed.optionalExplicit(0);
  if (version !== undefined && version.smallInteger() !== 0) throw malformed('version');
  version?.end();
  // requestorName: of use only with a signature.
  signed.optional(contextConstructed(1));
  const list = signed.sequence();
  const certificates: CertId[] = [];
  while (!list.atEnd) {
    if (certificates.length >= maxCertificates) throw malformed('too many certificates');
    certificates.push(readSingle(list.sequence()));
  }
  if (certificates.length === 0) throw malformed('no certificate');
  const extensions = signed.optionalExplicit(2);
  const nonce = extensions === undefined ? undefined : readNonce(extensions);
  extensions?.end();
  signed.end();
  return { certificates, nonce };
}

/** How OpenSSL names a certificate when it looks for it in an answer. `serial` is hex without leading zeros. */
export function certIdOf({ nameHash, keyHash }: IssuerFacts, serial: string): CertId {
  const octets = Buffer.from(serial.length % 2 === 0 ? serial : `0${serial}`, 'hex');
  const raw = sequence(
    sequence(oid(oids.sha1), nullValue()),
    octetString(nameHash.sha1),
    octetString(keyHash.sha1),
    unsignedInteger(octets),
  );
  return {
    raw,
    hash: 'sha1',
    hasNull: true,
    issuerNameHash: nameHash.sha1,
    issuerKeyHash: keyHash.sha1,
    serial,
  };
}

function readSingle(request: DerReader): CertId {
  const { raw, content } = request.expect(tag.sequence);
  const certId = readCertId(raw, new DerReader(content));
  const extensions = request.optionalExplicit(0);
  if (extensions !== undefined) refuseCritical(readExtensions(extensions));
  extensions?.end();
  request.end();
  return certId;
}

function readCertId(raw: Buffer, fields: DerReader): CertId {
  const { hash, hasNull } = readHash(fields.sequence());
  const issuerNameHash = fields.octetString();
  const issuerKeyHash = fields.octetString();
  const serial = fields.integer();
  fields.end();
  if (Math.max(issuerNameHash.length, issuerKeyHash.length) > maxHashBytes) {
    throw malformed('hash');
  }
  if (serial.length > maxSerialBytes) throw malformed('serial number');
  return { raw, hash, hasNull, issuerNameHash, issuerKeyHash, serial: serialText(serial) };
}

/** Parameters are NULL or absent (RFC 5754 section 2); others would be repeated in what we sign. */
function readHash(algorithm: DerReader): Pick<CertId, 'hash' | 'hasNull'> {
  const id = algorithm.oid();
  const parameters = algorithm.optional(tag.null);
  if (parameters !== undefined && parameters.content.length > 0) throw malformed('NULL');
  algorithm.end();
  return { hash: hashNames.get(id), hasNull: parameters !== undefined };
}

function serialText(octets: Buffer): string | undefined {
  if ((octets[0] ?? 0) >= 0x80) return undefined;
  return octets.toString('hex').replace(/^0+/, '') || undefined;
}

function readNonce(list: DerReader): Buffer | undefined {
  const extensions = readExtensions(list);
  const found = extensions.find((extension) => extension.oid === oids.ocspNonce);
  refuseCritical(extensions.filter((extension) => extension !== found));
  if (found === undefined) return undefined;
  const value = new DerReader(found.value);
  const nonce = value.octetString();
  value.end();
  if (nonce.length === 0 || nonce.length > maxNonceBytes) throw malformed('nonce length');
  return found.value;
}

function refuseCritical(extensions: ReturnType<typeof readExtensions>): void {
  if (extensions.some(({ critical }) => critical)) throw malformed('a critical extension');
}

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', `OCSP request: ${detail}`);
}
