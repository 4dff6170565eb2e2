/** Revocation lists as authorities write them, and as nobody should: every field can be made wrong. */
import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { oids } from '../../src/common/codec/der/oids.ts';
import { contextPrimitive, tag } from '../../src/common/codec/der/tag.ts';
import {
  bitString,
  boolean,
  element,
  explicit,
  octetString,
  oid,
  sequence,
  time,
  unsignedInteger,
} from '../../src/common/codec/der/writer.ts';
import { parseCertificate } from '../../src/common/identity/certificate.ts';
import type { Authority } from './openssl.ts';

export interface ListEntry {
  /** Hex; an even number of digits. */
  readonly serial: string;
  /** CRLReason; none when it is left out. */
  readonly reason?: number;
  /** More DER Extensions. */
  readonly extensions?: readonly Buffer[];
}

export interface ListOptions {
  readonly entries?: Iterable<ListEntry>;
  /** undefined = no cRLNumber. */
  readonly number?: number | undefined;
  readonly thisUpdate?: Date;
  /** undefined = none. */
  readonly nextUpdate?: Date | undefined;
  /** Hex; the one of the authority when it is left out. */
  readonly authorityKeyId?: string;
  /** More DER Extensions of the list. */
  readonly extensions?: readonly Buffer[];
  /** Written as it is; 1 = version 2. */
  readonly version?: number;
  /** Whose key signs in place of the authority's. */
  readonly signer?: Authority;
  readonly digest?: 'sha1' | 'sha256';
}

const minuteMs = 60_000;
const ecdsaWithSha1 = '1.2.840.10045.4.1';

/** DER of a list of `authority`, whose key is a P-256 one. */
export function revocationList(authority: Authority, options: ListOptions = {}): Buffer {
  const now = Date.now();
  const whole: ListOptions = {
    number: 1,
    thisUpdate: new Date(now - minuteMs),
    nextUpdate: new Date(now + 60 * minuteMs),
    ...options,
  };
  const certificate = parseCertificate(new X509Certificate(readFileSync(authority.crt)).raw);
  const { digest = 'sha256', signer = authority } = whole;
  const algorithm = sequence(oid(digest === 'sha1' ? ecdsaWithSha1 : oids.ecdsaWithSha256));
  const entries = [...(whole.entries ?? [])].map(entryOf);
  const keyId = Buffer.from(whole.authorityKeyId ?? certificate.subjectKeyId ?? '', 'hex');
  const extensions = [
    extension(oids.authorityKeyIdentifier, sequence(element(contextPrimitive(0), keyId))),
    ...(whole.number === undefined
      ? []
      : [extension(oids.crlNumber, unsignedInteger(whole.number))]),
    ...(whole.extensions ?? []),
  ];
  const tbs = sequence(
    unsignedInteger(whole.version ?? 1),
    algorithm,
    certificate.subject,
    time(Number(whole.thisUpdate)),
    ...(whole.nextUpdate === undefined ? [] : [time(whole.nextUpdate.getTime())]),
    // Left out when nothing is revoked: RFC 5280 section 5.1.2.6.
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    explicit(0, sequence(...extensions)),
  );
  const signature = sign(digest, tbs, createPrivateKey(readFileSync(signer.key)));
  return sequence(tbs, algorithm, bitString(signature));
}

export function extension(type: string, value: Uint8Array, critical = false): Buffer {
  return sequence(oid(type), ...(critical ? [boolean(true)] : []), octetString(value));
}

function entryOf({ serial, reason, extensions = [] }: ListEntry): Buffer {
  const all = [
    ...(reason === undefined
      ? []
      : [extension(oids.reasonCode, element(tag.enumerated, Buffer.of(reason)))]),
    ...extensions,
  ];
  return sequence(
    unsignedInteger(Buffer.from(serial, 'hex')),
    time(Date.now() - 60 * minuteMs),
    ...(all.length === 0 ? [] : [sequence(...all)]),
  );
}
