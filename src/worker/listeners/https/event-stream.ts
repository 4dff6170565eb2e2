/**
 * `GET /api/v1/commands` with `Accept: text/event-stream` (HTML, "Server-sent events"): every command that waits and
 * every one that comes, each once per stream. A reader that comes back says with `Last-Event-ID` what it has.
 */
import type { Command } from '../../broker/commands.ts';
import { commandJson } from './command-json.ts';
import { CommandWatch } from './command-watch.ts';
import type { Peer, PeerConnection } from './peer.ts';
import type { Exchange } from '../http/exchange.ts';
import { refuseFor } from './failures.ts';
import { eventStream } from '../http/wire.ts';

/** A comment that keeps what is between the device and us from forgetting the connection. */
const heartbeatMs = 15_000;
const heartbeat = ':\n\n';

export class EventStream {
  readonly #connection: PeerConnection;
  readonly #exchange: Exchange;
  readonly #peer: Peer;
  readonly #watch: CommandWatch;
  /** Written on this stream and still in the mailbox. */
  #written = new Set<string>();
  #startedAt = 0;
  #writtenAt = 0;
  /** The reader has not taken what was written. */
  #blocked = false;

  constructor(connection: PeerConnection, peer: Peer, exchange: Exchange) {
    this.#connection = connection;
    this.#exchange = exchange;
    this.#peer = peer;
    this.#watch = new CommandWatch(connection, peer, () => this.#look());
  }

  async start(lastEventId: string | undefined): Promise<void> {
    const exchange = this.#exchange;
    const { mailbox, clock } = this.#connection.ports;
    exchange.interrupt = (why) => {
      if (why === undefined) exchange.refuse('busy', 'the server is shutting down');
      else exchange.refuse(why.code, why.detail);
    };
    if (lastEventId !== undefined) {
      try {
        await mailbox.acknowledgeUpTo(this.#peer.subject.name, lastEventId);
      } catch (error) {
        refuseFor(exchange, error);
        return;
      }
    }
    if (exchange.over) return;
    exchange.startStream(eventStream);
    // What has begun can only be ended: the reader comes again and is told then.
    exchange.interrupt = (why) => {
      if (why !== undefined) this.#connection.refused(exchange, why.code, why.detail, undefined);
      exchange.endStream();
    };
    this.#startedAt = clock.monotonic();
    this.#writtenAt = this.#startedAt;
    exchange.tick = (now) => this.#tick(now);
    exchange.onOver = () => this.#watch.stop();
    await this.#watch.start();
    this.#watch.poke();
  }

  async #look(): Promise<void> {
    const exchange = this.#exchange;
    if (!this.#mayWrite()) return;
    let commands: readonly Command[];
    try {
      commands = await this.#watch.list();
    } catch (error) {
      // Its reader comes again, and is told then.
      this.#connection.log({ err: String(error) }, 'event stream ended');
      exchange.endStream();
      return;
    }
    const written = new Set<string>();
    for (const command of commands) {
      const { id } = command;
      if (!this.#written.has(id)) {
        if (!this.#mayWrite()) continue;
        this.#write(`id: ${id}\nevent: command\ndata: ${commandJson(command)}\n\n`);
        this.#connection.ports.count('https_commands_out');
      }
      written.add(id);
    }
    this.#written = written;
  }

  #mayWrite(): boolean {
    return !this.#blocked && !this.#exchange.over;
  }

  #write(text: string): void {
    this.#writtenAt = this.#connection.ports.clock.monotonic();
    this.#blocked = !this.#exchange.writeStream(text, () => {
      this.#blocked = false;
      this.#watch.poke();
    });
  }

  #tick(now: number): void {
    if (now - this.#startedAt > this.#connection.ports.limits().streamMs) {
      this.#exchange.endStream();
    } else if (!this.#blocked && now - this.#writtenAt >= heartbeatMs) {
      this.#write(heartbeat);
    }
  }
}
