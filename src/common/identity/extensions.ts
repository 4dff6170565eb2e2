/** The X.509 v3 extensions (RFC 5280 section 4.2) that decide who a certificate speaks for, in certificates and requests. */
import { SallyportError } from '../base/errors.ts';
import { DerReader } from '../codec/der/reader.ts';
import { contextPrimitive, tag } from '../codec/der/tag.ts';
import { decodeText } from '../codec/der/text.ts';

/** Each bounds what one certificate can cost; real ones stay far below. */
const maxExtensions = 64;
const maxAlternativeNames = 1024;
const maxKeyPurposes = 64;

export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  /** The content of extnValue. */
  readonly value: Buffer;
}

/** By bit number (RFC 5280 section 4.2.1.3). */
export const keyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof keyUsages)[number];

export interface AlternativeNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  /** Hex of the octets in network order: 8 digits for IPv4, 32 for IPv6. */
  readonly ipAddresses: readonly string[];
  /** Names of every other type: mail, directory, other, registered. */
  readonly others: number;
}

/**
 * Reads the SEQUENCE OF Extension that is next.
 *
 * @throws SallyportError `malformed`; also when an extension occurs twice, because the second could contradict the
 *   first and readers differ in which one they believe.
 */
export function readExtensions(reader: DerReader): Extension[] {
  const list = reader.sequence();
  const extensions: Extension[] = [];
  while (!list.atEnd) {
    if (extensions.length >= maxExtensions) throw malformed('too many extensions');
    const item = list.sequence();
    const oid = item.oid();
    const critical = item.nextTag === tag.boolean && item.boolean();
    const value = item.octetString();
    item.end();
    if (extensions.some((known) => known.oid === oid)) throw malformed(`extension ${oid} twice`);
    extensions.push({ oid, critical, value });
  }
  return extensions;
}

export function readKeyUsage(value: Buffer): ReadonlySet<KeyUsage> {
  const reader = new DerReader(value);
  const { bytes } = reader.bitString();
  reader.end();
  return new Set(
    keyUsages.filter((_, bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0),
  );
}

export function readExtendedKeyUsage(value: Buffer): readonly string[] {
  const reader = new DerReader(value);
  const list = reader.sequence();
  reader.end();
  const purposes: string[] = [];
  while (!list.atEnd) {
    if (purposes.length >= maxKeyPurposes) throw malformed('too many key purposes');
    purposes.push(list.oid());
  }
  return purposes;
}

export function readBasicConstraints(value: Buffer): {
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
} {
  const reader = new DerReader(value);
  const fields = reader.sequence();
  reader.end();
  const isCa = fields.nextTag === tag.boolean && fields.boolean();
  const pathLength = fields.nextTag === tag.integer ? fields.smallInteger() : undefined;
  fields.end();
  return { isCa, pathLength };
}

export function readAlternativeNames(value: Buffer): AlternativeNames {
  const reader = new DerReader(value);
  const list = reader.sequence();
  reader.end();
  const uris: string[] = [];
  const dnsNames: string[] = [];
  const ipAddresses: string[] = [];
  let others = 0;
  for (let count = 0; !list.atEnd; count++) {
    if (count >= maxAlternativeNames) throw malformed('too many alternative names');
    const name = list.element();
    if (name.tag === uriTag) uris.push(decodeText(tag.ia5String, name.content));
    else if (name.tag === dnsNameTag) dnsNames.push(decodeText(tag.ia5String, name.content));
    else if (name.tag === ipAddressTag) ipAddresses.push(name.content.toString('hex'));
    else others++;
  }
  return { uris, dnsNames, ipAddresses, others };
}

/** The content of subjectKeyIdentifier in hex. */
export function readSubjectKeyId(value: Buffer): string {
  const reader = new DerReader(value);
  const id = reader.octetString();
  reader.end();
  return id.toString('hex');
}

/** The key identifier of authorityKeyIdentifier in hex, if it has one. */
export function readAuthorityKeyId(value: Buffer): string | undefined {
  const reader = new DerReader(value);
  const fields = reader.sequence();
  reader.end();
  return fields.optional(contextPrimitive(0))?.content.toString('hex');
}

const dnsNameTag = contextPrimitive(2);
const uriTag = contextPrimitive(6);
const ipAddressTag = contextPrimitive(7);

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', detail);
}
