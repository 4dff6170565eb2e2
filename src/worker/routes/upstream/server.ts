/** One server of an upstream: its connections, and whether it is fit to be asked. */
import type { Clock } from '../../../common/base/clock.ts';
import type { UpstreamSettings } from '../../../common/ipc/snapshot.ts';
import { ServerBreaker } from './breaker.ts';
import type { Call, CallServer } from './call.ts';
import { Connection } from './connection.ts';
import type { ConnectionOwner, Endpoint } from './connection.ts';
import type { ServerAddress, UpstreamTls } from './endpoint.ts';

export interface ServerParts {
  readonly clock: Clock;
  readonly settings: () => UpstreamSettings;
  /** A connection has become free, or could be made. */
  readonly freed: () => void;
}

export class Server implements ConnectionOwner, CallServer {
  readonly origin: string;
  readonly authority: string;
  readonly clock: Clock;
  readonly breaker: ServerBreaker;
  weight: number;
  /** By what the health checks have found; fit until one says otherwise. */
  healthy = true;
  readonly #parts: ServerParts;
  readonly #address: ServerAddress;
  readonly #tls: UpstreamTls;
  readonly #connections = new Set<Connection>();
  /** The one that was used last is used next: the others may go. */
  readonly #idle: Connection[] = [];
  #retired = false;

  constructor(address: ServerAddress, tls: UpstreamTls, weight: number, parts: ServerParts) {
    this.origin = address.origin;
    this.authority = address.authority;
    this.clock = parts.clock;
    this.breaker = new ServerBreaker(() => parts.settings().breaker);
    this.weight = weight;
    this.#parts = parts;
    this.#address = address;
    this.#tls = tls;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Requests under way, and connections that have become something else. */
  get outstanding(): number {
    return this.#connections.size - this.#idle.length;
  }

  hasRoom(): boolean {
    return this.#idle.length > 0 || this.#connections.size < this.#parts.settings().connections;
  }

  /** Sends a call on its way. There MUST be room. @throws what node:tls finds wrong with certificate or key. */
  carry(call: Call): void {
    call.assigned(this);
    const wantsOwn = call.needsFresh || call.expected === 'upgrade';
    const kept = wantsOwn ? undefined : this.#idle.pop();
    if (kept !== undefined) {
      call.carriedBy(kept);
      kept.begin(call, this.#parts.settings().answerMs);
      return;
    }
    const connection = new Connection(this.endpoint(), call, this);
    this.#connections.add(connection);
    call.carriedBy(connection);
    // One that nobody uses makes room.
    if (this.#connections.size > this.#parts.settings().connections) this.#idle[0]?.destroy();
  }

  endpoint(): Endpoint {
    const { connectMs, answerMs, headerBytes } = this.#parts.settings();
    const { host, port, secure } = this.#address;
    const tls = secure ? this.#tls.optionsFor(host) : undefined;
    return { host, port, tls, connectMs, answerMs, headerBytes };
  }

  idle(connection: Connection): void {
    if (this.#retired) connection.destroy();
    else this.#idle.push(connection);
  }

  gone(connection: Connection): void {
    this.#connections.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  freed(): void {
    this.#parts.freed();
  }

  check(now: number): void {
    for (const connection of this.#connections) connection.check(now);
  }

  /** Takes no more requests. Those under way come to their end. */
  retire(): void {
    this.#retired = true;
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  /** Ends those under way too. */
  destroy(): void {
    this.#retired = true;
    for (const connection of this.#connections) connection.lose();
  }
}
