/**
 * What the schema of the configuration is made of.
 *
 * Besides the standard's keywords a node has four of its own: `kind` (a text of units.ts), `onlyFalse` (of true and
 * false, only false), `notYet` (accepted only as an address that is not used, or as an empty mapping, or not at all,
 * with the reason) and `example` (a value for the documentation).
 */
import type { TextKind } from './units.ts';

export interface ConfigNode {
  readonly description?: string;
  readonly default?: unknown;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: true;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly maxLength?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, ConfigNode>>;
  readonly additionalProperties?: false | ConfigNode;
  readonly propertyNames?: ConfigNode;
  readonly items?: ConfigNode;
  readonly kind?: TextKind;
  readonly onlyFalse?: true;
  readonly notYet?: { readonly accepts: 'listener' | 'empty' | 'nothing'; readonly reason: string };
  readonly example?: unknown;
}

export function count(
  description: string,
  value: number,
  minimum: number,
  maximum: number,
): ConfigNode {
  return { type: 'integer', description, default: value, minimum, maximum };
}

export function size(description: string, value: string): ConfigNode {
  return { type: 'string', kind: 'size', description, default: value };
}

export function duration(description: string, value: string): ConfigNode {
  return { type: 'string', kind: 'duration', description, default: value };
}

export function mapping(
  description: string,
  properties: Readonly<Record<string, ConfigNode>>,
  more: ConfigNode = {},
): ConfigNode {
  return { type: 'object', description, properties, additionalProperties: false, ...more };
}

const rateWindow: ConfigNode = mapping(
  'One window.',
  {
    limit: { type: 'string', kind: 'rate', description: 'Steady rate: N/s, N/m, N/h or N/day.' },
    burst: {
      type: 'integer',
      minimum: 0,
      maximum: 1_000_000,
      default: 0,
      description: 'How many above the steady rate pass at once.',
    },
  },
  { required: ['limit'] },
);

export function rate(description: string, value: unknown): ConfigNode {
  return {
    ...rateWindow,
    type: ['object', 'array'],
    description,
    items: rateWindow,
    maxItems: 8,
    default: value,
  };
}

export function secret(description: string, example: unknown): ConfigNode {
  return mapping(
    `${description} Named by exactly one of \`file\`, \`credential\` and \`environment\`.`,
    {
      file: {
        type: 'string',
        kind: 'path',
        description: 'A file, readable by its owner only; relative to the configuration.',
      },
      credential: {
        type: 'string',
        maxLength: 255,
        description: 'A systemd credential (`LoadCredential=`).',
      },
      environment: {
        type: 'string',
        maxLength: 255,
        description:
          'An environment variable that holds the path of the file (never the secret itself).',
      },
    },
    { minProperties: 1, maxProperties: 1, example },
  );
}
