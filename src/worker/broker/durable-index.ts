/**
 * What all durable sessions want, whether their clients are connected or not, on whichever worker: so that whoever
 * accepts a message knows the queues that it has to write. Read from the store at first and whenever a session has
 * changed.
 *
 * Every worker holds all of it. A session that wants nothing but its own device's commands, which wait in its mailbox,
 * costs nothing here.
 */
import { stronger } from './broker.ts';
import { isOwnCommand, isOwnCommandFilter } from './commands.ts';
import type { Message, SharedPick } from './message.ts';
import { noIdentifiers } from './ports.ts';
import type { SubscriptionOptions } from './ports.ts';
import { principalOfKey } from './session-key.ts';
import type {
  DeliveryQoS,
  QueueTarget,
  SessionId,
  SessionStore,
  StoredSession,
} from './sessions.ts';
import type { SharedGroups } from './shared-groups.ts';
import { filterOf, isShared } from './shared-subscription.ts';
import { TopicTree } from './topic-tree.ts';

interface IndexedSession {
  readonly key: string;
  id: SessionId;
  filters: readonly string[];
  /** The last one that it was met in. */
  scan: number;
}

export interface DurableIndexPorts {
  readonly sessions: Pick<SessionStore, 'find' | 'all'>;
  /** Gets the members of shared subscriptions. */
  readonly groups: SharedGroups;
}

/** Texts of filters that sessions have in common are kept once; those of the last so many. */
const commonFilters = 4_096;
const nothing: readonly never[] = Object.freeze([]);

export class DurableIndex {
  readonly #sessions: DurableIndexPorts['sessions'];
  readonly #groups: SharedGroups;
  readonly #byKey = new Map<string, IndexedSession>();
  readonly #tree = new TopicTree<IndexedSession, SubscriptionOptions>();
  readonly #reloading = new Map<string, Promise<void>>();
  readonly #common = new Map<string, string>();
  #loaded = false;
  #scan = 0;
  /** While all are read: what was read by itself meanwhile, and is newer. */
  #newer: Set<string> | undefined;
  #scanning: Promise<void> | undefined;
  #scanNext: Promise<void> | undefined;

  constructor({ sessions, groups }: DurableIndexPorts) {
    this.#sessions = sessions;
    this.#groups = groups;
  }

  /** Sessions that want something. */
  get size(): number {
    return this.#byKey.size;
  }

  /** False until all have been read once. */
  get loaded(): boolean {
    return this.#loaded;
  }

  /**
   * The queues that this message has to be written to, merged as the broker merges what is delivered; none for QoS 0.
   * Exact as of what is known; free when no session wants the topic.
   *
   * @param picks those who get it for a shared subscription.
   */
  targets(message: Message, picks: readonly SharedPick[] = nothing): readonly QueueTarget[] {
    if (message.qos === 0) return nothing;
    const found = this.#tree.match(message.topic);
    if (found.length === 0 && picks.length === 0) return nothing;
    const wanted = new Map<IndexedSession, SubscriptionOptions>();
    for (const members of found) {
      for (const [session, options] of members) {
        // MQTT 5 §3.8.3.1, as in the broker.
        if (options.noLocal && session.key === message.publisherSession) continue;
        if (!isOwnCommand(message.topic, session.key)) add(wanted, session, options);
      }
    }
    for (const pick of picks) {
      const session = pick.queued ? this.#byKey.get(pick.to) : undefined;
      const options = this.#groups.storedOptions(pick);
      if (session !== undefined && options !== undefined) add(wanted, session, options);
    }
    return targetsOf(wanted, message);
  }

  /** Reads one session again; resolves when what it wants now is known. Rejects as the store does. */
  reload(key: string): Promise<void> {
    const before = this.#reloading.get(key);
    const reading = before === undefined ? this.#read(key) : before.then(() => this.#read(key));
    // One after the other: two at a time could end in the wrong order.
    const settled = reading
      .catch(() => {})
      .then(() => {
        if (this.#reloading.get(key) === settled) this.#reloading.delete(key);
      });
    this.#reloading.set(key, settled);
    return reading;
  }

  /** Reads all sessions, beginning after it was called; one reading at a time serves all who ask meanwhile. */
  rescan(): Promise<void> {
    if (this.#scanning === undefined) {
      this.#scanning = this.#readAll().finally(() => {
        this.#scanning = undefined;
      });
      return this.#scanning;
    }
    this.#scanNext ??= this.#scanning
      .catch(() => {})
      .then(() => {
        this.#scanNext = undefined;
        return this.rescan();
      });
    return this.#scanNext;
  }

  async #read(key: string): Promise<void> {
    const stored = await this.#sessions.find(key);
    this.#newer?.add(key);
    this.#apply(key, stored);
  }

  async #readAll(): Promise<void> {
    this.#scan += 1;
    const newer = new Set<string>();
    this.#newer = newer;
    try {
      for await (const stored of this.#sessions.all()) {
        if (!newer.has(stored.key)) this.#apply(stored.key, stored);
      }
    } finally {
      this.#newer = undefined;
    }
    for (const { key, scan } of this.#byKey.values()) {
      if (scan !== this.#scan) this.#apply(key, undefined);
    }
    // A worker is told at once that it was heard before it has loaded, and accepts messages from then on.
    if (!this.#loaded) await Promise.all(this.#reloading.values());
    this.#loaded = true;
  }

  #apply(key: string, stored: StoredSession | undefined): void {
    const before = this.#byKey.get(key);
    const wanted = stored === undefined ? [] : indexed(stored);
    if (wanted.length === 0) {
      if (before !== undefined) this.#remove(before);
      return;
    }
    // Its options are looked at anew, but a session that has changed nothing disturbs no remembered match.
    const session = before ?? { key, id: '', filters: nothing, scan: 0 };
    if (before === undefined) this.#byKey.set(key, session);
    session.id = stored?.id ?? '';
    session.scan = this.#scan;
    const filters = wanted.map(([filter]) => this.#interned(filter));
    const kept = new Set(filters);
    for (const filter of session.filters) {
      if (!kept.has(filter)) this.#drop(session, filter);
    }
    session.filters = filters;
    wanted.forEach(([, options], at) => {
      const filter = filters[at] ?? '';
      if (isShared(filter)) this.#groups.store(filter, key, plain(options));
      else this.#tree.set(filter, session, plain(options));
    });
  }

  #remove(session: IndexedSession): void {
    this.#byKey.delete(session.key);
    for (const filter of session.filters) this.#drop(session, filter);
  }

  #drop(session: IndexedSession, filter: string): void {
    if (isShared(filter)) this.#groups.unstore(filter, session.key);
    else this.#tree.delete(filter, session);
  }

  #interned(filter: string): string {
    const known = this.#common.get(filter);
    if (known !== undefined) return known;
    if (this.#common.size >= commonFilters) this.#common.clear();
    this.#common.set(filter, filter);
    return filter;
  }
}

/**
 * What may be queued for it: no commands of its own device, and nothing when all is of QoS 0. With others that are not,
 * a filter of QoS 0 lends its identifiers.
 */
function indexed({
  principal,
  subscriptions,
}: StoredSession): (readonly [string, SubscriptionOptions])[] {
  const filters = [...subscriptions].filter(
    ([filter]) => !isOwnCommandFilter(filterOf(filter), principal),
  );
  return filters.some(([, { qos }]) => qos > 0) ? filters : [];
}

/** Options without identifiers are one of twelve: one object each for all sessions. */
function plain(options: SubscriptionOptions): SubscriptionOptions {
  if (options.identifiers.length > 0) return options;
  const { qos, noLocal, retainAsPublished } = options;
  const at = qos * 4 + (noLocal ? 2 : 0) + (retainAsPublished ? 1 : 0);
  return plainOptions[at] ?? options;
}

const plainOptions: readonly SubscriptionOptions[] = ([0, 1, 2] as const).flatMap((qos) =>
  [false, true].flatMap((noLocal) =>
    [false, true].map((retainAsPublished) =>
      Object.freeze({ qos, noLocal, retainAsPublished, identifiers: noIdentifiers }),
    ),
  ),
);

function add(
  wanted: Map<IndexedSession, SubscriptionOptions>,
  session: IndexedSession,
  options: SubscriptionOptions,
): void {
  const before = wanted.get(session);
  wanted.set(session, before === undefined ? options : stronger(before, options));
}

function targetsOf(
  wanted: ReadonlyMap<IndexedSession, SubscriptionOptions>,
  message: Message,
): readonly QueueTarget[] {
  const targets: QueueTarget[] = [];
  for (const [{ key, id }, options] of wanted) {
    const qos = options.qos < message.qos ? options.qos : message.qos;
    if (!isQueued(qos)) continue;
    targets.push({
      session: id,
      key,
      principal: principalOfKey(key),
      qos,
      retain: message.retain && options.retainAsPublished,
      identifiers: options.identifiers,
    });
  }
  return targets;
}

function isQueued(qos: Message['qos']): qos is DeliveryQoS {
  return qos > 0;
}
