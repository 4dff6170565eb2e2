/**
 * All MQTT connections of this worker: their birth, their clock, and what a change of standing, policy or certificate
 * does to the live ones.
 */
import type { PrincipalName } from '../../../common/base/principal.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { MqttConnection } from './connection.ts';
import { Flusher } from './outbox.ts';
import type { MqttPorts } from './ports.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;
/** Connections that an upgrade ends at a time, so that a fleet does not come back as one herd. */
const drainSteps = 20;

export class MqttListener {
  readonly #ports: MqttPorts;
  readonly #flusher = new Flusher();
  readonly #connections = new Set<MqttConnection>();
  readonly #timer: NodeJS.Timeout;
  #onEmpty: () => void = () => {};

  constructor(ports: MqttPorts) {
    this.#ports = ports;
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  get connections(): number {
    return this.#connections.size;
  }

  get sessions(): number {
    let sessions = 0;
    for (const connection of this.#connections) if (connection.session !== undefined) sessions += 1;
    return sessions;
  }

  accept(transport: SecureConnection): void {
    const connection = new MqttConnection(this.#ports, transport, this.#flusher, (ended) => {
      this.#connections.delete(ended);
      if (this.#connections.size === 0) this.#onEmpty();
    });
    this.#connections.add(connection);
  }

  /** Ends live connections whose identity has lost its standing. `undefined`: look at all of them. */
  standingChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    for (const connection of this.#sessionsOf(names)) {
      const standing = connection.session?.subject.identity.standing;
      if (standing !== undefined && standing !== 'active') connection.endFor('standing', standing);
    }
  }

  /** Ends live connections whose certificate was revoked. */
  certificatesRevoked(isRevoked: (certificate: string) => boolean): void {
    for (const connection of this.#connections) {
      const certificate = connection.session?.certificate;
      if (certificate !== undefined && isRevoked(certificate)) {
        connection.endFor('standing', 'the certificate is revoked');
      }
    }
  }

  /**
   * Judges live subscriptions by today's policy. A session that holds one it would not be granted now is ended, and
   * told why when it subscribes again: taking the subscription away in silence would look like a fleet gone quiet.
   */
  policyChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    const policy = this.#ports.policy();
    for (const connection of this.#sessionsOf(names)) {
      const { session } = connection;
      if (session === undefined) continue;
      for (const filter of session.subscriptions.keys()) {
        if (policy.permits('subscribe', session.subject, filter)) continue;
        connection.endFor('forbidden', `the subscription ${filter} is no longer granted`);
        break;
      }
    }
  }

  /** Ends every connection; at once, or in steps over `overMs`. Resolves when all are gone. */
  async drain(overMs: number): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    if (this.#connections.size > 0) {
      const all = [...this.#connections];
      const step = overMs === 0 ? all.length : Math.max(1, Math.ceil(all.length / drainSteps));
      for (let at = 0; at < all.length; at += step) {
        for (const connection of all.slice(at, at + step)) {
          connection.disconnect(ReasonCode.serverShuttingDown, 'the server is shutting down');
        }
        if (overMs > 0)
          await new Promise<void>((resolve) => setTimeout(resolve, overMs / drainSteps));
      }
      if (this.#connections.size > 0) await gone;
    }
    clearInterval(this.#timer);
  }

  *#sessionsOf(names: ReadonlySet<PrincipalName> | undefined): Generator<MqttConnection> {
    for (const connection of this.#connections) {
      const name = connection.session?.subject.name;
      if (name !== undefined && (names === undefined || names.has(name))) yield connection;
    }
  }

  #tick(): void {
    const now = this.#ports.clock.monotonic();
    for (const connection of this.#connections) connection.tick(now);
  }
}
