import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from './property-test-support.ts';
import { covers, filterProblem, matches, overlaps, topicProblem } from './topic-filter.ts';

const topicLevels = ['a', 'b', '', '$x'];
// One letter that no filter names stands for every other level, one extra level for every deeper topic.
const universe = enumerate([...topicLevels, 'other'], 5);

function enumerate(levels: readonly string[], depth: number): string[] {
  let layer = levels.map((l) => [l]);
  const all = [...layer];
  for (let d = 1; d < depth; d += 1) {
    layer = layer.flatMap((path) => levels.map((l) => [...path, l]));
    all.push(...layer);
  }
  // The empty name is no topic, but `covers` and `overlaps` count it as one: see there.
  return all.map((path) => path.join('/'));
}

/** The standard's words as a regular expression, independent of the code under test. */
function oracle(filter: string): (topic: string) => boolean {
  const levels = filter.split('/');
  let source = '';
  levels.forEach((level, i) => {
    if (level === '#') source += i === 0 ? '.*' : '(/.*)?';
    else {
      if (i > 0) source += '/';
      source += level === '+' ? '[^/]*' : level.replaceAll('$', '\\$');
    }
  });
  const expression = new RegExp(`^${source}$`, 'su');
  return (topic) => !(/^[+#]/u.test(filter) && topic.startsWith('$')) && expression.test(topic);
}

const anyFilter = fc
  .tuple(
    fc.array(fc.constantFrom(...topicLevels, '+'), { minLength: 0, maxLength: 3 }),
    fc.boolean(),
  )
  .map(([levels, hash]) => [...levels, ...(hash ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '');

test('matching agrees with the words of the standard', () => {
  fc.assert(
    fc.property(anyFilter, fc.constantFrom(...universe), (filter, topic) => {
      assert.equal(matches(filter, topic), oracle(filter)(topic));
    }),
    { numRuns: 2000 },
  );
});

test('covering and overlapping agree with enumeration of every topic', () => {
  fc.assert(
    fc.property(anyFilter, anyFilter, (a, b) => {
      const inA = oracle(a);
      const inB = oracle(b);
      const expectedCover = universe.every((topic) => !inB(topic) || inA(topic));
      const expectedOverlap = universe.some((topic) => inA(topic) && inB(topic));
      assert.equal(covers(a, b), expectedCover, `covers(${a}, ${b})`);
      assert.equal(overlaps(a, b), expectedOverlap, `overlaps(${a}, ${b})`);
      assert.equal(overlaps(b, a), expectedOverlap, `overlaps(${b}, ${a})`);
    }),
    { numRuns: 600 },
  );
});

test('topics beginning with $ are out of reach of leading wildcards', () => {
  for (const wide of ['#', '+/#', '+', '+/+']) {
    assert.equal(matches(wide, '$SYS/a'), false, wide);
    assert.equal(covers(wide, '$SYS/#'), false, wide);
    assert.equal(overlaps(wide, '$SYS/#'), false, wide);
  }
  assert.equal(matches('$SYS/#', '$SYS/a'), true);
});

test('what looks alike is not the same topic', () => {
  for (const topic of [
    '/devices/d1/telemetry',
    'devices/d1/telemetry/',
    'devices//d1/telemetry',
    'devices/\uFEFFd1/telemetry',
    'Devices/d1/telemetry',
    'devices/d1 /telemetry',
  ]) {
    assert.equal(matches('devices/d1/telemetry', topic), false, JSON.stringify(topic));
  }
});

test('names and filters that the standard forbids are named', () => {
  for (const bad of ['', 'a\0b', 'a/+', '#', 'a/#', '\uD800']) assert.ok(topicProblem(bad), bad);
  for (const good of ['a', '/', 'a//b', '$SYS/x', '__proto__', '\uFEFF']) {
    assert.equal(topicProblem(good), undefined, good);
  }
  for (const bad of ['', 'a\0', 'a#', '#/a', 'a/#/b', 'a+', '+a/b', 'a/b+', '\uDC00']) {
    assert.ok(filterProblem(bad), bad);
  }
  for (const good of ['#', '+', '+/#', 'a/+/b', '/', '//+', 'a/#']) {
    assert.equal(filterProblem(good), undefined, good);
  }
});
