/** Every kind of certificate that this CA issues, as one table; what is not said here is in no certificate. */
import { keyKinds } from '../../common/base/key-kinds.ts';
import type { KeyKind } from '../../common/base/key-kinds.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import type { KeyUsage } from '../../common/identity/extensions.ts';

export interface CertificateProfile {
  readonly days: number;
  /** Undefined: not a CA. */
  readonly pathLength: number | undefined;
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly string[];
}

/** What is certified on request, besides. */
export interface RequestProfile extends CertificateProfile {
  /** Keys that may be certified. */
  readonly keys: readonly KeyKind[];
}

/** The configuration narrows them further: `enrolment.keys`. */
const clientKeys: readonly KeyKind[] = keyKinds;

export const profiles = Object.freeze({
  root: {
    days: 7305,
    // One for the issuing CA, one for the certificate by which this root vouches for the next (RFC 5280 4.2.1.9).
    pathLength: 2,
    keyUsage: ['keyCertSign', 'cRLSign'],
    extendedKeyUsage: [],
  },
  /** A root's key, certified by the root before it. */
  cross: {
    days: 7305,
    pathLength: 1,
    keyUsage: ['keyCertSign', 'cRLSign'],
    extendedKeyUsage: [],
  },
  issuing: {
    days: 1826,
    pathLength: 0,
    // digitalSignature: OCSP answers that the CA signs itself.
    keyUsage: ['digitalSignature', 'keyCertSign', 'cRLSign'],
    extendedKeyUsage: [],
  },
  /** The one of its own listeners. */
  gateway: {
    days: 365,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [oids.serverAuth],
  },
  device: {
    days: 365,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [oids.clientAuth],
    keys: clientKeys,
  },
  service: {
    days: 365,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [oids.clientAuth],
    keys: clientKeys,
  },
  operator: {
    days: 365,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [oids.clientAuth],
    keys: clientKeys,
  },
}) satisfies Readonly<Record<string, CertificateProfile>> &
  Readonly<Record<PrincipalKind, RequestProfile>>;

export const dayMs = 86_400_000;
/** The clock of whoever asks for a certificate may be ahead of that of whoever is shown it first. */
export const backdateMs = 5 * 60_000;
/** Of CAs and of the gateway: a device whose clock is hours behind is not to be cut off by a rotation. */
export const ownBackdateMs = 24 * 3_600_000;
