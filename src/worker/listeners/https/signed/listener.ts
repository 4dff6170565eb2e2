/**
 * HTTPS for those who have no client certificate: the device API and proxied routes, each request with a signature or a
 * token of its own. What is open here is what the routes' `authenticate` opens.
 */
import { LogBudget } from '../../../../common/base/log-budget.ts';
import type { PrincipalName } from '../../../../common/base/principal.ts';
import { networkOf } from '../../../../common/base/source-network.ts';
import type { SecureConnection } from '../../../transport/secure-connection.ts';
import { SourceFailures } from '../../../transport/source-failures.ts';
import { inSteps } from '../../in-steps.ts';
import type { SignedPlace, SignedPlaces } from '../../signed-places.ts';
import type { Presence, Presences } from '../presences.ts';
import { SignedHttpsConnection } from './connection.ts';
import type { ConnectionOwner } from './connection.ts';
import type { SignedHttpsPorts } from './ports.ts';
import { UnprovenBodies } from './unproven-bodies.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;
/** Lines of log per second that peers can cause: those who have proven who they are, and those who have not. */
const linesPerSecond = 200;
const strangersLinesPerSecond = 20;

export class SignedHttpsListener implements ConnectionOwner {
  readonly logBudget: LogBudget;
  readonly strangersLogBudget: LogBudget;
  readonly bodies: UnprovenBodies;
  readonly #ports: SignedHttpsPorts;
  readonly #connections = new Set<SignedHttpsConnection>();
  readonly #places: SignedPlaces;
  readonly #held = new WeakMap<SignedHttpsConnection, SignedPlace>();
  readonly #failures: SourceFailures;
  readonly #presences: Presences;
  readonly #timer: NodeJS.Timeout;
  #draining = false;

  /** @param presences those of the other HTTPS listener: an identity is one, however it proves who it is. */
  constructor(ports: SignedHttpsPorts, places: SignedPlaces, presences: Presences) {
    const { clock, limits } = ports;
    this.#ports = ports;
    this.#places = places;
    this.logBudget = new LogBudget(linesPerSecond, clock);
    this.strangersLogBudget = new LogBudget(strangersLinesPerSecond, clock);
    this.bodies = new UnprovenBodies(limits);
    this.#failures = new SourceFailures({
      clock,
      limits: () => ({
        sourceFailures: limits().signedFailures,
        sourceSlowedPerSecond: limits().sourceSlowedPerSecond,
      }),
    });
    this.#presences = presences;
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  get connections(): number {
    return this.#connections.size;
  }

  get draining(): boolean {
    return this.#draining;
  }

  get sessions(): number {
    let sessions = 0;
    for (const { isProven } of this.#connections) if (isProven) sessions += 1;
    return sessions;
  }

  accept(transport: SecureConnection): void {
    const place = this.#places.take(transport.remoteAddress, () => transport.destroy());
    if (place === undefined) {
      this.#ports.count('refused{code="busy"}');
      transport.destroy();
      return;
    }
    const connection = new SignedHttpsConnection(this.#ports, transport, this);
    this.#connections.add(connection);
    this.#held.set(connection, place);
  }

  join(principal: PrincipalName, remote: string): Promise<Presence> {
    return this.#presences.join(principal, remote);
  }

  isSlowed(address: string): boolean {
    return this.#failures.isSlowed(networkOf(address));
  }

  proven(connection: SignedHttpsConnection): void {
    this.#held.get(connection)?.proven();
  }

  held(address: string): void {
    this.#failures.succeeded(networkOf(address));
  }

  failed(address: string): void {
    this.#failures.failed(networkOf(address));
  }

  ended(connection: SignedHttpsConnection): void {
    this.#connections.delete(connection);
    this.#held.get(connection)?.leave();
  }

  standingChanged(names: ReadonlySet<PrincipalName> | undefined): void {
    this.#each((connection) => connection.reviewStanding(names));
  }

  policyChanged(): void {
    this.#each((connection) => connection.reviewPolicy());
  }

  /** Nobody here has shown one. */
  certificatesRevoked(): void {}
  trustChanged(): void {}

  /** Ends every connection after what it is doing; at once, or in steps over `overMs`. */
  async drain(overMs: number, limitMs: number): Promise<void> {
    this.#draining = true;
    await inSteps([...this.#connections], overMs, (connection) => {
      connection.run(() => connection.shutDown(limitMs));
    });
    clearInterval(this.#timer);
  }

  /** One that fails does not keep the others. */
  #each(act: (connection: SignedHttpsConnection) => void): void {
    for (const connection of this.#connections) connection.run(() => act(connection));
  }

  #tick(): void {
    const now = this.#ports.clock.monotonic();
    for (const connection of this.#connections) connection.run(() => connection.tick(now));
  }
}
