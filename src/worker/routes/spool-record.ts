/**
 * What lies in a spool, sealed under the spool's name and the message's id, so that no record passes for another.
 *
 *   waiting: u8 version | f64 accepted at | the message
 *   refused: u8 kind | sealed: u8 version | f64 refused at | u16 length | reason | the record as it waited
 *
 * A record that cannot be opened is kept as it is, behind a kind of its own: the key with which it was sealed may come
 * back.
 */
import { principalName } from '../../common/base/principal.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { DeadLetter } from '../../common/ipc/messages.ts';
import type { Message } from '../broker/message.ts';
import { decodeMessage, encodeMessage } from '../broker/message-codec.ts';
import type { RecordSeal, SpoolEntry } from './ports.ts';

const recordVersion = 1;
const headerBytes = 9;
const reasonAt = headerBytes + 2;
const maxReasonLength = 200;
const kind = { unreadable: 0, refused: 1 } as const;

export interface WaitingMessage {
  readonly id: string;
  /** Milliseconds, wall clock. */
  readonly acceptedAt: number;
  readonly message: Message;
}

export interface Refusal {
  readonly refusedAt: number;
  readonly reason: string;
}

/** The record of a message for any spool, to be sealed for each. */
export function encodeRecord(message: Message, acceptedAt: number): Buffer {
  return Buffer.concat([header(acceptedAt), encodeMessage(message)]);
}

export class SpoolRecords {
  readonly #seal: RecordSeal;
  readonly #spool: string;

  constructor(seal: RecordSeal, spool: string) {
    this.#seal = seal;
    this.#spool = spool;
  }

  /** @param record of `encodeRecord`. */
  seal(id: string, record: Buffer): Buffer {
    return this.#seal.seal(this.#waiting(id), record);
  }

  /** @throws SallyportError `tampered` or `invalid-frame` when it cannot be read. */
  open({ id, value }: SpoolEntry): WaitingMessage {
    return decodeRecord(id, this.#seal.open(this.#waiting(id), value));
  }

  /** The value of the dead letter that a waiting message becomes. */
  refused(waiting: WaitingMessage, { refusedAt, reason }: Refusal): Buffer {
    const text = Buffer.from(reason.slice(0, maxReasonLength));
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16BE(text.length);
    const record = encodeRecord(waiting.message, waiting.acceptedAt);
    const plain = Buffer.concat([header(refusedAt), length, text, record]);
    return Buffer.concat([
      Buffer.of(kind.refused),
      this.#seal.seal(this.#refused(waiting.id), plain),
    ]);
  }

  /** The value of the dead letter that a record becomes which cannot be read. */
  unreadable(value: Buffer): Buffer {
    return Buffer.concat([Buffer.of(kind.unreadable), value]);
  }

  /** A dead letter for an operator. */
  describe(entry: SpoolEntry): DeadLetter {
    const opened = this.#openRefused(entry);
    if (opened === undefined) {
      return {
        id: entry.id,
        publisher: principalName('service', 'unknown'),
        topic: '',
        acceptedAt: 0,
        refusedAt: 0,
        reason: 'the stored record cannot be read',
        bytes: entry.value.length,
      };
    }
    const { message, acceptedAt } = decodeRecord(entry.id, opened.record);
    return {
      id: entry.id,
      publisher: message.publisher,
      topic: message.topic,
      acceptedAt,
      refusedAt: opened.refusedAt,
      reason: opened.reason,
      bytes: message.payload.length,
    };
  }

  /** The value with which a dead letter waits again; undefined when it cannot be read. */
  restored(entry: SpoolEntry): Buffer | undefined {
    if (entry.value[0] === kind.unreadable) {
      const value = entry.value.subarray(1);
      return this.#isReadable({ ...entry, value }) ? value : undefined;
    }
    const opened = this.#openRefused(entry);
    return opened === undefined ? undefined : this.seal(entry.id, opened.record);
  }

  #isReadable(entry: SpoolEntry): boolean {
    try {
      this.open(entry);
      return true;
    } catch (error) {
      if (error instanceof SallyportError) return false;
      throw error;
    }
  }

  #openRefused({ id, value }: SpoolEntry): (Refusal & { readonly record: Buffer }) | undefined {
    if (value[0] !== kind.refused) return undefined;
    try {
      const plain = this.#seal.open(this.#refused(id), value.subarray(1));
      const refusedAt = timeOf(plain);
      const end = reasonAt + plain.readUInt16BE(headerBytes);
      const record = plain.subarray(end);
      decodeRecord(id, record);
      return { refusedAt, reason: plain.toString('utf8', reasonAt, end), record };
    } catch (error) {
      if (error instanceof SallyportError) return undefined;
      throw error;
    }
  }

  #waiting(id: string): string {
    return `spool ${this.#spool} ${id}`;
  }

  #refused(id: string): string {
    return `dead letter ${this.#spool} ${id}`;
  }
}

function header(time: number): Buffer {
  const bytes = Buffer.allocUnsafe(headerBytes);
  bytes.writeUInt8(recordVersion, 0);
  bytes.writeDoubleBE(time, 1);
  return bytes;
}

function timeOf(plain: Buffer): number {
  if (plain.length < headerBytes || plain.readUInt8(0) !== recordVersion) {
    throw new SallyportError('invalid-frame', 'a spooled record is of an unknown version');
  }
  return plain.readDoubleBE(1);
}

function decodeRecord(id: string, plain: Buffer): WaitingMessage {
  return { id, acceptedAt: timeOf(plain), message: decodeMessage(plain.subarray(headerBytes)) };
}
