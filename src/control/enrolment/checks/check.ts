/** The contract of every check on a request. */
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { RequestProfile } from '../../ca/profiles.ts';
import type { CertificationRequest } from '../certification-request.ts';

export interface CsrExpectation {
  /** The identity that the certificate is to be for. */
  readonly name: PrincipalName;
  readonly trustDomain: string;
  /** What may be certified, and so what may be asked for. */
  readonly profile: RequestProfile;
}

/** Returns when the request may go on to the next check. @throws SallyportError `invalid-csr`. */
export type CsrCheck = (request: CertificationRequest, expected: CsrExpectation) => void;
