/**
 * What waits for a device: its mailbox, and word of it when something new comes. What the broker delivers is only a
 * poke; the mailbox has the command, and has it until the device has acknowledged it.
 */
import { commandFilter } from '../../broker/commands.ts';
import type { Command } from '../../broker/commands.ts';
import { noIdentifiers } from '../../broker/ports.ts';
import type { Subscriber } from '../../broker/ports.ts';
import { sessionKey } from '../../broker/session-key.ts';
import type { Peer, PeerConnection } from './peer.ts';

const options = Object.freeze({
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  identifiers: noIdentifiers,
});

export class CommandWatch implements Subscriber {
  readonly key: string;
  readonly principal: Subscriber['principal'];
  readonly filter: string;
  readonly #connection: PeerConnection;
  readonly #peer: Peer;
  readonly #look: () => Promise<void>;
  #looking = false;
  #poked = false;
  #stopped = false;

  /** @param look looks into the mailbox; never called twice at a time, and again when it was poked meanwhile. */
  constructor(connection: PeerConnection, peer: Peer, look: () => Promise<void>) {
    const { name, id } = peer.subject;
    this.principal = name;
    this.filter = commandFilter(id);
    this.key = sessionKey(name, peer.presence.nextId());
    this.#connection = connection;
    this.#peer = peer;
    this.#look = look;
  }

  /** From when this resolves, whatever is stored on any worker leads to a look. */
  async start(): Promise<void> {
    const { broker, interestSettled } = this.#connection.ports;
    broker.subscribe(this, this.filter, options);
    await interestSettled();
  }

  stop(): void {
    this.#stopped = true;
    this.#connection.ports.broker.removeSubscriber(this);
  }

  /** What the device may read now, oldest first. */
  async list(): Promise<readonly Command[]> {
    const commands = await this.#connection.ports.mailbox.list(this.principal);
    const { checks } = this.#peer;
    return commands.filter(({ message }) => checks.mayRead(message.topic));
  }

  deliver(): void {
    // Not now: the broker is in the middle of its subscribers.
    queueMicrotask(() => this.poke());
  }

  poke(): void {
    this.#poked = true;
    if (this.#looking || this.#stopped) return;
    this.#looking = true;
    this.#lookWhilePoked().then(
      () => {
        this.#looking = false;
      },
      (error: unknown) => this.#connection.fault(error),
    );
  }

  async #lookWhilePoked(): Promise<void> {
    while (this.#poked && !this.#stopped) {
      this.#poked = false;
      await this.#look();
    }
  }
}
