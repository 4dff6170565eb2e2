import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../base/property-test-support.ts';
import { innerListText, parseDictionary } from './structured-fields.ts';
import type { BareItem, InnerList, Item, Parameters } from './structured-fields.ts';

const bounds = { length: 200, count: 3 };

function textOf(text: string): string | undefined {
  const dictionary = parseDictionary(text, bounds);
  if (dictionary === undefined) return undefined;
  return [...dictionary]
    .map(([key, member]) => {
      const list = 'items' in member ? member : { items: [member], parameters: new Map() };
      return `${key} ${innerListText(list)}`;
    })
    .join(' | ');
}

/** RFC 9651: what is read, and how it has to be written. */
const read: readonly (readonly [string, string])[] = [
  ['', ''],
  ['   ', ''],
  ['a=1', 'a (1)'],
  ['a=-0', 'a (0)'],
  ['a=007', 'a (7)'],
  ['a=-999999999999999', 'a (-999999999999999)'],
  ['a', 'a (?1)'],
  ['a;x', 'a (?1;x)'],
  ['a;x=?1', 'a (?1;x)'],
  ['a=?0;x=?0', 'a (?0;x=?0)'],
  ['a=tok/en:*1', 'a (tok/en:*1)'],
  ['a=*t', 'a (*t)'],
  ['a=""', 'a ("")'],
  ['a="x\\"\\\\y"', 'a ("x\\"\\\\y")'],
  ['a=::', 'a (::)'],
  ['a=:AAE=:', 'a (:AAE=:)'],
  ['a=()', 'a ()'],
  ['a=(  "x"   "y"  );p=1; q="2"', 'a ("x" "y");p=1;q="2"'],
  ['a=("x";sf 1);k', 'a ("x";sf 1);k'],
  ['  a=1 ,\t b=2\t', 'a (1) | b (2)'],
  ['*a-_.9*=1', '*a-_.9* (1)'],
];

/** What is no dictionary, or one whose readers could disagree. */
const refused = [
  'a=1,',
  'a=1 b=2',
  ',a=1',
  'A=1',
  '-a=1',
  'a=',
  'a= 1',
  'a =1',
  'a=1,a=2',
  'a=1;x;x',
  'a=1;',
  'a=1;X=1',
  'a=1.5',
  'a=1.',
  'a=--1',
  'a=1000000000000000',
  'a=@1659578233',
  'a=%"x"',
  'a="x',
  'a="x\\y"',
  'a="é"',
  'a="x\n"',
  'a=:AAE:',
  'a=:AAF=:',
  'a=:A A=:',
  'a=:AAE=',
  'a=:AA-_:',
  'a=?2',
  'a=("x""y")',
  'a=("x" "y"',
  'a=("x"\t"y")',
  'a=(("x"))',
  'a=)',
  '\ta=1',
  'a=1\n',
  'a=1, b=2, c=3, d=4',
  'a=(1 2 3 4)',
  'a;p;q;r;s',
  `a="${'x'.repeat(200)}"`,
];

for (const [text, canonical] of read) {
  void test(`${JSON.stringify(text)} is read`, () => assert.equal(textOf(text), canonical));
}

for (const text of refused) {
  void test(`${JSON.stringify(text.slice(0, 40))} is refused`, () => {
    assert.equal(textOf(text), undefined);
  });
}

const plain = { noNullPrototype: true };
const key = fc.stringMatching(/^[a-z*][a-z0-9_.*-]{0,6}$/);
const bare: fc.Arbitrary<BareItem> = fc.oneof(
  fc
    .integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 })
    .map((value): BareItem => ({ type: 'integer', value: value + 0 })),
  fc.stringMatching(/^[\x20-\x7e]{0,12}$/).map((value): BareItem => ({ type: 'string', value })),
  fc
    .stringMatching(/^[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]{0,8}$/)
    .map((value): BareItem => ({ type: 'token', value })),
  fc
    .uint8Array({ maxLength: 12 })
    .map((value): BareItem => ({ type: 'bytes', value: Buffer.from(value) })),
  fc.boolean().map((value): BareItem => ({ type: 'boolean', value })),
);
const parameters: fc.Arbitrary<Parameters> = fc
  .uniqueArray(fc.tuple(key, bare), { maxLength: 4, selector: ([name]) => name })
  .map((entries) => new Map(entries));
const item: fc.Arbitrary<Item> = fc.record({ bare, parameters }, plain);
const list: fc.Arbitrary<InnerList> = fc.record(
  { items: fc.array(item, { maxLength: 4 }), parameters },
  plain,
);

void test('what is written is read back as it was', () => {
  const wide = { length: 10_000, count: 10 };
  fc.assert(
    fc.property(key, list, (name, written) => {
      const found = parseDictionary(`${name}=${innerListText(written)}`, wide);
      assert.deepEqual(found, new Map([[name, written]]));
    }),
  );
});

void test('whatever comes is read or refused, and what is read is written in one way', () => {
  const alphabet = fc.stringMatching(/^[ab=;,("):?01. \t\\*/-]{1}$/);
  fc.assert(
    fc.property(fc.string({ unit: alphabet, maxLength: 30 }), (text) => {
      const dictionary = parseDictionary(text, bounds);
      for (const [name, member] of dictionary ?? []) {
        if (!('items' in member)) continue;
        const written = `${name}=${innerListText(member)}`;
        assert.deepEqual(parseDictionary(written, bounds)?.get(name), member);
      }
    }),
    { numRuns: 2_000 },
  );
});
