/**
 * A device's TLS connection as the benchmarks fix it for every server: TLS 1.3, X25519, AES-128-GCM, certificates
 * verified on both sides. What a server would choose by itself differs, and with it the price of a handshake.
 */
import type { TcpNetConnectOpts } from 'node:net';
import { connect, createSecureContext } from 'node:tls';
import type { ConnectionOptions, SecureContext, TLSSocket } from 'node:tls';
import type { Credentials } from './credentials.ts';

export interface TlsTarget {
  readonly port: number;
  /** An address of 127.0.0.0/8 to come from. */
  readonly localAddress: string;
  /** From `tlsContext`. */
  readonly context: SecureContext;
  /** A session to resume. */
  readonly session?: Buffer | undefined;
}

export function tlsContext({ key, cert, ca }: Credentials): SecureContext {
  return createSecureContext({
    key,
    cert,
    ca,
    minVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    ecdhCurve: 'X25519',
  });
}

/** The handshake is under way when this returns. The server's name has to be `localhost`. */
export function openTls({ port, localAddress, context, session }: TlsTarget): TLSSocket {
  const options: ConnectionOptions & TcpNetConnectOpts = {
    host: '127.0.0.1',
    port,
    localAddress,
    servername: 'localhost',
    secureContext: context,
    ...(session === undefined ? {} : { session }),
  };
  return connect(options).setNoDelay(true);
}
