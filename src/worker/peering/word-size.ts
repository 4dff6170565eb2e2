/** Lists that are told in words: cut, so that each word fits a frame however long its items are. */

const itemsPerWord = 500;
/** Characters; as JSON a character takes up to six bytes, and a frame has 64 MiB. */
const charactersPerWord = 1024 * 1024;

export function inWords<T>(items: readonly T[], charactersOf: (item: T) => number): T[][] {
  const words: T[][] = [];
  let word: T[] = [];
  let characters = 0;
  for (const item of items) {
    const more = charactersOf(item);
    if (word.length >= itemsPerWord || (word.length > 0 && characters + more > charactersPerWord)) {
      words.push(word);
      word = [];
      characters = 0;
    }
    word.push(item);
    characters += more;
  }
  if (word.length > 0) words.push(word);
  return words;
}

/** @returns the list when it is one that `inWords` could have cut and whose items all fit. */
export function listOf<T>(
  value: unknown,
  isItem: (item: unknown) => item is T,
): readonly T[] | undefined {
  if (!Array.isArray(value) || value.length > itemsPerWord) return undefined;
  return value.every(isItem) ? value : undefined;
}
