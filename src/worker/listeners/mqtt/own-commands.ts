/** The commands of a device in one session of it. They wait in its mailbox, whatever session and protocol gets them. */
import { messageOf } from '../../../common/base/errors.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import { matches, overlaps } from '../../../common/base/topic-filter.ts';
import { commandFilter, commandTopicOf } from '../../broker/commands.ts';
import type { Command } from '../../broker/commands.ts';
import { stronger } from '../../broker/broker.ts';
import type { Message } from '../../broker/message.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';
import { filterOf } from '../../broker/shared-subscription.ts';
import { CommandPump } from './command-pump.ts';
import type { DurableDelivery } from './durable-delivery.ts';
import type { MqttPeer } from './peer.ts';
import { lowerQoS } from './sender.ts';
import type { Sender } from './sender.ts';

export interface OwnCommandsParts {
  readonly device: string;
  readonly principal: PrincipalName;
  readonly connection: MqttPeer;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
  readonly sender: Sender;
  /** Of a durable session. */
  readonly durable: DurableDelivery | undefined;
}

export class OwnCommands {
  readonly #parts: OwnCommandsParts;
  /** What their topics begin with, and all that they match. */
  readonly #prefix: string;
  /** There once the device has subscribed to some. */
  #pump: CommandPump | undefined;
  /** One of them found no room. */
  #wait = false;

  constructor(parts: OwnCommandsParts) {
    this.#parts = parts;
    this.#prefix = commandTopicOf(parts.device, '');
  }

  includes(topic: string): boolean {
    return topic.startsWith(this.#prefix);
  }

  /** A device that may now get commands is given what waits for it. */
  subscribed(filter: string): void {
    if (!overlaps(filterOf(filter), commandFilter(this.#parts.device))) return;
    this.#pump ??= this.#newPump();
    this.#pump.poke();
  }

  /** A command may have come. */
  poke(): void {
    this.#pump?.poke();
  }

  /** The client takes more than it did. */
  onRoom(): void {
    if (!this.#wait) return;
    this.#wait = false;
    this.#pump?.poke();
  }

  #newPump(): CommandPump {
    const { connection, principal } = this.#parts;
    const { ports, outbox } = connection;
    const { mailbox } = ports;
    return new CommandPump({
      list: () => mailbox.list(principal),
      acknowledge: (id) => {
        const done = mailbox.acknowledge(principal, id);
        ports.underWay(done.catch(() => {}));
        return done;
      },
      isClosed: () => connection.isClosed(),
      get roomy() {
        return outbox.roomy;
      },
      room: () => outbox.room(),
      send: (command, done) => this.#send(command, done),
      failed: (error) =>
        connection.log({ principal, err: messageOf(error) }, 'the command mailbox failed'),
    });
  }

  #send({ message }: Command, done: () => void): boolean {
    const { connection, sender, durable } = this.#parts;
    const options = this.#optionsFor(message.topic);
    if (options === undefined) return false;
    const retain = options.retainAsPublished && message.retain;
    const qos = lowerQoS(message, options);
    if (qos === 2 && durable !== undefined) {
      return this.#sendKept(message, retain, options, durable, done);
    }
    if (!sender.send(message, qos, retain, options, done)) return false;
    if (qos === 0) {
      connection.outbox.flush();
      done();
    }
    return true;
  }

  /** The mailbox keeps the command until the client has it; the session keeps the identifier that it has it by. */
  #sendKept(
    message: Message,
    retain: boolean,
    options: SubscriptionOptions,
    durable: DurableDelivery,
    done: () => void,
  ): boolean {
    const { connection, sender } = this.#parts;
    if (sender.isExpired(message)) return false;
    const encoded = sender.encode(message, 2, retain, options.identifiers, options);
    if (encoded === undefined) return false;
    const sent = durable.sendKept(encoded, connection.ports.sessions.newId(), done);
    this.#wait ||= !sent;
    return sent;
  }

  /** The strongest of what its filters ask for, as the broker merges them. */
  #optionsFor(topic: string): SubscriptionOptions | undefined {
    let found: SubscriptionOptions | undefined;
    for (const [filter, options] of this.#parts.subscriptions) {
      if (!matches(filterOf(filter), topic)) continue;
      found = found === undefined ? options : stronger(found, options);
    }
    return found;
  }
}
