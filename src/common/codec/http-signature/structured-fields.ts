/**
 * Structured Fields (RFC 9651), as far as signatures use them: dictionaries of items and inner lists, of integers, strings,
 * tokens, byte sequences and booleans. Stricter than the standard where two readers could understand two things: a key
 * that comes twice is refused, and so is base64 that is not written as it has to be. Decimals, dates and display strings
 * have no place in these fields.
 */
export type BareItem =
  | { readonly type: 'integer'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'token'; readonly value: string }
  | { readonly type: 'bytes'; readonly value: Buffer }
  | { readonly type: 'boolean'; readonly value: boolean };

export type Parameters = ReadonlyMap<string, BareItem>;

export interface Item {
  readonly bare: BareItem;
  readonly parameters: Parameters;
}

export interface InnerList {
  readonly items: readonly Item[];
  readonly parameters: Parameters;
}

export type Dictionary = ReadonlyMap<string, Item | InnerList>;

export interface FieldBounds {
  /** Characters in all; longer ones are not looked at. */
  readonly length: number;
  /** Members of a dictionary, items of a list, parameters of either: each at most so many. */
  readonly count: number;
}

/** @returns undefined for what is no dictionary, is out of bounds, or holds anything that these fields have no use for. */
export function parseDictionary(text: string, bounds: FieldBounds): Dictionary | undefined {
  if (text.length > bounds.length) return undefined;
  return new FieldReader(text, bounds.count).dictionary();
}

/** Section 4.1.1.1: how it has to be written, whatever it was read from. */
export function innerListText({ items, parameters }: InnerList): string {
  return `(${items.map(itemText).join(' ')})${parametersText(parameters)}`;
}

function itemText({ bare, parameters }: Item): string {
  return bareText(bare) + parametersText(parameters);
}

function parametersText(parameters: Parameters): string {
  let text = '';
  for (const [key, value] of parameters) {
    const isTrue = value.type === 'boolean' && value.value;
    text += isTrue ? `;${key}` : `;${key}=${bareText(value)}`;
  }
  return text;
}

function bareText(item: BareItem): string {
  switch (item.type) {
    case 'integer':
      return String(item.value);
    case 'string':
      return `"${item.value.replace(/["\\]/g, '\\$&')}"`;
    case 'token':
      return item.value;
    case 'bytes':
      return `:${item.value.toString('base64')}:`;
    case 'boolean':
      return item.value ? '?1' : '?0';
  }
}

// Sticky: each is tried at one place only, and none can be tried there in more than one way.
const keyToken = /[a-z*][a-z0-9_.*-]*/y;
const integerToken = /-?[0-9]{1,15}(?![0-9.])/y;
const stringToken = /"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"/y;
const nameToken = /[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*/y;
const bytesToken = /:([A-Za-z0-9+/]*={0,2}):/y;
const booleanToken = /\?([01])/y;
const spaces = / */y;
const optionalWhitespace = /[ \t]*/y;

const isTrue: BareItem = { type: 'boolean', value: true };

/** Each method is at the beginning of what it reads, and behind it when it has read it; undefined = it is not there. */
class FieldReader {
  readonly #text: string;
  readonly #most: number;
  #at = 0;

  constructor(text: string, most: number) {
    this.#text = text;
    this.#most = most;
  }

  /** Section 4.2.2. */
  dictionary(): Dictionary | undefined {
    const members = new Map<string, Item | InnerList>();
    this.#match(spaces);
    if (this.#ended()) return members;
    for (;;) {
      const key = this.#match(keyToken)?.[0];
      if (key === undefined || members.has(key) || members.size >= this.#most) return undefined;
      const member = this.#take('=') ? this.#itemOrList() : this.#bareTrue();
      if (member === undefined) return undefined;
      members.set(key, member);
      this.#match(optionalWhitespace);
      if (this.#ended()) return members;
      if (!this.#take(',')) return undefined;
      this.#match(optionalWhitespace);
      if (this.#ended()) return undefined;
    }
  }

  #ended(): boolean {
    return this.#at === this.#text.length;
  }

  #itemOrList(): Item | InnerList | undefined {
    return this.#text[this.#at] === '(' ? this.#innerList() : this.#item();
  }

  /** Section 4.2.1.2. */
  #innerList(): InnerList | undefined {
    this.#at += 1;
    const items: Item[] = [];
    for (;;) {
      const gap = this.#match(spaces)?.[0] ?? '';
      if (this.#take(')')) {
        const parameters = this.#parameters();
        return parameters === undefined ? undefined : { items, parameters };
      }
      if ((items.length > 0 && gap === '') || items.length >= this.#most) return undefined;
      const item = this.#item();
      if (item === undefined) return undefined;
      items.push(item);
    }
  }

  #bareTrue(): Item | undefined {
    const parameters = this.#parameters();
    return parameters === undefined ? undefined : { bare: isTrue, parameters };
  }

  #item(): Item | undefined {
    const bare = this.#bare();
    if (bare === undefined) return undefined;
    const parameters = this.#parameters();
    return parameters === undefined ? undefined : { bare, parameters };
  }

  /** Section 4.2.3.2. */
  #parameters(): Parameters | undefined {
    if (this.#text[this.#at] !== ';') return none;
    const parameters = new Map<string, BareItem>();
    while (this.#take(';')) {
      this.#match(spaces);
      const key = this.#match(keyToken)?.[0];
      if (key === undefined || parameters.has(key) || parameters.size >= this.#most)
        return undefined;
      const value = this.#take('=') ? this.#bare() : isTrue;
      if (value === undefined) return undefined;
      parameters.set(key, value);
    }
    return parameters;
  }

  /** Section 4.2.3.1. */
  #bare(): BareItem | undefined {
    const first = this.#text[this.#at];
    if (first === '"') {
      const value = this.#match(stringToken)?.[1];
      if (value === undefined) return undefined;
      return { type: 'string', value: value.replace(/\\(["\\])/g, '$1') };
    }
    if (first === ':') {
      const encoded = this.#match(bytesToken)?.[1];
      if (encoded === undefined) return undefined;
      const value = Buffer.from(encoded, 'base64');
      return value.toString('base64') === encoded ? { type: 'bytes', value } : undefined;
    }
    if (first === '?') {
      const digit = this.#match(booleanToken)?.[1];
      return digit === undefined ? undefined : { type: 'boolean', value: digit === '1' };
    }
    const number = this.#match(integerToken)?.[0];
    // `-0` is 0 and is written so.
    if (number !== undefined) return { type: 'integer', value: Number(number) + 0 };
    const token = this.#match(nameToken)?.[0];
    return token === undefined ? undefined : { type: 'token', value: token };
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) return undefined;
    this.#at = pattern.lastIndex;
    return found;
  }
}

const none: Parameters = new Map();
