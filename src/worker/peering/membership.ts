/** Which sessions take part in shared subscriptions: each worker announces those that are connected to it. */
import { parseShared } from '../../common/codec/mqtt/topics.ts';
import { isSessionKey } from '../broker/session-key.ts';
import type { NewsKind } from './announcements.ts';
import { inWords, listOf } from './word-size.ts';

/** Of one peer: a worker that is full of sessions, each of which takes part in a hundred. */
const maxMembers = 2_000_000;

type Change = readonly [subscription: string, key: string, joined: boolean];

export class Membership implements NewsKind {
  readonly type = 'members';
  /** A session of another worker takes part, or not any more. */
  onMember: (slot: number, subscription: string, key: string, joined: boolean) => void = () => {};
  readonly #changed: () => void;
  readonly #own = new Members();
  /** Not told yet, in order: who leaves and joins again has joined. */
  #news: Change[] = [];
  readonly #bySlot = new Map<number, Members>();

  /** @param changed there is news. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  add(subscription: string, key: string): void {
    this.#change([subscription, key, true]);
  }

  drop(subscription: string, key: string): void {
    this.#change([subscription, key, false]);
  }

  news(): readonly object[] {
    const changes = this.#news;
    if (changes.length > 0) this.#news = [];
    return wordsOf(changes);
  }

  whole(): readonly object[] {
    return wordsOf(this.#own.list());
  }

  heard(from: number, word: unknown): boolean {
    const changes = parseChanges(word);
    let members = this.#bySlot.get(from);
    if (changes === undefined || (members?.size ?? 0) + changes.length > maxMembers) return false;
    if (members === undefined) {
      members = new Members();
      this.#bySlot.set(from, members);
    }
    for (const change of changes) {
      if (members.apply(change)) this.onMember(from, ...change);
    }
    return true;
  }

  forget(from: number): void {
    const members = this.#bySlot.get(from);
    if (members === undefined) return;
    this.#bySlot.delete(from);
    for (const [subscription, key] of members.list()) {
      this.onMember(from, subscription, key, false);
    }
  }

  #change(change: Change): void {
    if (!this.#own.apply(change)) return;
    this.#news.push(change);
    this.#changed();
  }
}

/** Keys of sessions by what they take part in. */
class Members {
  readonly #keys = new Map<string, Set<string>>();
  size = 0;

  /** @returns whether it changes anything. */
  apply([subscription, key, joined]: Change): boolean {
    let keys = this.#keys.get(subscription);
    if (keys?.has(key) === joined || (keys === undefined && !joined)) return false;
    if (keys === undefined) {
      keys = new Set();
      this.#keys.set(subscription, keys);
    }
    this.size += joined ? 1 : -1;
    if (joined) keys.add(key);
    else keys.delete(key);
    if (keys.size === 0) this.#keys.delete(subscription);
    return true;
  }

  list(): Change[] {
    const all: Change[] = [];
    for (const [subscription, keys] of this.#keys) {
      for (const key of keys) all.push([subscription, key, true]);
    }
    return all;
  }
}

function wordsOf(changes: readonly Change[]): readonly object[] {
  const words = inWords(changes, ([subscription, key]) => subscription.length + key.length);
  return words.map((word) => ({ changes: word }));
}

function parseChanges(word: unknown): readonly Change[] | undefined {
  if (typeof word !== 'object' || word === null) return undefined;
  const { changes }: Partial<Record<string, unknown>> = { ...word };
  return listOf(changes, isChange);
}

function isChange(value: unknown): value is Change {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const subscription: unknown = value[0];
  const key: unknown = value[1];
  const joined: unknown = value[2];
  return (
    typeof subscription === 'string' &&
    parseShared(subscription) !== undefined &&
    isSessionKey(key) &&
    typeof joined === 'boolean'
  );
}
