/**
 * OCSP answers as RFC 6960 section 4.2 lays them out, signed by the CA itself: with its certificate at hand nobody needs
 * another, so an answer is some 350 bytes, which every handshake that staples it repeats. Times have no fractions.
 */
import { oids } from '../../../common/codec/der/oids.ts';
import { contextConstructed, contextPrimitive } from '../../../common/codec/der/tag.ts';
import {
  bitString,
  element,
  enumerated,
  explicit,
  generalizedTime,
  octetString,
  oid,
  sequence,
} from '../../../common/codec/der/writer.ts';
import type { Signer } from '../../ca/signer.ts';
import type { CertificateStatus } from '../../registry/revocations.ts';
import type { IssuerFacts } from '../issuer.ts';

/** OCSPResponseStatus of answers that say nothing of a certificate and are not signed. */
const unsignedStatuses = {
  malformedRequest: 1,
  internalError: 2,
  tryLater: 3,
  unauthorized: 6,
} as const;
export type UnsignedStatus = keyof typeof unsignedStatuses;

export function unsignedAnswer(status: UnsignedStatus): Buffer {
  return sequence(enumerated(unsignedStatuses[status]));
}

export interface SingleAnswer {
  /** DER of the CertID. */
  readonly certId: Buffer;
  /** Undefined: unknown. */
  readonly status: CertificateStatus | undefined;
}

export interface AnswerTerms {
  readonly answers: readonly SingleAnswer[];
  /** Milliseconds: when all of this was known to hold, and until when an answer may be used. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Value of the nonce extension of the request. */
  readonly nonce: Buffer | undefined;
}

const successful = enumerated(0);
const good = element(contextPrimitive(0));
const unknown = element(contextPrimitive(2));
const basicType = oid(oids.ocspBasic);
const nonceType = oid(oids.ocspNonce);

/** DER of the OCSPResponse. @throws SallyportError as `Signer.sign`. */
export async function signedAnswer(
  issuer: Pick<IssuerFacts, 'keyHash'>,
  signer: Signer,
  { answers, thisUpdate, nextUpdate, nonce }: AnswerTerms,
): Promise<Buffer> {
  const from = generalizedTime(thisUpdate);
  const until = explicit(0, generalizedTime(nextUpdate));
  const signed = sequence(
    // Section 4.2.1: byKey, always SHA-1, by which a key is named and not protected.
    explicit(2, octetString(issuer.keyHash.sha1)),
    from,
    sequence(
      ...answers.map(({ certId, status }) => sequence(certId, statusOf(status), from, until)),
    ),
    ...(nonce === undefined
      ? []
      : [explicit(1, sequence(sequence(nonceType, octetString(nonce))))]),
  );
  const signature = bitString(await signer.sign(signed));
  const basic = sequence(signed, signer.signatureAlgorithm, signature);
  return sequence(successful, explicit(0, sequence(basicType, octetString(basic))));
}

function statusOf(status: CertificateStatus | undefined): Buffer {
  if (status === undefined) return unknown;
  if (status === 'good') return good;
  const { revokedAt, reason } = status;
  return element(
    contextConstructed(1),
    generalizedTime(revokedAt),
    // As in a CRL, unspecified is said by leaving it out (RFC 5280 section 5.3.1).
    ...(reason === 0 ? [] : [explicit(0, enumerated(reason))]),
  );
}
