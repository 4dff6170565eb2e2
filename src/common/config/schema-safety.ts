/**
 * Which payload schemas are accepted at load: a list of keywords whose cost on any payload is known to be small.
 * What is not on the list is refused, so a keyword nobody thought of cannot be the one that hangs a worker.
 */
import { SallyportError } from '../base/errors.ts';
import { printable } from '../base/principal.ts';
import { patternProblem } from './safe-pattern.ts';

export const maxSchemaBytes = 64 * 1024;
const maxSchemaDepth = 32;
/** Subschemas with every reference written out: bounds the work per value of a payload. */
const maxExpandedSchemas = 2_000;
/** `uniqueItems` keeps a table of what it has seen. */
const maxUniqueItems = 1_000;

const annotations = [
  '$comment',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
];
const assertions = [
  'type',
  'enum',
  'const',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'pattern',
  'format',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minContains',
  'maxContains',
  'required',
  'minProperties',
  'maxProperties',
  'dependentRequired',
  '$ref',
];
const oneSchema = [
  'additionalItems',
  'contains',
  'additionalProperties',
  'propertyNames',
  'not',
  'if',
  'then',
  'else',
];
const listOfSchemas = ['allOf', 'anyOf', 'oneOf', 'prefixItems'];
const mapOfSchemas = [
  'properties',
  'patternProperties',
  'dependentSchemas',
  '$defs',
  'definitions',
];
const definitions = new Set(['$defs', 'definitions']);
const known = new Set([
  ...annotations,
  ...assertions,
  ...oneSchema,
  ...listOfSchemas,
  ...mapOfSchemas,
  'items',
]);
const rootOnly = new Set(['$schema', '$id']);

export const schemaFormats = ['date-time', 'date', 'uuid'] as const;

/**
 * @param where what the schema is called in messages: its file, or its route.
 * @throws SallyportError `invalid-config` when the schema could cost too much, fetch something, or mean something
 * else to another validator.
 */
export function assertSafeSchema(schema: unknown, where: string): void {
  new SchemaCheck(schema, where).run();
}

type Mapping = Readonly<Record<string, unknown>>;

class SchemaCheck {
  readonly #root: unknown;
  readonly #where: string;
  /** Expanded size of each place that a reference has reached. */
  readonly #sizes = new Map<unknown, number>();
  readonly #open = new Set<unknown>();

  constructor(root: unknown, where: string) {
    this.#root = root;
    this.#where = where;
  }

  run(): void {
    // Before anything recursive of ours or of ajv's walks it.
    this.#boundDepth(this.#root, 0);
    if (typeof this.#root !== 'boolean' && !isMapping(this.#root)) {
      this.#fail('', 'is neither an object nor true or false');
    }
    let text: string;
    try {
      text = JSON.stringify(this.#root);
    } catch (cause) {
      throw this.#refusal('', 'is not plain JSON', cause);
    }
    if (Buffer.byteLength(text) > maxSchemaBytes)
      this.#fail('', `is larger than ${maxSchemaBytes} bytes`);
    const size = this.#schema(this.#root, '');
    if (size > maxExpandedSchemas) {
      this.#fail(
        '',
        `stands for ${size} subschemas with its references written out, more than ${maxExpandedSchemas}`,
      );
    }
  }

  #refusal(at: string, problem: string, cause?: unknown): SallyportError {
    return new SallyportError(
      'invalid-config',
      `${this.#where}: the schema${at === '' ? '' : ` at ${printable(at)}`} ${problem}`,
      {
        hint: 'docs/configuration.md lists what a payload schema may use',
        cause,
      },
    );
  }

  #fail(at: string, problem: string): never {
    throw this.#refusal(at, problem);
  }

  #boundDepth(value: unknown, depth: number): void {
    if (typeof value !== 'object' || value === null) return;
    if (depth >= maxSchemaDepth) this.#fail('', `is nested deeper than ${maxSchemaDepth}`);
    for (const child of Object.values(value)) this.#boundDepth(child, depth + 1);
  }

  /** Expanded size of the schema at `at`, references included. */
  #schema(schema: unknown, at: string): number {
    if (typeof schema === 'boolean') return 1;
    if (!isMapping(schema)) return this.#fail(at, 'is neither an object nor true or false');
    if (this.#open.has(schema))
      this.#fail(at, 'refers to itself: a payload could make it recurse without end');
    const done = this.#sizes.get(schema);
    if (done !== undefined) return done;
    this.#open.add(schema);
    let size = 1;
    for (const [keyword, value] of Object.entries(schema)) {
      const here = `${at}/${keyword}`;
      if (!known.has(keyword) && !(at === '' && rootOnly.has(keyword))) {
        this.#fail(here, 'uses a keyword that is not supported');
      }
      size += this.#children(keyword, value, here);
    }
    this.#rules(schema, at);
    this.#open.delete(schema);
    this.#sizes.set(schema, size);
    return size;
  }

  #children(keyword: string, value: unknown, at: string): number {
    if (keyword === '$ref') return this.#reference(value, at);
    if (oneSchema.includes(keyword)) return this.#schema(value, at);
    if (listOfSchemas.includes(keyword) || (keyword === 'items' && Array.isArray(value))) {
      if (!Array.isArray(value)) return this.#fail(at, 'is not a list of schemas');
      return value.reduce<number>((sum, child, i) => sum + this.#schema(child, `${at}/${i}`), 0);
    }
    if (keyword === 'items') return this.#schema(value, at);
    if (mapOfSchemas.includes(keyword)) {
      if (!isMapping(value)) return this.#fail(at, 'is not an object of schemas');
      let sum = 0;
      for (const [name, child] of Object.entries(value))
        sum += this.#schema(child, `${at}/${name}`);
      // Definitions cost nothing until something refers to them.
      return definitions.has(keyword) ? 0 : sum;
    }
    return 0;
  }

  /** `#`, or a JSON pointer into this schema (RFC 6901). Nothing is ever fetched. */
  #reference(value: unknown, at: string): number {
    if (typeof value !== 'string' || !(value === '#' || value.startsWith('#/'))) {
      return this.#fail(at, 'refers to something outside the schema; only "#/…" is allowed');
    }
    let target: unknown = this.#root;
    for (const part of value.split('/').slice(1)) {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      const inside = typeof target === 'object' && target !== null && Object.hasOwn(target, key);
      if (!inside) return this.#fail(at, `refers to ${printable(value)}, which is not there`);
      // hasOwn has just shown the key.
      target = (target as Mapping)[key];
    }
    return this.#schema(target, value.slice(1));
  }

  #rules(schema: Mapping, at: string): void {
    if ('pattern' in schema) this.#pattern(schema['pattern'], schema['maxLength'], `${at}/pattern`);
    if (isMapping(schema['patternProperties'])) {
      const names = schema['propertyNames'];
      const maxLength = isMapping(names) ? names['maxLength'] : undefined;
      for (const pattern of Object.keys(schema['patternProperties'])) {
        this.#pattern(pattern, maxLength, `${at}/patternProperties`);
      }
    }
    if ('format' in schema && !schemaFormats.some((f) => f === schema['format'])) {
      this.#fail(`${at}/format`, `is not one of ${schemaFormats.join(', ')}`);
    }
    if (schema['uniqueItems'] === true) this.#uniqueItems(schema, at);
    // ajv compares objects in a way that a payload with the key "valueOf" can make throw.
    const values = schema['enum'];
    if ((Array.isArray(values) && values.some(isComposite)) || isComposite(schema['const'])) {
      this.#fail(
        at,
        'compares with an object or a list; enum and const take text, numbers, true, false and null',
      );
    }
  }

  #pattern(pattern: unknown, maxLength: unknown, at: string): void {
    if (typeof pattern !== 'string') return this.#fail(at, 'is not a text');
    if (typeof maxLength !== 'number' || !(maxLength >= 0)) {
      const where = at.endsWith('patternProperties')
        ? 'propertyNames: { maxLength: … }'
        : 'maxLength';
      return this.#fail(
        at,
        `needs ${where} beside it, which bounds what a device can make it cost`,
      );
    }
    const problem = patternProblem(pattern, maxLength);
    if (problem !== undefined) this.#fail(at, `has a regular expression that ${problem}`);
  }

  #uniqueItems(schema: Mapping, at: string): void {
    const maxItems = schema['maxItems'];
    if (typeof maxItems !== 'number' || maxItems > maxUniqueItems) {
      this.#fail(
        at,
        `has uniqueItems, which needs maxItems of at most ${maxUniqueItems} beside it`,
      );
    }
    const items = schema['items'];
    const types = isMapping(items) ? [items['type']].flat() : [];
    const scalar = types.every((t) => typeof t === 'string' && t !== 'object' && t !== 'array');
    if (types.length === 0 || !scalar) {
      this.#fail(at, 'has uniqueItems, which needs items of a type other than object and array');
    }
  }
}

function isComposite(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
