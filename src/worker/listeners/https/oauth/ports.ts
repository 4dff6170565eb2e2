/** What the token endpoint needs from the listener that it is on. */
import type { TokenCall } from '../../../../common/ipc/control-calls.ts';
import type { CredentialMaterial } from '../../../../common/ipc/credentials.ts';
import type { SecureConnection } from '../../../transport/secure-connection.ts';

export interface OAuthPorts {
  /** Today's; undefined = no snapshot yet. */
  readonly credentials: () => CredentialMaterial | undefined;
  /** Asks control. @throws SallyportError what control refused with, or `busy` or `unavailable`. */
  readonly call: (call: TokenCall) => Promise<unknown>;
  /** Somebody at this address has proven nothing. */
  readonly failed: (address: string) => void;
  readonly count: (name: string) => void;
}

/** Who asks, as far as the handshake has shown. */
export type OAuthPeer = Pick<SecureConnection, 'peerCertificate' | 'remoteAddress'>;
