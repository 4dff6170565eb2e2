/** xorshift32: the same seed gives the same run everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Zero would stay zero; the factor spreads neighbouring seeds.
    this.#state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  }

  /** From 0 to `limit` − 1. */
  below(limit: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return (state >>> 0) % limit;
  }

  of<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('Nothing to choose from.');
    return item;
  }
}
