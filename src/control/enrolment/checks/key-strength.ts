import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import { refused } from '../refused.ts';
import type { CsrCheck } from './check.ts';
import { hasRocaFingerprint } from './roca.ts';

const smallestModulusBits = 2048;
/** Larger ones cost every handshake milliseconds of the gateway's time. */
const largestModulusBits = 8192;
const smallestExponent = 65_537n;
const largestExponent = 2n ** 64n - 1n;

const makeOne =
  'make the key with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY';

/** P-256, P-384, Ed25519, or RSA from 2,048 bits on. */
export const checkKeyStrength: CsrCheck = ({ spki }) => {
  const key = readKey(spki);
  checkType(key);
  // One key, one encoding: spelled-out parameters are read differently elsewhere (CVE-2020-0601), and a compressed
  // point would let two devices share a key unnoticed.
  if (!usualForm(key).equals(spki)) {
    throw refused('the public key is written in an unusual form', makeOne);
  }
};

function checkType(key: KeyObject): void {
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return;
    case 'ec':
      checkCurve(key.asymmetricKeyDetails?.namedCurve);
      return;
    case 'rsa':
      checkRsa(key);
      return;
    default:
      throw refused(
        `keys of the type ${key.asymmetricKeyType ?? 'unknown'} are not accepted`,
        makeOne,
      );
  }
}

/** DER by way of JWK, which has no room for parameters and point forms. */
function usualForm(key: KeyObject): Buffer {
  const plain = createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  return plain.export({ type: 'spki', format: 'der' });
}

function readKey(spki: Buffer): KeyObject {
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch (thrown) {
    throw new SallyportError('invalid-csr', 'the public key cannot be read', {
      hint: makeOne,
      cause: thrown,
    });
  }
}

function checkCurve(curve: string | undefined): void {
  if (curve === 'prime256v1' || curve === 'secp384r1') return;
  throw refused(`the curve ${curve ?? 'without a name'} is not accepted`, makeOne);
}

function checkRsa(key: KeyObject): void {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < smallestModulusBits || modulusLength > largestModulusBits) {
    throw refused(`an RSA key of ${modulusLength} bits is not accepted`, makeOne);
  }
  const isOdd = publicExponent % 2n === 1n;
  if (!isOdd || publicExponent < smallestExponent || publicExponent > largestExponent) {
    throw refused(
      'the RSA exponent is not accepted',
      'the exponent is 65537 with every usual tool',
    );
  }
  const { n = '' } = key.export({ format: 'jwk' });
  const modulus = BigInt(`0x0${Buffer.from(n, 'base64url').toString('hex')}`);
  if (modulus % 2n === 0n) throw refused('the RSA modulus is even', makeOne);
  if (hasRocaFingerprint(modulus)) {
    throw refused('the RSA key comes from a broken generator (ROCA, CVE-2017-15361)', makeOne);
  }
}
