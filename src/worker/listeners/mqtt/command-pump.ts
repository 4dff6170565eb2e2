/**
 * Commands from the mailbox of a device to one session of it. What the broker delivers is only a sign that there may be
 * something: the mailbox alone says what waits, so that a command is given however it came and whoever died on its way,
 * once per connection, until the device has acknowledged it.
 */
import type { Command } from '../../broker/commands.ts';

/** What the pump sees of its session. */
export interface CommandTarget {
  list(): Promise<readonly Command[]>;
  /** Takes a command out of the mailbox. */
  acknowledge(id: string): Promise<unknown>;
  isClosed(): boolean;
  readonly roomy: boolean;
  /** Resolves when the reader has room, or is gone. */
  room(): Promise<void>;
  /**
   * @param done is called when the device has it: at once for QoS 0, else when it says so.
   * @returns false when the session does not want it now, or cannot take it.
   */
  send(command: Command, done: () => void): boolean;
  failed(error: unknown): void;
}

export class CommandPump {
  readonly #target: CommandTarget;
  /** Given on this connection and, as far as the mailbox was last seen, still in it. */
  readonly #given = new Set<string>();
  /** Acknowledged by the device, and the mailbox did not take it. */
  readonly #owed = new Set<string>();
  #running = false;
  #poked = false;

  constructor(target: CommandTarget) {
    this.#target = target;
  }

  /** There may be something to give. One that comes while the pump runs makes it look again. */
  poke(): void {
    this.#poked = true;
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  /** Never rejects. What failed is tried again at the next poke. */
  async #run(): Promise<void> {
    while (this.#poked && !this.#target.isClosed()) {
      this.#poked = false;
      try {
        await this.#settle();
        await this.#give();
      } catch (error) {
        this.#target.failed(error);
      }
    }
    this.#running = false;
  }

  async #give(): Promise<void> {
    const commands = await this.#target.list();
    const there = new Set(commands.map(({ id }) => id));
    for (const id of this.#given) if (!there.has(id)) this.#given.delete(id);
    for (const command of commands) {
      if (this.#given.has(command.id)) continue;
      if (!this.#target.roomy) {
        await this.#target.room();
        // What was read before a long wait may have been acknowledged elsewhere.
        this.#poked = true;
        return;
      }
      if (this.#target.isClosed()) return;
      const { id } = command;
      if (this.#target.send(command, () => this.#acknowledge(id))) this.#given.add(id);
    }
  }

  #acknowledge(id: string): void {
    this.#target.acknowledge(id).catch((error: unknown) => {
      this.#owed.add(id);
      this.#target.failed(error);
    });
  }

  /** What the mailbox did not take is told to it again. */
  async #settle(): Promise<void> {
    for (const id of this.#owed) {
      await this.#target.acknowledge(id);
      this.#owed.delete(id);
    }
  }
}
