/**
 * One connection to the EST listener, whose peer need not authenticate: one request at a time, a bounded number of them,
 * for a bounded time. It stays half-open, and may be displaced by others', until its peer was given a certificate.
 */
import type { DenyCode } from '../../../common/base/errors.ts';
import { messageOf } from '../../../common/base/errors.ts';
import { LogBudget } from '../../../common/base/log-budget.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { Cut } from '../http/cut.ts';
import type { Ending, Exchange } from '../http/exchange.ts';
import { HttpEngine } from '../http/http-engine.ts';
import type { HttpConnection } from '../http/http-engine.ts';
import type { Problem } from '../http/wire.ts';
import { asBytes } from '../http/wire.ts';
import type { EstPorts } from './ports.ts';

/** Whoever is to go has this long to take its answer. */
const closeLimitMs = 700;
/** Lines of log that one connection may cause per second. */
const linesPerSecond = 1;

/** What the listener does for its connections. */
export interface ConnectionOwner {
  /** The log's share of everything that these peers can cause. */
  readonly logBudget: LogBudget;
  /**
   * Answers the exchange, sooner or later.
   *
   * @returns a promise that rejects for a defect only.
   */
  handle(exchange: Exchange, transport: SecureConnection): Promise<void>;
  ended(connection: EstConnection): void;
}

export class EstConnection implements HttpConnection {
  readonly #engine: HttpEngine;
  readonly #ports: EstPorts;
  readonly #transport: SecureConnection;
  readonly #owner: ConnectionOwner;
  readonly #openedAt: number;
  readonly #logBudget: LogBudget;
  #current: Exchange | undefined;
  #requests = 0;
  /** The next answer is the last. */
  #ending = false;
  /** The last answer was given: whatever else arrives is no request. */
  #closing = false;
  #closed = false;
  readonly #cut: Cut;

  constructor(ports: EstPorts, transport: SecureConnection, owner: ConnectionOwner) {
    this.#ports = ports;
    this.#transport = transport;
    this.#owner = owner;
    this.#openedAt = ports.clock.monotonic();
    this.#logBudget = new LogBudget(linesPerSecond, ports.clock);
    this.#cut = new Cut(ports.clock, () => transport.destroy());
    transport.onClose = () => this.#ended();
    const { clock } = ports;
    const limits = ports.limits();
    // Who has nothing more to ask goes as soon as who has not begun to.
    const bounds = { ...limits, idleMs: limits.connectMs };
    this.#engine = new HttpEngine({ transport, connection: this, clock, limits: bounds });
  }

  get ending(): boolean {
    return this.#ending;
  }

  receive(exchange: Exchange): void {
    // After a last answer nothing that a peer has sent along is ever looked at (RFC 9112 §9.6).
    if (this.#closed || this.#closing || this.#ending) {
      this.#engine.discard();
      return;
    }
    const { limits, count } = this.#ports;
    count('est_requests');
    this.#requests += 1;
    if (this.#requests >= limits().visitRequests) exchange.makeLast();
    this.#current = exchange;
    this.#owner.handle(exchange, this.#transport).catch((error: unknown) => this.#fault(error));
  }

  sentAhead(exchange: Exchange): void {
    this.#ports.count('est_sent_ahead');
    this.refused(exchange, 'malformed', 'requests before the answer to the one before them');
    this.#transport.destroy();
  }

  unreadable(problem: Problem, detail: string): void {
    if (this.#closed || this.#closing) return;
    this.refused(undefined, problem.code, detail);
    this.#transport.write(asBytes(problem, this.#ports.clock.now()));
    this.#close();
  }

  /** No more requests: what is under way may finish, and be taken, within `limitMs`. */
  shutDown(limitMs: number): void {
    if (this.#closed) return;
    this.#ending = true;
    this.#current?.makeLast();
    this.#cut.after(limitMs);
    if (this.#current !== undefined || this.#closing) return;
    this.#closing = true;
    this.#transport.end(this.#transport.pendingBytes > 0 ? limitMs : closeLimitMs);
  }

  run(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fault(error);
    }
  }

  refused(exchange: Exchange | undefined, code: DenyCode, detail: string, row?: string): void {
    const { count, logger } = this.#ports;
    count(`refused{code="${code}"}`);
    const shared = this.#owner.logBudget;
    if (!this.#logBudget.take() || !shared.take()) return;
    const { action, resource } = exchange ?? {};
    const fields = { ...this.#who(), action, resource, code, row, detail };
    logger.info({ ...fields, ...this.#logBudget.suppressed(), ...shared.suppressed() }, 'refused');
  }

  answered(exchange: Exchange, how: Ending): void {
    if (this.#current === exchange) this.#current = undefined;
    if (this.#closed || (how === 'stays' && !this.#ending)) return;
    this.#closing = true;
    // A peer that asked for one answer only has as long to take it as any other: until its visit is over.
    if (how === 'goes') this.#cut.after(closeLimitMs);
  }

  /** Called about once a second. */
  tick(now: number): void {
    if (this.#closed) return;
    const { visitMs, requestMs } = this.#ports.limits();
    if (!this.#cut.isSet && now - this.#openedAt > visitMs) this.shutDown(requestMs);
    this.#current?.tick?.(now);
    this.#engine.tick(now);
  }

  #fault(error: unknown): void {
    const { count, logger } = this.#ports;
    count('internal_errors');
    const err = error instanceof Error ? error.stack : messageOf(error);
    logger.error({ err, ...this.#who() }, 'a connection was closed because of a defect');
    this.#transport.destroy();
  }

  #who(): object {
    const { remoteAddress, remotePort } = this.#transport;
    return { listener: 'est', remote: `${remoteAddress}:${remotePort}` };
  }

  #close(): void {
    this.#closing = true;
    this.#transport.end(closeLimitMs);
  }

  #ended(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cut.cancel();
    this.#current?.abandon();
    this.#owner.ended(this);
  }
}
