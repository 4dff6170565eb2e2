/** Sessions in memory, for tests of what is built on the port. */
import { isDeepStrictEqual } from 'node:util';
import { SallyportError } from '../../common/base/errors.ts';
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Message, QueuedId } from '../broker/message.ts';
import type { SubscriptionOptions } from '../broker/ports.ts';
import { sessionKey } from '../broker/session-key.ts';
import { neverExpires } from '../broker/sessions.ts';
import type {
  InFlight,
  OwnedSession,
  QueuedMessage,
  QueueTarget,
  Reception,
  SessionId,
  SessionLimits,
  SessionStore,
  SessionWill,
  StoredSession,
  WantedSession,
} from '../broker/sessions.ts';
import { IdClock, systemMicros } from './message-ids.ts';
import { transientSession } from './transient-session.ts';

interface Life {
  readonly id: SessionId;
  readonly key: string;
  readonly principal: PrincipalName;
  epoch: number;
  expirySeconds: number;
  /** Wall clock; undefined = it is connected. */
  endedAt: number | undefined;
  will: SessionWill | undefined;
  readonly subscriptions: Map<string, SubscriptionOptions>;
  inFlight: readonly InFlight[];
  readonly received: Set<number>;
  readonly queue: Map<QueuedId, QueuedMessage>;
  /** Not so for one that is there for the sake of its will alone. */
  readonly kept: boolean;
}

/** What several workers of one test share; each has its own `MemorySessionStore` on it. */
export type SharedSessions = Map<string, Life>;

export interface MemorySessionsOptions {
  readonly clock: Clock;
  readonly limits: () => SessionLimits;
  /** As of the durable store; by default nobody is told. */
  readonly onSessionChanged?: (key: string) => Promise<void>;
  readonly slot?: number;
  readonly shared?: SharedSessions;
}

export class MemorySessionStore implements SessionStore {
  readonly #clock: Clock;
  readonly #limits: () => SessionLimits;
  readonly #changed: (key: string) => Promise<void>;
  readonly #ids: IdClock;
  readonly #lives: SharedSessions;

  constructor(options: MemorySessionsOptions) {
    const { clock, slot = 0 } = options;
    this.#clock = clock;
    this.#limits = options.limits;
    this.#changed = options.onSessionChanged ?? (async () => {});
    this.#ids = new IdClock({ slot, micros: systemMicros, offset: 0 });
    this.#lives = options.shared ?? new Map();
  }

  async open(wanted: WantedSession): Promise<OwnedSession> {
    const { principal, epoch, expirySeconds } = wanted;
    const key = sessionKey(principal, wanted.clientId);
    const now = this.#clock.now();
    const old = this.#lives.get(key);
    if (old !== undefined && old.endedAt === undefined && old.epoch > epoch) throw stale();
    const present = old !== undefined && !wanted.cleanStart && !isOver(old, now);
    const endedWill = old === undefined ? undefined : dueWill(old, present, now);
    const kept = present || expirySeconds > 0;
    if (!present && kept) this.#checkQuota(principal, key, now);
    const life: Life = present
      ? { ...old, expirySeconds, endedAt: undefined, will: wanted.will }
      : {
          id: this.#ids.next(0),
          key,
          principal,
          epoch,
          expirySeconds,
          endedAt: undefined,
          will: wanted.will,
          subscriptions: new Map(),
          inFlight: [],
          received: new Set(),
          queue: new Map(),
          kept,
        };
    life.epoch = Math.max(epoch, (old?.epoch ?? 0) + 1);
    if (kept || wanted.will !== undefined) this.#lives.set(key, life);
    else this.#lives.delete(key);
    if (!present && old !== undefined && old.subscriptions.size > 0) await this.#changed(key);
    if (!kept && wanted.will === undefined) return transientSession(life.id, endedWill);
    return this.#owned(life, present, endedWill);
  }

  async find(key: string): Promise<StoredSession | undefined> {
    const life = this.#lives.get(key);
    return life === undefined ? undefined : storedOf(life);
  }

  async *all(): AsyncIterable<StoredSession> {
    for (const life of this.#lives.values()) yield storedOf(life);
  }

  newId(): QueuedId {
    return this.#ids.next(0);
  }

  async enqueue(
    id: QueuedId,
    message: Message,
    targets: readonly QueueTarget[],
    reception: Reception | undefined,
  ): Promise<void> {
    const plain: Message = {
      ...message,
      payload: Buffer.from(message.payload),
      delivery: undefined,
    };
    for (const { session, key, qos, retain, identifiers } of targets) {
      const life = this.#lives.get(key);
      if (life?.id !== session || !life.kept || !this.#makeRoom(life, plain)) continue;
      life.queue.set(id, { id, message: plain, qos, retain, identifiers });
    }
    if (reception === undefined) return;
    const own = [...this.#lives.values()].find((life) => life.id === reception.session);
    own?.received.add(reception.packetId);
  }

  async discard(principal: PrincipalName): Promise<void> {
    const own = [...this.#lives.values()].filter((life) => life.principal === principal);
    for (const { key } of own) this.#lives.delete(key);
    const told = own.filter(({ subscriptions }) => subscriptions.size > 0);
    await Promise.all(told.map(({ key }) => this.#changed(key)));
  }

  #checkQuota(principal: PrincipalName, key: string, now: number): void {
    const others = [...this.#lives.values()].filter(
      (life) => life.principal === principal && life.key !== key && !isOver(life, now),
    );
    if (others.length < this.#limits().sessionsPerIdentity) return;
    throw new SallyportError('quota', 'limits.sessionsPerIdentity');
  }

  #makeRoom({ queue }: Life, message: Message): boolean {
    const { queuedMessages, queuedBytes, whenQueueFull } = this.#limits();
    const bytesOf = ({ topic, payload }: Message): number => topic.length + payload.length;
    const isFull = (): boolean => {
      const waiting = queue.values().reduce((sum, entry) => sum + bytesOf(entry.message), 0);
      return queue.size >= queuedMessages || waiting + bytesOf(message) > queuedBytes;
    };
    if (whenQueueFull === 'drop-newest' || bytesOf(message) > queuedBytes) return !isFull();
    for (const id of [...queue.keys()].toSorted()) {
      if (!isFull()) return true;
      queue.delete(id);
    }
    return !isFull();
  }

  #owned(life: Life, present: boolean, endedWill: SessionWill | undefined): OwnedSession {
    const { id, key, epoch } = life;
    const own = (): Life => {
      const now = this.#lives.get(key);
      if (now?.id !== id || now.epoch !== epoch) throw stale();
      return now;
    };
    const end = async (): Promise<void> => {
      const told = own().subscriptions.size > 0;
      this.#lives.delete(key);
      if (told) await this.#changed(key);
    };
    return {
      id,
      present,
      subscriptions: new Map(life.subscriptions),
      inFlight: life.inFlight.filter((each) => each.qos === 2 || life.queue.has(each.id)),
      received: [...life.received],
      endedWill,
      subscribe: async (subscriptions) => {
        const { subscriptions: stored, kept } = own();
        let changed = false;
        for (const [filter, options] of subscriptions) {
          if (!kept || isDeepStrictEqual(stored.get(filter), options)) continue;
          stored.set(filter, options);
          changed = true;
        }
        if (changed) await this.#changed(key);
      },
      unsubscribe: async (filters) => {
        const { subscriptions: stored } = own();
        const gone = filters.filter((filter) => stored.delete(filter));
        if (gone.length > 0) await this.#changed(key);
      },
      queued: async (skip, limit) => {
        const { queue } = own();
        const found: QueuedMessage[] = [];
        for (const one of [...queue.keys()].toSorted()) {
          const entry = queue.get(one);
          if (entry === undefined || skip.has(one)) continue;
          if ((entry.message.expiresAt ?? Number.POSITIVE_INFINITY) <= this.#clock.now()) {
            queue.delete(one);
          } else if (found.length < limit) {
            found.push(entry);
          }
        }
        return found;
      },
      read: async (ids) => {
        const { queue } = own();
        return ids.toSorted().flatMap((one) => queue.get(one) ?? []);
      },
      has: (one) => this.#lives.get(key)?.queue.has(one) ?? false,
      remove: async (one) => {
        own().queue.delete(one);
      },
      saveInFlight: async (inFlight) => {
        own().inFlight = [...inFlight];
      },
      forgetReceived: async (packetIds) => {
        const { received } = own();
        for (const packetId of packetIds) received.delete(packetId);
      },
      leave: async ({ inFlight, expirySeconds, will }) => {
        const now = own();
        now.inFlight = [...inFlight];
        now.expirySeconds = expirySeconds;
        now.will = will;
        now.endedAt = this.#clock.now();
      },
      end,
    };
  }
}

function isOver({ expirySeconds, endedAt }: Life, now: number): boolean {
  if (expirySeconds === 0) return true;
  if (endedAt === undefined || expirySeconds === neverExpires) return false;
  return endedAt + expirySeconds * 1_000 <= now;
}

function dueWill({ will, endedAt }: Life, present: boolean, now: number): SessionWill | undefined {
  if (will === undefined || !present || will.delaySeconds === 0) return will;
  return (endedAt ?? now) + will.delaySeconds * 1_000 <= now ? will : undefined;
}

function storedOf({ id, key, principal, subscriptions }: Life): StoredSession {
  return { id, key, principal, subscriptions: new Map(subscriptions) };
}

function stale(): SallyportError {
  return new SallyportError('busy', 'another connection has the session');
}
