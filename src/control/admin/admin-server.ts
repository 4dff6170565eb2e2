/**
 * The admin API's two listeners: a Unix socket for the command line on this machine, and TLS for operators elsewhere.
 */
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, Server, ServerOptions } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../common/base/clock.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { ListenAddress } from '../../common/ipc/snapshot.ts';
import { localCaller, tlsCaller } from './callers.ts';
import { listenLocal } from './local-socket.ts';
import type { ControlServices } from './ports.ts';
import { createRequestHandler } from './request-handler.ts';
import { adminRoutes } from './routes.ts';
import { SourceBrake, sourceKey } from './source-brake.ts';
import { clientCertificateOptions, secureContextOptions } from './tls-settings.ts';
import type { AdminTls } from './tls-settings.ts';

/** What one peer may hold and how long it may take; an unauthenticated one gets the same. */
const httpLimits: ServerOptions = Object.freeze({
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
  insecureHTTPParser: false,
});
const handshakeTimeoutMs = 10_000;
/** Connections at once: over each listener, and from one source over TLS. */
const maxConnections = 512;
const maxConnectionsPerSource = 32;

export interface AdminServerOptions {
  /**
   * Path of the Unix socket, relative to the current directory: the path of a socket may be 107 bytes long, and a data
   * directory is wherever an operator wants it.
   */
  readonly socketPath: string;
  /** `false`: the Unix socket only. */
  readonly listener: ListenAddress | false;
  readonly tls: AdminTls;
  /** Bearer token that may read `/metrics`; undefined = only operators may. */
  readonly metricsToken: string | undefined;
  /**
   * The operator that a DER certificate names, or undefined unless its mapping, revocation and standing are all right.
   * The chain, the purpose and the dates have been verified by the caller. Called for every request.
   */
  readonly authenticateOperator: (der: Buffer) => PrincipalName | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface AdminServer {
  /** Listens on both. @returns the address of the TLS listener; undefined when it is off. */
  start(): Promise<ListenAddress | undefined>;
  /** For new connections; those that are open are judged by `authenticateOperator` at their next request. */
  updateTls(tls: AdminTls): void;
  updateMetricsToken(token: string | undefined): void;
  /** Stops listening and resolves when the requests under way have been answered, after `graceMs` at the latest. */
  close(graceMs: number): Promise<void>;
}

export function createAdminServer(
  services: ControlServices,
  options: AdminServerOptions,
): AdminServer {
  const { clock, logger, authenticateOperator } = options;
  let { metricsToken } = options;
  const shared = { services, routes: adminRoutes, brake: new SourceBrake(clock), logger };
  const callerParts = { authenticateOperator, metricsToken: () => metricsToken, clock, logger };

  const local = createHttpServer(
    httpLimits,
    createRequestHandler({ ...shared, identify: localCaller }),
  );
  const remote = createHttpsServer(
    {
      ...httpLimits,
      ...secureContextOptions(options.tls),
      ...clientCertificateOptions,
      handshakeTimeout: handshakeTimeoutMs,
    },
    createRequestHandler({
      ...shared,
      identify: (request: IncomingMessage) => tlsCaller(callerParts, request),
    }),
  );
  const sockets = new Set<Socket>();
  for (const server of [local, remote]) hardenConnections(server, sockets);
  boundSources(remote);
  let removeSocket = (): void => {};

  return {
    async start() {
      removeSocket = await listenLocal(local, options.socketPath);
      surviveErrors(local, logger);
      if (options.listener === false) return undefined;
      const address = await listenTls(remote, options.listener);
      surviveErrors(remote, logger);
      return address;
    },
    updateTls(tls) {
      remote.setSecureContext(secureContextOptions(tls));
    },
    updateMetricsToken(token) {
      metricsToken = token;
    },
    async close(graceMs) {
      removeSocket();
      const stragglers = setTimeout(() => sockets.forEach((socket) => socket.destroy()), graceMs);
      await Promise.all([closeServer(local), closeServer(remote)]);
      clearTimeout(stragglers);
    },
  };
}

function hardenConnections(server: Server, sockets: Set<Socket>): void {
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.maxConnections = maxConnections;
  server.maxRequestsPerSocket = 1000;
  // Node's own answers to what is no HTTP carry no version; ours carry no body either.
  server.on('clientError', (_error: Error, socket: Duplex) => {
    if (!socket.writable) return;
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  });
}

/** Accepting may fail later, without a free descriptor for one: that is no reason to end, the next one is accepted. */
function surviveErrors(server: Server, logger: Logger): void {
  server.on('error', (error) => logger.error({ err: error.message }, 'admin listener failed'));
}

/** One source must not take all connections from the others; judged before TLS. */
function boundSources(server: HttpsServer): void {
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const source = sourceKey(socket.remoteAddress);
    const count = (open.get(source) ?? 0) + 1;
    if (count > maxConnectionsPerSource) {
      socket.destroy();
      return;
    }
    open.set(source, count);
    socket.once('close', () => {
      const left = (open.get(source) ?? 1) - 1;
      if (left > 0) open.set(source, left);
      else open.delete(source);
    });
  });
}

async function listenTls(server: HttpsServer, address: ListenAddress): Promise<ListenAddress> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const bound = server.address();
  return {
    host: address.host,
    port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
  };
}

/** Resolves when the last connection is gone; those between two requests are ended at once. */
async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}
