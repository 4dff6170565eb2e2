/**
 * A bounded number of handshakes that are under way. When there is no place left, the network that holds most of them
 * loses its oldest to one that holds fewer: whoever says nothing keeps a place for as long as a handshake may take, and
 * would otherwise keep everybody out with a few addresses.
 */
export class HalfOpen<T> {
  /** By network, oldest first. */
  readonly #handshakes = new Map<string, Set<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @returns who has to go for it, at most one: perhaps `item` itself, which is not there then. */
  add(network: string, item: T, capacity: number): T | undefined {
    const gone = this.#size < capacity ? undefined : this.#oldestBeside(network, item);
    if (gone === item) return gone;
    const own = this.#handshakes.get(network);
    if (own === undefined) this.#handshakes.set(network, new Set([item]));
    else own.add(item);
    this.#size += 1;
    return gone;
  }

  delete(network: string, item: T): void {
    const own = this.#handshakes.get(network);
    if (own?.delete(item) !== true) return;
    this.#size -= 1;
    if (own.size === 0) this.#handshakes.delete(network);
  }

  /** Looked for among all networks, which costs a tenth of the handshake that follows. */
  #oldestBeside(network: string, item: T): T {
    let most = 0;
    let largest = '';
    for (const [name, { size }] of this.#handshakes) {
      if (size <= most) continue;
      most = size;
      largest = name;
    }
    const own = this.#handshakes.get(network)?.size ?? 0;
    // Of two networks with as many each, the one that is here already keeps its places.
    if (most <= own + 1) return item;
    const [oldest = item] = this.#handshakes.get(largest) ?? [];
    this.delete(largest, oldest);
    return oldest;
  }
}
