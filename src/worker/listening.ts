/**
 * The device-facing listeners of this worker, whatever their protocol: opened together, told together of what changes,
 * drained together.
 */
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import type { ListenerSettings, Snapshot, TlsMaterial } from '../common/ipc/snapshot.ts';
import type { StatusListening } from './status-listening.ts';
import type { SecureConnection } from './transport/secure-connection.ts';
import type { SourceAdmission } from './transport/source-admission.ts';
import type { Stapling } from './transport/stapling.ts';
import type { TicketRotation } from './transport/ticket-rotation.ts';
import type { ClientCertificates } from './transport/tls-settings.ts';
import { TlsListener } from './transport/tls-server.ts';
import type { Turnstile } from './transport/turnstile.ts';

/** What every protocol does for its live connections. */
export interface ProtocolListener {
  readonly connections: number;
  /** Connections that have authenticated. */
  readonly sessions: number;
  accept(connection: SecureConnection): void;
  /** `undefined`: any identity may have changed. */
  standingChanged(names: ReadonlySet<PrincipalName> | undefined): void;
  policyChanged(names: ReadonlySet<PrincipalName> | undefined): void;
  certificatesRevoked(isRevoked: (certificate: string) => boolean): void;
  trustChanged(): void;
  /** Ends every connection, in steps over `overMs`; resolves when what they left behind is done. */
  drain(overMs: number, limitMs: number): Promise<void>;
}

export type ListenerName = Exclude<keyof ListenerSettings, 'status'>;

export interface ListeningParts {
  readonly protocols: Readonly<Record<ListenerName, ProtocolListener>>;
  readonly status: StatusListening;
  readonly stapling: Stapling;
  readonly admission: SourceAdmission;
  readonly turnstile: Turnstile;
  readonly clock: Clock;
  /** The policy's answer to the outcome of admission: undefined lets the connection in. */
  readonly judge: (refusal: string | undefined) => string | undefined;
  readonly tickets: TicketRotation;
  /** Ports that are already taken by the group. */
  readonly ports: Readonly<Record<string, number>>;
  readonly logger: Logger;
  readonly count: (name: string) => void;
  readonly onListening: (name: keyof ListenerSettings, host: string, port: number) => void;
}

const applicationProtocols: Readonly<Record<ListenerName, readonly string[] | undefined>> = {
  mqtts: undefined,
  https: ['http/1.1'],
  est: ['http/1.1'],
  httpsSigned: ['http/1.1'],
  mqttsSigned: undefined,
};

/** Who is asked for a certificate. */
const clients: Readonly<Record<ListenerName, ClientCertificates>> = {
  mqtts: 'known',
  https: 'known',
  est: 'any',
  httpsSigned: 'none',
  mqttsSigned: 'none',
};
const names = ['mqtts', 'https', 'est', 'httpsSigned', 'mqttsSigned'] as const;

export class Listening {
  readonly #parts: ListeningParts;
  readonly #tls: TlsListener[] = [];

  constructor(parts: ListeningParts) {
    this.#parts = parts;
  }

  get protocols(): readonly ProtocolListener[] {
    return Object.values(this.#parts.protocols);
  }

  get connections(): number {
    return this.protocols.reduce((sum, { connections }) => sum + connections, 0);
  }

  get sessions(): number {
    return this.protocols.reduce((sum, { sessions }) => sum + sessions, 0);
  }

  /** @throws SallyportError `io` when an address cannot be had. */
  async open(snapshot: Snapshot): Promise<void> {
    for (const name of names) await this.#open(name, snapshot);
    const { status, ports, onListening } = this.#parts;
    const address = await status.open(snapshot, ports['status']);
    if (address !== undefined) onListening('status', address.host, address.port);
    this.#parts.tickets.start(() => {
      for (const listener of this.#tls) listener.rotateTickets();
    });
  }

  update(tls: TlsMaterial): void {
    for (const listener of this.#tls) listener.update(tls);
  }

  /** Stops accepting, then ends what is live. */
  async drain(overMs: number, limitMs: number): Promise<void> {
    this.#parts.tickets.stop();
    const closed = this.#tls.map((listener) => listener.stopAccepting());
    closed.push(this.#parts.status.drain(limitMs));
    await Promise.all(this.protocols.map((protocol) => protocol.drain(overMs, limitMs)));
    await Promise.all(closed);
  }

  async #open(name: ListenerName, snapshot: Snapshot): Promise<void> {
    const {
      protocols,
      stapling,
      admission,
      turnstile,
      clock,
      judge,
      tickets,
      ports,
      logger,
      count,
    } = this.#parts;
    const address = snapshot.listeners[name];
    if (address === false) return;
    const protocol = protocols[name];
    const listener = new TlsListener({
      name,
      applicationProtocols: applicationProtocols[name],
      material: snapshot.tls,
      clients: clients[name],
      ticketSecret: tickets.secret,
      stapling,
      handshakeMs: snapshot.policy.limits.handshakeMs,
      admission,
      turnstile,
      proxies: address.proxy,
      proxyHeaderMs: snapshot.policy.limits.proxyHeaderMs,
      clock,
      judge,
      logger,
      count,
      onSecure: (connection) => protocol.accept(connection),
    });
    this.#tls.push(listener);
    const port = await listener.listen({ ...address, port: ports[name] ?? address.port });
    this.#parts.onListening(name, address.host, port);
  }
}
