/** Every kind of certificate that this CA issues, as one table; what is not said here is in no certificate. */
import { oids } from '../../common/codec/der/oids.ts';
import type { KeyUsage } from '../../common/identity/extensions.ts';

export interface CertificateProfile {
  readonly days: number;
  /** Undefined: not a CA. */
  readonly pathLength: number | undefined;
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly string[];
}

export const profiles = Object.freeze({
  root: {
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
  server: {
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
  },
  service: {
    days: 365,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [oids.clientAuth],
  },
  operator: {
    days: 365,
    pathLength: undefined,
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [oids.clientAuth],
  },
}) satisfies Readonly<Record<string, CertificateProfile>>;

export const dayMs = 86_400_000;
/** A device that starts without a clock of its own is minutes behind when it first connects. */
export const backdateMs = 5 * 60_000;
