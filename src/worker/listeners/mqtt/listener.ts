/**
 * All MQTT connections of this worker: their birth, their clock, and what a change of standing, policy or certificate
 * does to the live ones.
 */
import { LogBudget } from '../../../common/base/log-budget.ts';
import { messageOf } from '../../../common/base/errors.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { MqttConnection } from './connection.ts';
import type { ConnectionOwner } from './connection.ts';
import { Flusher } from './outbox.ts';
import type { MqttPorts } from './ports.ts';
import type { Session } from './session.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;
/** Groups in which an upgrade ends the connections, so that a fleet does not come back as one herd. */
const drainSteps = 20;
/** Lines of log per second that peers can cause: those who have authenticated, and those who have not. */
const linesPerSecond = 200;
const strangersLinesPerSecond = 20;

/** What the listener needs, but for what it does itself. */
export type ListenerPorts = Omit<MqttPorts, 'willUnderWay'>;

export class MqttListener implements ConnectionOwner {
  readonly flusher: Flusher;
  readonly logBudget: LogBudget;
  readonly strangersLogBudget: LogBudget;
  readonly #ports: MqttPorts;
  readonly #connections = new Set<MqttConnection>();
  readonly #wills = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(ports: ListenerPorts) {
    this.#ports = { ...ports, willUnderWay: (published) => this.#note(published) };
    this.logBudget = new LogBudget(linesPerSecond, ports.clock);
    this.strangersLogBudget = new LogBudget(strangersLinesPerSecond, ports.clock);
    this.flusher = new Flusher((_, error) => {
      ports.count('internal_errors');
      ports.logger.error({ err: messageOf(error) }, 'what waits for a connection was not sent');
    });
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
    this.#connections.add(new MqttConnection(this.#ports, transport, this));
  }

  ended(connection: MqttConnection): void {
    this.#connections.delete(connection);
  }

  /**
   * Ends live connections whose identity has lost its standing or now belongs to another trust anchor.
   * `undefined`: look at all of them.
   */
  standingChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    this.#endWhere(names, 'standing', ({ subject, certificate }) => {
      const { standing, anchor } = subject.identity;
      if (standing !== 'active') return standing;
      return certificate.startsWith(`${anchor}:`)
        ? undefined
        : 'it belongs to another trust anchor';
    });
  }

  /** Ends live connections whose certificate was revoked. */
  certificatesRevoked(isRevoked: (certificate: string) => boolean): void {
    this.#endWhere(undefined, 'standing', (session) => {
      if (!isRevoked(session.certificate)) return undefined;
      session.dropWill();
      return 'the certificate is revoked';
    });
  }

  /** The trust anchors have changed: every live connection is identified again by the certificate that it showed. */
  trustChanged(): void {
    this.#endWhere(undefined, 'standing', (session, connection) => {
      const now = this.#ports.identifyNow(connection.transport);
      if (now.ok && now.name === session.principal && now.certificate === session.certificate) {
        return undefined;
      }
      session.dropWill();
      return 'its trust anchor has changed';
    });
  }

  /**
   * Judges live subscriptions by today's policy. A session that holds one it would not be granted now is ended, and
   * told why when it subscribes again: taking the subscription away in silence would look like a fleet gone quiet.
   */
  policyChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    const policy = this.#ports.policy();
    this.#endWhere(names, 'forbidden', ({ subject, subscriptions }) => {
      for (const filter of subscriptions.keys()) {
        if (!policy.permits('subscribe', subject, filter)) return `${filter} is no longer granted`;
      }
      return undefined;
    });
  }

  /** Ends every connection; at once, or in steps over `overMs`. Resolves when their wills are published. */
  async drain(overMs: number, limitMs: number): Promise<void> {
    const all = [...this.#connections];
    const step = overMs === 0 ? all.length : Math.max(1, Math.ceil(all.length / drainSteps));
    for (let at = 0; at < all.length; at += step) {
      for (const connection of all.slice(at, at + step)) {
        connection.run(() =>
          connection.disconnect(
            ReasonCode.serverShuttingDown,
            'the server is shutting down',
            limitMs,
          ),
        );
      }
      if (overMs > 0)
        await new Promise<void>((resolve) => setTimeout(resolve, overMs / drainSteps));
    }
    clearInterval(this.#timer);
    await Promise.all(this.#wills);
  }

  #note(published: Promise<void>): void {
    this.#wills.add(published);
    void published.finally(() => this.#wills.delete(published));
  }

  /** Ends the sessions for which `why` gives a reason; one that fails to end does not keep the others. */
  #endWhere(
    names: ReadonlySet<PrincipalName> | undefined,
    code: 'standing' | 'forbidden',
    why: (session: Session, connection: MqttConnection) => string | undefined,
  ): void {
    for (const connection of this.#connections) {
      const { session } = connection;
      if (session === undefined) continue;
      if (names !== undefined && !names.has(session.principal)) continue;
      connection.run(() => {
        const reason = why(session, connection);
        if (reason !== undefined) connection.endFor(code, reason);
      });
    }
  }

  #tick(): void {
    const now = this.#ports.clock.monotonic();
    for (const connection of this.#connections) connection.run(() => connection.tick(now));
  }
}
