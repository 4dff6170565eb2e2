/** A session in LMDB in the hands of its owner. */
import { errorCodeOf } from '../../common/base/errors.ts';
import type { QueuedId } from '../broker/message.ts';
import type { SubscriptionOptions } from '../broker/ports.ts';
import type {
  InFlight,
  OwnedSession,
  QueuedMessage,
  SessionId,
  SessionWill,
} from '../broker/sessions.ts';
import {
  decodeEntry,
  decodeInFlight,
  encodeInFlight,
  inFlightKey,
  packetIdOf,
  queuedKey,
  receivedKey,
  receivedRange,
} from './queue-entries.ts';
import { overSince } from './session-record.ts';
import type { SessionLife } from './session-record.ts';
import type { SealedMessages, SessionStoreOptions } from './session-store-parts.ts';
import { stale } from './session-store-parts.ts';
import { contentsOf } from './session-tables.ts';
import type { SessionContents } from './session-tables.ts';

/** Messages read at once when more than the limit may have to be passed over. */
const chunkMessages = 64;
const maxPacketIds = 65_535;

const nothing: readonly never[] = Object.freeze([]);
const settled: Promise<unknown> = Promise.resolve();

export interface Ownership {
  readonly key: string;
  readonly epoch: number;
  readonly life: SessionLife;
  readonly present: boolean;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
  readonly endedWill: SessionWill | undefined;
}

/** One for all sessions. */
export interface OwnershipParts extends SessionStoreOptions {
  readonly messages: SealedMessages;
  readonly onLeft: (key: string, life: SessionLife) => void;
  /** The same, and it could not be stored: everybody else takes the session for connected. */
  readonly onNotLeft: (key: string, epoch: number, life: SessionLife) => void;
  /** Resolves when the other workers have been told, if they have to be. */
  readonly onEnded: (key: string, contents: SessionContents) => Promise<void>;
}

type Subscriptions = Map<string, SubscriptionOptions>;

export class LmdbOwnedSession implements OwnedSession {
  readonly id: SessionId;
  readonly present: boolean;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
  readonly inFlight: readonly InFlight[];
  readonly received: readonly number[];
  readonly endedWill: SessionWill | undefined;
  readonly #parts: OwnershipParts;
  readonly #key: string;
  readonly #epoch: number;
  readonly #hasQueue: boolean;
  /** Changes of the record, one after the other: each begins with what the one before has left. */
  #last: Promise<unknown> = settled;
  /** The others may not have been told of a change. */
  #untold = false;
  /** Of this turn: removed in one block. */
  #removing: { readonly ids: QueuedId[]; readonly done: Promise<void> } | undefined;

  constructor(parts: OwnershipParts, ownership: Ownership) {
    const { key, epoch, life, present } = ownership;
    this.#parts = parts;
    this.#key = key;
    this.#epoch = epoch;
    this.#hasQueue = life.hasQueue;
    this.id = life.id;
    this.present = present;
    this.subscriptions = ownership.subscriptions;
    this.endedWill = ownership.endedWill;
    this.inFlight = present ? this.#storedInFlight() : nothing;
    this.received = present
      ? parts.tables.keys(receivedRange(this.id), maxPacketIds).map(packetIdOf)
      : nothing;
  }

  subscribe(subscriptions: ReadonlyMap<string, SubscriptionOptions>): Promise<void> {
    return this.#resubscribe((stored) => {
      let changed = false;
      for (const [filter, options] of subscriptions) {
        const before = stored.get(filter);
        if (before !== undefined && sameOptions(before, options)) continue;
        stored.set(filter, options);
        changed = true;
      }
      return changed;
    });
  }

  unsubscribe(filters: readonly string[]): Promise<void> {
    return this.#resubscribe((stored) => {
      let changed = false;
      for (const filter of filters) changed = stored.delete(filter) || changed;
      return changed;
    });
  }

  async queued(skip: ReadonlySet<QueuedId>, limit: number): Promise<readonly QueuedMessage[]> {
    if (!this.#hasQueue) return nothing;
    const { tables, clock } = this.#parts;
    if (tables.get(this.#key)?.epoch !== this.#epoch) throw stale();
    const found: QueuedMessage[] = [];
    const useless: QueuedId[] = [];
    let after: QueuedId | undefined;
    for (;;) {
      const chunk = tables.queuedIds(this.id, after, chunkMessages);
      for (const id of chunk) {
        if (found.length >= limit) break;
        after = id;
        const entry = skip.has(id) ? undefined : tables.value(queuedKey(this.id, id));
        if (entry === undefined) continue;
        const message = hasExpired(entry, clock.now()) ? undefined : this.#open(id, entry);
        if (message === undefined) useless.push(id);
        else found.push(message);
      }
      if (found.length >= limit || chunk.length < chunkMessages) break;
      await nextTurn();
    }
    if (useless.length > 0) await this.#drop(useless);
    return found;
  }

  async read(ids: readonly QueuedId[]): Promise<readonly QueuedMessage[]> {
    const { tables } = this.#parts;
    return ids.toSorted().flatMap((id) => {
      const entry = tables.value(queuedKey(this.id, id));
      return (entry === undefined ? undefined : this.#open(id, entry)) ?? [];
    });
  }

  has(id: QueuedId): boolean {
    return this.#parts.tables.has(queuedKey(this.id, id));
  }

  remove(id: QueuedId): Promise<void> {
    const { tables } = this.#parts;
    if (this.#removing === undefined) {
      const ids: QueuedId[] = [];
      const done = Promise.resolve().then(() => {
        this.#removing = undefined;
        return this.#change(() => {
          for (const one of ids) tables.remove(queuedKey(this.id, one));
        });
      });
      this.#removing = { ids, done };
    }
    this.#removing.ids.push(id);
    return this.#removing.done;
  }

  saveInFlight(inFlight: readonly InFlight[]): Promise<void> {
    return this.#change(() => this.#putInFlight(inFlight));
  }

  forgetReceived(packetIds: readonly number[]): Promise<void> {
    const { tables } = this.#parts;
    return this.#change(() => {
      for (const packetId of packetIds) tables.remove(receivedKey(this.id, packetId));
    });
  }

  leave(state: Parameters<OwnedSession['leave']>[0]): Promise<void> {
    const { tables, clock, messages, onLeft } = this.#parts;
    return this.#inTurn(async () => {
      const { life, subscriptions } = this.#stored();
      const left: SessionLife = {
        ...life,
        owner: undefined,
        endedAt: clock.now(),
        expirySeconds: state.expirySeconds,
        will: state.will === undefined ? undefined : messages.sealWill(this.id, state.will),
      };
      await this.#letGo(left, () => {
        tables.putRecord(this.#key, this.#epoch, left, subscriptions);
        this.#putInFlight(state.inFlight);
      });
      onLeft(this.#key, left);
    });
  }

  end(): Promise<void> {
    const { tables, clock, onEnded } = this.#parts;
    return this.#inTurn(async () => {
      const contents = this.#stored();
      const { id, hasQueue } = contents.life;
      await this.#letGo(overSince(clock.now(), id, hasQueue), () =>
        tables.finish(this.#key, contents.life),
      );
      await onEnded(this.#key, contents);
    });
  }

  #resubscribe(step: (stored: Subscriptions) => boolean): Promise<void> {
    const { tables, onSessionChanged } = this.#parts;
    if (!this.#hasQueue) return Promise.resolve();
    return this.#inTurn(async () => {
      const { life, subscriptions } = this.#stored();
      const next = new Map(subscriptions);
      // A device subscribes anew whenever it connects, most of them to what they had.
      if (step(next)) {
        this.#untold = true;
        await this.#change(() => tables.putRecord(this.#key, this.#epoch, life, next));
      }
      if (!this.#untold) return;
      await onSessionChanged(this.#key);
      this.#untold = false;
    });
  }

  #stored(): SessionContents {
    const found = this.#parts.tables.get(this.#key);
    if (found?.epoch !== this.#epoch) throw stale();
    return contentsOf(found);
  }

  /** Writes if the session is still ours. */
  async #change(work: () => void): Promise<void> {
    const { tables } = this.#parts;
    if (!(await tables.change(this.#key, this.#epoch, work))) throw stale();
  }

  /** The last change by this owner. */
  async #letGo(life: SessionLife, work: () => void): Promise<void> {
    try {
      await this.#change(work);
    } catch (error) {
      if (errorCodeOf(error) !== 'busy') this.#parts.onNotLeft(this.#key, this.#epoch, life);
      throw error;
    }
  }

  #putInFlight(inFlight: readonly InFlight[]): void {
    const { tables } = this.#parts;
    if (!this.#hasQueue) return;
    const key = inFlightKey(this.id);
    if (inFlight.length === 0) tables.remove(key);
    else tables.put(key, encodeInFlight(inFlight));
  }

  /** One of QoS 1 that is not queued any more has been completed. Of QoS 2 the client may still hold the identifier. */
  #storedInFlight(): readonly InFlight[] {
    const value = this.#parts.tables.value(inFlightKey(this.id));
    if (value === undefined) return nothing;
    return decodeInFlight(value).filter(({ id, qos }) => qos === 2 || this.has(id));
  }

  #open(id: QueuedId, entry: Buffer): QueuedMessage | undefined {
    return this.#parts.messages.open(id, entry);
  }

  async #drop(ids: readonly QueuedId[]): Promise<void> {
    const { tables } = this.#parts;
    await this.#change(() => {
      for (const id of ids) tables.remove(queuedKey(this.id, id));
    });
  }

  async #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#last.then(step);
    this.#last = done.catch(() => {});
    return done;
  }
}

/** What cannot be read is left to whoever opens it. */
function hasExpired(entry: Buffer, nowMs: number): boolean {
  try {
    return (decodeEntry(entry).head.expiresAt ?? Number.POSITIVE_INFINITY) <= nowMs;
  } catch {
    return false;
  }
}

function sameOptions(a: SubscriptionOptions, b: SubscriptionOptions): boolean {
  return (
    a.qos === b.qos &&
    a.noLocal === b.noLocal &&
    a.retainAsPublished === b.retainAsPublished &&
    a.identifiers.length === b.identifiers.length &&
    a.identifiers.every((identifier, i) => identifier === b.identifiers[i])
  );
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
