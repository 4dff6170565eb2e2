/**
 * Who wants which topics: a trie of topic filters (MQTT 5.0 §4.7) with one level per node.
 *
 * A match visits each filter that matches once and costs at most the nodes that share the topic's levels or a
 * wildcard; nothing recurses, so that the number of levels costs no stack. Levels are the keys of Maps: `__proto__` is
 * a level like any other. What is left without members is pruned.
 */

/** Members of one filter, in the order in which they came. */
export type Members<K, V> = ReadonlyMap<K, V>;

interface Node<K, V> {
  /** By literal level. */
  children: Map<string, Node<K, V>> | undefined;
  /** The level `+`. */
  plus: Node<K, V> | undefined;
  /** Members of the filter that ends here. */
  members: Map<K, V> | undefined;
  /** Members of the filter that goes on with `#` as its last level. */
  rest: Map<K, V> | undefined;
}

interface CachedMatch<K, V> {
  readonly generation: number;
  readonly found: readonly Members<K, V>[];
}

/**
 * Topics whose matches are remembered, some 200 bytes each. A device publishes to the same few topics again and again:
 * among 10,000 filters a match takes 21 ns from here and about 1 µs from the trie (bench/broker.ts).
 */
const cachedTopics = 32_768;

/** `K` is told apart by identity, as in a Map. */
export class TopicTree<K, V> {
  readonly #root: Node<K, V> = newNode();
  readonly #cache = new Map<string, CachedMatch<K, V>>();
  /** Grows when a filter comes or goes; members of a filter come and go without it. */
  #generation = 0;
  #filters = 0;
  #nodes = 1;

  /** Filters with at least one member. */
  get size(): number {
    return this.#filters;
  }

  /** What the filters cost: levels that they do not share, and the root. */
  get nodes(): number {
    return this.#nodes;
  }

  /** Adds or replaces. @returns what `key` had under this filter before. `filter` MUST be valid. */
  set(filter: string, key: K, value: V): V | undefined {
    const levels = filter.split('/');
    const rest = levels[levels.length - 1] === '#';
    if (rest) levels.pop();
    let node = this.#root;
    for (const level of levels) node = this.#descend(node, level);
    let members = rest ? node.rest : node.members;
    if (members === undefined) {
      members = new Map();
      if (rest) node.rest = members;
      else node.members = members;
      this.#generation += 1;
      this.#filters += 1;
    }
    const before = members.get(key);
    members.set(key, value);
    return before;
  }

  /** @returns whether `key` was a member of this filter. */
  delete(filter: string, key: K): boolean {
    const levels = filter.split('/');
    const rest = levels[levels.length - 1] === '#';
    if (rest) levels.pop();
    const path: Node<K, V>[] = [this.#root];
    for (const level of levels) {
      const next = child(path[path.length - 1], level);
      if (next === undefined) return false;
      path.push(next);
    }
    const last = path[path.length - 1];
    const members = rest ? last?.rest : last?.members;
    if (last === undefined || members === undefined || !members.delete(key)) return false;
    if (members.size > 0) return true;
    if (rest) last.rest = undefined;
    else last.members = undefined;
    this.#generation += 1;
    this.#filters -= 1;
    this.#prune(path, levels);
    return true;
  }

  /** Whether `filter` itself, as it is written, has a member. */
  has(filter: string): boolean {
    const levels = filter.split('/');
    const rest = levels[levels.length - 1] === '#';
    if (rest) levels.pop();
    let node: Node<K, V> | undefined = this.#root;
    for (const level of levels) node = child(node, level);
    return (rest ? node?.rest : node?.members) !== undefined;
  }

  /**
   * The members of every filter that matches `topic`, which MUST be a valid topic name. The maps are the tree's own:
   * read them now, keep nothing.
   */
  match(topic: string): readonly Members<K, V>[] {
    const cached = this.#cache.get(topic);
    if (cached?.generation === this.#generation) return cached.found;
    const found = this.#walk(topic);
    // Emptied and not trimmed: a fleet larger than the cache would pay for the bookkeeping and gain nothing.
    if (cached === undefined && this.#cache.size >= cachedTopics) this.#cache.clear();
    this.#cache.set(topic, { generation: this.#generation, found });
    return found;
  }

  #descend(node: Node<K, V>, level: string): Node<K, V> {
    const known = child(node, level);
    if (known !== undefined) return known;
    const made = newNode<K, V>();
    this.#nodes += 1;
    if (level === '+') node.plus = made;
    else (node.children ??= new Map()).set(level, made);
    return made;
  }

  /** Removes nodes without members and children, from the end of the path to the root. */
  #prune(path: readonly Node<K, V>[], levels: readonly string[]): void {
    for (let i = path.length - 1; i > 0; i -= 1) {
      const node = path[i];
      const parent = path[i - 1];
      const level = levels[i - 1];
      if (node === undefined || parent === undefined || level === undefined) return;
      if (node.children !== undefined || node.plus !== undefined) return;
      if (node.members !== undefined || node.rest !== undefined) return;
      this.#nodes -= 1;
      if (level === '+') {
        parent.plus = undefined;
        continue;
      }
      parent.children?.delete(level);
      if (parent.children?.size === 0) parent.children = undefined;
    }
  }

  #walk(topic: string): Members<K, V>[] {
    const found: Members<K, V>[] = [];
    // §4.7.2: a leading wildcard does not match a topic that begins with $.
    let wildcards = !topic.startsWith('$');
    let nodes: Node<K, V>[] = [this.#root];
    for (let start = 0; start !== -1;) {
      const end = topic.indexOf('/', start);
      const level = topic.slice(start, end === -1 ? undefined : end);
      start = end === -1 ? -1 : end + 1;
      const next: Node<K, V>[] = [];
      for (const node of nodes) {
        if (wildcards && node.rest !== undefined) found.push(node.rest);
        const literal = node.children?.get(level);
        if (literal !== undefined) next.push(literal);
        if (wildcards && node.plus !== undefined) next.push(node.plus);
      }
      if (next.length === 0) return found;
      nodes = next;
      wildcards = true;
    }
    for (const node of nodes) {
      if (node.members !== undefined) found.push(node.members);
      // "a/#" matches "a" too (§4.7.1.2).
      if (node.rest !== undefined) found.push(node.rest);
    }
    return found;
  }
}

function newNode<K, V>(): Node<K, V> {
  return { children: undefined, plus: undefined, members: undefined, rest: undefined };
}

function child<K, V>(node: Node<K, V> | undefined, level: string): Node<K, V> | undefined {
  return level === '+' ? node?.plus : node?.children?.get(level);
}
