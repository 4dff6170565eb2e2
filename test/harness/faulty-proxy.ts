/**
 * A bad network: a TCP proxy on loopback that passes bytes on late and in pieces, and whose connections come to a bad
 * end. What happens to the n-th connection is drawn from the seed.
 */
import { createServer, connect } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from './random.ts';

export interface FaultOptions {
  readonly seed: number;
  /** Where the bytes go; asked at each connection. */
  readonly port: () => number;
  /** Longest pause before a piece. */
  readonly delayMs: number;
  /** Largest piece. */
  readonly pieceBytes: number;
  /** A connection ends before it has passed on more than that, in both directions together. */
  readonly bytes: number;
}

/**
 * `reset`: RST to both sides. `hole`: what comes after is lost without a word, then the connection is reset. `cut`: the
 * last piece is passed on in part only, then the connection is closed in good order.
 */
export type Fate = 'reset' | 'hole' | 'cut';

interface Plan {
  readonly fate: Fate;
  readonly afterBytes: number;
  readonly random: Random;
}

const fates: readonly Fate[] = ['reset', 'hole', 'cut'];
/** How long a hole lasts: nobody waits for what is lost longer than a test can afford. */
const holeMs = 300;

export class FaultyProxy implements AsyncDisposable {
  /** How many connections came to which end. */
  readonly ended: Record<Fate, number> = { reset: 0, hole: 0, cut: 0 };
  readonly #options: FaultOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #connections = 0;
  #healed = false;

  static async start(options: FaultOptions): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(options);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  private constructor(options: FaultOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  get port(): number {
    // A TCP server has no other.
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#connections;
  }

  /** From now on nothing more happens, to connections that are open neither. */
  heal(): void {
    this.#healed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    const { seed, port, bytes } = this.#options;
    const random = new Random(seed * 65_537 + this.#connections);
    this.#connections += 1;
    const plan = { fate: random.of(fates), afterBytes: random.below(bytes), random };
    const server = connect({ port: port(), host: '127.0.0.1', allowHalfOpen: true });
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.once('close', () => this.#sockets.delete(socket));
      // Whichever side fails, the other one hears of it.
      socket.on('error', () => {
        client.destroy();
        server.destroy();
      });
    }
    const link = new Link(client, server, plan, () => this.#healed, this.ended);
    link.pass(this.#options);
  }
}

/** One connection, both ways. */
class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #plan: Plan;
  readonly #isHealed: () => boolean;
  readonly #ended: Record<Fate, number>;
  #passed = 0;
  #over = false;

  constructor(
    client: Socket,
    server: Socket,
    plan: Plan,
    isHealed: () => boolean,
    ended: Record<Fate, number>,
  ) {
    this.#client = client;
    this.#server = server;
    this.#plan = plan;
    this.#isHealed = isHealed;
    this.#ended = ended;
  }

  pass(options: FaultOptions): void {
    void this.#oneWay(this.#client, this.#server, options);
    void this.#oneWay(this.#server, this.#client, options);
  }

  async #oneWay(from: Socket, to: Socket, options: FaultOptions): Promise<void> {
    try {
      // Else it would close the other direction as well.
      for await (const chunk of from.iterator({ destroyOnReturn: false })) {
        // Sockets without an encoding give buffers.
        await this.#chunk(chunk as Buffer, to, options);
      }
      to.end();
    } catch {
      to.destroy();
    }
  }

  async #chunk(chunk: Buffer, to: Socket, { delayMs, pieceBytes }: FaultOptions): Promise<void> {
    const { random } = this.#plan;
    for (let at = 0; at < chunk.length;) {
      const piece = chunk.subarray(at, at + 1 + random.below(pieceBytes));
      at += piece.length;
      if (!this.#isHealed()) await delay(random.below(delayMs + 1));
      // In a hole, or after the end.
      if (this.#over) return;
      this.#passed += piece.length;
      if (this.#passed > this.#plan.afterBytes && !this.#isHealed()) return this.#end(piece, to);
      if (!to.write(piece)) await drained(to);
    }
  }

  async #end(piece: Buffer, to: Socket): Promise<void> {
    const { fate } = this.#plan;
    this.#over = true;
    this.#ended[fate] += 1;
    if (fate === 'cut') {
      to.end(piece.subarray(0, piece.length >> 1));
      this.#client.end();
      this.#server.end();
      return;
    }
    if (fate === 'hole') await delay(holeMs);
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.once('drain', done);
    socket.once('close', done);
  });
}
