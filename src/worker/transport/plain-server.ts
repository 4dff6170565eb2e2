/**
 * A listener without TLS, for what anybody may ask and whose answers are signed or public. Its connections come in by
 * the same door; nobody ever authenticates on them, so each counts as half-open for as long as it lives.
 */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { messageOf } from '../../common/base/errors.ts';
import type { ListenAddress } from '../../common/ipc/snapshot.ts';
import { Door } from './door.ts';
import type { Admitted, DoorOptions } from './door.ts';
import { listenOn } from './listen-on.ts';

export interface PlainListenerOptions extends DoorOptions {
  /** The socket is paused: `resume` begins it. It has an `error` listener. */
  readonly onConnection: (socket: Socket, admitted: Admitted) => void;
}

export class PlainListener {
  readonly #options: PlainListenerOptions;
  readonly #tcp: Server;
  readonly #door: Door;

  constructor(options: PlainListenerOptions) {
    this.#options = options;
    this.#door = new Door(options, {
      guard: (socket, run) => this.#guard(socket, run),
      onAdmitted: options.onConnection,
      onClosed: () => {},
    });
    // What a connection sends while it waits at the door is the kernel's to hold. A peer that has sent all it wants to
    // send may still wait for its answer.
    this.#tcp = createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true });
    this.#tcp.on('connection', (socket) =>
      this.#guard(socket, () => {
        socket.on('error', () => socket.destroy());
        this.#door.accept(socket);
      }),
    );
  }

  /** @returns the port. @throws SallyportError `io` when the address cannot be had. */
  async listen(address: ListenAddress): Promise<number> {
    return listenOn(this.#tcp, this.#options.name, address, this.#options.logger);
  }

  /** Stops accepting; what is established lives on. Resolves when the last of it has gone. */
  stopAccepting(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#tcp.close(() => resolve());
    });
    this.#door.close();
    return closed;
  }

  /** A fault in one connection's code is that connection's end, and a defect to be reported. */
  #guard(socket: Socket, run: () => void): void {
    try {
      run();
    } catch (error) {
      const { name: listener, count, logger } = this.#options;
      const stack = error instanceof Error ? error.stack : undefined;
      count('internal_errors');
      const text = 'a connection was closed because of a defect';
      logger.error({ listener, err: messageOf(error), stack }, text);
      socket.destroy();
    }
  }
}
