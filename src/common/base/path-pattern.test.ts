import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from './property-test-support.ts';
import { canonicalPath } from './canonical-path.ts';
import {
  matchesPattern,
  parsePathPattern,
  pathPatternProblem,
  pathReadings,
  patternKey,
  reservedPath,
} from './path-pattern.ts';

function matches(pattern: string, path: string, id?: string): boolean {
  return matchesPattern(parsePathPattern(pattern), pathReadings(path)[0], id);
}

const cases: readonly (readonly [
  pattern: string,
  yes: readonly string[],
  no: readonly string[],
])[] = [
  ['/', ['/', '/a', '/a/', '/a/b'], []],
  ['/a', ['/a'], ['/', '/a/', '/a/b', '/A', '/ab']],
  ['/a/', ['/a/', '/a/b', '/a/b/'], ['/a', '/ab', '/b/']],
  ['/a/b', ['/a/b'], ['/a/b/', '/a', '/a/b/c', '/a/%62c']],
  ['/a/*', ['/a/x', '/a/*'], ['/a/', '/a', '/a/x/', '/a/x/y']],
  ['/*/b', ['/x/b'], ['/b', '/x/y/b']],
  ['/*/', ['/x/', '/x/y'], ['/x', '/']],
  ['/d/${id}', ['/d/d1'], ['/d/d2', '/d/', '/d/d1/']],
  ['/d/${id}/', ['/d/d1/', '/d/d1/x'], ['/d/d1', '/d/d2/x']],
  ['/a:b', ['/a:b', '/a%3Ab'], ['/a%253Ab']],
  ['/%E2%82%AC', ['/%E2%82%AC'], ['/E']],
];

for (const [pattern, yes, no] of cases) {
  test(`${pattern} matches what it says and nothing else`, () => {
    assert.equal(pathPatternProblem(pattern), undefined);
    for (const path of yes) assert.ok(matches(pattern, path, 'd1'), path);
    for (const path of no) assert.ok(!matches(pattern, path, 'd1'), path);
  });
}

test('nobody has no id, and an id is compared decoded', () => {
  assert.equal(matches('/d/${id}', '/d/undefined'), false);
  assert.equal(matches('/d/${id}/', '/d//'.slice(0, 3)), false);
  assert.equal(matches('/d/${id}', '/d/aa%3Abb', 'aa:bb'), true);
});

test('what is no pattern says why', () => {
  for (const [text, problem] of [
    ['', /begin with/u],
    ['a', /begin with/u],
    ['/a//b', /empty segment/u],
    ['/a/../b', /dot segment/u],
    ['/%2e/', /dot segment/u],
    ['/a*', /whole segment/u],
    ['/**', /whole segment/u],
    ['/d${id}', /whole segment/u],
    ['/${name}', /only template/u],
    ['/a;b', /path parameter/u],
    ['/a%2Fb', /hides a slash/u],
    ['/%61', /written "\/a"/u],
    ['/a%3ab', /written "\/a%3Ab"/u],
    ['/{id}', /must be escaped/u],
    [`/${'a/'.repeat(17)}`, /16 segments/u],
    [`/${'a'.repeat(512)}`, /512 characters/u],
  ] as const) {
    assert.match(pathPatternProblem(text) ?? '', problem, text);
  }
});

test('the same patterns have the same key, however they are escaped', () => {
  const key = (text: string): string => patternKey(parsePathPattern(text));
  assert.equal(key('/a:b/'), key('/a%3Ab/'));
  const different = ['/', '/a', '/a/', '/*', '/*/', '/${id}', '/%2A', '/a/*', '/a%20'];
  assert.equal(new Set(different.map(key)).size, different.length);
});

test('the own paths of the gateway, and what is below them', () => {
  for (const path of [
    '/api/v1',
    '/api/v1/',
    '/api/v1/telemetry',
    '/mqtt',
    '/mqtt/x',
    '/oauth2/token',
  ])
    assert.notEqual(reservedPath(path), undefined, path);
  assert.equal(reservedPath('/.well-known/jwks.json'), '/.well-known');
  for (const path of [
    '/',
    '/api',
    '/api/',
    '/api/v10',
    '/api/v2/x',
    '/mqttx',
    '/x/mqtt',
    '/API/v1',
  ])
    assert.equal(reservedPath(path), undefined, path);
});

test('a path with parameters has a reading without them, and one for each order of decoding', () => {
  assert.deepEqual(pathReadings('/a/b'), ['/a/b']);
  assert.deepEqual(pathReadings('/a%20b/'), ['/a b/']);
  assert.deepEqual(pathReadings('/a;x=1/b;y'), ['/a;x=1/b;y', '/a/b']);
  assert.deepEqual(pathReadings('/a%3Bx;y/b'), ['/a;x;y/b', '/a;x/b', '/a/b']);
});

/** The pattern as an expression over decoded segments joined by a character that no segment has. */
function naive(pattern: string, path: string, id: string): boolean {
  const quoted = (text: string): string =>
    text.replaceAll(/[^A-Za-z0-9\0]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
  const expression = pattern
    .split('/')
    .map((segment) => {
      if (segment === '*') return '[^\\0]+';
      return quoted(segment === '${id}' ? id : decodeURIComponent(segment));
    })
    .join('\\0');
  const rest = pattern.endsWith('/') ? '[^]*' : '';
  const read = path.split('/').map(decodeURIComponent).join('\0');
  return new RegExp(`^${expression}${rest}$`, 'u').test(read);
}

const name = fc.constantFrom('a', 'b', 'a:b', 'd1', 'x.y', '€', 'a b');
const escaped = name.map((text) => encodeURIComponent(text).replace(/^a%3Ab$/u, 'a:b'));
const pattern = fc
  .tuple(fc.array(fc.oneof(escaped, fc.constantFrom('*', '${id}')), { maxLength: 4 }), fc.boolean())
  .map(
    ([segments, subtree]) => `/${segments.join('/')}${subtree && segments.length > 0 ? '/' : ''}`,
  );
const sent = fc
  .tuple(fc.array(name.map(encodeURIComponent), { maxLength: 5 }), fc.boolean())
  .map(([segments, slash]) => `/${segments.join('/')}${slash && segments.length > 0 ? '/' : ''}`);

test('a pattern matches as an expression made of it does', () => {
  fc.assert(
    fc.property(pattern, sent, name, (text, path, id) => {
      assert.equal(pathPatternProblem(text), undefined, text);
      const canonical = canonicalPath(path);
      assert.ok(canonical.ok);
      assert.equal(matches(text, canonical.path, id), naive(text, canonical.path, id));
    }),
    { numRuns: 3_000 },
  );
});
