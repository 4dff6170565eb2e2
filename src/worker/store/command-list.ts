/**
 * What waits for one device, without the commands themselves: their names in order, what each takes and when it
 * expires. Pure: whoever changes a list writes it back with what belongs to it.
 *
 *   u8 version | f64 last sequence | for each: f64 sequence | f64 accepted at | f64 expires at | u32 bytes
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { MailboxLimits } from '../broker/commands.ts';

const listVersion = 1;
const headerBytes = 9;
const entryBytes = 28;
/** The name of a command: microseconds of the wall clock, or one more than its predecessor's if that is later. */
const idDigits = 16;
const idPattern = /^\d{16}$/;
/**
 * How long the last name is remembered when nothing waits any more: as far as the wall clock may be set back without a
 * name that comes again.
 */
const rememberedMs = 30 * 24 * 3_600_000;

export interface ListedCommand {
  readonly id: string;
  /** Milliseconds, wall clock. */
  readonly at: number;
  readonly expiresAt: number;
  /** What it counts in the mailbox. */
  readonly bytes: number;
}

export class CommandList {
  /** Commands that had expired when the list was read: no longer in it, and to be removed when it is written. */
  readonly expired: readonly string[];
  #last: number;
  #commands: ListedCommand[];
  #bytes: number;

  /** @throws SallyportError `io` for a list that a newer version wrote, or that is damaged. */
  static read(value: Buffer | undefined, nowMs: number): CommandList {
    if (value === undefined) return new CommandList(0, [], nowMs);
    const whole = (value.length - headerBytes) % entryBytes === 0;
    if (value.length < headerBytes || !whole || value.readUInt8(0) !== listVersion) {
      throw new SallyportError('io', 'a list of commands is damaged');
    }
    const commands: ListedCommand[] = [];
    for (let at = headerBytes; at < value.length; at += entryBytes) {
      commands.push({
        id: idOf(value.readDoubleBE(at)),
        at: value.readDoubleBE(at + 8),
        expiresAt: value.readDoubleBE(at + 16),
        bytes: value.readUInt32BE(at + 24),
      });
    }
    return new CommandList(value.readDoubleBE(1), commands, nowMs);
  }

  private constructor(last: number, commands: readonly ListedCommand[], nowMs: number) {
    this.#last = last;
    this.#commands = commands.filter(({ expiresAt }) => expiresAt > nowMs);
    this.expired = commands.filter(({ expiresAt }) => expiresAt <= nowMs).map(({ id }) => id);
    this.#bytes = this.#commands.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Oldest first. */
  get commands(): readonly ListedCommand[] {
    return this.#commands;
  }

  /** When there will be something to tidy up that nobody may ask for: the first expiry, or the end of the list itself. */
  get dueAt(): number {
    if (this.#commands.length === 0) return Math.ceil(this.#last / 1_000) + rememberedMs;
    return this.#commands.reduce(
      (first, { expiresAt }) => Math.min(first, expiresAt),
      Number.POSITIVE_INFINITY,
    );
  }

  /** @returns the name of the new command. @throws SallyportError `quota` */
  add(bytes: number, nowMs: number, expiresAt: number, limits: MailboxLimits): string {
    if (this.#commands.length >= limits.commandsPerDevice) throw full('commandsPerDevice');
    if (this.#bytes + bytes > limits.commandBytesPerDevice) throw full('commandBytesPerDevice');
    this.#last = Math.max(Math.trunc(nowMs) * 1_000, this.#last + 1);
    const id = idOf(this.#last);
    this.#commands.push({ id, at: nowMs, expiresAt, bytes });
    this.#bytes += bytes;
    return id;
  }

  /** @returns whether it was there. */
  remove(id: string): boolean {
    const at = this.#commands.findIndex((command) => command.id === id);
    if (at === -1) return false;
    for (const { bytes } of this.#commands.splice(at, 1)) this.#bytes -= bytes;
    return true;
  }

  /** @returns the names of those that were there; none for what is no name of a command. */
  removeUpTo(id: string): readonly string[] {
    if (!idPattern.test(id)) return [];
    const removed = this.#commands.filter((command) => command.id <= id);
    this.#commands = this.#commands.filter((command) => command.id > id);
    for (const { bytes } of removed) this.#bytes -= bytes;
    return removed.map((command) => command.id);
  }

  toBytes(): Buffer {
    const value = Buffer.allocUnsafe(headerBytes + this.#commands.length * entryBytes);
    value.writeUInt8(listVersion, 0);
    value.writeDoubleBE(this.#last, 1);
    let at = headerBytes;
    for (const command of this.#commands) {
      value.writeDoubleBE(Number(command.id), at);
      value.writeDoubleBE(command.at, at + 8);
      value.writeDoubleBE(command.expiresAt, at + 16);
      value.writeUInt32BE(command.bytes, at + 24);
      at += entryBytes;
    }
    return value;
  }
}

/** Of equal length, so that the order of the characters is the order of acceptance. */
function idOf(sequence: number): string {
  return sequence.toString().padStart(idDigits, '0');
}

function full(limit: string): SallyportError {
  return new SallyportError('quota', `limits.${limit}`);
}
