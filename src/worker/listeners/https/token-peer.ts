/**
 * Who asks, when a request on a connection that has authenticated by its certificate shows a token for a route that takes
 * tokens: whom the token names, for this one request.
 */
import { SallyportError } from '../../../common/base/errors.ts';
import { Tokens } from '../../credentials/tokens/tokens.ts';
import type { CompiledProxied } from '../../policy/proxied-routes.ts';
import type { Exchange } from '../http/exchange.ts';
import type { RequestHead } from '../http/request-head.ts';
import { ConnectedSubject } from '../identified.ts';
import { Checks } from './checks.ts';
import type { Peer, PeerConnection } from './peer.ts';
import type { Presence } from './presences.ts';
import { Forwarding } from './proxied/forwarding.ts';

/** A token that is shown where none is taken is the backend's to read. */
export function showsToken(
  { authentication }: Peer,
  { authorization }: RequestHead,
  { authenticate }: CompiledProxied,
): boolean {
  if (authentication.by !== 'certificate' || !Tokens.takes(authorization)) return false;
  return authenticate.has('token') || authenticate.has('device-jwt');
}

/**
 * The exchange may be over when it resolves, and has then given everything back.
 *
 * @param path canonical.
 * @returns undefined when it was refused. Rejects for a defect only.
 */
export async function peerByToken(
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
  { method, host, authorization }: RequestHead,
  path: string,
): Promise<Peer | undefined> {
  const { ports, transport } = connection;
  const verdict = await ports.tokens.authenticate({
    method,
    authority: host,
    path,
    dpop: exchange.request.values('dpop'),
    authorization,
    peer: { certificate: transport.peerCertificate, principal: peer.subject.name },
  });
  if (exchange.over) return undefined;
  if (!verdict.ok) {
    if (verdict.challenge !== undefined) exchange.more = ['WWW-Authenticate', verdict.challenge];
    exchange.refuse(verdict.code, verdict.detail, 'authentication');
    return undefined;
  }
  const { principal: name, identity, by, expiresAt: notAfterMs, stands } = verdict;
  let presence: Presence;
  try {
    presence = await connection.join(name);
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    exchange.refuse(error.code === 'quota' ? 'quota' : 'busy', error.message);
    return undefined;
  }
  const subject = new ConnectedSubject(name, identity);
  subject.rates = presence.rates;
  const guest: Peer = {
    subject,
    authentication: { ok: true, by },
    forwarding: new Forwarding({
      subject,
      certificate: undefined,
      address: transport.remoteAddress,
    }),
    checks: new Checks(subject, ports.policy),
    presence,
    certificate: `${identity.anchor}:`,
    notAfterMs,
  };
  exchange.lend({
    name,
    /** What may have changed since the token was looked at, and may yet. */
    holds: () => identity.standing === 'active' && ports.clock.now() < notAfterMs && stands(),
    giveBack: () => presence.leave(),
  });
  return guest;
}
