/**
 * MQTT topic names and filters (MQTT 5.0 §4.7): what one matches, whether one covers or meets another. Names are
 * compared as they are, never normalised, so that access rules, routes and the broker all see the same topic.
 */

/** Why `topic` is not a topic name (§4.7.1, §4.7.3), or undefined. Length limits are the caller's. */
export function topicProblem(topic: string): string | undefined {
  if (topic === '') return 'a topic name is empty';
  if (topic.includes('\0')) return 'a topic name contains U+0000';
  if (topic.includes('#') || topic.includes('+')) return 'a topic name contains a wildcard';
  if (!topic.isWellFormed()) return 'a topic name is not well-formed Unicode';
  return undefined;
}

/** Why `filter` is not a topic filter (§4.7.1), or undefined. Length limits are the caller's. */
export function filterProblem(filter: string): string | undefined {
  if (filter === '') return 'a topic filter is empty';
  if (filter.includes('\0')) return 'a topic filter contains U+0000';
  if (!filter.isWellFormed()) return 'a topic filter is not well-formed Unicode';
  const levels = splitLevels(filter);
  for (let i = 0; i < levels.length; i += 1) {
    const level = levels[i] ?? '';
    if (level.includes('#') && (level !== '#' || i !== levels.length - 1)) {
      return '"#" must be the whole last level';
    }
    if (level.includes('+') && level !== '+') return '"+" must be a whole level';
  }
  return undefined;
}

export function splitLevels(text: string): string[] {
  return text.split('/');
}

/** `filter` and `topic` MUST be valid. */
export function matches(filter: string, topic: string): boolean {
  return matchesLevels(splitLevels(filter), splitLevels(topic));
}

/**
 * Every topic that `narrow` matches is matched by `wide`. Both MUST be valid filters. Here and in `overlaps` the empty
 * name counts as a topic of one empty level, which makes `/#` a little wider than it is: the safe side in both.
 */
export function covers(wide: string, narrow: string): boolean {
  return coversLevels(splitLevels(wide), splitLevels(narrow));
}

/** Some topic is matched by both. Both MUST be valid filters. */
export function overlaps(a: string, b: string): boolean {
  return overlapsLevels(splitLevels(a), splitLevels(b));
}

export function matchesLevels(filter: readonly string[], topic: readonly string[]): boolean {
  // §4.7.2: a leading wildcard does not match a topic that begins with $.
  if (isWildcard(filter[0]) && isReserved(topic[0])) return false;
  for (let i = 0; i < filter.length; i += 1) {
    const level = filter[i];
    // "a/#" matches "a" too (§4.7.1.2).
    if (level === '#') return true;
    if (i >= topic.length) return false;
    if (level !== '+' && level !== topic[i]) return false;
  }
  return filter.length === topic.length;
}

export function coversLevels(wide: readonly string[], narrow: readonly string[]): boolean {
  if (isWildcard(wide[0]) && isReserved(narrow[0])) return false;
  for (let i = 0; ; i += 1) {
    const w = wide[i];
    const n = narrow[i];
    if (w === '#') return true;
    if (n === '#') {
      // "#" alone means one level or more, as "+/#" does; deeper down it means none or more.
      return i === 0 && w === '+' && wide[1] === '#';
    }
    // A narrow filter that ends where the wide one goes on with "#" was answered by `w === '#'` above.
    if (w === undefined || n === undefined) return w === n;
    if (w !== '+' && w !== n) return false;
  }
}

export function overlapsLevels(a: readonly string[], b: readonly string[]): boolean {
  if (isWildcard(a[0]) && isReserved(b[0])) return false;
  if (isWildcard(b[0]) && isReserved(a[0])) return false;
  for (let i = 0; ; i += 1) {
    const x = a[i];
    const y = b[i];
    if (x === '#' || y === '#') return true;
    if (x === undefined || y === undefined) return x === y;
    if (x !== '+' && y !== '+' && x !== y) return false;
  }
}

function isWildcard(level: string | undefined): boolean {
  return level === '+' || level === '#';
}

function isReserved(level: string | undefined): boolean {
  return level?.startsWith('$') ?? false;
}
