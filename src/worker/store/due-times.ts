/** When what is due: a binary heap of keys by time, in which a key has one time. */

interface Due {
  readonly key: string;
  readonly at: number;
}

export class DueTimes {
  /** Each not later than the two at twice its place; with times that have been replaced since. */
  readonly #heap: Due[] = [];
  readonly #times = new Map<string, number>();

  get size(): number {
    return this.#times.size;
  }

  /** The earliest; undefined = there is none. */
  get next(): number | undefined {
    this.#skipReplaced();
    return this.#heap[0]?.at;
  }

  /** Adds the key, or gives it another time. */
  set(key: string, at: number): void {
    if (this.#times.get(key) === at) return;
    this.#times.set(key, at);
    this.#push({ key, at });
  }

  /** Takes the earliest out if it is due. */
  take(now: number): string | undefined {
    this.#skipReplaced();
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    this.#pop();
    this.#times.delete(first.key);
    return first.key;
  }

  #skipReplaced(): void {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || this.#times.get(first.key) === first.at) return;
      this.#pop();
    }
  }

  #push(due: Due): void {
    let at = this.#heap.length;
    this.#heap.push(due);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = this.#heap[above];
      if (parent === undefined || parent.at <= due.at) break;
      this.#heap[at] = parent;
      at = above;
    }
    this.#heap[at] = due;
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = this.#heap[at * 2 + 1];
      const right = this.#heap[at * 2 + 2];
      const child = right !== undefined && left !== undefined && right.at < left.at ? right : left;
      if (child === undefined || child.at >= last.at) break;
      this.#heap[at] = child;
      at = child === left ? at * 2 + 1 : at * 2 + 2;
    }
    this.#heap[at] = last;
  }
}
