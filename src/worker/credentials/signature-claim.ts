/** What a message says of its signature, well-formed but not verified; whatever form and protocol it came in. */
import type { IntegrityMethod } from '../../common/config/proxied-route.ts';
import type { UsableKey } from './registered-keys.ts';

export interface SignatureClaim {
  readonly method: IntegrityMethod;
  /** As it came; undefined only for `body-hmac`, of which any key of the connection's principal may be the one. */
  readonly keyId: string | undefined;
  /** Milliseconds, wall clock; undefined only for `body-hmac`. */
  readonly signedAt: number | undefined;
  /** From then on it is over, whatever the window. */
  readonly expiresAt: number | undefined;
  /** What has to be new, with a prefix for its kind. */
  readonly once: string;
  /** Everything that the signature covers, and the body that it covers by a digest. @returns what is wrong. */
  problemUnder(key: UsableKey): string | undefined;
}
