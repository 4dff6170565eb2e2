import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from 'cbor2';
import { fc } from '../../base/property-test-support.ts';
import { parseStrictJson } from '../../base/strict-json.ts';
import type { JsonResult } from '../../base/strict-json.ts';
import { maxCborDepth, maxCborItems } from './scan.ts';
import { isCborType, parseStrictCbor } from './strict-cbor.ts';

const hex = (text: string): JsonResult =>
  parseStrictCbor(Buffer.from(text.replaceAll(' ', ''), 'hex'));

test('what another encoder writes is read as JSON would be', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      const json = parseStrictJson(Buffer.from(JSON.stringify(value)));
      const cbor = parseStrictCbor(Buffer.from(encode(JSON.parse(JSON.stringify(value)))));
      // Integers that JSON rounds are refused here: their digits are exact in CBOR.
      if (!cbor.ok) assert.match(cbor.problem, /beyond 2\^53|byte order mark/);
      else assert.deepEqual(cbor, json);
    }),
  );
});

const good: readonly (readonly [string, unknown])[] = [
  ['a0', {}],
  ['80', []],
  ['f6', null],
  ['a1 61 61 f5', { a: true }],
  ['1b 001fffffffffffff', Number.MAX_SAFE_INTEGER],
  ['3b 001ffffffffffffe', Number.MIN_SAFE_INTEGER],
  ['f9 3c00', 1],
  ['fa 7f7fffff', 3.4028234663852886e38],
  ['fb 7fefffffffffffff', Number.MAX_VALUE],
  ['63 e282ac', '€'],
  ['a1 69 5f5f70726f746f5f5f a1 61 78 01', JSON.parse('{"__proto__":{"x":1}}')],
];

for (const [bytes, value] of good) {
  test(`reads ${bytes}`, () => {
    const result = hex(bytes);
    assert.ok(result.ok, result.ok ? '' : result.problem);
    assert.equal(JSON.stringify(result.value), JSON.stringify(value));
  });
}

test('a map inherits nothing', () => {
  const result = hex('a1 69 5f5f70726f746f5f5f a1 61 78 01');
  assert.ok(result.ok && typeof result.value === 'object' && result.value !== null);
  assert.ok(!('x' in result.value) && !('constructor' in result.value));
  assert.ok(Object.hasOwn(result.value, '__proto__'));
});

const nested = (levels: number): string => `${'81'.repeat(levels)}f6`;

const bad: readonly (readonly [string, string, RegExp])[] = [
  ['nothing at all', '', /ends too early/],
  ['two values', '01 02', /goes on/],
  ['an array cut short', '82 01', /longer than what there is/],
  ['an integer cut short', '19 01', /ends too early/],
  ['100,000 levels', nested(100_000), /nested deeper/],
  [`${maxCborDepth + 1} levels`, nested(maxCborDepth + 1), /nested deeper/],
  ['an array that claims 2^32 items', '9a ffffffff 01', /longer than what/],
  ['an array that claims 2^53 items', '9b 001fffffffffffff 01', /longer than what/],
  ['an array that claims 2^64 items', '9b ffffffffffffffff 01', /beyond 2\^53/],
  ['a map that claims more pairs than bytes', 'a4 61 61 01 61 62 02', /longer than what/],
  ['a text that claims 4 GB', '7a ffffffff 61', /longer than what/],
  ['a text that claims 2^64 bytes', '7b ffffffffffffffff', /beyond 2\^53/],
  ['the same key twice', 'a2 61 61 01 61 61 02', /same key twice/],
  [
    'the key __proto__ twice',
    'a2 69 5f5f70726f746f5f5f 01 69 5f5f70726f746f5f5f 02',
    /same key twice/,
  ],
  ['a key that is a number', 'a1 01 01', /not a text/],
  ['a key that is a byte string', 'a1 41 61 01', /not a text/],
  ['a byte string', '41 61', /byte string/],
  ['a tag', 'c0 74 323031332d30332d32315432303a30343a30305a', /a tag/],
  ['a bignum', 'c2 49 010000000000000000', /a tag/],
  ['self-described CBOR', 'd9d9f7 a0', /a tag/],
  ['undefined', 'f7', /undefined/],
  ['a simple value', 'f0', /simple value/],
  ['a simple value of two bytes', 'f8 ff', /simple value/],
  ['NaN of two bytes', 'f9 7e00', /not finite/],
  ['NaN of four bytes', 'fa 7fc00000', /not finite/],
  ['NaN of eight bytes', 'fb 7ff8000000000000', /not finite/],
  ['infinity', 'f9 7c00', /not finite/],
  ['minus infinity', 'fb fff0000000000000', /not finite/],
  ['an integer beyond 2^53', '1b 0020000000000000', /beyond 2\^53/],
  ['an integer below -2^53', '3b 001fffffffffffff', /beyond 2\^53/],
  ['an array of indefinite length', '9f 01 ff', /indefinite/],
  ['a map of indefinite length', 'bf 61 61 01 ff', /indefinite/],
  ['a text of indefinite length', '7f 61 61 ff', /indefinite/],
  ['a break alone', 'ff', /break/],
  ['a one in two bytes', '18 01', /more bytes than it needs/],
  ['a length in more bytes than it needs', '79 0001 61', /more bytes than it needs/],
  ['reserved heads', '1c', /not CBOR/],
  ['a reserved head of simple values', 'fc', /not CBOR/],
  ['half a surrogate pair', '63 eda080', /not UTF-8/],
  ['an overlong encoding', '62 c080', /not UTF-8/],
  ['a text that begins with a byte order mark', '64 efbbbf61', /byte order mark/],
  ['more items than allowed', `9a 000186a1 ${'f6'.repeat(100_001)}`, /more than 100000 items/],
];

for (const [name, bytes, problem] of bad) {
  test(`refuses ${name}`, () => {
    const result = hex(bytes);
    assert.ok(!result.ok);
    assert.match(result.problem, problem);
  });
}

test('the bound of items is the one that is named', () => {
  assert.equal(maxCborItems, 100_000);
  assert.ok(hex(`9a 0001869f ${'f6'.repeat(99_999)}`).ok);
});

test('a cut or a byte that is changed never throws', () => {
  const whole = Buffer.from(encode({ t: 21.5, list: [1, 'two', null, { deep: [true] }], n: -7 }));
  for (let end = 0; end < whole.length; end += 1) {
    assert.equal(parseStrictCbor(whole.subarray(0, end)).ok, false);
  }
  for (let at = 0; at < whole.length; at += 1) {
    for (const byte of [0x00, 0x1f, 0x5f, 0x7f, 0x9f, 0xbf, 0xdb, 0xfb, 0xff]) {
      const changed = Buffer.from(whole);
      changed[at] = byte;
      const result = parseStrictCbor(changed);
      assert.equal(typeof result.ok, 'boolean');
    }
  }
});

test('what a content type says is CBOR', () => {
  for (const type of [
    'application/cbor',
    'Application/CBOR ; x=1',
    'application/senml+cbor',
    'application/vnd.x+cbor;v=2',
  ]) {
    assert.equal(isCborType(type), true, type);
  }
  for (const type of [
    undefined,
    '',
    'application/json',
    'application/cbor-seq',
    'text/plain; application/cbor',
    '+cbor',
    `application/${'x'.repeat(70_000)}+cbor`,
  ]) {
    assert.equal(isCborType(type), false, String(type).slice(0, 40));
  }
});
