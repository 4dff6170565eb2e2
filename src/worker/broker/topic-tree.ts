/**
 * Who wants which topics: a trie of topic filters (MQTT 5.0 §4.7) with one level per node.
 *
 * A match visits each filter that matches once and costs at most the nodes that share the topic's levels or a
 * wildcard; nothing recurses, so that the number of levels costs no stack. Levels are the keys of Maps: `__proto__` is
 * a level like any other. What is left without members is pruned.
 */

/** Members of one filter, in the order in which they came. */
export type Members<K, V> = ReadonlyMap<K, V> | Lone<K, V>;

/**
 * The only member of a filter. Most filters of a fleet have one member and most levels one level below them: without a
 * Map for each, a filter of three levels takes 260 bytes instead of 550.
 */
export class Lone<K, V> {
  readonly key: K;
  value: V;

  constructor(key: K, value: V) {
    this.key = key;
    this.value = value;
  }

  keys(): readonly K[] {
    return [this.key];
  }

  [Symbol.iterator](): Iterator<readonly [K, V]> {
    return [[this.key, this.value] as const].values();
  }
}

interface Node<K, V> {
  /** By literal level; undefined when there is one or none. */
  children: Map<string, Node<K, V>> | undefined;
  /** The one child there is, and its level. */
  only: Node<K, V> | undefined;
  onlyLevel: string;
  /** The level `+`. */
  plus: Node<K, V> | undefined;
  /** Members of the filter that ends here. */
  members: Map<K, V> | Lone<K, V> | undefined;
  /** Members of the filter that goes on with `#` as its last level. */
  rest: Map<K, V> | Lone<K, V> | undefined;
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

const nothing: readonly never[] = Object.freeze([]);

/** `K` is told apart by identity, as in a Map. */
export class TopicTree<K, V> {
  readonly #root: Node<K, V> = newNode();
  readonly #cache = new Map<string, CachedMatch<K, V>>();
  /** Grows when a filter comes or goes, or gets its second member; others come and go without it. */
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
    const members = rest ? node.rest : node.members;
    if (members instanceof Map) {
      const before = members.get(key);
      members.set(key, value);
      return before;
    }
    if (members?.key === key) {
      const before = members.value;
      members.value = value;
      return before;
    }
    const more = members === undefined ? new Lone(key, value) : new Map([...members, [key, value]]);
    if (members === undefined) this.#filters += 1;
    if (rest) node.rest = more;
    else node.members = more;
    this.#generation += 1;
    return undefined;
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
    if (last === undefined || members === undefined) return false;
    if (members instanceof Map) {
      if (!members.delete(key)) return false;
      if (members.size > 0) return true;
    } else if (members.key !== key) {
      return false;
    }
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
    if (this.#filters === 0) return nothing;
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
    else addChild(node, level, made);
    return made;
  }

  /** Removes nodes without members and children, from the end of the path to the root. */
  #prune(path: readonly Node<K, V>[], levels: readonly string[]): void {
    for (let i = path.length - 1; i > 0; i -= 1) {
      const node = path[i];
      const parent = path[i - 1];
      const level = levels[i - 1];
      if (node === undefined || parent === undefined || level === undefined) return;
      if (node.children !== undefined || node.only !== undefined || node.plus !== undefined) return;
      if (node.members !== undefined || node.rest !== undefined) return;
      this.#nodes -= 1;
      if (level === '+') {
        parent.plus = undefined;
        continue;
      }
      removeChild(parent, level);
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
        const literal = literalChild(node, level);
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
  return {
    children: undefined,
    only: undefined,
    onlyLevel: '',
    plus: undefined,
    members: undefined,
    rest: undefined,
  };
}

function child<K, V>(node: Node<K, V> | undefined, level: string): Node<K, V> | undefined {
  if (node === undefined) return undefined;
  return level === '+' ? node.plus : literalChild(node, level);
}

function literalChild<K, V>(node: Node<K, V>, level: string): Node<K, V> | undefined {
  if (node.children !== undefined) return node.children.get(level);
  return node.onlyLevel === level ? node.only : undefined;
}

function addChild<K, V>(node: Node<K, V>, level: string, made: Node<K, V>): void {
  if (node.children !== undefined) {
    node.children.set(level, made);
  } else if (node.only === undefined) {
    node.only = made;
    node.onlyLevel = level;
  } else {
    node.children = new Map([
      [node.onlyLevel, node.only],
      [level, made],
    ]);
    node.only = undefined;
    node.onlyLevel = '';
  }
}

function removeChild<K, V>(node: Node<K, V>, level: string): void {
  if (node.children === undefined) {
    node.only = undefined;
    node.onlyLevel = '';
    return;
  }
  node.children.delete(level);
  if (node.children.size === 0) node.children = undefined;
}
