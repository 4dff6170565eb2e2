/**
 * Sessions in LMDB, for all workers of a machine: whoever accepts a message writes it into the queues of the sessions
 * that want it, and the owner of a session reads and empties its queue.
 *
 * A message is encoded and sealed once, and put into each queue under the same id with a head of its own. For a payload
 * of 200 bytes that costs this thread 14 µs for one queue, 8 of them for sealing, and 3 µs for each of 1,000
 * (bench/sessions.ts); LMDB's thread takes another 10 µs for each of them, because each is on a page of its own.
 */
import { messageOf, rejection, SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Message, QueuedId } from '../broker/message.ts';
import { principalOfKey, sessionKey } from '../broker/session-key.ts';
import type {
  OwnedSession,
  QueueTarget,
  Reception,
  SessionStore,
  SessionWill,
  StoredSession,
  WantedSession,
} from '../broker/sessions.ts';
import { LmdbOwnedSession } from './lmdb-owned-session.ts';
import type { OwnershipParts } from './lmdb-owned-session.ts';
import { QueueBounds } from './queue-bounds.ts';
import { encodeEntry } from './queue-entries.ts';
import { QueueWrites } from './queue-writes.ts';
import type { Placement } from './queue-writes.ts';
import { SessionPresence } from './session-presence.ts';
import { dueAt, isOver } from './session-record.ts';
import type { SessionLife } from './session-record.ts';
import type { SessionReaper } from './session-reaper.ts';
import type { SessionRemains } from './session-remains.ts';
import { SealedMessages, stale } from './session-store-parts.ts';
import type { SessionStoreOptions } from './session-store-parts.ts';
import { contentsOf } from './session-tables.ts';
import type { FoundSession, SessionContents } from './session-tables.ts';
import { transientSession } from './transient-session.ts';

/** Attempts against others that change the same session. */
const attempts = 16;
const discardedTogether = 64;

export class LmdbSessionStore implements SessionStore {
  readonly #options: OwnershipParts;
  readonly #messages: SealedMessages;
  readonly #presence: SessionPresence;
  readonly #remains: SessionRemains;
  readonly #bounds: QueueBounds;
  readonly #writes: QueueWrites;

  constructor(
    options: SessionStoreOptions,
    remains: SessionRemains,
    reaper: Pick<SessionReaper, 'note' | 'notLeft'>,
  ) {
    const { tables, cipher, workers, limits, clock, logger, count } = options;
    this.#messages = new SealedMessages(cipher, logger);
    this.#options = {
      ...options,
      messages: this.#messages,
      onLeft: (key, life) => reaper.note(key, dueAt(life)),
      onNotLeft: (key, at, life) => reaper.notLeft(key, at, life),
      onEnded: (key, contents) => this.#ended(key, contents),
    };
    this.#presence = new SessionPresence(tables, workers);
    this.#remains = remains;
    this.#writes = new QueueWrites(tables, options.ids);
    this.#bounds = new QueueBounds({
      limits,
      workers: () => workers.slots().length,
      sizes: (session, after, limit) => tables.sizes(session, after, limit),
      drop: (session, ids) => {
        tables.drop(session, ids).catch((error: unknown) => {
          logger.debug({ err: messageOf(error) }, 'expired messages were not removed');
        });
      },
      clock,
      logger,
      count,
    });
  }

  async open(wanted: WantedSession): Promise<OwnedSession> {
    const { tables } = this.#options;
    const key = sessionKey(wanted.principal, wanted.clientId);
    for (let i = 0; i < attempts; i += 1) {
      const opened = await this.#tryOpen(key, wanted, tables.get(key));
      if (opened !== undefined) return opened;
    }
    throw new SallyportError('busy', 'too many take the same session');
  }

  async find(key: string): Promise<StoredSession | undefined> {
    const found = this.#options.tables.get(key);
    return found === undefined ? undefined : storedOf(found);
  }

  async *all(): AsyncIterable<StoredSession> {
    const { tables, logger } = this.#options;
    const unreadable = (key: string, error: unknown): void =>
      logger.error({ session: key, err: messageOf(error) }, 'a stored session cannot be read');
    for await (const found of tables.scan(unreadable)) yield storedOf(found);
  }

  newId(): QueuedId {
    return this.#options.ids.next(0);
  }

  // Not `async`, which would be a promise more for each message.
  enqueue(
    id: QueuedId,
    message: Message,
    targets: readonly QueueTarget[],
    reception: Reception | undefined,
  ): Promise<void> {
    const placements = this.#place(id, message, targets);
    if (placements.length === 0 && reception === undefined) return settled;
    try {
      const done = this.#writes.begin();
      for (const placement of placements) this.#writes.place(placement);
      if (reception !== undefined) this.#writes.receive(reception.session, reception.packetId);
      return done;
    } catch (error) {
      for (const { admission } of placements) admission.landed(false);
      return rejection(error);
    }
  }

  async discard(principal: PrincipalName): Promise<void> {
    const { tables } = this.#options;
    for (let i = 0; i < attempts; i += 1) {
      let keys = tables.keysOf(principal, discardedTogether);
      while (keys.length > 0) {
        const done = await Promise.all(keys.map((key) => this.#discardOne(key)));
        // Somebody else was quicker with some: they are tried again in the next round.
        if (!done.every(Boolean)) break;
        keys = tables.keysOf(principal, discardedTogether);
      }
      if (keys.length === 0) return;
    }
    throw new SallyportError(
      'busy',
      'the sessions of an identity are taken while they are removed',
    );
  }

  /** @returns undefined when somebody else has changed it meanwhile. */
  async #tryOpen(
    key: string,
    wanted: WantedSession,
    found: FoundSession | undefined,
  ): Promise<OwnedSession | undefined> {
    const { tables, ids, clock } = this.#options;
    const { expirySeconds, will, epoch } = wanted;
    const now = clock.now();
    const stored = found === undefined ? undefined : contentsOf(found);
    const newer = found !== undefined && found.epoch > epoch;
    if (newer && stored !== undefined && this.#isConnected(stored.life)) throw stale();
    const resumed = stored !== undefined && !wanted.cleanStart && !isOver(stored.life, now);
    const kept = resumed || expirySeconds > 0;
    if (!kept && will === undefined && found === undefined) return transientSession(ids.next(0));
    if (!resumed && kept) this.#checkQuota(wanted.principal, key, now);
    const id = resumed ? stored.life.id : ids.next(0);
    const life: SessionLife = {
      id,
      expirySeconds,
      owner: tables.self,
      endedAt: undefined,
      hasQueue: kept,
      will: will === undefined ? undefined : this.#messages.sealWill(id, will),
    };
    const subscriptions = resumed ? stored.subscriptions : noSubscriptions;
    // Unlike the claim's, the epoch of a record never goes back, though clocks are set.
    const owned = Math.max(epoch, (found?.epoch ?? 0) + 1);
    const isStored = kept || will !== undefined;
    const change = tables.change(key, found?.epoch, () => {
      if (!resumed && stored !== undefined) tables.finish(key, stored.life);
      if (isStored) tables.putRecord(key, owned, life, subscriptions);
      if (kept && !resumed) tables.begin(id);
      ids.note();
    });
    const done = await change.catch((error: unknown) => {
      // What could not be flushed may have been committed all the same, for a client that is not let in.
      const left = { ...life, owner: undefined, endedAt: now, will: undefined };
      this.#options.onNotLeft(key, owned, left);
      throw error;
    });
    if (!done) return undefined;
    const endedWill = stored === undefined ? undefined : this.#dueWill(stored.life, resumed, now);
    if (!resumed && stored !== undefined) await this.#ended(key, stored);
    if (!isStored) return transientSession(id, endedWill);
    return new LmdbOwnedSession(this.#options, {
      key,
      epoch: owned,
      life,
      present: resumed,
      subscriptions,
      endedWill,
    });
  }

  /** Its client is connected to a worker that is there. */
  #isConnected({ owner, endedAt }: SessionLife): boolean {
    return endedAt === undefined && this.#presence.isThere(owner);
  }

  /** Sessions that are over do not count, and those that end with their connection are counted by their home. */
  #checkQuota(principal: PrincipalName, key: string, now: number): void {
    const { tables, limits } = this.#options;
    const { sessionsPerIdentity } = limits();
    // All of them are read only when there seem to be too many.
    const some = tables.keysOf(principal, sessionsPerIdentity + 1).filter((one) => one !== key);
    if (some.length < sessionsPerIdentity) return;
    let counted = 0;
    for (const one of tables.keysOf(principal, Number.MAX_SAFE_INTEGER)) {
      if (one === key) continue;
      const found = tables.get(one);
      if (found !== undefined && !isOver(found.life, now)) counted += 1;
      if (counted >= sessionsPerIdentity) {
        throw new SallyportError('quota', 'limits.sessionsPerIdentity');
      }
    }
  }

  #dueWill(life: SessionLife, resumed: boolean, now: number): SessionWill | undefined {
    const { id, will, owner, endedAt } = life;
    // Whoever has an ended session in hand publishes its will.
    if (will === undefined || (endedAt !== undefined && this.#presence.isThere(owner))) {
      return undefined;
    }
    const due = (endedAt ?? now) + will.delaySeconds * 1_000 <= now;
    return !resumed || due ? this.#messages.openWill(id, will) : undefined;
  }

  #place(id: QueuedId, message: Message, targets: readonly QueueTarget[]): readonly Placement[] {
    if (targets.length === 0) return [];
    const sealed = this.#messages.seal(id, message);
    const { expiresAt } = message;
    /** Most subscribers want a message alike: they share the bytes. */
    const alike = new Map<number, Buffer>();
    const placements: Placement[] = [];
    for (const { session, key, qos, retain, identifiers } of targets) {
      const kind = identifiers.length > 0 ? undefined : qos * 2 + (retain ? 1 : 0);
      const shared = kind === undefined ? undefined : alike.get(kind);
      const entry = shared ?? encodeEntry({ qos, retain, expiresAt, identifiers }, sealed);
      if (kind !== undefined && shared === undefined) alike.set(kind, entry);
      const admission = this.#bounds.admit(session, key, { id, bytes: entry.length, expiresAt });
      if (admission !== undefined) placements.push({ session, entry, admission });
    }
    return placements;
  }

  async #discardOne(key: string): Promise<boolean> {
    const { tables } = this.#options;
    const found = tables.get(key);
    if (found === undefined) return true;
    const contents = contentsOf(found);
    const done = await tables.change(key, found.epoch, () => {
      tables.finish(key, contents.life);
    });
    if (done) await this.#ended(key, contents);
    return done;
  }

  /** Resolves when the other workers have been told, if they have to be. */
  async #ended(key: string, { life, subscriptions }: SessionContents): Promise<void> {
    this.#bounds.forget(life.id);
    if (life.hasQueue) this.#remains.clear(life.id);
    if (subscriptions.size > 0) await this.#options.onSessionChanged(key);
  }
}

function storedOf(found: FoundSession): StoredSession {
  const { life, subscriptions } = contentsOf(found);
  return { id: life.id, key: found.key, principal: principalOfKey(found.key), subscriptions };
}

const settled: Promise<void> = Promise.resolve();
const noSubscriptions: StoredSession['subscriptions'] = new Map();
