/**
 * Who a request comes from, by the connection it came on.
 */
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../../common/base/clock.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { bearerMatches } from './bearer-token.ts';
import type { Caller } from './route.ts';
import { sourceKey } from './source-brake.ts';

/** Header in which the CLI names the user id that runs it. */
const uidHeader = 'sallyport-uid';

/**
 * A caller over the Unix socket. What lets it in is that it could open a socket in a directory of mode 0700; Node
 * cannot ask the kernel who is at the other end (SO_PEERCRED), so the user id in the header is a label for the audit
 * log and proves nothing: whoever can open the socket is the owner of the directory or root.
 */
export function localCaller(request: IncomingMessage): Caller {
  const header = request.headers[uidHeader];
  const uid = typeof header === 'string' && /^\d{1,10}$/.test(header) ? header : 'unknown';
  return { via: 'local', actor: `local:${uid}`, source: '' };
}

export interface TlsCallerParts {
  /** The operator that a certificate names, when its standing is active; its chain has been verified. */
  readonly authenticateOperator: (der: Buffer) => PrincipalName | undefined;
  readonly metricsToken: () => string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A caller over TLS. Called for every request: a connection outlives the standing and the validity it began with. */
export function tlsCaller(parts: TlsCallerParts, request: IncomingMessage): Caller {
  const source = sourceKey(request.socket.remoteAddress);
  const operator = operatorOf(parts, request);
  if (operator !== undefined) return { via: 'operator', actor: operator, source };
  if (bearerMatches(request.headers.authorization, parts.metricsToken())) {
    return { via: 'metrics-token', actor: 'metrics-token', source };
  }
  return { via: 'anonymous', actor: 'anonymous', source };
}

function operatorOf(parts: TlsCallerParts, request: IncomingMessage): PrincipalName | undefined {
  const { socket } = request;
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const now = parts.clock.now();
  if (now < certificate.validFromDate.getTime() || now > certificate.validToDate.getTime()) {
    return undefined;
  }
  try {
    return parts.authenticateOperator(certificate.raw);
  } catch (error) {
    parts.logger.error({ err: error }, 'operator could not be authenticated');
    return undefined;
  }
}
