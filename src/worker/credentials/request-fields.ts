/** The header fields of one request by their names, for who has to look at more than a few of them. */
export class RequestFields {
  readonly #byName = new Map<string, string[]>();

  /** @param raw name and value in turn, as node:http has them. */
  constructor(raw: readonly string[]) {
    for (let i = 0; i + 1 < raw.length; i += 2) {
      const name = (raw[i] ?? '').toLowerCase();
      const value = (raw[i + 1] ?? '').replace(whitespace, '');
      const values = this.#byName.get(name);
      if (values === undefined) this.#byName.set(name, [value]);
      else values.push(value);
    }
  }

  /** Undefined when it did not come, or more than once. */
  only(name: string): string | undefined {
    const values = this.#byName.get(name);
    return values?.length === 1 ? values[0] : undefined;
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** RFC 9421 section 2.1: all values of the name in their order. */
  joined(name: string): string | undefined {
    return this.#byName.get(name)?.join(', ');
  }
}

/** RFC 9110 section 5.5, which `trim` goes beyond. */
const whitespace = /^[ \t]+|[ \t]+$/g;
