/**
 * Retained messages in a store that all workers share.
 *
 * Three kinds of keys: `m<topic>` holds a message, sealed; `q<principal>` what its owner has retained in all;
 * `x<expiry>:<topic>` leads to those that expire. One commit changes all that belong together, on the condition that
 * nobody changed them meanwhile, so that the books are right whoever dies when.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { matchesLevels, splitLevels } from '../../common/base/topic-filter.ts';
import type { Durability } from '../../common/ipc/snapshot.ts';
import type { Message } from '../broker/message.ts';
import { decodeMessage, encodeMessage } from '../broker/message-codec.ts';
import type { RetainedLimits, RetainedMessage, RetainedStore } from '../broker/retained.ts';
import type { Condition, Entry, KeyValueStore, Write } from './ports.ts';
import type { RecordCipher } from './record-cipher.ts';

/** Attempts against other writers of the same records before the publisher is told to come again. */
const attempts = 64;
/** A topic with more bytes than this is found by its beginning and a hash of the whole. */
const maxTopicKeyBytes = 1_700;
/** Between two looks for what has expired on behalf of a publisher over its quota. */
const reclaimEveryMs = 1_000;
const sweepEntries = 1_000;
const expiryDigits = 14;

export interface RetainedMessagesOptions {
  readonly store: KeyValueStore;
  readonly cipher: RecordCipher;
  readonly durability: () => Durability;
  readonly limits: () => RetainedLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What one identity has retained. */
interface Account {
  readonly entry: Entry | undefined;
  readonly messages: number;
  readonly bytes: number;
}

interface Held {
  readonly message: RetainedMessage;
  /** Of the encoded message: what it counts in its owner's account. */
  readonly bytes: number;
}

/** What there is for a topic. `held` is undefined when there is nothing, or nothing that can be read. */
interface Found {
  readonly entry: Entry | undefined;
  readonly held: Held | undefined;
}

export class RetainedMessages implements RetainedStore {
  readonly #store: KeyValueStore;
  readonly #cipher: RecordCipher;
  readonly #durability: () => Durability;
  readonly #limits: () => RetainedLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** The latest that each publisher has under way. */
  readonly #last = new Map<string, Promise<void>>();
  #reclaimedAt = Number.NEGATIVE_INFINITY;

  constructor(options: RetainedMessagesOptions) {
    this.#store = options.store;
    this.#cipher = options.cipher;
    this.#durability = options.durability;
    this.#limits = options.limits;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  /** One at a time of each publisher: every one of them changes its account, and all but the first would come too late. */
  async put(message: Message): Promise<void> {
    const { publisher } = message;
    const before = this.#last.get(publisher);
    const done = before === undefined ? this.#put(message) : before.then(() => this.#put(message));
    const settled = done.then(nothing, nothing);
    this.#last.set(publisher, settled);
    try {
      await done;
    } finally {
      if (this.#last.get(publisher) === settled) this.#last.delete(publisher);
    }
  }

  async #put(message: Message): Promise<void> {
    if (message.payload.length === 0) {
      await this.#attempt(() => this.#remove(message.topic, undefined));
      return;
    }
    const owned: RetainedMessage = { ...message, retain: true, publisherSession: '' };
    try {
      await this.#attempt(() => this.#set(owned));
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'quota') throw error;
      if (!(await this.#reclaim())) throw error;
      await this.#attempt(() => this.#set(owned));
    }
  }

  async *match(filter: string): AsyncIterable<RetainedMessage> {
    const levels = splitLevels(filter);
    const wildcard = levels.findIndex((level) => level === '+' || level === '#');
    if (wildcard === -1) {
      const entry = await this.#store.get(messageKey(filter));
      const message = entry === undefined ? undefined : await this.#current(entry, levels);
      if (message !== undefined) yield message;
      return;
    }
    // "a/#" matches "a" too, so the prefix ends before the slash.
    const prefix = beginningOf(levels.slice(0, wildcard).join('/'));
    for await (const entry of this.#store.scan(`m${prefix}`)) {
      if (!mayMatch(entry.key, levels)) continue;
      const message = await this.#current(entry, levels);
      if (message !== undefined) yield message;
    }
  }

  async count(): Promise<number> {
    let messages = 0;
    for await (const { value } of this.#store.scan('q')) messages += readAccount(value).messages;
    return messages;
  }

  /** Removes what has expired, and gives its quota back. @returns how many messages. */
  async sweep(): Promise<number> {
    const now = this.#clock.now();
    let seen = 0;
    let removed = 0;
    for await (const { key, value, version } of this.#store.scan('x')) {
      if (Number.parseInt(key.slice(1, 1 + expiryDigits), 10) > now) break;
      seen += 1;
      if (seen > sweepEntries) break;
      if (await this.#removeExpired(value.toString('utf8'))) removed += 1;
      // A pointer to a record that could not be read would be met again and again.
      else await this.#store.commit([{ key, version }], [{ key, value: undefined }], 'process');
    }
    return removed;
  }

  /** The message of an entry that `levels` matches and that has not expired. */
  async #current(entry: Entry, levels: readonly string[]): Promise<RetainedMessage | undefined> {
    const held = this.#open(entry);
    if (held === undefined) return undefined;
    const { message } = held;
    if (!matchesLevels(levels, splitLevels(message.topic))) return undefined;
    if (!this.#expired(message)) return message;
    await this.#removeExpired(message.topic);
    return undefined;
  }

  async #removeExpired(topic: string): Promise<boolean> {
    try {
      return await this.#attempt(() => this.#remove(topic, this.#clock.now()));
    } catch (error) {
      this.#logger.warn({ err: messageOf(error) }, 'expired retained message not removed');
      return false;
    }
  }

  /** @returns whether anything was removed on behalf of a publisher that is over its quota. */
  async #reclaim(): Promise<boolean> {
    const now = this.#clock.monotonic();
    if (now - this.#reclaimedAt < reclaimEveryMs) return false;
    this.#reclaimedAt = now;
    return (await this.sweep()) > 0;
  }

  /** Tries again while others change the same records. `undefined` = they did. */
  async #attempt(step: () => Promise<boolean | undefined>): Promise<boolean> {
    for (let i = 0; i < attempts; i += 1) {
      const done = await step();
      if (done !== undefined) return done;
    }
    throw new SallyportError('unavailable', 'too many writers of the same retained message');
  }

  async #set(message: RetainedMessage): Promise<boolean | undefined> {
    const { topic, publisher } = message;
    const plain = encodeMessage(message);
    const key = messageKey(topic);
    const { entry, held } = await this.#find(key);
    const account = await this.#account(publisher);
    const own = held?.message.publisher === publisher;
    const messages = account.messages + (own ? 0 : 1);
    const bytes = account.bytes + plain.length - (own ? held.bytes : 0);
    const limits = this.#limits();
    // Less than before is always allowed: a limit that was lowered must not lock an identity out of its own topics.
    if (messages > limits.retainedPerIdentity && !own) throw overQuota('retainedPerIdentity');
    if (bytes > limits.retainedBytesPerIdentity && bytes > account.bytes) {
      throw overQuota('retainedBytesPerIdentity');
    }
    const writes: Write[] = [{ key, value: this.#cipher.seal(key, plain) }];
    if (held !== undefined) writes.push(...dropPointer(held.message));
    if (message.expiresAt !== undefined) {
      const pointer = pointerKey(message.expiresAt, topic);
      const same = writes.findIndex((write) => write.key === pointer);
      if (same !== -1) writes.splice(same, 1);
      writes.push({ key: pointer, value: Buffer.from(topic) });
    }
    const conditions: Condition[] = [{ key, version: entry?.version }];
    charge(conditions, writes, publisher, account, messages, bytes);
    if (held !== undefined && !own) await this.#giveBack(conditions, writes, held);
    return this.#commit(conditions, writes);
  }

  /** @param expiredAt remove only what has expired by then; undefined = whatever is there. */
  async #remove(topic: string, expiredAt: number | undefined): Promise<boolean | undefined> {
    const key = messageKey(topic);
    const { entry, held } = await this.#find(key);
    if (entry === undefined) return false;
    const expiresAt = held?.message.expiresAt ?? Number.POSITIVE_INFINITY;
    if (expiredAt !== undefined && expiresAt > expiredAt) return false;
    const conditions: Condition[] = [{ key, version: entry.version }];
    const writes: Write[] = [{ key, value: undefined }];
    if (held !== undefined) {
      writes.push(...dropPointer(held.message));
      await this.#giveBack(conditions, writes, held);
    }
    return this.#commit(conditions, writes);
  }

  async #commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
  ): Promise<true | undefined> {
    const done = await this.#store.commit(conditions, writes, this.#durability());
    return done ? true : undefined;
  }

  async #giveBack(conditions: Condition[], writes: Write[], held: Held): Promise<void> {
    const { publisher } = held.message;
    const account = await this.#account(publisher);
    const messages = Math.max(0, account.messages - 1);
    const bytes = messages === 0 ? 0 : Math.max(0, account.bytes - held.bytes);
    charge(conditions, writes, publisher, account, messages, bytes);
  }

  async #find(key: string): Promise<Found> {
    const entry = await this.#store.get(key);
    return { entry, held: entry === undefined ? undefined : this.#open(entry) };
  }

  /**
   * A record that does not verify is left out of every answer and may be replaced: a damaged block must not deny a
   * topic for ever.
   */
  #open({ key, value }: Entry): Held | undefined {
    try {
      const plain = this.#cipher.open(key, value);
      return { message: decodeMessage(plain), bytes: plain.length };
    } catch (error) {
      this.#logger.error({ err: messageOf(error) }, 'retained message cannot be read');
      return undefined;
    }
  }

  async #account(principal: string): Promise<Account> {
    const entry = await this.#store.get(`q${principal}`);
    return entry === undefined
      ? { entry, messages: 0, bytes: 0 }
      : { entry, ...readAccount(entry.value) };
  }

  #expired({ expiresAt }: RetainedMessage): boolean {
    return expiresAt !== undefined && expiresAt <= this.#clock.now();
  }
}

function charge(
  conditions: Condition[],
  writes: Write[],
  principal: string,
  account: Account,
  messages: number,
  bytes: number,
): void {
  const key = `q${principal}`;
  conditions.push({ key, version: account.entry?.version });
  writes.push({ key, value: messages === 0 ? undefined : accountBytes(messages, bytes) });
}

function accountBytes(messages: number, bytes: number): Buffer {
  const value = Buffer.allocUnsafe(16);
  value.writeDoubleBE(messages, 0);
  value.writeDoubleBE(bytes, 8);
  return value;
}

function readAccount(value: Buffer): { readonly messages: number; readonly bytes: number } {
  if (value.length !== 16)
    throw new SallyportError('io', 'an account of retained messages is damaged');
  return { messages: value.readDoubleBE(0), bytes: value.readDoubleBE(8) };
}

function dropPointer({ topic, expiresAt }: RetainedMessage): Write[] {
  return expiresAt === undefined ? [] : [{ key: pointerKey(expiresAt, topic), value: undefined }];
}

function messageKey(topic: string): string {
  return `m${topicKey(topic)}`;
}

function pointerKey(expiresAt: number, topic: string): string {
  const digits = Math.trunc(expiresAt).toString().padStart(expiryDigits, '0');
  return `x${digits}:${topicKey(topic)}`;
}

/** A topic has no U+0000, so what stands for a long one is never another topic. */
function topicKey(topic: string): string {
  if (Buffer.byteLength(topic) <= maxTopicKeyBytes) return topic;
  return `${beginningOf(topic)}\0${createHash('sha256').update(topic).digest('hex')}`;
}

/** As much as the key of a long topic begins with; never half a surrogate pair. */
function beginningOf(text: string): string {
  const cut = text.slice(0, maxTopicKeyBytes / 4);
  return cut.isWellFormed() ? cut : cut.slice(0, -1);
}

/** False when the key alone tells that the topic does not match: the record need not be opened. */
function mayMatch(key: string, levels: readonly string[]): boolean {
  if (key.includes('\0')) return true;
  return matchesLevels(levels, splitLevels(key.slice(1)));
}

function overQuota(limit: string): SallyportError {
  return new SallyportError('quota', `limits.${limit}`);
}

function nothing(): void {}
