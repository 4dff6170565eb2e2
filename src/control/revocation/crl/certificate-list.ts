/** A certificate revocation list, complete or delta, as RFC 5280 section 5 lays it out. */
import { oids } from '../../../common/codec/der/oids.ts';
import { contextPrimitive, tag } from '../../../common/codec/der/tag.ts';
import {
  bitString,
  element,
  explicit,
  header,
  sequence,
  time,
  unsignedInteger,
} from '../../../common/codec/der/writer.ts';
import { extension } from '../../ca/build-certificate.ts';
import { distributionPoints } from '../../ca/status-urls.ts';
import type { Signer } from '../../ca/signer.ts';
import type { IssuerFacts } from '../issuer.ts';
import type { CrlEntries } from './crl-entries.ts';

export interface ListTerms {
  readonly number: number;
  /** Of a delta: the number of the complete list that it adds to. Undefined = this is a complete list. */
  readonly baseNumber: number | undefined;
  /** Milliseconds. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Where a delta to this complete list is found; undefined = nowhere. */
  readonly deltaUrl: string | undefined;
}

const version2 = unsignedInteger(1);

/** DER of the CertificateList. @throws SallyportError as `Signer.sign`. */
export async function signCertificateList(
  issuer: Pick<IssuerFacts, 'name' | 'keyIdentifier'>,
  signer: Signer,
  terms: ListTerms,
  entries: CrlEntries,
): Promise<Buffer> {
  const { signatureAlgorithm } = signer;
  const signed = wrap(
    version2,
    signatureAlgorithm,
    issuer.name,
    time(terms.thisUpdate),
    time(terms.nextUpdate),
    // Section 5.1.2.6: the field is absent when nothing is revoked.
    ...(entries.count === 0 ? [] : sequenceParts(entries.parts)),
    explicit(0, sequence(...extensionsOf(issuer.keyIdentifier, terms))),
  );
  return wrap(signed, signatureAlgorithm, bitString(await signer.sign(signed)));
}

function extensionsOf(keyIdentifier: Buffer, terms: ListTerms): Buffer[] {
  const { number, baseNumber, deltaUrl } = terms;
  const issuer = sequence(element(contextPrimitive(0), keyIdentifier));
  return [
    extension(oids.authorityKeyIdentifier, issuer),
    extension(oids.crlNumber, unsignedInteger(number)),
    ...(baseNumber === undefined
      ? []
      : [extension(oids.deltaCrlIndicator, unsignedInteger(baseNumber), true)]),
    // Section 5.2.6: in complete lists only.
    ...(baseNumber !== undefined || deltaUrl === undefined
      ? []
      : [extension(oids.freshestCrl, distributionPoints(deltaUrl))]),
  ];
}

/** A SEQUENCE of many parts, copied once. */
function wrap(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat(sequenceParts(parts));
}

function sequenceParts(parts: readonly Buffer[]): Buffer[] {
  let length = 0;
  for (const part of parts) length += part.length;
  return [header(tag.sequence, length), ...parts];
}
