import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from './property-test-support.ts';
import { canonicalPath, canonicalTarget } from './canonical-path.ts';

const kept: readonly string[] = [
  '/',
  '/a',
  '/a/',
  '/a/b.c/d-e_f~g',
  '/.well-known/x',
  '/...',
  '/a/..b/.c',
  "/a!$&'()*+,;=:@z",
  '/a;v=1/b',
  '/a%20b',
  '/%E2%82%AC',
  '/100%25',
  '/a%3Ab%3F%23%5B%5D',
];

const rewrittenTo: readonly (readonly [string, string])[] = [
  ['/%61', '/a'],
  ['/%7Euser', '/~user'],
  ['/%7euser%2d%5F%2E', '/~user-_.'],
  ['/a%3ab', '/a%3Ab'],
  ['/%e2%82%ac', '/%E2%82%AC'],
  ['/%41%5a%30', '/AZ0'],
];

const refused: readonly (readonly [string, RegExp])[] = [
  ['', /begin with/u],
  ['a', /begin with/u],
  ['*', /begin with/u],
  ['http://h/a', /begin with/u],
  ['//', /empty segment/u],
  ['//h/a', /empty segment/u],
  ['/a//b', /empty segment/u],
  ['/a/;x/b', /empty segment/u],
  ['/a/%3bx', /empty segment/u],
  ['/a/%2fb', /hides a slash/u],
  ['/a%2Fb', /hides a slash/u],
  ['/a%5cb', /hides a slash or a backslash/u],
  ['/a\\b', /must be escaped/u],
  ['/a b', /must be escaped/u],
  ['/a\tb', /must be escaped/u],
  ['/a\0', /must be escaped/u],
  ['/a\u007f', /must be escaped/u],
  ['/é', /must be escaped/u],
  ['/a#b', /must be escaped/u],
  ['/a?b', /must be escaped/u],
  ['/a"b', /must be escaped/u],
  ['/<a>', /must be escaped/u],
  ['/{a}', /must be escaped/u],
  ['/a|b', /must be escaped/u],
  ['/a^b`', /must be escaped/u],
  ['/[a]', /must be escaped/u],
  ['/a%00', /control character/u],
  ['/a%0d%0aX:%20y', /control character/u],
  ['/a%1F', /control character/u],
  ['/a%7f', /control character/u],
  ['/a%', /hex digits/u],
  ['/a%2', /hex digits/u],
  ['/a%zz', /hex digits/u],
  ['/a%u002f', /hex digits/u],
  ['/.', /dot segment/u],
  ['/..', /dot segment/u],
  ['/a/./b', /dot segment/u],
  ['/a/../b', /dot segment/u],
  ['/a/..', /dot segment/u],
  ['/a/%2e%2E/b', /dot segment/u],
  ['/a/.%2e', /dot segment/u],
  ['/a/%2e/b', /dot segment/u],
  ['/a/..;/b', /dot segment/u],
  ['/a/..;x=1/b', /dot segment/u],
  ['/a/.;x', /dot segment/u],
  ['/a/..%3bx/b', /dot segment/u],
  ['/a/%2e%2e%3B', /dot segment/u],
  ['/a%252fb', /hides an escape/u],
  ['/a/%252e%252e/b', /hides an escape/u],
  ['/a%25%32%66b', /hides an escape/u],
  ['/a%252%66b', /hides an escape/u],
  ['/%c0%af', /UTF-8/u],
  ['/%c0%ae%c0%ae/', /UTF-8/u],
  ['/%ff', /UTF-8/u],
  ['/%e2%82', /UTF-8/u],
  ['/%ed%a0%80', /UTF-8/u],
];

for (const path of kept) {
  test(`${path} stays as it is`, () => assert.deepEqual(canonicalPath(path), { ok: true, path }));
}

for (const [path, expected] of rewrittenTo) {
  test(`${path} is ${expected}`, () =>
    assert.deepEqual(canonicalPath(path), { ok: true, path: expected }));
}

for (const [path, problem] of refused) {
  test(`${JSON.stringify(path)} has no canonical form`, () => {
    const answer = canonicalPath(path);
    assert.ok(!answer.ok);
    assert.match(answer.problem, problem);
  });
}

test('a query is passed on as it was sent, and ends the path', () => {
  const of = (target: string): unknown => canonicalTarget(target);
  assert.deepEqual(of('/%61?b=%2e%2F/../c?d'), { ok: true, path: '/a', query: 'b=%2e%2F/../c?d' });
  assert.deepEqual(of('/a'), { ok: true, path: '/a', query: '' });
  assert.deepEqual(of('/a?'), { ok: true, path: '/a', query: '' });
  for (const bad of ['/a?b#c', '/a?b c', '/a?\u00e9', '/a?\n', '/a?\u007f', '/../a?b'])
    assert.equal(canonicalTarget(bad).ok, false, bad);
});

/** Pieces that are likely to be refused, or written otherwise. */
const piece = fc.oneof(
  fc.constantFrom(
    '/',
    '.',
    '..',
    '%',
    '%2e',
    '%2E',
    '%25',
    '%2f',
    ';',
    '%3b',
    '\\',
    '//',
    'a',
    ':',
  ),
  fc.string({ maxLength: 3, unit: 'binary' }),
  fc.integer({ min: 0, max: 255 }).map((byte) => `%${byte.toString(16).padStart(2, '0')}`),
);
const anyPath = fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join('')}`);

test('the canonical form of a canonical form is itself', () => {
  fc.assert(
    fc.property(anyPath, (text) => {
      const once = canonicalPath(text);
      if (once.ok) assert.deepEqual(canonicalPath(once.path), once);
    }),
    { numRuns: 2_000 },
  );
});

test('nobody who decodes, once or twice, drops parameters or resolves dots reads other segments', () => {
  fc.assert(
    fc.property(anyPath, (text) => {
      const canonical = canonicalPath(text);
      if (!canonical.ok) return;
      const { path } = canonical;
      // One reading is the URL standard's: it resolves dots, also escaped ones, and turns backslashes round.
      assert.equal(new URL(`http://h${path}`).pathname, path);
      const count = path.split('/').length;
      const once = decodeURIComponent(path);
      const twice = loosely(once);
      for (const reading of [once, twice]) {
        const segments = reading.replaceAll('\\', '/').split('/');
        assert.equal(segments.length, count, `${path} read as ${JSON.stringify(reading)}`);
        for (const segment of segments) {
          const bare = segment.split(';')[0];
          assert.ok(bare !== '.' && bare !== '..', `${path} read as ${JSON.stringify(reading)}`);
        }
        assert.doesNotMatch(reading, /[\0-\x1f\x7f]/u);
      }
    }),
    { numRuns: 5_000 },
  );
});

test('what is written in two ways has one canonical form', () => {
  const character = fc.constantFrom('a', 'b', 'z', 'A', 'Z', '0', '9', '-', '_', '~');
  fc.assert(
    fc.property(fc.array(fc.tuple(character, fc.boolean(), fc.boolean())), (written) => {
      const text = written.map(([c, escaped, lower]) => {
        const hex = (c.codePointAt(0) ?? 0).toString(16);
        return escaped ? `%${lower ? hex : hex.toUpperCase()}` : c;
      });
      assert.deepEqual(canonicalPath(`/x${text.join('')}`), {
        ok: true,
        path: `/x${written.map(([c]) => c).join('')}`,
      });
    }),
  );
});

/** As a server that decodes what it finds and leaves the rest. */
function loosely(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/gu, (_, hex: string) =>
    String.fromCodePoint(Number.parseInt(hex, 16)),
  );
}
