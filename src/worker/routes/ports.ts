/** What the routes need from outside: durable queues, a cipher for what lies in them, and timers. */
import type { Durability } from '../../common/ipc/snapshot.ts';

/**
 * Names one message for good: 24 hex digits. Of two ids the one that was made later is greater, on whichever worker of
 * the machine it was made, and none comes twice, also after a restart of the machine or a change of its wall clock.
 */
export type MessageId = string;

export interface SpoolAddition {
  readonly spool: string;
  readonly id: MessageId;
  /** Kept as it is; the caller MUST NOT change it before the addition is settled. */
  readonly value: Buffer;
}

export interface SpoolEntry {
  readonly id: MessageId;
  readonly partition: number;
  /** Owned by the caller. */
  readonly value: Buffer;
}

/** Entries of the partitions `from` … `to` - 1: by partition, then by id. */
export interface SpoolRange {
  readonly from: number;
  readonly to: number;
  readonly limit: number;
  /** No more entries once these bytes are reached; there is always one. */
  readonly bytes: number;
  /** Not given, and not counted. */
  readonly skip: ReadonlySet<MessageId>;
}

export interface SpoolUsage {
  readonly messages: number;
  /** That they take up on disk, rounded up as the backend stores them. */
  readonly bytes: number;
  readonly deadLetters: number;
  readonly deadLetterBytes: number;
}

/**
 * Durable queues that all workers share, each with the messages that its backend has refused beside it. A queue has 256
 * partitions, 0 … 255; a message's id says in which it lies.
 *
 * Every method but `newId` rejects with SallyportError `io` when the storage fails or is closed, `not-found` for a spool
 * that was never opened.
 */
export interface SpoolStore {
  newId(partition: number): MessageId;
  /** Every spool that was ever opened, by any worker: those of earlier configurations too. */
  names(): readonly string[];
  /**
   * Makes the spool when it is not there.
   *
   * @throws SallyportError `quota` when there are too many, `busy` for a moment in which nothing can be made, `io`
   */
  open(spool: string): void;
  /** All of them or none. Resolves when they are as durable as asked. What is given in one turn is written together. */
  append(additions: readonly SpoolAddition[], durability: Durability): Promise<void>;
  /** What had been appended, and not settled or refused, when it was called. */
  read(spool: string, range: SpoolRange): Promise<readonly SpoolEntry[]>;
  /** Removes what has been delivered. Resolves when no worker sees it any more. */
  settle(spool: string, ids: readonly MessageId[]): Promise<void>;
  usage(spool: string): Promise<SpoolUsage>;
  /** Makes a message that waits a dead letter of this value; does nothing when it does not wait any more. */
  refuse(spool: string, id: MessageId, value: Buffer): Promise<void>;
  /** Dead letters after `after` (empty = from the first), oldest first. */
  deadLetters(spool: string, after: string, limit: number): Promise<readonly SpoolEntry[]>;
  deadLetter(spool: string, id: string): Promise<SpoolEntry | undefined>;
  /** Makes a dead letter wait again at its old place, with this value. @returns whether it was one. */
  restore(spool: string, id: MessageId, value: Buffer): Promise<boolean>;
  /** Drops dead letters. @returns how many there were. */
  discard(spool: string, ids: readonly string[]): Promise<number>;
  /** Drops the oldest dead letters. @returns how many. */
  discardOldest(spool: string, count: number): Promise<number>;
}

/** Records at rest: what was sealed in one context opens in no other. */
export interface RecordSeal {
  seal(context: string, plain: Buffer): Buffer;
  /** @throws SallyportError `tampered` */
  open(context: string, record: Buffer): Buffer;
}

export interface Timers {
  /** Calls `wake` once, not before `ms` have passed. @returns what calls it off. */
  after(ms: number, wake: () => void): () => void;
}
