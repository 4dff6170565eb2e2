/**
 * The way of a TCP connection to its handshake: its source, which a load balancer may have to say, its source's limits,
 * its turn. Nothing is read from it but a PROXY header, and who is refused is told nothing.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../common/base/clock.ts';
import { LogBudget } from '../../common/base/log-budget.ts';
import type { Logger } from '../../common/base/logger.ts';
import { LoadBalancers, readProxyHeader } from './proxied-connection.ts';
import type { ConnectionSource } from './proxy-header.ts';
import { Place } from './source-admission.ts';
import type { SourceAdmission } from './source-admission.ts';
import { networkOf } from '../../common/base/source-network.ts';
import type { Arrival, Turnstile } from './turnstile.ts';

/** Lines of log a second about connections that were refused. */
const linesPerSecond = 2;

export interface DoorOptions {
  /** Of the listener. */
  readonly name: string;
  readonly admission: SourceAdmission;
  readonly turnstile: Turnstile;
  /** Networks whose connections begin with a PROXY header, which then says where they come from. */
  readonly proxies: readonly string[];
  readonly proxyHeaderMs: number;
  /** The policy's answer to the outcome of admission: undefined lets the connection in. */
  readonly judge: (refusal: string | undefined) => string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly count: (name: string) => void;
}

/** A connection that was let in. */
export interface Admitted {
  readonly place: Place;
  readonly source: ConnectionSource;
  /** Those of its PROXY header. */
  readonly bytesBefore: number;
}

export interface DoorPorts {
  /** A fault in one connection's code is that connection's end. */
  readonly guard: (socket: Socket, run: () => void) => void;
  readonly onAdmitted: (socket: Socket, admitted: Admitted) => void;
  /** The socket has closed, whether it was let in or not. */
  readonly onClosed: (socket: Socket) => void;
}

export class Door {
  readonly #options: DoorOptions;
  readonly #ports: DoorPorts;
  readonly #balancers: LoadBalancers;
  readonly #logBudget: LogBudget;
  /** On their way in. */
  readonly #visitors = new Set<Visitor>();

  constructor(options: DoorOptions, ports: DoorPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#balancers = new LoadBalancers(options.proxies);
    this.#logBudget = new LogBudget(linesPerSecond, options.clock);
  }

  /** @param socket from which nothing has been read; it MUST have an `error` listener. */
  accept(socket: Socket): void {
    const { admission, proxyHeaderMs, count } = this.#options;
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined || remotePort === undefined) {
      // It has gone already.
      socket.destroy();
      return;
    }
    const own = { address: remoteAddress, port: remotePort };
    const place = admission.enter();
    if (!(place instanceof Place)) {
      this.#refuse(socket, own, place, this.#options.judge(place));
      return;
    }
    const visitor = new Visitor(this, socket, place);
    this.#visitors.add(visitor);
    // Before anything that may throw: a place that is not left is lost for good. One listener, for the memory of each
    // connection that stays.
    socket.once('close', () => this.#left(visitor));
    if (!this.#balancers.has(own.address)) {
      this.#arrive(visitor, own);
      return;
    }
    readProxyHeader(socket, proxyHeaderMs, {
      found: (source) => this.#ports.guard(socket, () => this.#arrive(visitor, source ?? own)),
      refused: (problem) => {
        count('proxy_headers_refused');
        this.#refuse(socket, own, 'proxy-header', problem);
      },
    });
  }

  /** Whoever still waits is not let in any more. */
  close(): void {
    for (const { socket } of this.#visitors) socket.destroy();
  }

  /** For `Visitor`: its turn has come. */
  enter(visitor: Visitor): void {
    const { socket, place, source } = visitor;
    this.#visitors.delete(visitor);
    this.#ports.guard(socket, () => {
      const refuse = (reason: string): void =>
        this.#refuse(socket, source, reason, this.#options.judge(reason));
      const refusal = place.begin(() => refuse('half-open'));
      if (refusal !== undefined) {
        refuse(refusal);
        return;
      }
      const bytesBefore = socket.bytesRead - socket.readableLength;
      this.#ports.onAdmitted(socket, { place, source, bytesBefore });
    });
  }

  /** For `Visitor`: it has no turn. */
  turnAway({ socket, source }: Visitor, reason: string): void {
    this.#ports.guard(socket, () =>
      this.#refuse(socket, source, reason, this.#options.judge(reason)),
    );
  }

  /** Its source is known: in, in its turn. */
  #arrive(visitor: Visitor, source: ConnectionSource): void {
    const { judge, turnstile } = this.#options;
    const refused = visitor.place.from(source.address);
    const verdict = judge(refused);
    if (refused !== undefined || verdict !== undefined) {
      this.#refuse(visitor.socket, source, refused ?? 'policy', verdict);
      return;
    }
    visitor.source = source;
    visitor.network = networkOf(source.address);
    turnstile.admit(visitor);
  }

  #left(visitor: Visitor): void {
    this.#visitors.delete(visitor);
    this.#options.turnstile.leave(visitor);
    visitor.place.leave();
    this.#ports.onClosed(visitor.socket);
  }

  #refuse(
    socket: Socket,
    source: ConnectionSource,
    reason: string,
    detail: string | undefined,
  ): void {
    const { name, count, logger } = this.#options;
    count(`admission_refused{reason="${reason}"}`);
    if (this.#logBudget.take()) {
      const fields = { listener: name, remote: source.address, reason, detail };
      logger.info({ ...fields, ...this.#logBudget.suppressed() }, 'connection refused at the door');
    }
    socket.resetAndDestroy();
  }
}

/** A connection on its way in. */
class Visitor implements Arrival {
  readonly socket: Socket;
  readonly place: Place;
  readonly #door: Door;
  source: ConnectionSource = { address: '', port: 0 };
  network = '';

  constructor(door: Door, socket: Socket, place: Place) {
    this.#door = door;
    this.socket = socket;
    this.place = place;
  }

  enter(): void {
    this.#door.enter(this);
  }

  refuse(reason: string): void {
    this.#door.turnAway(this, reason);
  }
}
