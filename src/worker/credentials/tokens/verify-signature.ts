/**
 * Which algorithm goes with which key, and whether a signature is good. The key decides (RFC 8725 section 3.1): a token
 * that names another algorithm than its key is for is refused before anything is computed. Symmetric algorithms and
 * `none` are not in the table, so that no setting can bring them in.
 */
import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { SignedText } from './compact-jws.ts';

interface Algorithm {
  fits(key: KeyObject): boolean;
  /** False also for a signature of another length. */
  verify(text: Buffer, key: KeyObject, signature: Buffer): boolean;
}

/** RFC 7518 section 3.4: r and s, each as long as the order of the curve. */
function ecdsa(curve: string, hash: string): Algorithm {
  return {
    fits: (key) => key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === curve,
    verify: (text, key, signature) =>
      verify(hash, text, { key, dsaEncoding: 'ieee-p1363' }, signature),
  };
}

/** RFC 8037 section 3.1. */
const eddsa: Algorithm = {
  fits: (key) => key.asymmetricKeyType === 'ed25519',
  verify: (text, key, signature) => verify(null, text, key, signature),
};

/** RFC 7518 section 3.3 asks for 2,048 bits; beyond these bounds one signature would cost milliseconds. */
const rsaBits = { least: 2_048, most: 8_192 } as const;
const maxRsaExponent = 2n ** 32n;

/** RFC 7518 sections 3.3 and 3.5: a salt is as long as the hash. */
function rsa(hash: string, padding: 'PKCS1' | 'PSS'): Algorithm {
  const options =
    padding === 'PKCS1'
      ? { padding: constants.RSA_PKCS1_PADDING }
      : {
          padding: constants.RSA_PKCS1_PSS_PADDING,
          saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
        };
  return {
    fits: (key) => {
      const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
      return (
        key.asymmetricKeyType === 'rsa' &&
        modulusLength >= rsaBits.least &&
        modulusLength <= rsaBits.most &&
        publicExponent > 1n &&
        publicExponent <= maxRsaExponent
      );
    },
    verify: (text, key, signature) => verify(hash, text, { key, ...options }, signature),
  };
}

/** RFC 7518 section 3.1, RFC 8037, RFC 9864. */
const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ['ES256', ecdsa('prime256v1', 'sha256')],
  ['ES384', ecdsa('secp384r1', 'sha384')],
  ['ES512', ecdsa('secp521r1', 'sha512')],
  ['Ed25519', eddsa],
  ['EdDSA', eddsa],
  ['PS256', rsa('sha256', 'PSS')],
  ['PS384', rsa('sha384', 'PSS')],
  ['PS512', rsa('sha512', 'PSS')],
  ['RS256', rsa('sha256', 'PKCS1')],
  ['RS384', rsa('sha384', 'PKCS1')],
  ['RS512', rsa('sha512', 'PKCS1')],
]);

/** Whether the key is a public one that signatures by `alg` are made for. */
export function fits(alg: string, key: KeyObject): boolean {
  return key.type === 'public' && algorithms.get(alg)?.fits(key) === true;
}

/** Never throws: what cannot be verified is not. */
export function isSignedBy({ alg, text, signature }: SignedText, key: KeyObject): boolean {
  const algorithm = algorithms.get(alg);
  if (algorithm === undefined || !fits(alg, key)) return false;
  try {
    return algorithm.verify(Buffer.from(text), key, signature);
  } catch {
    return false;
  }
}
