/** What the handlers of requests see of their connection, and of who is at its other end. */
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import type { AuthenticationMethod } from '../../../common/config/proxied-route.ts';
import type { Signed } from '../../policy/integrity.ts';
import type { ConnectedSubject } from '../identified.ts';
import type { Checks } from './checks.ts';
import type { Exchange } from '../http/exchange.ts';
import type { OAuthPeer } from './oauth/ports.ts';
import type { HttpsPorts } from './ports.ts';
import type { Presence } from './presences.ts';
import type { Forwarding } from './proxied/forwarding.ts';

/** One that has authenticated. */
export interface Peer {
  readonly subject: ConnectedSubject;
  readonly authentication: { readonly ok: true; readonly by: AuthenticationMethod };
  /** What backends are told of it. */
  readonly forwarding: Forwarding;
  readonly checks: Checks;
  readonly presence: Presence;
  /** The signature by which this one request has proven it. */
  readonly signed?: Signed | undefined;
  /** `<anchor>:<serial>`; of who has shown none, the anchor and the colon. */
  readonly certificate: string;
  readonly notAfterMs: number;
}

export interface PeerConnection {
  readonly ports: HttpsPorts;
  readonly transport: OAuthPeer;
  /** The listener is ending its connections. */
  readonly draining: boolean;
  /** Another identity has a request on this connection. @throws SallyportError `quota` or `busy`. */
  join(principal: PrincipalName): Promise<Presence>;
  /** Does a step that belongs to this connection alone: a fault in it is this connection's end. */
  run(step: () => void): void;
  fault(error: unknown): void;
  /** A line about this connection, as far as its share of the log goes. */
  log(fields: object, message: string): void;
  /** The same for a refusal, which is counted too. */
  refused(
    request: Pick<Exchange, 'action' | 'resource'> | undefined,
    code: DenyCode,
    detail: string,
    row: string | undefined,
  ): void;
}
