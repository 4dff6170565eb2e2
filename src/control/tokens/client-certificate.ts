/**
 * A client that authenticates by its certificate (RFC 8705 section 2.1). The handshake, and with it the proof of the key,
 * was in a worker; everything else is looked at here again.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { principalOfCertificate } from '../../common/identity/principal-of-certificate.ts';
import type { TrustAnchor } from '../../common/ipc/snapshot.ts';
import { verifyChain } from '../ca/verify-chain.ts';
import type { Registry } from '../registry/registry.ts';
import { OAuthError } from './oauth-error.ts';

/** Bytes of a certificate in DER; a large one has 2 kB. */
const mostBytes = 16 * 1024;
const ownAnchor = 'internal';

export interface ClientCertificateParts {
  readonly clock: Pick<Clock, 'now'>;
  readonly registry: Pick<Registry, 'certificate' | 'get'>;
  /** Those that are trusted now. */
  readonly anchors: () => readonly TrustAnchor[];
  readonly trustDomain: string;
  /** By a revocation list of another authority. */
  readonly isRevoked: (anchor: string, serial: string) => boolean;
}

export interface CertifiedClient {
  readonly name: PrincipalName;
  readonly serial: string;
  /** `x5t#S256` (RFC 8705 section 3.1). */
  readonly thumbprint: string;
  /** Milliseconds: the last moment at which it is good. */
  readonly notAfter: number;
}

/** Of any kind of principal, and any standing. @throws OAuthError `invalid_client`. */
export function certifiedClient(der: Buffer, parts: ClientCertificateParts): CertifiedClient {
  const { clock, registry, anchors, trustDomain, isRevoked } = parts;
  if (der.length > mostBytes) throw refused('the certificate is too large');
  const now = clock.now();
  const { anchor, facts } = verified(der, anchors(), now);
  const mapped = principalOfCertificate(facts, anchor, trustDomain, now);
  if (!mapped.ok) throw refused(`the certificate is refused: ${mapped.reason}`);
  const { principal: name } = mapped;
  if (registry.get(name)?.anchor !== anchor.name) {
    throw refused(`${name} is not known, or not by ${anchor.name}`);
  }
  const record = registry.certificate(anchor.name, facts.serialHex);
  // Our own CA has issued nothing that is not on record; of other authorities' only some are.
  if (record === undefined && anchor.name === ownAnchor) {
    throw refused('the certificate is not on record');
  }
  if (record !== undefined && (record.principal !== name || !der.equals(record.der))) {
    throw refused('another certificate is on record');
  }
  if (record?.revokedAt !== undefined || isRevoked(anchor.name, facts.serialHex)) {
    throw refused('the certificate is revoked');
  }
  return {
    name,
    serial: facts.serialHex,
    thumbprint: hash('sha256', der, 'base64url'),
    notAfter: facts.notAfter,
  };
}

function verified(
  der: Buffer,
  anchors: readonly TrustAnchor[],
  now: number,
): ReturnType<typeof verifyChain> {
  try {
    return verifyChain(der, anchors, now);
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    throw refused(error.message);
  }
}

function refused(detail: string): OAuthError {
  return new OAuthError('invalid_client', detail);
}
