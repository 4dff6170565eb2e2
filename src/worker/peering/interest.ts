/** Which topics the workers want: each announces the filters that its subscribers have. */
import { filterProblem } from '../../common/base/topic-filter.ts';
import { TopicTree } from '../broker/topic-tree.ts';
import type { NewsKind } from './announcements.ts';
import { inWords, listOf } from './word-size.ts';

/** Filters that one peer may want: a hundred times what a worker has sessions for. */
const maxFilters = 4_000_000;
const nobody: readonly number[] = Object.freeze([]);

export class Interest implements NewsKind {
  readonly type = 'interest';
  readonly #changed: () => void;
  /** What we want: filter → how often it was added. */
  readonly #own = new Map<string, number>();
  /** Not told yet: filter → whether we want it. */
  #news = new Map<string, boolean>();
  readonly #bySlot = new Map<number, Set<string>>();
  readonly #wanted = new TopicTree<number, true>();

  /** @param changed there is news. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  add(filter: string): void {
    const count = this.#own.get(filter) ?? 0;
    this.#own.set(filter, count + 1);
    if (count === 0) this.#change(filter, true);
  }

  drop(filter: string): void {
    const count = this.#own.get(filter) ?? 0;
    if (count > 1) {
      this.#own.set(filter, count - 1);
    } else if (count === 1) {
      this.#own.delete(filter);
      this.#change(filter, false);
    }
  }

  wanting(topic: string): readonly number[] {
    if (this.#wanted.size === 0) return nobody;
    const found = this.#wanted.match(topic);
    if (found.length === 0) return nobody;
    if (found.length === 1) return [...(found[0]?.keys() ?? [])];
    const slots = new Set<number>();
    for (const members of found) for (const slot of members.keys()) slots.add(slot);
    return [...slots];
  }

  news(): readonly object[] {
    if (this.#news.size === 0) return [];
    const words = inWords([...this.#news], ([filter]) => filter.length);
    this.#news = new Map();
    return words.map((word) => ({
      reset: false,
      add: word.filter(([, wanted]) => wanted).map(([filter]) => filter),
      drop: word.filter(([, wanted]) => !wanted).map(([filter]) => filter),
    }));
  }

  /** One word at least: with its acknowledgement both ends know that the link stands. */
  whole(): readonly object[] {
    const words = inWords([...this.#own.keys()], (filter) => filter.length);
    if (words.length === 0) words.push([]);
    return words.map((add, at) => ({ reset: at === 0, add, drop: [] }));
  }

  heard(from: number, word: unknown): boolean {
    const news = parseInterest(word);
    let filters = this.#bySlot.get(from);
    if (news === undefined || (filters?.size ?? 0) + news.add.length > maxFilters) return false;
    if (news.reset) this.forget(from);
    filters = this.#bySlot.get(from);
    if (filters === undefined) {
      filters = new Set();
      this.#bySlot.set(from, filters);
    }
    for (const filter of news.add) {
      filters.add(filter);
      this.#wanted.set(filter, from, true);
    }
    for (const filter of news.drop) {
      if (filters.delete(filter)) this.#wanted.delete(filter, from);
    }
    return true;
  }

  forget(from: number): void {
    const filters = this.#bySlot.get(from);
    if (filters === undefined) return;
    this.#bySlot.delete(from);
    for (const filter of filters) this.#wanted.delete(filter, from);
  }

  #change(filter: string, wanted: boolean): void {
    this.#news.set(filter, wanted);
    this.#changed();
  }
}

interface InterestWord {
  readonly reset: boolean;
  readonly add: readonly string[];
  readonly drop: readonly string[];
}

function parseInterest(word: unknown): InterestWord | undefined {
  if (typeof word !== 'object' || word === null) return undefined;
  const { reset, add, drop }: Partial<Record<string, unknown>> = { ...word };
  const [added, dropped] = [listOf(add, isFilter), listOf(drop, isFilter)];
  if (typeof reset !== 'boolean' || added === undefined || dropped === undefined) return undefined;
  return { reset, add: added, drop: dropped };
}

function isFilter(value: unknown): value is string {
  return typeof value === 'string' && filterProblem(value) === undefined;
}
