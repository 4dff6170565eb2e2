import { verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import { refused } from '../refused.ts';
import type { CsrCheck } from './check.ts';
import { publicKeyOf } from './public-key.ts';
import { signatureDigests } from './signature-algorithm.ts';

/** Without the proof anybody could have a certificate for a key that somebody else holds (RFC 2986 section 3, note 2). */
export const checkProofOfPossession: CsrCheck = (request) => {
  const { info, signature, signatureAlgorithm } = request;
  const digest = signatureDigests.get(signatureAlgorithm);
  if (digest === undefined || !holds(digest, info, publicKeyOf(request), signature)) {
    throw refused(
      'the signature of the request does not verify with its own key',
      'make the request with the private key of the device, and do not edit it',
    );
  }
};

function holds(digest: string | null, info: Buffer, key: KeyObject, signature: Buffer): boolean {
  try {
    return verify(digest, info, { key, dsaEncoding: 'der' }, signature);
  } catch (thrown) {
    throw new SallyportError('invalid-csr', 'key and signature algorithm do not fit', {
      cause: thrown,
    });
  }
}
