/**
 * A TLS listener on node:tls. Admission comes before the handshake; what a handshake costs is bounded in count and
 * time; an exception in a callback ends that connection only.
 */
import { createServer as createTcpServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { messageOf } from '../../common/base/errors.ts';
import type { Clock } from '../../common/base/clock.ts';
import type { ListenAddress, TlsMaterial } from '../../common/ipc/snapshot.ts';
import { Door } from './door.ts';
import type { Admitted, DoorOptions } from './door.ts';
import { keyExchangeGroup } from './key-exchange.ts';
import { largeBytes, LargeWrites } from './large-writes.ts';
import { listenOn } from './listen-on.ts';
import type { SecureConnection } from './secure-connection.ts';
import { SoonWrites } from './soon-writes.ts';
import type { Place } from './source-admission.ts';
import type { Stapling } from './stapling.ts';
import { ticketKeys, tlsOptions } from './tls-settings.ts';
import type { ClientCertificates } from './tls-settings.ts';

const halfClosedMs = 500;

export interface TlsListenerOptions extends DoorOptions {
  /** ALPN (RFC 7301): a client that offers others only is refused; one that offers none is not. Undefined = not used. */
  readonly applicationProtocols?: readonly string[] | undefined;
  readonly material: TlsMaterial;
  /** Default `known`. */
  readonly clients?: ClientCertificates | undefined;
  /** Of now; other processes that have the same can read its tickets. */
  readonly ticketSecret: () => Buffer;
  /** An ESP32 needs ten seconds; half-open connections are bounded in count instead. */
  readonly handshakeMs: number;
  /** Undefined: no handshake is given an OCSP answer. */
  readonly stapling?: Stapling | undefined;
  readonly onSecure: (connection: SecureConnection) => void;
}

export class TlsListener {
  readonly #options: TlsListenerOptions;
  readonly #tcp: Server;
  readonly #tls: TlsServer;
  readonly #door: Door;
  #material: TlsMaterial;
  readonly #handshaking = new Map<Socket, Admitted>();

  constructor(options: TlsListenerOptions) {
    this.#options = options;
    this.#material = options.material;
    const { applicationProtocols } = options;
    this.#tls = createTlsServer({
      ...tlsOptions(options.material, options.ticketSecret(), options.clients),
      handshakeTimeout: options.handshakeMs,
      ...(applicationProtocols === undefined ? {} : { ALPNProtocols: [...applicationProtocols] }),
    });
    if (options.stapling !== undefined) this.#tls.on('OCSPRequest', options.stapling.answer);
    this.#tls.on('secureConnection', (socket) => this.#guard(socket, () => this.#secure(socket)));
    this.#tls.on('tlsClientError', (error, socket) => {
      options.count('tls_handshake_failures');
      const tcp = rawSocketOf(socket);
      const admitted = tcp === undefined ? undefined : this.#handshaking.get(tcp);
      options.logger.debug(
        { listener: options.name, remote: admitted?.source.address, err: error.message },
        'handshake failed',
      );
      socket.destroy();
    });
    this.#door = new Door(options, {
      guard: (socket, run) => this.#guard(socket, run),
      onAdmitted: (socket, admitted) => {
        this.#handshaking.set(socket, admitted);
        this.#tls.emit('connection', socket);
      },
      onClosed: (socket) => {
        const admitted = this.#handshaking.get(socket);
        // Who has sent nothing has cost no handshake; such are bounded in number.
        if (admitted !== undefined && socket.bytesRead > admitted.bytesBefore)
          admitted.place.failed();
        this.#handshaking.delete(socket);
      },
    });
    this.#tcp = createTcpServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 120_000,
      // What a connection sends while it waits at the door is the kernel's to hold.
      pauseOnConnect: true,
    });
    this.#tcp.on('connection', (socket) =>
      this.#guard(socket, () => {
        // Until node:tls has taken over, an error would be nobody's.
        socket.on('error', () => socket.destroy());
        this.#door.accept(socket);
      }),
    );
  }

  /** @returns the port, which is the system's choice when `address.port` is 0. */
  async listen(address: ListenAddress): Promise<number> {
    return listenOn(this.#tcp, this.#options.name, address, this.#options.logger);
  }

  /** New certificate, key or anchors, for the handshakes to come. */
  update(material: TlsMaterial): void {
    const { ticketSecret, clients } = this.#options;
    this.#material = material;
    this.#tls.setSecureContext(tlsOptions(material, ticketSecret(), clients));
  }

  /** The secret of its tickets is another now: those of before are no longer taken, and a full handshake follows. */
  rotateTickets(): void {
    this.#tls.setTicketKeys(ticketKeys(this.#material, this.#options.ticketSecret()));
  }

  /** Stops accepting; what is established lives on. Resolves when the last of it has gone. */
  stopAccepting(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#tcp.close(() => resolve());
    });
    this.#door.close();
    for (const socket of this.#handshaking.keys()) socket.destroy();
    return closed;
  }

  #secure(socket: TLSSocket): void {
    const tcp = rawSocketOf(socket);
    const admitted = tcp === undefined ? undefined : this.#handshaking.get(tcp);
    if (tcp !== undefined) this.#handshaking.delete(tcp);
    if (socket.isSessionReused()) this.#options.count('tls_resumptions');
    const connection = new TlsConnection(socket, admitted, this.#options.clock, (run) =>
      this.#guard(socket, run),
    );
    this.#options.count(`tls_handshakes{group="${connection.group}"}`);
    this.#options.onSecure(connection);
    connection.start();
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

/** node:tls keeps the socket it was given in `_parent`; it is not part of its documented interface. */
function rawSocketOf(socket: TLSSocket): Socket | undefined {
  const parent: unknown = Reflect.get(socket, '_parent');
  // Only compared and used as a key.
  return typeof parent === 'object' && parent !== null ? (parent as Socket) : undefined;
}

function ignore(): void {}

class TlsConnection implements SecureConnection {
  readonly #socket: TLSSocket;
  readonly #place: Place | undefined;
  readonly #clock: Clock;
  readonly #guard: (run: () => void) => void;
  /** There once something large has been written. */
  #large: LargeWrites | undefined;
  /** There once something has been written soon. */
  #soon: SoonWrites | undefined;
  #writtenBytes = 0;
  /** A chunk that comes now is the next one that the listener is to see, and it may see it now. */
  #direct = false;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly peerCertificate: Buffer | undefined;
  readonly verifyError: string | undefined;
  readonly resumed: boolean;
  readonly protocol: string;
  readonly cipher: string;
  readonly group: string;
  onData: (chunk: Buffer) => void = ignore;
  onDrain: () => void = ignore;
  /** What waits for the peer still goes to it, in bounded time. */
  onEnd: () => void = () => this.end(halfClosedMs);
  onClose: () => void = ignore;

  constructor(
    socket: TLSSocket,
    admitted: Admitted | undefined,
    clock: Clock,
    guard: (run: () => void) => void,
  ) {
    this.#socket = socket;
    this.#place = admitted?.place;
    this.#clock = clock;
    this.#guard = guard;
    this.remoteAddress = admitted?.source.address ?? '';
    this.remotePort = admitted?.source.port ?? 0;
    this.peerCertificate = socket.getPeerX509Certificate()?.raw;
    // Declared as Error, but the code's text when the library did not accept the certificate.
    this.verifyError = socket.authorized ? undefined : String(socket.authorizationError);
    this.resumed = socket.isSessionReused();
    this.protocol = socket.getProtocol() ?? '';
    this.cipher = socket.getCipher().name;
    this.group = keyExchangeGroup(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      this.#soon?.drop();
      guard(() => this.onClose());
      this.#letGo();
    });
  }

  /** The listener has seen the connection: reading begins. */
  start(): void {
    const socket = this.#socket;
    const guard = this.#guard;
    socket.on('data', (chunk: Buffer) => {
      this.#received(chunk);
      this.#direct = isDrained(socket);
    });
    this.#shortcut();
    socket.on('drain', () => guard(() => this.onDrain()));
    // Otherwise node:tls would end our side by itself.
    socket.allowHalfOpen = true;
    socket.on('end', () => guard(() => this.onEnd()));
  }

  /**
   * While nothing is buffered and nobody has paused, a chunk goes to the listener without the machinery of the stream,
   * whose state of a thousand connections is in no cache: 2 µs a message less (mqtt-sparse). Everything else goes its
   * usual way, and so would every chunk if node:tls did not call `push`.
   */
  #shortcut(): void {
    const socket = this.#socket;
    const push = socket.push.bind(socket);
    socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
      if (!this.#direct || !Buffer.isBuffer(chunk)) return push(chunk, encoding);
      this.#received(chunk);
      return true;
    };
    this.#direct = isDrained(socket);
  }

  #received(chunk: Buffer): void {
    this.#guard(() => this.onData(chunk));
  }

  authenticated(): void {
    this.#place?.established();
  }

  get pendingBytes(): number {
    return this.#givenBytes + (this.#soon?.pendingBytes ?? 0);
  }

  get takenBytes(): number {
    return this.#writtenBytes - this.pendingBytes;
  }

  write(bytes: Buffer, when?: 'soon'): boolean {
    if (!this.#socket.writable) return false;
    this.#writtenBytes += bytes.length;
    if (when === 'soon' && this.#joins(bytes)) return true;
    this.#soon?.flush();
    return this.#give(bytes);
  }

  /** Nothing waits while the peer has not taken what was written before: how much that is, is to be known at once. */
  #joins(bytes: Buffer): boolean {
    if (this.#givenBytes > 0) return false;
    this.#soon ??= new SoonWrites((waiting) => {
      if (this.#socket.writable) this.#give(waiting);
    });
    return this.#soon.add(bytes);
  }

  #give(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (this.#large === undefined) {
      if (bytes.length <= largeBytes) return socket.write(bytes);
      const onDrain = (): void => this.#guard(() => this.onDrain());
      this.#large = new LargeWrites({ socket, clock: this.#clock, onDrain });
    }
    return this.#large.write(bytes);
  }

  /** Written, and not taken yet. */
  get #givenBytes(): number {
    return this.#socket.writableLength + (this.#large?.pendingBytes ?? 0);
  }

  pause(): void {
    this.#direct = false;
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
    this.#direct = isDrained(this.#socket);
  }

  end(limitMs: number): void {
    const timer = setTimeout(() => this.#socket.destroy(), limitMs);
    this.#socket.once('close', () => clearTimeout(timer));
    // Whatever still arrives is of no interest, but has to be read for the close to be seen.
    this.onData = ignore;
    this.#socket.resume();
    this.#handOver();
    this.#socket.end();
  }

  closeSoon(): void {
    this.onData = ignore;
    this.#socket.resume();
    this.#handOver();
    this.#socket.destroySoon();
  }

  destroy(): void {
    // As if it had been written at once.
    this.#soon?.flush();
    this.#socket.destroy();
  }

  /** Gives the socket all that waits. */
  #handOver(): void {
    this.#soon?.flush();
    this.#large?.handOver();
  }

  /**
   * V8 keeps a closed socket until its next full collection, because native objects point to it; the listener's side
   * of the connection need not stay with it, be moved to the old generation and collected there.
   */
  #letGo(): void {
    this.onData = ignore;
    this.onDrain = ignore;
    this.onEnd = ignore;
    this.onClose = ignore;
  }
}

function isDrained(socket: TLSSocket): boolean {
  return socket.readableFlowing === true && socket.readableLength === 0;
}
