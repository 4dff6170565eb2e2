/**
 * TLS of the admin listener: 1.2 and 1.3, ECDHE with AEAD, explicit groups, no renegotiation, no resumption. Operators
 * connect rarely, so a ticket would save nothing and be one more thing that outlives a certificate.
 */
import { constants } from 'node:crypto';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import { ownOptions, secureOptions } from '../../common/base/tls-profile.ts';

export interface AdminTls {
  /** PEM, leaf first, then the issuing CA. */
  readonly certificateChain: string;
  /** PKCS#8 PEM. */
  readonly privateKey: string;
  /** PEM of the CAs that vouch for operators. */
  readonly clientAnchors: readonly string[];
  readonly approvedOnly?: boolean | undefined;
}

export function secureContextOptions(tls: AdminTls): SecureContextOptions {
  return {
    cert: tls.certificateChain,
    key: tls.privateKey,
    ca: [...tls.clientAnchors],
    ...ownOptions(tls.approvedOnly === true),
    maxVersion: 'TLSv1.3',
    honorCipherOrder: true,
    // Without a ticket, TLS 1.3 falls back to a server-side cache, which nothing here provides.
    secureOptions: secureOptions | constants.SSL_OP_NO_TICKET,
  };
}

/** A peer without a certificate is let in by TLS, because it may redeem an invitation; callers.ts judges the rest. */
export const clientCertificateOptions: TlsOptions = Object.freeze({
  requestCert: true,
  rejectUnauthorized: false,
});
