/** A bounded map that forgets what has not been used for longest. */
export class LastUsed<V> {
  readonly #entries = new Map<string, V>();

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    // A Map keeps the order in which its keys were added.
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  /** Afterwards there are `most` at most. */
  set(key: string, value: V, most: number): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= most) return;
      this.#entries.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}
