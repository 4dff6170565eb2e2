/**
 * A TLS listener on node:tls. Admission comes before the handshake; what a handshake costs is bounded in count and
 * time; an exception in a callback ends that connection only.
 */
import { createServer as createTcpServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { ListenAddress, TlsMaterial } from '../../common/ipc/snapshot.ts';
import type { SecureConnection } from './secure-connection.ts';
import { Place } from './source-admission.ts';
import type { SourceAdmission } from './source-admission.ts';
import { tlsOptions } from './tls-settings.ts';

const halfClosedMs = 500;

export interface TlsListenerOptions {
  readonly name: string;
  readonly material: TlsMaterial;
  readonly ticketSecret: Buffer;
  /** An ESP32 needs ten seconds; half-open connections are bounded in count instead. */
  readonly handshakeMs: number;
  readonly admission: SourceAdmission;
  /** The policy's answer to the outcome of admission: undefined lets the connection in. */
  readonly judge: (refusal: string | undefined) => string | undefined;
  readonly logger: Logger;
  readonly count: (name: string) => void;
  readonly onSecure: (connection: SecureConnection) => void;
}

export class TlsListener {
  readonly #options: TlsListenerOptions;
  readonly #tcp: Server;
  readonly #tls: TlsServer;
  readonly #handshaking = new Set<Socket>();

  constructor(options: TlsListenerOptions) {
    this.#options = options;
    this.#tls = createTlsServer({
      ...tlsOptions(options.material, options.ticketSecret),
      handshakeTimeout: options.handshakeMs,
    });
    this.#tls.on('secureConnection', (socket) => this.#guard(socket, () => this.#secure(socket)));
    this.#tls.on('tlsClientError', (error, socket) => {
      options.count('tls_handshake_failures');
      options.logger.debug(
        { listener: options.name, remote: socket.remoteAddress, err: error.message },
        'handshake failed',
      );
      socket.destroy();
    });
    this.#tcp = createTcpServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 120_000 });
    this.#tcp.on('connection', (socket) => this.#guard(socket, () => this.#accept(socket)));
  }

  /** @returns the port, which is the system's choice when `address.port` is 0. */
  async listen(address: ListenAddress): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#tcp.once('error', (error) => {
        reject(
          new SallyportError(
            'io',
            `cannot listen on ${address.host}:${address.port}: ${error.message}`,
            {
              hint: `free the port, or set listeners.${this.#options.name}.port`,
              cause: error,
            },
          ),
        );
      });
      this.#tcp.listen(
        { host: address.host, port: address.port, reusePort: true, backlog: 4_096 },
        resolve,
      );
    });
    this.#tcp.on('error', (error) =>
      this.#options.logger.error({ err: error.message }, 'listener failed'),
    );
    const bound = this.#tcp.address();
    if (bound === null || typeof bound === 'string')
      throw new SallyportError('internal', 'no address');
    return bound.port;
  }

  /** New certificate, key or anchors, for the handshakes to come. */
  update(material: TlsMaterial): void {
    this.#tls.setSecureContext(tlsOptions(material, this.#options.ticketSecret));
  }

  /** Stops accepting; what is established lives on. Resolves when the last of it has gone. */
  stopAccepting(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#tcp.close(() => resolve());
    });
    for (const socket of this.#handshaking) socket.destroy();
    return closed;
  }

  #accept(socket: Socket): void {
    const { admission, judge, count } = this.#options;
    const place = admission.enter(socket.remoteAddress ?? '');
    const entered = place instanceof Place;
    if (entered) {
      // Before anything that may throw: a place that is not left is lost for good.
      socket.once('close', () => {
        this.#handshaking.delete(socket);
        place.leave();
      });
    }
    const refusal = judge(entered ? undefined : place);
    if (!entered || refusal !== undefined) {
      count(`admission_refused{reason="${entered ? 'policy' : place}"}`);
      socket.resetAndDestroy();
      return;
    }
    this.#handshaking.add(socket);
    places.set(socket, place);
    // Until node:tls has taken over, an error would be nobody's.
    socket.on('error', () => socket.destroy());
    this.#tls.emit('connection', socket);
  }

  #secure(socket: TLSSocket): void {
    const tcp = rawSocketOf(socket);
    if (tcp !== undefined) this.#handshaking.delete(tcp);
    this.#options.count('tls_handshakes');
    if (socket.isSessionReused()) this.#options.count('tls_resumptions');
    const connection = new TlsConnection(
      socket,
      tcp === undefined ? undefined : places.get(tcp),
      (run) => this.#guard(socket, run),
    );
    this.#options.onSecure(connection);
  }

  /** A fault in one connection's code is that connection's end, and a defect to be reported. */
  #guard(socket: Socket, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#options.count('internal_errors');
      this.#options.logger.error(
        {
          listener: this.#options.name,
          err: messageOf(error),
          stack: error instanceof Error ? error.stack : undefined,
        },
        'a connection was closed because of a defect',
      );
      socket.destroy();
    }
  }
}

const places = new WeakMap<Socket, Place>();

/** node:tls keeps the socket it was given in `_parent`; it is not part of its documented interface. */
function rawSocketOf(socket: TLSSocket): Socket | undefined {
  const parent: unknown = Reflect.get(socket, '_parent');
  // Only compared and used as a key.
  return typeof parent === 'object' && parent !== null ? (parent as Socket) : undefined;
}

class TlsConnection implements SecureConnection {
  readonly #socket: TLSSocket;
  readonly #place: Place | undefined;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly peerCertificate: Buffer | undefined;
  readonly verifyError: string | undefined;
  readonly resumed: boolean;
  readonly protocol: string;
  readonly cipher: string;
  onData: (chunk: Buffer) => void = () => {};
  onDrain: () => void = () => {};
  onClose: () => void = () => {};

  constructor(socket: TLSSocket, place: Place | undefined, guard: (run: () => void) => void) {
    this.#socket = socket;
    this.#place = place;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.remotePort = socket.remotePort ?? 0;
    this.peerCertificate = socket.getPeerX509Certificate()?.raw;
    // Declared as Error, but the code's text when the library did not accept the certificate.
    this.verifyError = socket.authorized ? undefined : String(socket.authorizationError);
    this.resumed = socket.isSessionReused();
    this.protocol = socket.getProtocol() ?? '';
    this.cipher = socket.getCipher().name;
    socket.on('data', (chunk: Buffer) => guard(() => this.onData(chunk)));
    socket.on('drain', () => guard(() => this.onDrain()));
    socket.on('error', () => socket.destroy());
    // A peer that has stopped sending gets what waits for it, in bounded time.
    socket.on('end', () => this.end(halfClosedMs));
    socket.once('close', () => guard(() => this.onClose()));
  }

  authenticated(): void {
    this.#place?.established();
  }

  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Buffer): boolean {
    return this.#socket.writable && this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(limitMs: number): void {
    const timer = setTimeout(() => this.#socket.destroy(), limitMs);
    this.#socket.once('close', () => clearTimeout(timer));
    // Whatever still arrives is of no interest, but has to be read for the close to be seen.
    this.onData = () => {};
    this.#socket.resume();
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
