import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import { compilePayloadSchema } from './payload-schema.ts';
import { patternProblem } from './safe-pattern.ts';

const telemetry = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://example.org/telemetry.json',
  type: 'object',
  properties: {
    temperature: { type: 'number', minimum: -40, maximum: 85, default: 20 },
    unit: { enum: ['C', 'F'] },
    at: { type: 'string', format: 'date-time' },
  },
  required: ['temperature'],
  additionalProperties: false,
};

function check(schema: unknown, payload: string | Buffer): string | undefined {
  return compilePayloadSchema(schema)(typeof payload === 'string' ? Buffer.from(payload) : payload);
}

test('a payload that fits passes, one that does not is refused with its field', () => {
  assert.equal(check(telemetry, '{"temperature":22.5}'), undefined);
  assert.equal(check(telemetry, '{"temperature":1,"at":"2026-11-21T04:00:00.5Z"}'), undefined);
  assert.match(check(telemetry, '{"temperature":"22.5"}') ?? '', /^\/temperature must be number/u);
  assert.match(check(telemetry, '{"temperature":500}') ?? '', /^\/temperature must be <= 85/u);
  assert.match(check(telemetry, '{}') ?? '', /^\/temperature is a required property/u);
  assert.match(check(telemetry, '{"temperature":1,"x":1}') ?? '', /additional properties/u);
  assert.match(check(telemetry, '{"temperature":1,"at":"2026-02-30T04:00:00Z"}') ?? '', /^\/at/u);
  assert.match(check(telemetry, 'hello') ?? '', /JSON/u);
  assert.match(check(telemetry, '') ?? '', /JSON/u);
});

test('inherited names are neither present nor allowed', () => {
  assert.match(check({ type: 'object', required: ['constructor'] }, '{}') ?? '', /constructor/u);
  assert.match(
    check(telemetry, '{"temperature":1,"__proto__":{}}') ?? '',
    /additional properties/u,
  );
  assert.match(check(telemetry, '{"temperature":1,"valueOf":1}') ?? '', /additional properties/u);
});

test('hostile payloads are refused without a throw', () => {
  for (const payload of [
    '['.repeat(100_000),
    '{"temperature":1e400}',
    '{"temperature":1,"temperature":2}',
    '{"temperature":1,"unit":"\\ud800"}',
  ]) {
    assert.equal(typeof check({}, payload), 'string');
  }
});

test('draft-07 is understood where the schema says so', () => {
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    type: 'array',
    items: [{ type: 'number' }],
    minItems: 1,
    additionalItems: false,
  };
  assert.equal(check(schema, '[1]'), undefined);
  assert.equal(typeof check(schema, '[1,2]'), 'string');
});

const deep = (n: number): unknown => (n === 0 ? {} : { not: deep(n - 1) });
const doubling = Object.fromEntries(
  Array.from({ length: 20 }, (_, i) => [
    `d${i}`,
    i === 19
      ? { type: 'number' }
      : { allOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] },
  ]),
);

const refused: readonly (readonly [string, unknown, RegExp])[] = [
  ['a remote reference', { $ref: 'https://evil.example/schema.json' }, /outside the schema/u],
  ['a file reference', { $ref: 'other.json#/a' }, /outside the schema/u],
  ['a reference to nothing', { $ref: '#/$defs/none' }, /not there/u],
  ['a reference to an inherited name', { $ref: '#/constructor' }, /not there/u],
  ['a schema that contains itself', { properties: { a: { $ref: '#' } } }, /refers to itself/u],
  [
    'two schemas that contain each other',
    {
      $ref: '#/$defs/a',
      $defs: { a: { not: { $ref: '#/$defs/b' } }, b: { not: { $ref: '#/$defs/a' } } },
    },
    /refers to itself/u,
  ],
  ['references that double at each step', { $ref: '#/$defs/d0', $defs: doubling }, /subschemas/u],
  ['$dynamicRef', { $dynamicRef: '#x' }, /not supported/u],
  ['$data', { type: 'number', minimum: { $data: '1/x' } }, /schema is wrong/u],
  ['an $id inside', { properties: { a: { $id: 'urn:x' } } }, /not supported/u],
  ['an unknown keyword', { type: 'number', minumum: 3 }, /not supported/u],
  ['33 levels', deep(33), /nested deeper/u],
  ['65 KiB', { description: 'x'.repeat(65 * 1024) }, /larger than/u],
  ['a pattern without maxLength', { type: 'string', pattern: '^a+$' }, /needs maxLength/u],
  [
    'a catastrophic pattern',
    { type: 'string', pattern: '^(a+)+$', maxLength: 64 },
    /repeats a group/u,
  ],
  [
    'an unanchored polynomial pattern',
    { type: 'string', pattern: 'a*a*a*b', maxLength: 100 },
    /steps/u,
  ],
  [
    'patternProperties on names of any length',
    { type: 'object', patternProperties: { '^a+$': {} } },
    /propertyNames/u,
  ],
  ['an unknown format', { type: 'string', format: 'regex' }, /date-time/u],
  ['uniqueItems without maxItems', { type: 'array', uniqueItems: true }, /maxItems/u],
  [
    'uniqueItems of objects',
    { type: 'array', uniqueItems: true, maxItems: 10, items: { type: 'object' } },
    /items of a type/u,
  ],
  ['enum of objects', { enum: [{ a: 1 }] }, /compares/u],
  ['const of a list', { const: [1] }, /compares/u],
  ['a list', [], /neither an object/u],
  ['null', null, /neither an object/u],
  ['text', 'true', /neither an object/u],
  [
    'an unknown dialect',
    { $schema: 'https://json-schema.org/draft/2019-09/schema' },
    /not supported/u,
  ],
];

for (const [name, schema, problem] of refused) {
  test(`refuses a schema with ${name}`, () => {
    assert.throws(
      () => compilePayloadSchema(schema, 'schemas/x.json'),
      (thrown: unknown) =>
        thrown instanceof SallyportError &&
        thrown.code === 'invalid-config' &&
        thrown.message.startsWith('schemas/x.json: ') &&
        problem.test(thrown.message),
    );
  });
}

test('a schema 100,000 levels deep is refused and not descended into', () => {
  let schema: unknown = {};
  for (let i = 0; i < 100_000; i += 1) schema = { not: schema };
  assert.throws(() => compilePayloadSchema(schema), /nested deeper/u);
});

test('definitions that nothing refers to cost nothing', () => {
  const $defs = Object.fromEntries(Array.from({ length: 2_100 }, (_, i) => [`d${i}`, {}]));
  assert.equal(check({ $defs }, '1'), undefined);
});

test('definitions may be used many times and patternProperties on bounded names', () => {
  const schema = {
    type: 'object',
    propertyNames: { maxLength: 16 },
    patternProperties: { '^s[0-9]+$': { $ref: '#/$defs/reading' } },
    properties: { a: { $ref: '#/$defs/reading' }, b: { $ref: '#/$defs/reading' } },
    additionalProperties: false,
    $defs: { reading: { type: 'number' } },
  };
  assert.equal(check(schema, '{"a":1,"b":2,"s12":3}'), undefined);
  assert.equal(typeof check(schema, '{"s12":"x"}'), 'string');
  assert.equal(typeof check(schema, '{"t12":1}'), 'string');
});

const patterns: readonly (readonly [string, number, boolean])[] = [
  ['^[A-Z]{3}-[0-9]{1,8}$', 32, true],
  ['^[a-z0-9-]+$', 256, true],
  ['^(?:on|off|auto)$', 8, true],
  ['^\\d{4}-\\d{2}$', 7, true],
  ['^[a-z]+\\.[a-z]+\\.[a-z]+$', 40, true],
  ['^[\\]a]+$', 40, true],
  ['temperature', 64, true],
  ['^[a-z]*[a-z]*$', 315, true],
  ['^(?:a|b)[a-z]*[a-z]*$', 315, false],
  ['[a-z]*[a-z]*$', 315, false],
  ['^(a|aa)+$', 32, false],
  ['^(a+){2,}$', 32, false],
  ['^(?=a)a$', 8, false],
  ['^(?<!a)b$', 8, false],
  ['^(a)\\1$', 8, false],
  ['^(?<n>a)\\k<n>$', 8, false],
  ['^a|b*c*$', 64, false],
  ['^\\p{L}$', 8, false],
  ['^\\bx$', 8, false],
  ['[a-z]+[a-z]+x', 1_000, false],
  ['^a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?$', 64, false],
  ['(', 8, false],
  [`^${'a'.repeat(300)}$`, 8, false],
];

for (const [pattern, maxLength, safe] of patterns) {
  test(`the pattern ${pattern.slice(0, 40)} is ${safe ? 'accepted' : 'refused'}`, () => {
    const problem = patternProblem(pattern, maxLength);
    assert.equal(problem === undefined, safe, problem ?? 'accepted');
  });
}
