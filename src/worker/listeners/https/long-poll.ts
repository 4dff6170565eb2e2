/** One `GET /api/v1/commands?wait=…`: answered when there is a command, or when the time is over. */
import type { Command } from '../../broker/commands.ts';
import { commandJson } from './command-json.ts';
import { CommandWatch } from './command-watch.ts';
import type { Peer, PeerConnection } from './peer.ts';
import type { Exchange } from '../http/exchange.ts';
import { refuseFor } from './failures.ts';
import { json, noContent } from '../http/wire.ts';

export class LongPoll {
  readonly #connection: PeerConnection;
  readonly #exchange: Exchange;
  readonly #watch: CommandWatch;

  constructor(connection: PeerConnection, peer: Peer, exchange: Exchange) {
    this.#connection = connection;
    this.#exchange = exchange;
    this.#watch = new CommandWatch(connection, peer, () => this.#look());
  }

  async start(waitMs: number): Promise<void> {
    const exchange = this.#exchange;
    exchange.interrupt = (why) => {
      if (why === undefined) exchange.answer(204, noContent);
      else exchange.refuse(why.code, why.detail);
    };
    await this.#look();
    if (exchange.over) return;
    if (waitMs === 0) {
      exchange.answer(204, noContent);
      return;
    }
    const timer = setTimeout(() => exchange.answer(204, noContent), waitMs);
    exchange.onOver = () => {
      clearTimeout(timer);
      this.#watch.stop();
    };
    await this.#watch.start();
    // What came between the first look and the subscription poked nobody.
    this.#watch.poke();
  }

  async #look(): Promise<void> {
    const exchange = this.#exchange;
    let commands: readonly Command[];
    try {
      commands = await this.#watch.list();
    } catch (error) {
      refuseFor(exchange, error);
      return;
    }
    if (commands.length === 0 || exchange.over) return;
    const body = Buffer.from(`[${commands.map(commandJson).join(',')}]`);
    for (const _ of commands) this.#connection.ports.count('https_commands_out');
    exchange.answer(200, json(body.length), body);
  }
}
