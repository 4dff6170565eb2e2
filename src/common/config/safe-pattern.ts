/**
 * Which regular expressions of a payload schema may run on a device's text. V8 backtracks, so a pattern is accepted
 * only with a proof that the work is small: a subset of the syntax without anything that repeats a choice, in which
 * the number of ways to match is at most the product of what each quantifier and alternation can choose.
 */

/** Ways to match, at most; about a millisecond of V8's time when a text tries them all. */
export const maxWays = 100_000;
export const maxPatternLength = 256;

/** Why `pattern` is unsafe on texts of up to `maxLength` characters, or undefined. */
export function patternProblem(pattern: string, maxLength: number): string | undefined {
  if (pattern.length > maxPatternLength) return `is longer than ${maxPatternLength} characters`;
  try {
    // The way ajv compiles it.
    new RegExp(pattern, 'u');
  } catch {
    return 'is not a regular expression';
  }
  const reader = new PatternReader(pattern, maxLength);
  const problem = reader.read();
  if (problem !== undefined) return problem;
  if (reader.ways > maxWays) {
    return `may take ${reader.ways} steps on ${maxLength} characters, more than ${maxWays}: use fewer quantifiers, a smaller maxLength, or begin it with "^"`;
  }
  return undefined;
}

const unsupported = 'uses syntax that cannot be shown to be safe';

/** Counts ways while it walks; the syntax itself has been checked by RegExp. */
class PatternReader {
  readonly #pattern: string;
  readonly #maxLength: number;
  #at = 0;
  ways: number;

  constructor(pattern: string, maxLength: number) {
    this.#pattern = pattern;
    this.#maxLength = maxLength;
    // Without an anchor every position of the text is a start, unless an alternative escapes the anchor: "^a|b".
    this.ways = pattern.startsWith('^') ? 1 : maxLength + 1;
  }

  read(): string | undefined {
    const problem = this.#alternatives(0);
    if (problem !== undefined) return problem;
    return this.#at === this.#pattern.length ? undefined : unsupported;
  }

  #alternatives(depth: number): string | undefined {
    let alternatives = 1;
    for (;;) {
      const problem = this.#sequence(depth);
      if (problem !== undefined) return problem;
      if (this.#pattern[this.#at] !== '|') break;
      if (depth === 0) return 'has alternatives outside a group: write "^(?:a|b)$"';
      this.#at += 1;
      alternatives += 1;
    }
    this.ways *= alternatives;
    return undefined;
  }

  #sequence(depth: number): string | undefined {
    for (;;) {
      const c = this.#pattern[this.#at];
      if (c === undefined || c === '|' || c === ')') return undefined;
      const problem = c === '(' ? this.#group(depth) : this.#atom(c);
      if (problem !== undefined) return problem;
    }
  }

  #group(depth: number): string | undefined {
    if (depth >= 4) return 'nests groups too deeply';
    const opening = ['(?:', '(?', '('].find((o) => this.#pattern.startsWith(o, this.#at));
    if (opening === '(?') return 'uses lookaround, a named group or flags';
    this.#at += opening?.length ?? 1;
    const problem = this.#alternatives(depth + 1);
    if (problem !== undefined) return problem;
    if (this.#pattern[this.#at] !== ')') return unsupported;
    this.#at += 1;
    return this.#quantifier() === undefined ? undefined : 'repeats a group';
  }

  #atom(c: string): string | undefined {
    if (c === '^' || c === '$') {
      this.#at += 1;
      return undefined;
    }
    if (c === '[') {
      const end = this.#classEnd();
      if (end === undefined) return unsupported;
      this.#at = end;
    } else if (c === '\\') {
      const escaped = this.#pattern[this.#at + 1] ?? '';
      if (!/[dDwWsStnr^$\\.*+?()[\]{}|/-]/u.test(escaped)) {
        return `uses "\\${escaped}", which is not among \\d \\w \\s \\t \\n \\r and escaped punctuation`;
      }
      this.#at += 2;
    } else {
      const point = this.#pattern.codePointAt(this.#at) ?? 0;
      this.#at += point > 0xffff ? 2 : 1;
    }
    this.ways *= this.#quantifier() ?? 1;
    return undefined;
  }

  #classEnd(): number | undefined {
    for (let at = this.#at + 1; at < this.#pattern.length; at += 1) {
      if (this.#pattern[at] === '\\') at += 1;
      else if (this.#pattern[at] === ']') return at + 1;
    }
    return undefined;
  }

  /** The number of lengths the quantifier here can choose from; undefined when there is none. */
  #quantifier(): number | undefined {
    const [all, min, comma, max] =
      /^(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/u.exec(this.#pattern.slice(this.#at)) ?? [];
    if (all === undefined) return undefined;
    this.#at += all.length;
    if (all.startsWith('?')) return 2;
    if (all.startsWith('*') || all.startsWith('+')) return this.#maxLength + 1;
    if (comma === '') return 1;
    const most = max === '' ? this.#maxLength : Number(max);
    return Math.max(1, Math.min(most, this.#maxLength) - Number(min) + 1);
  }
}
