import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../common/base/property-test-support.ts';
import { jittered, seededRandom, seedOf } from './random.ts';

const draw = (seed: number, count: number): number[] => {
  const random = seededRandom(seed);
  return Array.from({ length: count }, random);
};

test('the same seed gives the same numbers, another seed others', () => {
  assert.deepEqual(draw(7, 50), draw(7, 50));
  assert.notDeepEqual(draw(7, 50), draw(8, 50));
  assert.notEqual(seedOf('sim-0001'), seedOf('sim-0002'));
});

test('the numbers are from 0 up to 1, and as often in one quarter as in another', () => {
  const quarters = [0, 0, 0, 0];
  for (const value of draw(1, 40_000)) {
    assert.ok(value >= 0 && value < 1);
    quarters[Math.floor(value * 4)]! += 1;
  }
  for (const count of quarters) assert.ok(Math.abs(count - 10_000) < 400, String(quarters));
});

test('jitter stays within a quarter and leaves the mean', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (at) => {
      const ms = jittered(1_000, () => at);
      assert.ok(ms >= 750 && ms <= 1_250);
    }),
  );
  const random = seededRandom(3);
  const mean = Array.from({ length: 10_000 }, () => jittered(1_000, random)).reduce(
    (sum, ms) => sum + ms / 10_000,
    0,
  );
  assert.ok(Math.abs(mean - 1_000) < 10, String(mean));
});
