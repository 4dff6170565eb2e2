/**
 * All HTTPS connections of this worker: their birth, their clock, and what a change of standing, policy or certificate
 * does to the live ones.
 */
import { LogBudget } from '../../../common/base/log-budget.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { HttpsConnection } from './connection.ts';
import type { ConnectionOwner } from './connection.ts';
import { inSteps } from '../in-steps.ts';
import type { HttpsPorts } from './ports.ts';
import type { Presence, Presences } from './presences.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;
/** Lines of log per second that peers can cause: those who have authenticated, and those who have not. */
const linesPerSecond = 200;
const strangersLinesPerSecond = 20;

export class HttpsListener implements ConnectionOwner {
  readonly logBudget: LogBudget;
  readonly strangersLogBudget: LogBudget;
  readonly #ports: HttpsPorts;
  readonly #connections = new Set<HttpsConnection>();
  readonly #presences: Presences;
  readonly #timer: NodeJS.Timeout;
  #draining = false;

  constructor(ports: HttpsPorts, presences: Presences) {
    this.#ports = ports;
    this.logBudget = new LogBudget(linesPerSecond, ports.clock);
    this.strangersLogBudget = new LogBudget(strangersLinesPerSecond, ports.clock);
    this.#presences = presences;
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  get connections(): number {
    return this.#connections.size;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Connections that have authenticated. */
  get sessions(): number {
    let sessions = 0;
    for (const { peer } of this.#connections) if (peer !== undefined) sessions += 1;
    return sessions;
  }

  accept(transport: SecureConnection): void {
    const connection = new HttpsConnection(this.#ports, transport, this);
    this.#connections.add(connection);
  }

  join(principal: PrincipalName, remote: string): Promise<Presence> {
    return this.#presences.join(principal, remote);
  }

  ended(connection: HttpsConnection): void {
    this.#connections.delete(connection);
  }

  /**
   * Ends live connections whose identity has lost its standing or now belongs to another trust anchor.
   * `undefined`: look at all of them.
   */
  standingChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    this.#each(names, (connection) => connection.reviewStanding());
    this.#each(undefined, (connection) => connection.reviewLoan());
  }

  /** Ends live connections whose certificate was revoked. */
  certificatesRevoked(isRevoked: (certificate: string) => boolean): void {
    this.#each(undefined, (connection) => {
      const { certificate = '' } = connection.peer ?? {};
      if (isRevoked(certificate)) connection.endFor('standing', 'the certificate is revoked');
    });
  }

  /** The trust anchors have changed: every live connection is identified again by the certificate that it showed. */
  trustChanged(): void {
    this.#each(undefined, (connection) => connection.reviewTrust());
  }

  /** Judges what waits for commands by today's policy; everything else is judged request by request. */
  policyChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    this.#each(names, (connection) => connection.reviewPolicy());
  }

  /** Ends every connection after what it is doing; at once, or in steps over `overMs`. */
  async drain(overMs: number, limitMs: number): Promise<void> {
    this.#draining = true;
    await inSteps([...this.#connections], overMs, (connection) => {
      connection.run(() => connection.shutDown(limitMs));
    });
    clearInterval(this.#timer);
    this.#presences.close();
  }

  /** One that fails does not keep the others. */
  #each(
    names: ReadonlySet<PrincipalName> | undefined,
    act: (connection: HttpsConnection) => void,
  ): void {
    for (const connection of this.#connections) {
      const { peer } = connection;
      if (peer === undefined) continue;
      if (names === undefined || names.has(peer.subject.name))
        connection.run(() => act(connection));
    }
  }

  #tick(): void {
    const now = this.#ports.clock.monotonic();
    for (const connection of this.#connections) connection.run(() => connection.tick(now));
    this.#presences.sweep();
  }
}
