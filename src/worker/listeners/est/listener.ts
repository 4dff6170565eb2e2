/**
 * Enrolment over Secure Transport (RFC 7030): devices that have no certificate yet, one of their manufacturer's, or one
 * that ends soon. It ends TLS and HTTP; control decides.
 */
import { LogBudget } from '../../../common/base/log-budget.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import type { Exchange } from '../http/exchange.ts';
import { EstConnection } from './connection.ts';
import type { ConnectionOwner } from './connection.ts';
import { handleRequest } from './handle-request.ts';
import type { EstPorts } from './ports.ts';
import { PublicAnswers } from './public-answers.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;
/** Lines of log per second that strangers can cause. */
const linesPerSecond = 20;

export class EstListener implements ConnectionOwner {
  readonly logBudget: LogBudget;
  /** Nobody has a session: who it is is asked anew with each request. */
  readonly sessions = 0;
  readonly #ports: EstPorts;
  readonly #publicAnswers: PublicAnswers;
  readonly #connections = new Set<EstConnection>();
  readonly #timer: NodeJS.Timeout;

  constructor(ports: EstPorts) {
    this.#ports = ports;
    this.logBudget = new LogBudget(linesPerSecond, ports.clock);
    this.#publicAnswers = new PublicAnswers(ports);
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  get connections(): number {
    return this.#connections.size;
  }

  accept(transport: SecureConnection): void {
    this.#connections.add(new EstConnection(this.#ports, transport, this));
  }

  async handle(exchange: Exchange, transport: SecureConnection): Promise<void> {
    return handleRequest(this.#ports, this.#publicAnswers, exchange, transport);
  }

  ended(connection: EstConnection): void {
    this.#connections.delete(connection);
  }

  /** Standing, policy, revocation and anchors are control's to look at, with each request. */
  standingChanged(): void {}
  policyChanged(): void {}
  certificatesRevoked(): void {}
  trustChanged(): void {}

  /** What is under way may finish: no device comes back for a session that it has lost, so there is no herd to spread. */
  async drain(overMs: number, limitMs: number): Promise<void> {
    for (const connection of this.#connections) {
      connection.run(() => connection.shutDown(overMs + limitMs));
    }
    clearInterval(this.#timer);
    return Promise.resolve();
  }

  #tick(): void {
    const now = this.#ports.clock.monotonic();
    for (const connection of this.#connections) connection.run(() => connection.tick(now));
  }
}
