/** Whether a claim gives the right to a certificate for the identity that it names, now. */
import { SallyportError } from '../../common/base/errors.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { principalOfCertificate } from '../../common/identity/principal-of-certificate.ts';
import { verifyChain } from '../ca/verify-chain.ts';
import type { Claim, Grant, Right } from './claim.ts';
import { rights } from './claim.ts';
import type { Application } from './application.ts';
import type { IssuanceWorld } from './issuance-world.ts';

const dayMs = 86_400_000;

/** @throws SallyportError `unauthenticated`, `forbidden` or `rate`. */
export function checkRight({ claim, name, spkiSha256 }: Application, world: IssuanceWorld): void {
  const { kind } = principalParts(name);
  if (!rights[claim.right].kinds.includes(kind)) {
    throw new SallyportError('forbidden', `no ${kind} enrols by ${claim.right}`);
  }
  switch (claim.right) {
    case 'operator':
    case 'lab':
      return;
    case 'invitation':
      return assertHolds(claim.right, claim.grant);
    case 'token':
      assertHolds(claim.right, claim.grant);
      return checkReach(claim, world);
    case 'approval':
      assertHolds(claim.right, claim.grant);
      if (claim.of.name !== name)
        throw new SallyportError('forbidden', 'another name was approved');
      if (claim.spkiSha256 !== spkiSha256) {
        throw new SallyportError('forbidden', 'another key was approved');
      }
      return checkReach(claim.of, world);
    case 'manufacturer':
      return checkReach(claim, world);
    case 'renewal':
      return checkRenewal(claim, world);
  }
}

function assertHolds(right: Right, grant: Grant): void {
  if (grant.holds()) return;
  throw new SallyportError('unauthenticated', `the ${right} is unknown, used or late`);
}

function assertNew(right: Right, name: PrincipalName, { registry }: IssuanceWorld): void {
  if (registry.get(name) === undefined) return;
  throw new SallyportError('forbidden', `${name} exists: this ${right} is for new devices`, {
    hint: `make a token that names it: sallyport enrolment token --device ${principalParts(name).id}`,
  });
}

/** Which identities somebody who is new can become. Asked of an approval too: meanwhile the device may have come to be. */
function checkReach(
  claim: Claim & { readonly right: 'token' | 'manufacturer' },
  world: IssuanceWorld,
): void {
  const { right, name } = claim;
  if (right === 'token') {
    // Or whoever has a token for some device could become each of them.
    if (!claim.named) assertNew(right, name, world);
    return;
  }
  const found = world.manufactured?.(claim.certificate);
  if (found === undefined) {
    throw new SallyportError('unauthenticated', 'no manufacturer vouches for this certificate');
  }
  if (found.name !== name) {
    throw new SallyportError(
      'forbidden',
      `the manufacturer's certificate is that of ${found.name}`,
    );
  }
  if (!found.again) return assertNew(right, name, world);
  assertSeldom(name, world);
}

/** Whose right is not used up with each certificate could fill the registry with it. */
function assertSeldom(
  name: PrincipalName,
  { registry, clock, renewal }: Pick<IssuanceWorld, 'registry' | 'clock' | 'renewal'>,
): void {
  const { perDay } = renewal();
  if (registry.issuedSince(name, clock.now() - dayMs) < perDay) return;
  throw new SallyportError('rate', `${name} has had ${perDay} certificates in a day`);
}

/** The very certificate that is on record, and no other that says the same: the proof comes from a worker. */
function checkRenewal(
  { name, certificate }: Claim & { right: 'renewal' },
  { authority, registry, trustDomain, clock, renewal }: IssuanceWorld,
): void {
  const now = clock.now();
  const { windowMs, graceMs } = renewal();
  const { anchor, facts } = verifyChain(certificate, [authority.anchor], now);
  // As if before its end: how long after it a certificate can still be renewed is judged below.
  const mapped = principalOfCertificate(facts, anchor, trustDomain, Math.min(now, facts.notAfter));
  if (!mapped.ok) {
    throw new SallyportError('unauthenticated', `the certificate is refused: ${mapped.reason}`);
  }
  if (mapped.principal !== name) {
    throw new SallyportError('forbidden', `the certificate is that of ${mapped.principal}`);
  }
  const record = registry.certificate(anchor.name, facts.serialHex);
  if (record?.principal !== name || !certificate.equals(record.der)) {
    throw new SallyportError('unauthenticated', 'the certificate is not on record');
  }
  if (record.revokedAt !== undefined) {
    throw new SallyportError('unauthenticated', 'the certificate has been revoked');
  }
  // notAfter is a whole second and inclusive.
  if (now >= facts.notAfter + 1_000 + graceMs) {
    throw new SallyportError('unauthenticated', 'the certificate has expired');
  }
  if (now < facts.notAfter - windowMs) {
    const from = new Date(facts.notAfter - windowMs).toISOString();
    throw new SallyportError('forbidden', `the certificate can be renewed from ${from} on`);
  }
  assertSeldom(name, { registry, clock, renewal });
}
