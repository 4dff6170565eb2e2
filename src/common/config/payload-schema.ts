/**
 * Payload schemas: JSON Schema 2020-12, or draft-07 where the schema says so, compiled once and run per message.
 */
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ErrorObject, Options } from 'ajv';
import { SallyportError, messageOf } from '../base/errors.ts';
import { printable } from '../base/principal.ts';
import { parseStrictJson } from '../base/strict-json.ts';
import { isCborType, parseStrictCbor } from '../codec/cbor/strict-cbor.ts';
import { assertSafeSchema, schemaFormats } from './schema-safety.ts';

/**
 * Undefined when the payload is valid; else what is wrong with which field, and by which rule of the schema, for the log
 * only; never a value. A payload whose content type says CBOR is read as that, any other as JSON.
 */
export type PayloadCheck = (payload: Buffer, contentType?: string) => string | undefined;

/** One thing that is wrong with a payload. */
export interface FieldProblem {
  /** JSON pointer (RFC 6901); empty = the payload as a whole. */
  readonly field: string;
  readonly problem: string;
  /** Where in the schema it says so, as a URI fragment; empty when it is not even JSON or CBOR. */
  readonly rule: string;
}

const draft7 = /^https?:\/\/json-schema\.org\/draft-07\/schema#?$/u;
const draft2020 = 'https://json-schema.org/draft/2020-12/schema';

const options: Options = {
  strict: true,
  allowUnionTypes: true,
  strictRequired: false,
  // A schema's `default` is documentation: what a device sent is passed on as it was sent.
  useDefaults: false,
  coerceTypes: false,
  removeAdditional: false,
  // The first error ends the check, so a long list of wrong values costs no more than one.
  allErrors: false,
  logger: false,
};

/**
 * @param where what the schema is called in messages.
 * @throws SallyportError `invalid-config` for a schema that is unsafe or wrong.
 */
export function compilePayloadSchema(schema: unknown, where = 'the payload schema'): PayloadCheck {
  assertSafeSchema(schema, where);
  const validate = compile(schema, where, options);
  return (payload, contentType) => {
    const parsed = isCborType(contentType) ? parseStrictCbor(payload) : parseStrictJson(payload);
    if (!parsed.ok) return `the payload ${parsed.problem}`;
    return validate(parsed.value) ? undefined : describe(fieldProblem(validate.errors?.[0]));
  };
}

/**
 * As `compilePayloadSchema`, but finds every field that is wrong: for whoever writes a schema, and not for devices, who
 * would choose how many.
 */
export function compilePayloadReport(
  schema: unknown,
  where: string,
): (payload: Buffer, contentType?: string) => readonly FieldProblem[] {
  assertSafeSchema(schema, where);
  const validate = compile(schema, where, { ...options, allErrors: true });
  return (payload, contentType) => {
    const parsed = isCborType(contentType) ? parseStrictCbor(payload) : parseStrictJson(payload);
    if (!parsed.ok) return [{ field: '', problem: parsed.problem, rule: '' }];
    if (validate(parsed.value)) return [];
    return (validate.errors ?? [undefined]).map(fieldProblem);
  };
}

function compile(schema: unknown, where: string, how: Options) {
  if (typeof schema === 'boolean') return new Ajv2020(how).compile(schema);
  // assertSafeSchema has shown that it is an object; a copy, because ajv keeps what it is given.
  const { $id: _id, $schema, ...rest } = structuredClone(schema) as Record<string, unknown>;
  // A name for the schema would let two routes' schemas refer to each other.
  const ajv = dialect($schema, where, how);
  for (const name of schemaFormats)
    ajv.addFormat(name, { type: 'string', validate: formats[name] });
  try {
    return ajv.compile(rest);
  } catch (cause) {
    throw new SallyportError(
      'invalid-config',
      `${where}: the schema is wrong: ${messageOf(cause)}`,
      {
        hint: 'correct the schema; "sallyport schema test" tries it on an example',
        cause,
      },
    );
  }
}

function dialect(name: unknown, where: string, how: Options): Ajv | Ajv2020 {
  if (name === undefined || name === draft2020) return new Ajv2020(how);
  if (typeof name === 'string' && draft7.test(name)) return new Ajv(how);
  throw new SallyportError('invalid-config', `${where}: the schema's "$schema" is not supported`, {
    hint: `use ${draft2020} or http://json-schema.org/draft-07/schema#`,
  });
}

function describe({ field, problem, rule }: FieldProblem): string {
  return `${field === '' ? 'the payload' : field} ${problem} (rule ${rule})`;
}

function fieldProblem(error: ErrorObject | undefined): FieldProblem {
  if (error === undefined) return { field: '', problem: 'does not fit its schema', rule: '#' };
  const { instancePath, message, params, schemaPath } = error;
  const { missingProperty, additionalProperty } = params as Partial<Record<string, unknown>>; // typed `any` by ajv
  let field = instancePath;
  let problem = message ?? 'is wrong';
  if (typeof missingProperty === 'string') {
    field += pointerTo(missingProperty);
    problem = 'is a required property and not there';
  } else if (typeof additionalProperty === 'string') {
    field += pointerTo(additionalProperty);
    problem = 'is none of the properties that may be there: no additional properties';
  }
  // What a device has called a field may be as long as its payload.
  return { field: printable(field), problem, rule: schemaPath };
}

/** RFC 6901 §3. */
function pointerTo(name: string): string {
  return `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** Fixed forms only: each is linear whatever its input. */
const formats: Readonly<Record<(typeof schemaFormats)[number], (text: string) => boolean>> = {
  /** RFC 3339 §5.6, leap seconds included. */
  'date-time': (text) => {
    if (text.length > 64) return false;
    const m =
      /^(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,12})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/u.exec(
        text,
      );
    return m?.[1] !== undefined && isDate(m[1]);
  },
  date: isDate,
  /** RFC 9562 §4. */
  uuid: (text) =>
    text.length === 36 && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/iu.test(text),
};

function isDate(text: string): boolean {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/u.exec(text.slice(0, 11)) ?? [];
  if (year === undefined) return false;
  const date = new Date(Date.UTC(2000, Number(month) - 1, Number(day)));
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  return date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
}
