/**
 * All MQTT connections of this worker: their birth, their clock, and what a change of standing, policy or certificate
 * does to the live ones.
 */
import { LogBudget } from '../../../common/base/log-budget.ts';
import { messageOf } from '../../../common/base/errors.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import { settledWithin } from '../../../common/base/settled-within.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { inSteps } from '../in-steps.ts';
import { MqttConnection } from './connection.ts';
import type { ConnectionOwner } from './connection.ts';
import { Flusher } from './outbox.ts';
import type { MqttPorts } from './ports.ts';
import type { Session } from './session.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;
/** Lines of log per second that peers can cause: those who have authenticated, and those who have not. */
const linesPerSecond = 200;
const strangersLinesPerSecond = 20;

/** What the listener needs, but for what it does itself. */
export type ListenerPorts = Omit<MqttPorts, 'underWay'>;

export class MqttListener implements ConnectionOwner {
  readonly flusher: Flusher;
  readonly logBudget: LogBudget;
  readonly strangersLogBudget: LogBudget;
  readonly #ports: MqttPorts;
  readonly #connections = new Set<MqttConnection>();
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #timer: NodeJS.Timeout;

  constructor(ports: ListenerPorts) {
    this.#ports = { ...ports, underWay: (done) => this.#note(done) };
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
    this.#endWhere(names, 'standing', (session, connection) => {
      const { subject, certificate } = session;
      const { standing, anchor } = subject.identity;
      // For good: whoever is let in under this name one day is not to find what the other one left.
      if (standing === 'revoked') session.discard();
      if (standing !== 'active') return standing;
      if (session.by !== undefined && !this.#ports.identifyNow(connection.transport).ok) {
        return `its ${session.by} is over`;
      }
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
   * told why when it subscribes again: taking the subscription away in silence would look like a fleet gone quiet. A
   * durable session comes back without it.
   */
  policyChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    this.#endWhere(names, 'forbidden', (session) => {
      const lost = [...session.subscriptions.keys()].filter((filter) => !session.mayHold(filter));
      if (lost.length === 0) return undefined;
      this.#drop(session, lost);
      return `${lost.join(', ')} is no longer granted`;
    });
  }

  /** What fails is judged again when the session is resumed. */
  #drop(session: Session, filters: readonly string[]): void {
    const { logger } = this.#ports;
    this.#note(
      session.dropSubscriptions(filters).catch((error: unknown) => {
        const fields = { principal: session.principal, err: messageOf(error) };
        logger.warn(fields, 'subscriptions were not taken out of a session');
      }),
    );
  }

  /**
   * Ends every connection; at once, or in steps over `overMs`. Resolves when their wills are published and what they
   * had sent is stored, or when `limitMs` have gone by.
   */
  async drain(overMs: number, limitMs: number): Promise<void> {
    await inSteps([...this.#connections], overMs, (connection) => {
      this.#note(connection.shutDown(limitMs));
    });
    clearInterval(this.#timer);
    await settledWithin(this.#allDone(), limitMs);
  }

  /** What is done may have left something behind: a session its will. */
  async #allDone(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** @param done MUST NOT reject. */
  #note(done: Promise<unknown>): void {
    this.#underWay.add(done);
    void done.finally(() => this.#underWay.delete(done));
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
