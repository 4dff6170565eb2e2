/** What EST tells a device to put into its request (RFC 7030 section 4.5.2, RFC 9908 section 3). */
import type { KeyKind } from '../../common/base/key-kinds.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { tag } from '../../common/codec/der/tag.ts';
import { element, oid, sequence, setOf, unsignedInteger } from '../../common/codec/der/writer.ts';

const leastModulusBits = 2048;

/**
 * 2.25.147624343048509412628783851813792797123 (X.667: an identifier that needs no registration), whose last arc is longer
 * than numbers are here. Its value is an INTEGER: days before the end of a certificate from which on it can be renewed.
 * Who does not know it passes it over, as RFC 7030 asks of every client.
 */
const renewalWindow = Buffer.from('6981de8fb583c7d0e2bc9d9aafcaf1b9ebe9a343', 'hex');

/** What a device is told for a kind of key: attributes and OIDs as RFC 9908 section 3 has them. */
const asked: Readonly<Record<KeyKind, readonly Buffer[]>> = Object.freeze({
  'P-256': [
    sequence(oid(oids.ecPublicKey), setOf(oid(oids.prime256v1))),
    oid(oids.ecdsaWithSha256),
  ],
  'P-384': [sequence(oid(oids.ecPublicKey), setOf(oid(oids.secp384r1))), oid(oids.ecdsaWithSha384)],
  Ed25519: [oid(oids.ed25519)],
  RSA: [
    sequence(oid(oids.rsaEncryption), setOf(unsignedInteger(leastModulusBits))),
    oid(oids.sha256WithRsa),
  ],
  'ML-DSA-44': [oid(oids.mlDsa44)],
  'ML-DSA-65': [oid(oids.mlDsa65)],
  'ML-DSA-87': [oid(oids.mlDsa87)],
});

export interface AskedOfDevices {
  /** Days before the end of a certificate. */
  readonly renewalDays: number;
  /** Kinds of keys that are certified; never empty. A device is told the first of them. */
  readonly keys: readonly KeyKind[];
}

/** DER CsrAttrs: the kind of key, the signature, and the renewal window. Names and extensions are the CA's. */
export function csrAttributes({ renewalDays, keys: [kind = 'P-256'] }: AskedOfDevices): Buffer {
  return sequence(
    ...asked[kind],
    sequence(element(tag.oid, renewalWindow), setOf(unsignedInteger(renewalDays))),
  );
}
