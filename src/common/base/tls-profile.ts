/**
 * What every TLS listener has in common, so that none can be laxer than another: ECDHE with AEAD only, signatures of
 * SHA-256 and better, no renegotiation, no compression. RFC 9325.
 */
import { constants } from 'node:crypto';

/** OpenSSL's list, 1.3 and 1.2 together; AES-128 first: a microcontroller pays for every round. */
export const cipherSuites = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** ChaCha20-Poly1305 is in no approved list (SP 800-140C). */
const approvedCipherSuites = cipherSuites
  .split(':')
  .filter((suite) => !suite.includes('CHACHA20'))
  .join(':');

/** Key exchange groups that OpenSSL 3.5 and the gateway accept, most wanted first. */
export const groups = ['X25519MLKEM768', 'X25519', 'P-256', 'P-384'] as const;

/** X25519 by itself is not in SP 800-56A; in the hybrid it stands beside ML-KEM, which is FIPS 203. */
export const approvedGroups = groups.filter((group) => group !== 'X25519');

export const signatureAlgorithms = [
  'ecdsa_secp256r1_sha256',
  'ecdsa_secp384r1_sha384',
  'ed25519',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
  'rsa_pkcs1_sha256',
  'rsa_pkcs1_sha384',
  'rsa_pkcs1_sha512',
].join(':');

/** FIPS 204 in TLS 1.3 (draft-ietf-tls-mldsa); only for who has switched it on. */
const mlDsaSignatures = 'mldsa44:mldsa65:mldsa87';

export const secureOptions =
  constants.SSL_OP_NO_RENEGOTIATION |
  constants.SSL_OP_NO_COMPRESSION |
  constants.SSL_OP_CIPHER_SERVER_PREFERENCE;

/** How a configuration changes the profile. */
export interface TlsAlgorithms {
  /** Nothing but what FIPS 140-3 approves of; the version and the groups are the configuration's to narrow. */
  readonly approvedOnly?: boolean | undefined;
  /** Certificates with ML-DSA keys are accepted too. */
  readonly mlDsa?: boolean | undefined;
}

/** As node:tls wants them. */
export function algorithmOptions({ approvedOnly = false, mlDsa = false }: TlsAlgorithms): {
  readonly ciphers: string;
  readonly sigalgs: string;
} {
  return {
    ciphers: approvedOnly ? approvedCipherSuites : cipherSuites,
    sigalgs: mlDsa ? `${signatureAlgorithms}:${mlDsaSignatures}` : signatureAlgorithms,
  };
}

/** Of connections that the settings of `tls` are not for: those of operators, and those to backends. */
export function ownOptions(approvedOnly: boolean): {
  readonly ciphers: string;
  readonly sigalgs: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly ecdhCurve: string;
} {
  return {
    ...algorithmOptions({ approvedOnly }),
    minVersion: approvedOnly ? 'TLSv1.3' : 'TLSv1.2',
    ecdhCurve: (approvedOnly ? approvedGroups : groups).join(':'),
  };
}
