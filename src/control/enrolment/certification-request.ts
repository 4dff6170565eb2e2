/** A PKCS #10 request (RFC 2986 section 4) as it is written; nothing of it has been judged yet. */
import { DerReader } from '../../common/codec/der/reader.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import { contextConstructed, tag } from '../../common/codec/der/tag.ts';
import { errorCodeOf, messageOf, SallyportError } from '../../common/base/errors.ts';
import { readSubjectNames } from '../../common/identity/distinguished-name.ts';
import { readExtensions } from '../../common/identity/extensions.ts';
import type { Extension } from '../../common/identity/extensions.ts';
import { refused } from './refused.ts';

/** A request with an 8,192-bit key is under 3 kB; judged before anything is decoded. */
const maxCsrBytes = 64 * 1024;
const maxAttributes = 16;
const sequenceOctet = 0x30;

export interface CertificationRequest {
  /** DER of CertificationRequestInfo: what the signature covers. */
  readonly info: Buffer;
  readonly commonNames: readonly string[];
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Buffer;
  /** OIDs of all attributes, in order. */
  readonly attributes: readonly string[];
  /** From the attribute extensionRequest. */
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: string;
  readonly signature: Buffer;
}

/**
 * DER, or PEM with one block. The buffers of the result may be slices of the input.
 *
 * @throws SallyportError `invalid-csr` when it is too large or not exactly one well-formed request.
 */
export function readCertificationRequest(pemOrDer: Uint8Array | string): CertificationRequest {
  if (pemOrDer.length > maxCsrBytes) throw refused('the request is larger than 64 KiB');
  try {
    return parse(derOf(pemOrDer));
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'malformed') throw thrown;
    throw new SallyportError('invalid-csr', `the request cannot be read: ${messageOf(thrown)}`, {
      hint: 'make it with: openssl req -new -key KEY -subj /CN=ID',
      cause: thrown,
    });
  }
}

function derOf(pemOrDer: Uint8Array | string): Buffer {
  const bytes = Buffer.from(pemOrDer as Uint8Array); // Buffer.from takes either; its overloads do not take the union
  if (bytes[0] === sequenceOctet) return bytes;
  const text = bytes.toString('latin1');
  const blocks = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'].flatMap((label) =>
    decodePem(label, text),
  );
  const [der] = blocks;
  if (der === undefined) throw refused('this is no certificate signing request');
  if (blocks.length > 1) throw refused('there is more than one request in it');
  return der;
}

function parse(der: Buffer): CertificationRequest {
  const outer = new DerReader(der);
  const request = outer.sequence();
  outer.end();
  const infoElement = request.expect(tag.sequence);
  const algorithm = request.sequence();
  const signatureAlgorithm = algorithm.oid();
  const signature = request.bitStringOctets();
  request.end();

  const info = request.within(infoElement);
  if (info.smallInteger() !== 0) throw refused('the version of the request is not 1');
  const { commonNames } = readSubjectNames(info);
  const spki = info.expect(tag.sequence).raw;
  const { attributes, extensions } = readAttributes(info);
  info.end();
  return {
    info: infoElement.raw,
    commonNames,
    spki,
    attributes,
    extensions,
    signatureAlgorithm,
    signature,
  };
}

function readAttributes(info: DerReader): Pick<CertificationRequest, 'attributes' | 'extensions'> {
  const attributes: string[] = [];
  let extensions: readonly Extension[] = [];
  // Mandatory in the standard and left out by some devices when it would be empty.
  if (info.atEnd) return { attributes, extensions };
  const set = info.enter(contextConstructed(0));
  while (!set.atEnd) {
    if (attributes.length >= maxAttributes) throw refused('the request has too many attributes');
    const attribute = set.sequence();
    const type = attribute.oid();
    const values = attribute.enter(tag.set);
    attribute.end();
    if (attributes.includes(type)) throw refused(`the attribute ${type} is there twice`);
    attributes.push(type);
    if (type !== oids.extensionRequest) continue;
    extensions = readExtensions(values);
    values.end();
  }
  return { attributes, extensions };
}
