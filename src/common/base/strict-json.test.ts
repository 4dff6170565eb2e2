import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from './property-test-support.ts';
import { maxJsonDepth, parseStrictJson, parseStrictJsonText } from './strict-json.ts';

test('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5, stringUnit: 'binary' }), fc.boolean(), (text, pretty) => {
      const written = pretty ? JSON.stringify(JSON.parse(text), undefined, '\t\r\n ') : text;
      const result = parseStrictJson(Buffer.from(written));
      // fast-check may make the same key twice or a lone surrogate: those are refused, by their own tests below.
      if (!result.ok) assert.match(result.problem, /twice|surrogate/u);
      else assert.equal(JSON.stringify(result.value), JSON.stringify(JSON.parse(written)));
    }),
    { numRuns: 1000 },
  );
});

test('accepts nothing that JSON.parse refuses', () => {
  const pieces = ['{', '}', '[', ']', ',', ':', '"', '\\', 'u0041', '0', '1', '-', '.', 'e', '+'];
  const words = ['true', 'null', ' ', '\n', '\u0001', '"a"', '\uFEFF', '\u00a0', 'NaN', '/**/'];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces, ...words), { maxLength: 12 }), (parts) => {
      const text = parts.join('');
      if (!parseStrictJsonText(text).ok) return;
      JSON.parse(text);
    }),
    { numRuns: 5000 },
  );
});

const refused: readonly (readonly [string, Buffer | string, RegExp])[] = [
  ['100,000 arrays deep', '['.repeat(100_000), /nested/u],
  ['100,000 objects deep', '{"a":'.repeat(100_000), /nested/u],
  ['deeper than allowed', '['.repeat(maxJsonDepth + 1) + ']'.repeat(maxJsonDepth + 1), /nested/u],
  ['duplicate keys', '{"a":1,"a":1}', /twice/u],
  ['duplicate keys, one escaped', '{"a":1,"\\u0061":2}', /twice/u],
  ['duplicate keys of value null', '{"a":null,"a":1}', /twice/u],
  ['duplicate __proto__', '{"__proto__":1,"__proto__":2}', /twice/u],
  ['infinity', '1e400', /too large/u],
  ['infinity inside', '{"t":-1e400}', /too large/u],
  ['a number of a megabyte', '1'.repeat(1_000_000), /too many digits/u],
  ['a lone high surrogate', '"\\ud800"', /surrogate/u],
  ['a lone low surrogate as key', '{"\\udc00":1}', /surrogate/u],
  ['invalid UTF-8', Buffer.from([0x22, 0xff, 0x22]), /UTF-8/u],
  ['a surrogate encoded in UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), /UTF-8/u],
  ['an overlong encoding', Buffer.from([0x22, 0xc0, 0x80, 0x22]), /UTF-8/u],
  ['a byte order mark', '\uFEFF{}', /byte order mark/u],
  ['nothing', '', /not JSON/u],
  ['two documents', '{}{}', /after its end/u],
  ['a trailing comma', '[1,]', /not JSON/u],
  ['a leading zero', '01', /after its end/u],
  ['a plus sign', '+1', /not JSON/u],
  ['a raw newline in a string', '"\n"', /control character/u],
  ['a string without end', '"abc', /end/u],
  ['a string that ends in an escape', '"\\', /end/u],
  ['NaN', 'NaN', /not JSON/u],
];

for (const [name, input, problem] of refused) {
  test(`refuses ${name}`, () => {
    const result = parseStrictJson(typeof input === 'string' ? Buffer.from(input) : input);
    assert.ok(!result.ok);
    assert.match(result.problem, problem);
  });
}

test('accepts the depth that is allowed', () => {
  const text = '['.repeat(maxJsonDepth) + ']'.repeat(maxJsonDepth);
  assert.equal(parseStrictJsonText(text).ok, true);
});

test('names of Object.prototype are ordinary keys and pollute nothing', () => {
  for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf']) {
    const result = parseStrictJsonText(`{${JSON.stringify(key)}:{"polluted":true}}`);
    assert.ok(result.ok);
    assert.ok(Object.hasOwn(result.value as object, key));
    assert.equal(Object.keys(result.value as object).length, 1);
    assert.equal('polluted' in {}, false);
  }
  const empty = parseStrictJsonText('{}');
  assert.ok(empty.ok);
  assert.equal('toString' in (empty.value as object), false);
});
