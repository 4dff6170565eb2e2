/** The mailbox of one device in memory, for tests: what it answers, and when, is up to the test. */
import type { Command, CommandMailbox } from '../../broker/commands.ts';
import type { Message } from '../../broker/message.ts';

export class FakeMailbox implements CommandMailbox {
  commands: readonly Command[] = [];
  /** How often it was read. */
  reads = 0;
  /** Set to make what comes next fail. */
  fault: Error | undefined;
  /** Set to hold answers back. */
  held: Promise<void> | undefined;

  async put(_: string, message: Message): Promise<string> {
    await this.#turn();
    const id = `${this.commands.length + 1}`.padStart(4, '0');
    this.commands = [...this.commands, { id, at: 0, message }];
    return id;
  }

  async list(): Promise<readonly Command[]> {
    this.reads += 1;
    const { commands } = this;
    await this.#turn();
    return commands;
  }

  async acknowledge(_: string, id: string): Promise<boolean> {
    await this.#turn();
    const before = this.commands.length;
    this.commands = this.commands.filter((command) => command.id !== id);
    return this.commands.length < before;
  }

  async acknowledgeUpTo(_: string, id: string): Promise<number> {
    await this.#turn();
    const before = this.commands.length;
    this.commands = this.commands.filter((command) => command.id > id);
    return before - this.commands.length;
  }

  async #turn(): Promise<void> {
    if (this.held !== undefined) await this.held;
    if (this.fault !== undefined) throw this.fault;
  }
}
