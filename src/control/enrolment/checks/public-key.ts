/** The key of a request, read once for all checks: OpenSSL takes longer to read a key than to verify with it. */
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import type { CertificationRequest } from '../certification-request.ts';

export const makeKey =
  'make the key with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY';

const keys = new WeakMap<CertificationRequest, KeyObject>();

/** @throws SallyportError `invalid-csr` when OpenSSL cannot read it. */
export function publicKeyOf(request: CertificationRequest): KeyObject {
  const known = keys.get(request);
  if (known !== undefined) return known;
  try {
    const key = createPublicKey({ key: request.spki, format: 'der', type: 'spki' });
    keys.set(request, key);
    return key;
  } catch (thrown) {
    throw new SallyportError('invalid-csr', 'the public key cannot be read', {
      hint: makeKey,
      cause: thrown,
    });
  }
}
