/** A private key as whoever signs sees it: where the key is, in this process or in hardware, is its own affair. */
import { createPublicKey, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { oid, sequence } from '../../common/codec/der/writer.ts';

export interface Signer {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Buffer;
  /** DER AlgorithmIdentifier of its signatures (RFC 5280 section 4.1.1.2). */
  readonly signatureAlgorithm: Buffer;
  /**
   * The signature of `data`, as X.509 wants it: ECDSA as DER of Ecdsa-Sig-Value (RFC 3279 section 2.2.3).
   *
   * @throws SallyportError `no-key` when the key is gone, `unavailable` when its hardware does not answer.
   */
  sign(data: Buffer): Promise<Buffer>;
}

/** OpenSSL's name of the curve → signature algorithm and digest: a digest as strong as the curve. */
export const ecdsa: ReadonlyMap<string | undefined, readonly [algorithm: string, digest: string]> =
  new Map([
    ['prime256v1', [oids.ecdsaWithSha256, 'sha256']],
    ['secp384r1', [oids.ecdsaWithSha384, 'sha384']],
  ]);

/** Node's name of the key's type → signature algorithm, which needs no digest before it (RFC 9881 section 3). */
const mlDsa: ReadonlyMap<string | undefined, string> = new Map([
  ['ml-dsa-44', oids.mlDsa44],
  ['ml-dsa-65', oids.mlDsa65],
  ['ml-dsa-87', oids.mlDsa87],
]);

/**
 * A key in this process: ECDSA on P-256 or P-384, or ML-DSA. It signs at once: handing 50 µs of work to another thread costs more.
 *
 * @throws SallyportError `no-key` for a key of another kind.
 */
export function softwareSigner(key: KeyObject): Signer {
  const found = ecdsa.get(key.asymmetricKeyDetails?.namedCurve);
  const [algorithm, digest] = found ?? [mlDsa.get(key.asymmetricKeyType), null];
  if (algorithm === undefined) {
    throw new SallyportError('no-key', 'a signing key has to be on P-256 or P-384, or of ML-DSA');
  }
  return {
    spki: createPublicKey(key).export({ type: 'spki', format: 'der' }),
    signatureAlgorithm: sequence(oid(algorithm)),
    sign: async (data) => sign(digest, data, { key, dsaEncoding: 'der' }),
  };
}
