/** Certificates as EST carries them: a "certs-only" message (RFC 5272 section 4.1), which is a SignedData that signs nothing. */
import { oids } from '../../common/codec/der/oids.ts';
import { contextConstructed, tag } from '../../common/codec/der/tag.ts';
import {
  element,
  explicit,
  oid,
  sequence,
  setOf,
  unsignedInteger,
} from '../../common/codec/der/writer.ts';

/** DER ContentInfo (RFC 5652 section 5.1). `certificates`: DER; their order says nothing. */
export function certsOnly(certificates: readonly Uint8Array[]): Buffer {
  const set = setOf(...certificates);
  const signedData = sequence(
    unsignedInteger(1),
    element(tag.set),
    sequence(oid(oids.cmsData)),
    // IMPLICIT: the tag takes the place of that of the set.
    Buffer.concat([Buffer.of(contextConstructed(0)), set.subarray(1)]),
    element(tag.set),
  );
  return sequence(oid(oids.cmsSignedData), explicit(0, signedData));
}

/** Base64 as EST wants it (RFC 8951 section 3.1): one line, because strongSwan takes a line feed for a character of it. */
export function toBase64(der: Uint8Array): Buffer {
  return Buffer.from(Buffer.from(der).toString('base64'), 'latin1');
}

const base64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** What was written so, white space wherever it is (RFC 8951 section 3.1); undefined when it is no base64. */
export function fromBase64(text: string): Buffer | undefined {
  const dense = text.replaceAll(/[\t\n\r ]/g, '');
  return base64.test(dense) && dense.length % 4 === 0 ? Buffer.from(dense, 'base64') : undefined;
}
