/** Retained messages (MQTT 5 §3.3.1.3), one per topic, shared by all workers: the port that a store fills. */
import type { Message } from './message.ts';

/** `retain` is true, `publisherSession` empty: whoever published it may be long gone. */
export type RetainedMessage = Message;

export interface RetainedLimits {
  /** Messages that one identity keeps retained. */
  readonly retainedPerIdentity: number;
  /** Bytes of topics, payloads and properties that one identity keeps retained. */
  readonly retainedBytesPerIdentity: number;
}

export interface RetainedStore {
  /**
   * Retains the message for its topic in place of the one before, or removes that when the payload is empty. The
   * message belongs to its publisher's quota from then on, whoever set the topic before; what it replaces is given back
   * to its owner. Resolves when the change is as durable as the `durability` setting says; until then the message is
   * kept, so its payload MUST NOT be a slice of a read buffer.
   *
   * @throws SallyportError `quota` when a limit of the publisher would be passed (nothing has changed then),
   * `unavailable` when too many writers want the same records at once, `io` when the disk refuses.
   */
  put(message: Message): Promise<void>;
  /**
   * Those whose topic the filter matches and whose expiry has not passed, in the order of their topics; expired ones are
   * removed. What is set or removed meanwhile may be seen or not.
   */
  match(filter: string): AsyncIterable<RetainedMessage>;
  /** How many there are; expired ones that nobody has met yet included. */
  count(): Promise<number>;
}
