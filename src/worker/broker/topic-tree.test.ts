import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { TopicTree } from './topic-tree.ts';

/** What the tree holds, as a plain list: asked by a matcher that is written anew from §4.7, with no trie in it. */
type Row = readonly [filter: string, key: string, value: number];

function oracleMatches(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && (filter.startsWith('+') || filter.startsWith('#'))) return false;
  if (filter === '#') return true;
  const open = filter.endsWith('/#');
  const body = open ? filter.slice(0, -2) : filter;
  const pattern = body
    .split('/')
    .map((level) => (level === '+' ? '[^/]*' : level.replace(/[\\^$.*+?()[\]{}|/]/gu, '\\$&')))
    .join('/');
  return new RegExp(`^${pattern}${open ? '(/.*)?' : ''}$`, 'su').test(topic);
}

function found(tree: TopicTree<string, number>, topic: string): string[] {
  return tree
    .match(topic)
    .flatMap((members) => [...members].map(([key, value]) => `${key}=${value}`))
    .toSorted();
}

/** Few enough for filters to meet. */
const level = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('a', 'b') },
  { weight: 1, arbitrary: fc.constantFrom('', '$SYS', '__proto__', 'constructor', 'é') },
);
const topicOf = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filterOf = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 4 }), fc.boolean())
  .map(([levels, open]) => [...levels, ...(open || levels.length === 0 ? ['#'] : [])].join('/'));
const usable = (text: string): boolean => text.length > 0;
const step = fc.record({
  filter: filterOf.filter(usable),
  key: fc.constantFrom('k1', 'k2', 'k3'),
  add: fc.boolean(),
  topic: topicOf.filter(usable),
});

test('any sequence of changes matches what a plain list of filters matches', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
      const tree = new TopicTree<string, number>();
      let rows: Row[] = [];
      let value = 0;
      for (const { filter, key, add, topic } of steps) {
        const own = (row: Row): boolean => row[0] === filter && row[1] === key;
        const before = rows.find(own);
        rows = rows.filter((row) => !own(row));
        if (add) {
          value += 1;
          rows.push([filter, key, value]);
          assert.equal(tree.set(filter, key, value), before?.[2]);
        } else {
          assert.equal(tree.delete(filter, key), before !== undefined);
        }
        // Twice: the second answer comes from the cache.
        for (const asked of [topic, topic, filter.replaceAll(/[+#]/gu, 'a')]) {
          const expected = rows
            .filter((row) => oracleMatches(row[0], asked))
            .map((row) => `${row[1]}=${row[2]}`);
          assert.deepEqual(found(tree, asked), expected.toSorted());
        }
        assert.equal(
          tree.has(filter),
          rows.some((row) => row[0] === filter),
        );
        assert.equal(tree.size, new Set(rows.map((row) => row[0])).size);
      }
    }),
    { numRuns: 300 },
  );
});

test('a filter that starts with a wildcard matches no topic that starts with $ [MQTT-4.7.2-1]', () => {
  const tree = new TopicTree<string, number>();
  for (const filter of ['#', '+/#', '+/a', '+/+', '$SYS/#', '$SYS/+']) tree.set(filter, filter, 1);
  assert.deepEqual(found(tree, '$SYS/a'), ['$SYS/#=1', '$SYS/+=1'].toSorted());
  assert.deepEqual(found(tree, 'x/a'), ['#=1', '+/#=1', '+/+=1', '+/a=1'].toSorted());
});

test('what leaves no member leaves no node', () => {
  const tree = new TopicTree<string, number>();
  const filters = ['#', '+', 'a', 'a/+/c', 'a/b/#', '+/+/+', '__proto__/x', '$SYS/#'];
  for (const filter of filters) tree.set(filter, 'k', 1);
  assert.equal(tree.nodes, 11);
  tree.delete('a', 'k');
  assert.equal(tree.nodes, 11, 'others go on from there');
  for (const filter of filters.slice(3)) assert.equal(tree.delete(filter, 'k'), true);
  assert.equal(tree.nodes, 2);
  for (const filter of filters.slice(0, 2)) assert.equal(tree.delete(filter, 'k'), true);
  assert.equal(tree.nodes, 1);
  for (const filter of filters) assert.equal(tree.delete(filter, 'k'), false);
});

test('a topic of 32,768 empty levels and a filter as deep cost no stack', () => {
  const tree = new TopicTree<string, number>();
  const deep = '/'.repeat(32_767);
  tree.set(deep, 'k', 1);
  tree.set(`${'+/'.repeat(32_767)}#`, 'k', 2);
  assert.deepEqual(found(tree, deep), ['k=1', 'k=2']);
  assert.equal(tree.delete(deep, 'k'), true);
  assert.equal(tree.delete(`${'+/'.repeat(32_767)}#`, 'k'), true);
});

test('a match is bounded by the filters there are, not by the ways to combine wildcards', () => {
  const tree = new TopicTree<string, number>();
  const levels = 14;
  tree.set(Array.from({ length: levels }, () => '+').join('/'), 'k', 1);
  tree.set(Array.from({ length: levels }, () => 'a').join('/'), 'k', 2);
  // The machine may have other things to do in between.
  let quickestMs = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 5; tries += 1) {
    const started = performance.now();
    assert.equal(found(tree, Array.from({ length: levels }, () => 'a').join('/')).length, 2);
    quickestMs = Math.min(quickestMs, performance.now() - started);
  }
  assert.ok(quickestMs < 100);
});

test('the cache forgets when filters change and stays bounded', () => {
  const tree = new TopicTree<string, number>();
  tree.set('a/+', 'k1', 1);
  for (let i = 0; i < 40_000; i += 1) assert.equal(tree.match(`a/${i}`).length, 1);
  assert.deepEqual(found(tree, 'a/1'), ['k1=1']);
  tree.set('a/1', 'k2', 2);
  assert.deepEqual(found(tree, 'a/1'), ['k1=1', 'k2=2']);
  tree.set('a/+', 'k3', 3);
  assert.deepEqual(found(tree, 'a/1'), ['k1=1', 'k2=2', 'k3=3']);
  tree.delete('a/+', 'k1');
  tree.delete('a/+', 'k3');
  assert.deepEqual(found(tree, 'a/1'), ['k2=2']);
});
