import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import type { RateWindow } from '../../common/base/rate-window.ts';
import { LeakyBucket, takeFromAll } from './leaky-bucket.ts';
import type { RateBucket } from './ports.ts';
import { largestCost, remaining, resetMs, waitMs } from './rate-levels.ts';

const second: RateWindow = { limit: 5, perMs: 1_000, burst: 10 };
const day: RateWindow = { limit: 10_000, perMs: 86_400_000, burst: 20 };

function levelsOf(buckets: readonly LeakyBucket[], nowMs: number): readonly number[] {
  const levels: number[] = [];
  for (const bucket of buckets) bucket.appendLevels(nowMs, levels);
  return levels;
}

test('the window that refuses says how long: exactly until then, and not a millisecond less', () => {
  const windows = fc.array(
    fc.record({
      limit: fc.integer({ min: 1, max: 1_000 }),
      perMs: fc.constantFrom(1_000, 60_000, 86_400_000),
      burst: fc.nat(50),
    }),
    { minLength: 1, maxLength: 3 },
  );
  fc.assert(
    fc.property(windows, fc.nat(200), fc.nat(5_000), (given, asked, passedMs) => {
      const described: RateBucket[] = [{ key: 'a', windows: given }];
      const bucket = new LeakyBucket(given);
      for (let i = 0; i < asked; i += 1) bucket.take((i * passedMs) / 200, 1);
      const now = passedMs;
      const wait = waitMs(described, levelsOf([bucket], now), 1);
      assert.equal(wait > 0, !bucket.fits(now, 1));
      assert.ok(bucket.fits(now + wait, 1));
      // What rounding may give away: some millionths of a unit.
      const slack = Math.max(...given.map(({ limit, perMs }) => (3e-6 * perMs) / limit));
      if (wait > slack) assert.ok(!bucket.fits(now + wait - slack, 1));
    }),
  );
});

test('of two windows the slower one says when', () => {
  const described: RateBucket[] = [{ key: 'a', windows: [second, day] }];
  const bucket = new LeakyBucket([second, day]);
  for (let i = 0; i < 11; i += 1) assert.ok(bucket.take(0, 1));
  assert.equal(waitMs(described, levelsOf([bucket], 0), 1), 200);
  // Ten more after two seconds fill the day's window: 8.64 s for one place there.
  for (let i = 0; i < 10; i += 1) assert.ok(bucket.take(2_000, 1));
  const wait = waitMs(described, levelsOf([bucket], 2_000), 1);
  assert.ok(wait > 6_000 && wait < 8_640, `${wait}`);
});

test('bytes beside requests: each bucket has its own cost, and all or none are charged', () => {
  const bytes: RateWindow = { limit: 1_000, perMs: 1_000, burst: 9_999 };
  const described: RateBucket[] = [
    { key: 'requests', windows: [second] },
    { key: 'bytes', windows: [bytes], unit: 'bytes' },
  ];
  const buckets = described.map(({ windows }) => new LeakyBucket(windows));
  assert.ok(takeFromAll(buckets, 0, [1, 9_000]));
  assert.ok(!takeFromAll(buckets, 0, [1, 2_000]));
  assert.deepEqual(levelsOf(buckets, 0), [1, 9_000]);
  assert.equal(waitMs(described, levelsOf(buckets, 0), [1, 2_000]), 1_000);
  assert.ok(takeFromAll(buckets, 0, [1, 0]), 'no body takes no bytes');
  assert.ok(!takeFromAll(buckets, 0, [1]), 'a cost that is not said is not nothing');
  assert.equal(waitMs(described, levelsOf(buckets, 0), [1, 10_001]), Number.POSITIVE_INFINITY);
});

test('nothing passes a bucket without a charge but nothing', () => {
  const bucket = new LeakyBucket([{ limit: 1, perMs: 1_000, burst: 0 }], {
    levels: [50],
    updatedAtMs: 0,
  });
  assert.ok(takeFromAll([bucket], 0, [0]));
  assert.ok(!takeFromAll([bucket], 0, [1]));
});

test('what is left, and when all of it is there again', () => {
  assert.equal(remaining(second, 0), 11);
  assert.equal(remaining(second, 10.5), 0);
  assert.equal(remaining(second, 40), 0);
  assert.equal(resetMs(second, 11), 2_200);
  assert.equal(largestCost([{ key: 'a', windows: [second, day] }]), 11);
  assert.equal(largestCost([]), Number.POSITIVE_INFINITY);
});
