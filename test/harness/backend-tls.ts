/** Certificates of a backend: its server certificate, and the one with which a gateway may come. */
import type { BackendSettings } from './backend-behaviour.ts';
import type { Identity } from './gateway.ts';
import { issueLeaf, makeAuthority } from './openssl.ts';

export interface BackendCertificates {
  /** For `startBackend`: demands a client certificate of this authority. */
  readonly tls: NonNullable<BackendSettings['tls']>;
  /** PEM of the authority: what the gateway pins. */
  readonly ca: string;
  /** With which the gateway authenticates itself. */
  readonly gateway: Identity;
}

export function makeBackendCertificates(folder: string): BackendCertificates {
  const authority = makeAuthority(folder, 'backend CA');
  const ca = authority.crt;
  const server = issueLeaf(authority, folder, 'backend', ca, {
    subject: '/CN=backend',
    extensions: [
      'basicConstraints=critical,CA:FALSE',
      'extendedKeyUsage=serverAuth',
      'subjectAltName=DNS:localhost,IP:127.0.0.1',
    ],
  });
  const gateway = issueLeaf(authority, folder, 'gateway', ca, { subject: '/CN=gateway' });
  return { tls: { certificate: server.crt, key: server.key, clientCa: ca }, ca, gateway };
}
