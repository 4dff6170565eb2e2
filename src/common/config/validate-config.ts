/** A configuration against its schema, with messages for the person who wrote it. */
import { Ajv } from 'ajv';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { configSchema } from './config-schema.ts';
import type { ConfigNode } from './config-node.ts';
import { nearest } from './edit-distance.ts';
import { textProblem } from './units.ts';
import type { TextKind } from './units.ts';
import type { Path } from './yaml-source.ts';

export interface Finding {
  readonly path: Path;
  readonly message: string;
}

let compiled: ValidateFunction | undefined;

/** Everything that is wrong with `value`, in no order; empty when nothing is. Values are not repeated: they may be secrets. */
export function validateConfig(value: unknown): Finding[] {
  const findings = userInfo(value, []);
  compiled ??= compile();
  if (compiled(value)) return findings;
  const errors = compiled.errors ?? [];
  const notYet = new Set(errors.filter((e) => e.keyword === 'notYet').map((e) => e.instancePath));
  for (const error of errors) {
    // What is not available needs no second complaint about its form.
    if (error.keyword !== 'notYet' && notYet.has(error.instancePath)) continue;
    // Said already by the check of the name itself.
    if (error.keyword === 'propertyNames') continue;
    findings.push(findingOf(error));
  }
  return findings;
}

function compile(): ValidateFunction {
  const ajv = new Ajv({
    strict: true,
    strictRequired: false,
    allowUnionTypes: true,
    allErrors: true,
    verbose: true,
    logger: false,
  });
  ajv.addVocabulary(['example']);
  ajv.addKeyword({
    keyword: 'kind',
    schemaType: 'string',
    type: 'string',
    errors: false,
    // The only values of `kind` are those of the schema next door.
    validate: (kind: TextKind, text: string) => textProblem(kind, text) === undefined,
  });
  ajv.addKeyword({
    keyword: 'onlyFalse',
    schemaType: 'boolean',
    type: 'boolean',
    errors: false,
    validate: (_: unknown, data: boolean) => !data,
  });
  ajv.addKeyword({
    keyword: 'notYet',
    schemaType: 'object',
    errors: false,
    validate: ({ accepts }: NonNullable<ConfigNode['notYet']>, data: unknown) => {
      if (accepts === 'listener') return data === false || isAddress(data);
      return (
        accepts === 'empty' &&
        typeof data === 'object' &&
        data !== null &&
        Object.keys(data).length === 0
      );
    },
  });
  return ajv.compile(configSchema);
}

/** An address for a listener that a later version has: it may be written down today, and nothing listens on it. */
function isAddress(data: unknown): boolean {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return false;
  return Object.entries(data).every(([key, value]) =>
    key === 'host'
      ? typeof value === 'string'
      : key === 'port' && Number.isInteger(value) && value >= 0 && value <= 65_535,
  );
}

function findingOf(error: ErrorObject): Finding {
  const path: (string | number)[] = error.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  // `verbose` gives the node of our own schema in which the keyword stands.
  const node = error.parentSchema as ConfigNode;
  const params = error.params as Readonly<Record<string, unknown>>;
  if (error.propertyName !== undefined) {
    return {
      path: [...path, error.propertyName],
      message: textProblem('name', error.propertyName) ?? 'is not a name',
    };
  }
  switch (error.keyword) {
    case 'additionalProperties': {
      const key = String(params['additionalProperty']);
      const meant = nearest(key, Object.keys(node.properties ?? {}));
      return {
        path: [...path, key],
        message: `is not a known key${meant === undefined ? '' : `; did you mean "${meant}"?`}`,
      };
    }
    case 'required':
      return { path, message: `lacks the key "${String(params['missingProperty'])}"` };
    case 'kind':
      return {
        path,
        message: textProblem(error.schema as TextKind, String(error.data)) ?? 'is wrong',
      };
    case 'notYet':
      return { path, message: `is not available: ${node.notYet?.reason ?? ''}` };
    case 'onlyFalse':
      return { path, message: 'is true; write false, or a mapping' };
    case 'type':
      return { path, message: typeMessage(error.data, node) };
    case 'enum':
      return { path, message: `is not one of ${(node.enum ?? []).map(String).join(', ')}` };
    case 'minProperties':
    case 'maxProperties':
      return {
        path,
        message: `needs exactly one of ${Object.keys(node.properties ?? {}).join(', ')}`,
      };
    default:
      return { path, message: error.message ?? 'is wrong' };
  }
}

const typeNames: Readonly<Record<string, string>> = {
  object: 'a mapping',
  array: 'a list',
  string: 'a text',
  integer: 'a whole number',
  boolean: 'false',
};

function typeMessage(data: unknown, node: ConfigNode): string {
  const wanted = [node.type ?? []]
    .flat()
    .map((type) => typeNames[type] ?? type)
    .join(' or ');
  const secret =
    node.properties?.['credential'] === undefined
      ? ''
      : '; secrets are never written in the configuration';
  return data === null
    ? `is empty; remove the key or give it ${wanted}`
    : `is not ${wanted}${secret}`;
}

/** A password in a URL would end up in messages and logs, wherever it stands. */
function userInfo(value: unknown, path: Path): Finding[] {
  if (typeof value === 'string') {
    return /[a-z][a-z0-9+.-]*:\/\/[^/?#\s]*@/iu.test(value)
      ? [
          {
            path,
            message:
              'contains a URL with a user name or password; name a secret as { file: … } or { credential: … }',
          },
        ]
      : [];
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) => userInfo(child, [...path, key]));
}
