/**
 * Where strangers ask about a certificate of ours, below the base URL of the status listener, and the extensions of a
 * certificate that say so (RFC 5280 sections 4.2.1.13 and 4.2.2.1).
 */
import { oids } from '../../common/codec/der/oids.ts';
import { contextConstructed } from '../../common/codec/der/tag.ts';
import { element, oid, sequence } from '../../common/codec/der/writer.ts';
import { extension } from './build-certificate.ts';
import { uriName } from './general-names.ts';

/** @param base without a slash at its end. @param issuer its key identifier, hex. */
export function deltaUrl(base: string, issuer: string): string {
  return `${base}/crl/${issuer}-delta.crl`;
}

/**
 * What a certificate by `issuer` says; nothing when there is no base URL: a device may well hold its certificate for
 * longer than a wrong address.
 */
export function statusExtensions(base: string | undefined, issuer: string): Buffer[] {
  if (base === undefined) return [];
  const access = sequence(
    sequence(oid(oids.ocsp), uriName(`${base}/ocsp`)),
    sequence(oid(oids.caIssuers), uriName(`${base}/ca/${issuer}.cer`)),
  );
  return [
    extension(oids.crlDistributionPoints, distributionPoints(`${base}/crl/${issuer}.crl`)),
    extension(oids.authorityInfoAccess, access),
  ];
}

/** CRLDistributionPoints of one place. */
export function distributionPoints(url: string): Buffer {
  const fullName = element(contextConstructed(0), uriName(url));
  return sequence(sequence(element(contextConstructed(0), fullName)));
}
