/**
 * Where sessions are in LMDB: one database of records by session key, one of everything that belongs to a session by
 * its id (queue-entries.ts).
 *
 * The version that LMDB keeps with a record is the session's epoch: it changes when the session changes hands and then
 * only. Every change is made on the condition that the epoch is still the one it was made for, checked by LMDB under
 * the write lock. So whoever has lost the session changes nothing, however late its write comes.
 */
import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { IF_EXISTS } from 'lmdb';
import type { Database } from 'lmdb';
import { errorCodeOf, SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { QueuedId } from '../broker/message.ts';
import type { SubscriptionOptions } from '../broker/ports.ts';
import type { SessionId } from '../broker/sessions.ts';
import { disown } from './lmdb-commits.ts';
import type { LmdbCommits } from './lmdb-commits.ts';
import type { LmdbTurns, TurnWriter } from './lmdb-turns.ts';
import type { QueuedSize } from './queue-bounds.ts';
import {
  decodeEntry,
  lifeKey,
  lifeRange,
  overKey,
  overRange,
  queuedIdOf,
  queuedKey,
  queueRange,
  sessionOfOverKey,
  workerKey,
} from './queue-entries.ts';
import type { KeyRange } from './queue-entries.ts';
import { decodeLife, decodeSession, encodeSession, overSince } from './session-record.ts';
import type { Owner, SessionLife } from './session-record.ts';

type Entries = Database<Buffer, Buffer>;

/** Entries read before the event loop gets a turn: some 200 µs. */
const chunkEntries = 64;
const removedTogether = 256;
const tokenBytes = 8;
const noId = '0'.repeat(24);
/** Of what is no record: LMDB's versions are of no use there. */
const anyVersion = 1;

export interface SessionTablesOptions {
  readonly slot: number;
  readonly sessions: Entries;
  readonly queues: Entries;
  readonly turns: LmdbTurns;
  readonly commits: LmdbCommits;
}

const noSubscriptions: ReadonlyMap<string, SubscriptionOptions> = new Map();

export interface FoundSession {
  readonly key: string;
  readonly epoch: number;
  readonly life: SessionLife;
  readonly record: Buffer;
}

export class SessionTables {
  /** This process. */
  readonly self: Owner;
  readonly #sessions: Entries;
  readonly #queues: Entries;
  readonly #turns: LmdbTurns;
  readonly #commits: LmdbCommits;
  #closed = false;

  constructor({ slot, sessions, queues, turns, commits }: SessionTablesOptions) {
    this.#sessions = sessions;
    this.#queues = queues;
    this.#turns = turns;
    this.#commits = commits;
    this.self = { slot, token: randomBytes(tokenBytes).toString('hex') };
    queues.putSync(workerKey(slot), Buffer.from(this.self.token, 'hex'), anyVersion);
  }

  /** @throws SallyportError `io` when a newer version wrote the record, or the store is closed. */
  get(key: string): FoundSession | undefined {
    this.#checkOpen();
    this.#sessions.resetReadTxn();
    return this.#find(Buffer.from(key));
  }

  /** All, in no order. Not a snapshot. What a newer version wrote is given to `unreadable` and left out. */
  async *scan(unreadable: (key: string, error: unknown) => void): AsyncIterable<FoundSession> {
    let start = Buffer.of(0);
    for (;;) {
      this.#checkOpen();
      this.#sessions.resetReadTxn();
      const keys = [...this.#sessions.getKeys({ start, limit: chunkEntries, snapshot: false })];
      for (const key of keys) {
        this.#checkOpen();
        try {
          const found = this.#find(key);
          if (found !== undefined) yield found;
        } catch (error) {
          unreadable(key.toString('utf8'), error);
        }
      }
      const last = keys.at(-1);
      if (last === undefined || keys.length < chunkEntries) return;
      start = Buffer.concat([last, Buffer.of(0)]);
      await nextTurn();
    }
  }

  /** Keys of an identity's sessions, `limit` at most. */
  keysOf(principal: PrincipalName, limit: number): readonly string[] {
    this.#checkOpen();
    this.#sessions.resetReadTxn();
    const range = { start: Buffer.from(`${principal} `), end: Buffer.from(`${principal}!`), limit };
    return [...this.#sessions.getKeys({ ...range, snapshot: false })].map((key) =>
      key.toString('utf8'),
    );
  }

  /**
   * Does `work`, a block of writes, when the session has this epoch; undefined = when there is none.
   *
   * @returns whether it did. @throws SallyportError `io`
   */
  change(key: string, epoch: number | undefined, work: () => void): Promise<boolean> {
    this.#checkOpen();
    const bytes = Buffer.from(key);
    return this.#commits.written(() => [
      epoch === undefined
        ? this.#sessions.ifNoExists(bytes, work)
        : this.#sessions.ifVersion(bytes, epoch, work),
    ]);
  }

  /** Does a block of writes without a condition of its own. @throws SallyportError `io` */
  async write(work: () => void): Promise<void> {
    this.#checkOpen();
    await this.#commits.written(() => [this.#queues.batch(work)]);
  }

  /** `writer` is called when this turn ends, in a block of writes. @returns and throws as `LmdbTurns.join` does. */
  join(writer: TurnWriter): Promise<void> {
    this.#checkOpen();
    return this.#turns.join(writer);
  }

  /** Inside a block of writes, like all that follow. */
  putRecord(
    key: string,
    epoch: number,
    life: SessionLife,
    subscriptions: ReadonlyMap<string, SubscriptionOptions>,
  ): void {
    disown(this.#sessions.put(Buffer.from(key), encodeSession(life, subscriptions), epoch));
  }

  /** The session begins: messages may be queued for it from now on. */
  begin(session: SessionId): void {
    disown(this.#queues.put(lifeKey(session), Buffer.of(1), anyVersion));
  }

  /** It is over: nothing is queued for it any more, and what there is of it is to be removed. */
  finish(key: string, { id, hasQueue }: SessionLife): void {
    disown(this.#sessions.remove(Buffer.from(key)));
    if (!hasQueue) return;
    disown(this.#queues.remove(lifeKey(id)));
    disown(this.#queues.put(overKey(id), Buffer.of(1), anyVersion));
  }

  /** In a block lmdb gives a promise that is settled for each write: to watch it would cost one of our own. */
  put(key: Buffer, value: Buffer): void {
    void this.#queues.put(key, value, anyVersion);
  }

  remove(key: Buffer): void {
    void this.#queues.remove(key);
  }

  /** Does a block of writes within this one if the session is not over. */
  ifAlive(session: SessionId, work: () => void): void {
    disown(this.#queues.ifVersion(lifeKey(session), IF_EXISTS, work));
  }

  /** What is committed. */
  value(key: Buffer): Buffer | undefined {
    this.#checkOpen();
    this.#queues.resetReadTxn();
    return this.#value(key);
  }

  has(key: Buffer): boolean {
    if (this.#closed) return false;
    this.#queues.resetReadTxn();
    return this.#queues.doesExist(key);
  }

  keys(range: KeyRange, limit: number): readonly Buffer[] {
    this.#checkOpen();
    this.#queues.resetReadTxn();
    return [...this.#queues.getKeys({ ...range, limit, snapshot: false })];
  }

  /** A part of a queue, oldest first. */
  queued(
    session: SessionId,
    after: QueuedId | undefined,
    limit: number,
  ): readonly { readonly id: QueuedId; readonly entry: Buffer }[] {
    const found: { id: QueuedId; entry: Buffer }[] = [];
    for (const key of this.keys(queueRange(session, after), limit)) {
      const entry = this.#value(key);
      if (entry !== undefined) found.push({ id: queuedIdOf(key), entry });
    }
    return found;
  }

  /** The same without what lies there, for an eighth of the time. */
  queuedIds(session: SessionId, after: QueuedId | undefined, limit: number): readonly QueuedId[] {
    return this.keys(queueRange(session, after), limit).map(queuedIdOf);
  }

  sizes(session: SessionId, after: QueuedId | undefined, limit: number): readonly QueuedSize[] {
    return this.queued(session, after, limit).map(({ id, entry }) => ({
      id,
      bytes: entry.length,
      expiresAt: expiryOf(entry),
    }));
  }

  /** Removes messages from a queue, whoever owns it. @throws SallyportError `io` */
  drop(session: SessionId, ids: readonly QueuedId[]): Promise<void> {
    return this.write(() => {
      for (const id of ids) this.remove(queuedKey(session, id));
    });
  }

  /** Removes what there is of a session that is over. @throws SallyportError `io` */
  async clear(session: SessionId): Promise<void> {
    for (;;) {
      const keys = this.keys(lifeRange(session), removedTogether);
      const last = keys.length < removedTogether;
      await this.write(() => {
        for (const key of keys) this.remove(key);
        if (last) this.remove(overKey(session));
      });
      if (last) return;
    }
  }

  /** Sessions that are over and not cleared, by whomever they were ended; `limit` at most. */
  uncleared(limit: number): readonly SessionId[] {
    return this.keys(overRange, limit).map(sessionOfOverKey);
  }

  /** The process that has this slot now, or had it last. */
  tokenOf(slot: number): string | undefined {
    return this.value(workerKey(slot))?.toString('hex');
  }

  /** Nothing is read or written any more; the databases are the environment's to close. */
  close(): void {
    this.#closed = true;
  }

  #find(key: Buffer): FoundSession | undefined {
    const entry = this.#sessions.getEntry(key);
    if (entry === undefined) return undefined;
    const record = Buffer.from(entry.value.buffer, entry.value.byteOffset, entry.value.length);
    const epoch = entry.version ?? 0;
    return { key: key.toString('utf8'), epoch, life: lifeOf(record), record };
  }

  #value(key: Buffer): Buffer | undefined {
    const bytes = this.#queues.getBinary(key);
    return bytes === undefined
      ? undefined
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #checkOpen(): void {
    if (this.#closed) throw new SallyportError('io', 'the store is closed');
  }
}

export interface SessionContents {
  readonly life: SessionLife;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
}

/**
 * A session that is damaged is over: a bad block must not deny a client its service for ever.
 *
 * @throws SallyportError `io` when a newer version wrote it.
 */
export function contentsOf({ life, record }: FoundSession): SessionContents {
  try {
    return decodeSession(record);
  } catch (error) {
    if (errorCodeOf(error) !== 'tampered') throw error;
    return { life: overSince(0, life.id, life.hasQueue), subscriptions: noSubscriptions };
  }
}

/** Of one that is damaged from its beginning the id is not known, and its queue not found. */
function lifeOf(record: Buffer): SessionLife {
  try {
    return decodeLife(record);
  } catch (error) {
    if (errorCodeOf(error) !== 'tampered') throw error;
    return overSince(0, noId, false);
  }
}

/** What cannot be read has expired: nobody would ever get it. */
function expiryOf(entry: Buffer): number | undefined {
  try {
    return decodeEntry(entry).head.expiresAt;
  } catch {
    return 0;
  }
}
