import { createPublicKey, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { KeyKind } from '../../../common/base/key-kinds.ts';
import { plainKeyKind } from '../../../common/codec/der/spki-form.ts';
import { refused } from '../refused.ts';
import type { CsrCheck } from './check.ts';
import { makeKey, publicKeyOf } from './public-key.ts';
import { publishedKey } from './published-keys.ts';
import { modulusWeakness } from './rsa-modulus.ts';

const smallestModulusBits = 2048;
/** Larger ones cost every handshake milliseconds of the gateway's time. */
const largestModulusBits = 8192;
const smallestExponent = 65_537n;
const largestExponent = 2n ** 64n - 1n;

/** A key of a kind that the profile allows, made well, and known to nobody else. */
export const checkKeyStrength: CsrCheck = (request, { profile }) => {
  assertStrongKey(request.spki, publicKeyOf(request), profile.keys);
};

/** @param spki DER, of which `key` was read. @throws SallyportError `invalid-csr`; the message says what is wrong. */
export function assertStrongKey(spki: Buffer, key: KeyObject, kinds: readonly KeyKind[]): void {
  const kind = kindOf(key);
  if (!kinds.includes(kind)) throw refused(`${kind} keys are not accepted`, makeKey);
  if (kind === 'RSA') checkRsa(key);
  // One key, one encoding: spelled-out parameters are read differently elsewhere (CVE-2020-0601), and a compressed
  // point would let two devices share a key unnoticed.
  if (!isUsualForm(kind, key, spki)) {
    throw refused('the public key is written in an unusual form', makeKey);
  }
  const whose = publishedKey(hash('sha256', spki, 'buffer'));
  if (whose !== undefined) throw refused(`everybody has this key: it is ${whose}`, makeKey);
}

function kindOf(key: KeyObject): KeyKind {
  const { asymmetricKeyType, asymmetricKeyDetails } = key;
  switch (asymmetricKeyType) {
    case 'ed25519':
      return 'Ed25519';
    case 'ec':
      return curveOf(asymmetricKeyDetails?.namedCurve);
    case 'rsa':
      return 'RSA';
    case 'ml-dsa-44':
      return 'ML-DSA-44';
    case 'ml-dsa-65':
      return 'ML-DSA-65';
    case 'ml-dsa-87':
      return 'ML-DSA-87';
    default:
      throw refused(`keys of the type ${asymmetricKeyType ?? 'unknown'} are not accepted`, makeKey);
  }
}

function isUsualForm(kind: KeyKind, key: KeyObject, spki: Buffer): boolean {
  const isPlain = kind === 'P-256' || kind === 'P-384' || kind === 'Ed25519';
  return isPlain ? plainKeyKind(spki) === kind : jwkForm(key).equals(spki);
}

/** DER by way of JWK, which has no room for parameters. */
function jwkForm(key: KeyObject): Buffer {
  const plain = createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  return plain.export({ type: 'spki', format: 'der' });
}

function curveOf(curve: string | undefined): KeyKind {
  if (curve === 'prime256v1') return 'P-256';
  if (curve === 'secp384r1') return 'P-384';
  throw refused(`the curve ${curve ?? 'without a name'} is not accepted`, makeKey);
}

function checkRsa(key: KeyObject): void {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < smallestModulusBits || modulusLength > largestModulusBits) {
    throw refused(`an RSA key of ${modulusLength} bits is not accepted`, makeKey);
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
  const weakness = modulusWeakness(modulus);
  if (weakness !== undefined) throw refused(`the RSA key can be broken: ${weakness}`, makeKey);
}
