/**
 * A revocation list, read from its DER in two steps (RFC 5280 section 5.1): the head, which costs the same whatever the
 * list's length, so that its signature is verified first; then the entries, one at a time.
 */
import { SallyportError } from '../../../common/base/errors.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { DerReader } from '../../../common/codec/der/reader.ts';
import { contextConstructed, contextPrimitive, tag } from '../../../common/codec/der/tag.ts';
import { readAuthorityKeyId, readExtensions } from '../../../common/identity/extensions.ts';
import type { Extension } from '../../../common/identity/extensions.ts';

/** RFC 5280 section 5.2.3, as of serial numbers. */
const maxNumberBytes = 20;

/** CRLReason (RFC 5280 section 5.3.1) where it makes a difference here. */
const certificateHold = 6;
const removeFromCrl = 8;

/** The buffers are slices of what was read. */
export interface CrlHead {
  /** What the signature covers. */
  readonly signed: Buffer;
  /** OID. */
  readonly signatureAlgorithm: string;
  readonly signature: Buffer;
  /** DER of the Name. */
  readonly issuer: Buffer;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly number: bigint;
  /** Hex. */
  readonly authorityKeyId: string | undefined;
  /** Content of revokedCertificates; empty when nothing is revoked. */
  readonly entries: Buffer;
}

export interface RevokedEntry {
  /** Without leading zeros; a slice of what was read. */
  readonly serial: Buffer;
  readonly onHold: boolean;
}

/**
 * The signature is not checked here.
 *
 * @throws SallyportError `malformed` when it is not exactly one complete CRL of version 2 with a number and an end, or
 *   says something critical that this gateway does not process (section 5.2): a delta, a list of other authorities'
 *   certificates or of some reasons only.
 */
export function readCrlHead(der: Buffer): CrlHead {
  const outer = new DerReader(der);
  const list = outer.sequence();
  outer.end();
  const tbs = list.expect(tag.sequence);
  const algorithm = list.element();
  const signature = list.bitStringOctets();
  list.end();

  const fields = list.within(tbs);
  // Version 1 has no number, so an old one could not be told from a new one.
  if (fields.nextTag !== tag.integer || fields.smallInteger() !== 1) {
    throw malformed('it is not of version 2');
  }
  // Section 5.1.1.2: the signed field and the one outside must agree.
  if (!fields.element().raw.equals(algorithm.raw)) throw malformed('two signature algorithms');
  const issuer = fields.expect(tag.sequence).raw;
  const thisUpdate = fields.time();
  if (!isTime(fields)) throw malformed('it does not say when the next one comes (nextUpdate)');
  const nextUpdate = fields.time();
  const entries = fields.optional(tag.sequence)?.content ?? Buffer.alloc(0);
  const extended = fields.optionalExplicit(0);
  const { number, authorityKeyId } = readListExtensions(
    extended === undefined ? [] : readExtensions(extended),
  );
  extended?.end();
  fields.end();
  return {
    signed: tbs.raw,
    signatureAlgorithm: readAlgorithm(new DerReader(algorithm.raw)),
    signature,
    issuer,
    thisUpdate,
    nextUpdate,
    number,
    authorityKeyId,
    entries,
  };
}

/**
 * Every entry whose certificate could be accepted here, as it is read: serial numbers that are not positive or too long
 * are in no certificate that is (`parseCertificate`).
 *
 * @throws SallyportError `malformed`, after some entries perhaps: take none then.
 */
export function* revokedIn(entries: Buffer): Generator<RevokedEntry, void> {
  const list = new DerReader(entries);
  while (!list.atEnd) {
    const entry = readEntry(list.sequence());
    if (entry !== undefined) yield entry;
  }
}

function readEntry(fields: DerReader): RevokedEntry | undefined {
  const octets = fields.integer();
  fields.time();
  const onHold = !fields.atEnd && readReason(fields) === certificateHold;
  fields.end();
  if ((octets[0] ?? 0) >= 0x80) return undefined;
  const serial = octets[0] === 0 ? octets.subarray(1) : octets;
  return serial.length >= 1 && serial.length <= maxNumberBytes ? { serial, onHold } : undefined;
}

/** Undefined when the entry gives none. */
function readReason(fields: DerReader): number | undefined {
  let reason: number | undefined;
  for (const { oid, critical, value } of readExtensions(fields)) {
    if (oid === oids.reasonCode) {
      const reader = new DerReader(value);
      reason = reader.expect(tag.enumerated).content[0];
      reader.end();
      // Section 5.3.1: only a delta may take an entry back; this one says that it is revoked, and that it is not.
      if (reason === removeFromCrl) throw malformed('it removes an entry, as only a delta may');
    } else if (critical) {
      // certificateIssuer for one: the serial number is another authority's.
      throw malformed(`an entry has the critical extension ${oid}, which is not processed`);
    }
  }
  return reason;
}

function readListExtensions(extensions: readonly Extension[]): {
  readonly number: bigint;
  readonly authorityKeyId: string | undefined;
} {
  let number: bigint | undefined;
  let authorityKeyId: string | undefined;
  for (const { oid, critical, value } of extensions) {
    switch (oid) {
      case oids.crlNumber:
        number = readNumber(value);
        break;
      case oids.authorityKeyIdentifier:
        authorityKeyId = readAuthorityKeyId(value);
        break;
      case oids.issuingDistributionPoint:
        assertWholeScope(value);
        break;
      default:
        // Section 5.2: such a list must not be used; deltaCRLIndicator is one of them.
        if (critical) throw malformed(`it has the critical extension ${oid}, not processed here`);
    }
  }
  if (number === undefined) throw malformed('it has no number (cRLNumber)');
  return { number, authorityKeyId };
}

function readNumber(value: Buffer): bigint {
  const reader = new DerReader(value);
  const octets = reader.integer();
  reader.end();
  if (octets.length > maxNumberBytes || (octets[0] ?? 0) >= 0x80) throw malformed('its number');
  return BigInt(`0x${octets.toString('hex')}`);
}

/**
 * IssuingDistributionPoint (section 5.2.5). Clients' certificates are no CA certificates, so a list of end entities is
 * whole for them; of the parts of a list each is named in the configuration.
 */
function assertWholeScope(value: Buffer): void {
  const reader = new DerReader(value);
  const fields = reader.sequence();
  reader.end();
  fields.optional(contextConstructed(0));
  // DER has no FALSE here, its default, and one octet for TRUE: whatever else it is, it is not nothing.
  const isSet = (n: number): boolean => fields.optional(contextPrimitive(n)) !== undefined;
  isSet(1);
  if (isSet(2)) throw malformed('it is about CA certificates only');
  if (fields.optional(contextPrimitive(3)) !== undefined)
    throw malformed('it is about some reasons only');
  if (isSet(4)) throw malformed("it lists other authorities' certificates");
  if (isSet(5)) throw malformed('it is about attribute certificates only');
  fields.end();
}

function isTime({ nextTag }: DerReader): boolean {
  return nextTag === tag.utcTime || nextTag === tag.generalizedTime;
}

function readAlgorithm(reader: DerReader): string {
  return reader.sequence().oid();
}

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', `the list cannot be used: ${detail}`);
}
