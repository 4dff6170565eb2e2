/**
 * Request targets and patterns: a target and two patterns, one a line. What the policy judges must be what any server
 * behind reads, whether it decodes once or twice, resolves dots or drops path parameters; and a denial must not depend on
 * how a path is written.
 */
import assert from 'node:assert/strict';
import { canonicalPath, canonicalTarget } from '../../../src/common/base/canonical-path.ts';
import {
  matchesPattern,
  parsePathPattern,
  pathPatternProblem,
  pathReadings,
  patternKey,
} from '../../../src/common/base/path-pattern.ts';
import type { FuzzTarget } from '../fuzz.ts';

const id = 'd1';

function check(input: Buffer): void {
  const [target = '', ...patterns] = input.toString('latin1').split('\n');
  const canonical = canonicalTarget(target);
  if (!canonical.ok) {
    assert.notEqual(canonical.problem, '');
    return;
  }
  const { path, query } = canonical;
  assert.deepEqual(canonicalTarget(`${path}?${query}`), canonical, 'another form of the form');
  assert.ok(target.endsWith(query));
  assert.match(`${path}?${query}`, /^\/[\x21\x22\x24-\x7e]*$/);
  const url = new URL(`http://h${path}`);
  assert.equal(url.pathname, path, 'the URL standard reads another path');
  const count = path.split('/').length;
  const once = decodeURIComponent(path);
  for (const reading of [once, decodedLoosely(once), ...pathReadings(path)]) {
    const segments = reading.replaceAll('\\', '/').split('/');
    assert.equal(segments.length, count, reading);
    for (const segment of segments) assert.ok(!/^\.\.?(?:;|$)/.test(segment), reading);
    assert.ok(!segments.slice(1, -1).some((segment) => /^(?:;|$)/.test(segment)), reading);
  }
  for (const text of patterns) if (pathPatternProblem(text) === undefined) checkPattern(text, path);
}

function checkPattern(text: string, path: string): void {
  const pattern = parsePathPattern(text);
  assert.equal(
    patternKey(pattern).endsWith('/'),
    (pattern.subtree && pattern.segments.length > 0) || text === '/',
  );
  for (const reading of pathReadings(path)) {
    assert.equal(
      matchesPattern(pattern, reading, id),
      oracle(text, reading),
      `${text} and ${reading}`,
    );
  }
  // What is written without an escape or a parameter is what it says.
  const bare = path.replaceAll('%', '');
  const same = canonicalPath(bare);
  if (same.ok && !bare.includes(';')) assert.deepEqual(pathReadings(bare), [bare]);
}

/** Segment by segment, each as an expression of its own. */
function oracle(pattern: string, reading: string): boolean {
  const [wanted, sent] = [pattern.split('/'), reading.split('/')];
  const isSubtree = wanted.at(-1) === '';
  if (isSubtree) wanted.pop();
  if (isSubtree ? sent.length <= wanted.length : sent.length !== wanted.length) return false;
  return wanted.every((segment, i) => {
    if (segment === '*') return sent[i] !== '';
    return sent[i] === (segment === '${id}' ? id : decodeURIComponent(segment));
  });
}

function decodedLoosely(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCodePoint(Number.parseInt(hex, 16)),
  );
}

export const requestPath: FuzzTarget = {
  seeds: [
    Buffer.from('/backend/x?q=1\n/backend/\n/backend/x'),
    Buffer.from('/dev/d1/a%20b;v=1/\n/dev/${id}/*/\n/'),
    Buffer.from('/a%3Bb;c/%E2%82%AC/%41\n/*/%E2%82%AC/\n/a'),
    Buffer.from('/a/%2e%2e/b%252f\n/a\n/b'),
  ],
  words: [
    '%2e',
    '..',
    '%25',
    '%2F',
    ';',
    '%3B',
    '//',
    '/./',
    '${id}',
    '*',
    '%c0%af',
    '\\',
    '%7E',
  ].map((text) => Buffer.from(text)),
  maxBytes: 400,
  check,
};
