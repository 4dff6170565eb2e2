/** The device's end of TLS: its certificate, the one root it trusts, and what its errors mean. */
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { ConnectionOptions, SecureContext } from 'node:tls';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import { cipherSuites, signatureAlgorithms } from '../common/base/tls-profile.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import type { Address, DeviceIdentity } from './link.ts';

/** Made once per device: parsing keys and certificates again for every connection costs more than the handshake. */
export function clientContext(identity: DeviceIdentity): SecureContext {
  return createSecureContext({
    key: identity.privateKey,
    cert: identity.certificateChain,
    ca: identity.root,
    minVersion: 'TLSv1.2',
    ciphers: cipherSuites,
    sigalgs: signatureAlgorithms,
  });
}

/** For node:tls and for an agent of node:https alike. */
export function clientOptions(context: SecureContext, { host, port }: Address): ConnectionOptions {
  return {
    host,
    port,
    secureContext: context,
    rejectUnauthorized: true,
    // An address is no server name (RFC 6066 section 3); the certificate is checked against it all the same.
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
}

/** OpenSSL's names for what is wrong with a certificate chain, and Node's for a name that is not in it. */
const untrusted =
  /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_|PATH_LENGTH_|ERR_TLS_CERT_ALTNAME_)/;
/** Alerts by which the other end says that it does not accept the certificate that it was shown (RFC 8446 section 6.2). */
const refusedAlert = /_ALERT_(?:\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)$/;

/** What broke a connection, as `link.ts` names it. */
export function linkError(thrown: unknown): SallyportError {
  if (thrown instanceof SallyportError) return thrown;
  return new SallyportError(codeOf(thrown), messageOf(thrown), { cause: thrown });
}

function codeOf(thrown: unknown): ErrorCode {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  if (untrusted.test(code)) return 'invalid-certificate';
  return refusedAlert.test(code) ? 'unauthenticated' : 'io';
}
