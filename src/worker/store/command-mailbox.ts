/**
 * Commands in a store that all workers share.
 *
 * Three kinds of keys: `l<device>` lists what waits for a device; `c<device> <id>` holds a command, sealed;
 * `x<time>:<device>` leads to a list that will have something to tidy up then. One commit changes all that belong
 * together, on the condition that nobody changed the list meanwhile, so that the books are right whoever dies when.
 *
 * What this worker wants of one mailbox at the same time becomes one commit, in the order in which it was asked for: a
 * flush serves them all, and the commands of one publisher keep their order.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Durability } from '../../common/ipc/snapshot.ts';
import type { Command, CommandMailbox, MailboxLimits } from '../broker/commands.ts';
import type { Message } from '../broker/message.ts';
import { decodeMessage, encodeMessage } from '../broker/message-codec.ts';
import { CommandList } from './command-list.ts';
import type { KeyValueStore, Write } from './ports.ts';
import type { RecordCipher } from './record-cipher.ts';

/** Attempts against other workers that write to the same mailbox before the publisher is told to come again. */
const attempts = 64;
/** Changes of one mailbox that wait on this worker. */
const maxWaiting = 1_000;
const sweepLists = 1_000;
const timeDigits = 14;

const nothing: readonly Command[] = Object.freeze([]);

export interface CommandMailboxesOptions {
  readonly store: KeyValueStore;
  readonly cipher: RecordCipher;
  readonly durability: () => Durability;
  readonly limits: () => MailboxLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A mailbox that is being changed, and the records that will be written with its list. */
interface Draft {
  readonly list: CommandList;
  readonly records: Map<string, Buffer | undefined>;
  changed: boolean;
}

/** One change that waits for its turn. */
interface Change {
  /** May be called again, on another draft, when somebody else was quicker. @returns how to tell the outcome. */
  apply(draft: Draft): () => void;
  reject(error: unknown): void;
}

export class CommandMailboxes implements CommandMailbox {
  readonly #store: KeyValueStore;
  readonly #cipher: RecordCipher;
  readonly #durability: () => Durability;
  readonly #limits: () => MailboxLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Device → the changes that wait while one is being written; absent when there is none. */
  readonly #lines = new Map<PrincipalName, Change[]>();

  constructor(options: CommandMailboxesOptions) {
    this.#store = options.store;
    this.#cipher = options.cipher;
    this.#durability = options.durability;
    this.#limits = options.limits;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  async put(device: PrincipalName, message: Message): Promise<string> {
    const plain = encodeMessage(message);
    return this.#change(device, (draft) => {
      const now = this.#clock.now();
      const limits = this.#limits();
      const expiresAt = message.expiresAt ?? now + limits.commandTtlMs;
      const id = draft.list.add(plain.length, now, expiresAt, limits);
      const key = recordKey(device, id);
      draft.records.set(key, this.#cipher.seal(key, plain));
      draft.changed = true;
      return id;
    });
  }

  async list(device: PrincipalName): Promise<readonly Command[]> {
    const entry = await this.#store.get(listKey(device));
    if (entry === undefined) return nothing;
    const { commands } = CommandList.read(entry.value, this.#clock.now());
    const found: Command[] = [];
    for (const { id, at } of commands) {
      const message = await this.#message(recordKey(device, id));
      if (message !== undefined) found.push({ id, at, message });
    }
    return found;
  }

  acknowledge(device: PrincipalName, id: string): Promise<boolean> {
    return this.#change(device, (draft) => {
      if (!draft.list.remove(id)) return false;
      draft.records.set(recordKey(device, id), undefined);
      draft.changed = true;
      return true;
    });
  }

  acknowledgeUpTo(device: PrincipalName, id: string): Promise<number> {
    return this.#change(device, (draft) => {
      const removed = draft.list.removeUpTo(id);
      for (const each of removed) draft.records.set(recordKey(device, each), undefined);
      draft.changed ||= removed.length > 0;
      return removed.length;
    });
  }

  /** Removes what has expired in mailboxes that nobody looks into. @returns how many mailboxes. */
  async sweep(): Promise<number> {
    const now = this.#clock.now();
    let swept = 0;
    for await (const { key, value, version } of this.#store.scan('x')) {
      if (Number.parseInt(key.slice(1, 1 + timeDigits), 10) > now) break;
      if (swept >= sweepLists) break;
      swept += 1;
      // Written by `#commit` from a name.
      const device = value.toString('utf8') as PrincipalName;
      await this.#change(device, (draft) => {
        draft.changed ||= draft.list.expired.length > 0 || draft.list.dueAt <= now;
      });
      // A change has moved it, unless it led nowhere; what is still there would be met again and again.
      await this.#store.commit([{ key, version }], [{ key, value: undefined }], 'process');
    }
    return swept;
  }

  /** Undefined when it has been acknowledged meanwhile, or cannot be read. */
  async #message(key: string): Promise<Message | undefined> {
    const entry = await this.#store.get(key);
    if (entry === undefined) return undefined;
    try {
      return decodeMessage(this.#cipher.open(key, entry.value));
    } catch (error) {
      // The others are given all the same: a damaged block must not deny a device its commands.
      this.#logger.error({ err: messageOf(error) }, 'a command cannot be read');
      return undefined;
    }
  }

  /** @param step MUST change nothing when it throws. */
  #change<T>(device: PrincipalName, step: (draft: Draft) => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const line = this.#lines.get(device) ?? [];
    if (line.length >= maxWaiting) {
      reject(new SallyportError('unavailable', 'too many writers of one mailbox'));
      return promise;
    }
    line.push({
      apply: (draft) => {
        try {
          const value = step(draft);
          return () => resolve(value);
        } catch (error) {
          return () => reject(error);
        }
      },
      reject,
    });
    if (!this.#lines.has(device)) {
      this.#lines.set(device, line);
      // Not before what this turn of the event loop has to add.
      queueMicrotask(() => void this.#work(device, line));
    }
    return promise;
  }

  /** Never rejects: whoever waits is told. */
  async #work(device: PrincipalName, line: Change[]): Promise<void> {
    while (line.length > 0) {
      const changes = line.splice(0);
      try {
        const outcomes = await this.#apply(device, changes);
        for (const tell of outcomes) tell();
      } catch (error) {
        for (const change of changes) change.reject(error);
      }
    }
    this.#lines.delete(device);
  }

  async #apply(
    device: PrincipalName,
    changes: readonly Change[],
  ): Promise<readonly (() => void)[]> {
    for (let i = 0; i < attempts; i += 1) {
      const entry = await this.#store.get(listKey(device));
      const list = CommandList.read(entry?.value, this.#clock.now());
      const draft: Draft = { list, records: new Map(), changed: false };
      const outcomes = changes.map((change) => change.apply(draft));
      if (!draft.changed || (await this.#commit(device, entry, draft))) return outcomes;
    }
    throw new SallyportError('unavailable', 'too many writers of one mailbox');
  }

  #commit(
    device: PrincipalName,
    entry: { readonly value: Buffer; readonly version: number } | undefined,
    { list, records }: Draft,
  ): Promise<boolean> {
    const key = listKey(device);
    // An empty list whose last name need not be remembered goes altogether.
    const gone = list.commands.length === 0 && list.dueAt <= this.#clock.now();
    const writes: Write[] = [{ key, value: gone ? undefined : list.toBytes() }];
    for (const [record, value] of records) writes.push({ key: record, value });
    for (const id of list.expired) writes.push({ key: recordKey(device, id), value: undefined });
    const before = entry === undefined ? undefined : pointerKey(device, entry.value);
    const after = gone ? undefined : pointerTo(device, list.dueAt);
    if (before !== after) {
      if (before !== undefined) writes.push({ key: before, value: undefined });
      if (after !== undefined) writes.push({ key: after, value: Buffer.from(device) });
    }
    return this.#store.commit([{ key, version: entry?.version }], writes, this.#durability());
  }
}

function listKey(device: PrincipalName): string {
  return `l${device}`;
}

function recordKey(device: PrincipalName, id: string): string {
  return `c${device} ${id}`;
}

/** As it was written with the list: what has expired since then included. */
function pointerKey(device: PrincipalName, value: Buffer): string {
  return pointerTo(device, CommandList.read(value, Number.NEGATIVE_INFINITY).dueAt);
}

function pointerTo(device: PrincipalName, dueAt: number): string {
  return `x${Math.ceil(dueAt).toString().padStart(timeDigits, '0')}:${device}`;
}
