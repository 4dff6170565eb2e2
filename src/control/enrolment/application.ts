/** What is judged on the way to a certificate. */
import { hash } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Registry } from '../registry/registry.ts';
import { readCertificationRequest } from './certification-request.ts';
import type { CertificationRequest } from './certification-request.ts';
import type { Claim } from './claim.ts';

/** A claim with its request, which nobody else can change any more. */
export interface Application {
  readonly claim: Claim;
  readonly name: PrincipalName;
  readonly role: string;
  readonly request: CertificationRequest;
  /** SHA-256 of the request's SubjectPublicKeyInfo, hex. */
  readonly spkiSha256: string;
}

/** @throws SallyportError `invalid-csr` when the request cannot be read, `forbidden` when nobody is there to be renewed. */
export function applicationOf(
  claim: Claim,
  csr: Uint8Array | string,
  registry: Pick<Registry, 'get'>,
): Application {
  const request = readCertificationRequest(csr);
  return Object.freeze({
    claim: snapshotOf(claim),
    name: claim.name,
    role: claim.right === 'renewal' ? roleToKeep(claim.name, registry) : claim.role,
    request,
    spkiSha256: hash('sha256', request.spki, 'hex'),
  });
}

function snapshotOf(claim: Claim): Claim {
  return 'certificate' in claim
    ? Object.freeze({ ...claim, certificate: Buffer.from(claim.certificate) })
    : Object.freeze({ ...claim });
}

function roleToKeep(name: PrincipalName, registry: Pick<Registry, 'get'>): string {
  const known = registry.get(name);
  if (known === undefined) throw new SallyportError('forbidden', `there is no ${name} to renew`);
  return known.role;
}
