/**
 * A bounded queue that is fair to the networks in it: each network's members are served in the order in which they came,
 * and the networks in turn. When it is full, the network that has most members in it makes room.
 */

export interface Queued {
  readonly network: string;
}

interface Entry<T> {
  readonly item: T;
  readonly line: Line<T>;
  readonly at: number;
  gone: boolean;
}

/** The members of one network, oldest first. What has gone stays in `entries` until there is more of it than of them. */
interface Line<T> {
  readonly network: string;
  entries: Entry<T>[];
  head: number;
  size: number;
}

/** Entries that have gone and may stay, besides as many as there are members. */
const mostGone = 64;

export class FairQueue<T extends Queued> {
  readonly #lines = new Map<string, Line<T>>();
  /** Whose turn it is, first to last. */
  readonly #turns = new Set<Line<T>>();
  /** All entries, oldest first. */
  readonly #entries = new Map<T, Entry<T>>();
  /** Lines by their size, to find the longest at once: looking for it would be what a flood makes us do. */
  readonly #bySize: Set<Line<T>>[] = [];
  #longest = 0;

  get size(): number {
    return this.#entries.size;
  }

  sizeOf(network: string): number {
    return this.#lines.get(network)?.size ?? 0;
  }

  /**
   * @param at when it came; MUST NOT go back.
   * @returns who had to go for it, at most one: perhaps `item` itself.
   */
  push(item: T, at: number, capacity: number): T | undefined {
    const line = this.#lines.get(item.network);
    if (this.#entries.size >= capacity) {
      const [longest] = this.#bySize[this.#longest] ?? [];
      // Of two networks with as many members each, the one that is here already keeps its places.
      if (longest === undefined || longest.size <= (line?.size ?? 0) + 1) return item;
      const newest = this.#newest(longest);
      this.#enter(item, line, at);
      return newest === undefined || !this.remove(newest.item) ? undefined : newest.item;
    }
    this.#enter(item, line, at);
    return undefined;
  }

  /** @returns whether it was there. */
  remove(item: T): boolean {
    const entry = this.#entries.get(item);
    if (entry === undefined) return false;
    const { line } = entry;
    this.#entries.delete(item);
    entry.gone = true;
    this.#resize(line, -1);
    // They hold what they stood for, and whoever comes and goes all the time is not bounded by the queue.
    if (line.entries.length > 2 * line.size + mostGone) {
      line.entries = line.entries.filter(({ gone }) => !gone);
      line.head = 0;
    }
    return true;
  }

  /** Serves while `ready`, network by network, one member of each in its turn; those that `admits` denies wait on. */
  serve(
    ready: () => boolean,
    admits: (network: string) => boolean,
    serve: (item: T) => void,
  ): void {
    const denied: Line<T>[] = [];
    while (ready()) {
      const [line] = this.#turns;
      if (line === undefined) break;
      this.#turns.delete(line);
      if (!admits(line.network)) {
        denied.push(line);
        continue;
      }
      const entry = this.#oldest(line);
      if (entry === undefined) continue;
      this.#turns.add(line);
      this.remove(entry.item);
      serve(entry.item);
    }
    for (const line of denied) if (line.size > 0) this.#turns.add(line);
  }

  /** Takes out all that came before `at`, oldest first. */
  expire(at: number, expired: (item: T) => void): void {
    for (const [item, entry] of this.#entries) {
      if (entry.at >= at) return;
      this.remove(item);
      expired(item);
    }
  }

  #enter(item: T, known: Line<T> | undefined, at: number): void {
    const line = known ?? { network: item.network, entries: [], head: 0, size: 0 };
    if (known === undefined) {
      this.#lines.set(item.network, line);
      this.#turns.add(line);
    }
    const entry = { item, line, at, gone: false };
    line.entries.push(entry);
    this.#entries.set(item, entry);
    this.#resize(line, 1);
  }

  #resize(line: Line<T>, by: 1 | -1): void {
    this.#bySize[line.size]?.delete(line);
    line.size += by;
    if (line.size === 0) {
      this.#lines.delete(line.network);
      this.#turns.delete(line);
    } else {
      (this.#bySize[line.size] ??= new Set()).add(line);
    }
    this.#longest = Math.max(this.#longest, line.size);
    while (this.#longest > 0 && (this.#bySize[this.#longest]?.size ?? 0) === 0) this.#longest -= 1;
  }

  #newest(line: Line<T>): Entry<T> | undefined {
    while (line.entries.at(-1)?.gone === true) line.entries.pop();
    return line.entries.at(-1);
  }

  #oldest(line: Line<T>): Entry<T> | undefined {
    while (line.entries[line.head]?.gone === true) line.head += 1;
    return line.entries[line.head];
  }
}
