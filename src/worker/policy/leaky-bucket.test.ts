import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import type { RateWindow } from '../../common/base/rate-window.ts';
import { LeakyBucket, takeFromAll } from './leaky-bucket.ts';

const telemetry: RateWindow = { limit: 5, perMs: 1_000, burst: 10 };

function taken(bucket: LeakyBucket, nowMs: number, tries: number): number {
  let passed = 0;
  for (let i = 0; i < tries; i += 1) if (bucket.take(nowMs, 1)) passed += 1;
  return passed;
}

test('5/s with burst 10 passes 11 at once and refuses the twelfth', () => {
  const bucket = new LeakyBucket([telemetry]);
  assert.equal(taken(bucket, 0, 11), 11);
  assert.equal(bucket.take(0, 1), false);
});

test('one unit of time frees one place, to a fraction of a millisecond', () => {
  const bucket = new LeakyBucket([telemetry]);
  taken(bucket, 1_000.25, 11);
  assert.equal(bucket.take(1_200.24, 1), false);
  assert.equal(bucket.take(1_200.25, 1), true);
  assert.equal(bucket.take(1_200.25, 1), false);
});

test('a second of rest frees the steady rate, a long rest the whole burst and no more', () => {
  const bucket = new LeakyBucket([telemetry]);
  taken(bucket, 0, 11);
  assert.equal(taken(bucket, 1_000, 20), 5);
  assert.equal(taken(bucket, 1e9, 20), 11);
});

test('a refused request costs nothing', () => {
  const bucket = new LeakyBucket([telemetry]);
  assert.equal(taken(bucket, 0, 1_000), 11);
  assert.equal(taken(bucket, 200, 1_000), 1);
});

test('several windows are taken together or not at all', () => {
  const bucket = new LeakyBucket([telemetry, { limit: 12, perMs: 3_600_000, burst: 0 }]);
  assert.equal(taken(bucket, 0, 5), 1);
  // The second window has refused four: the first has charged only one.
  assert.equal(
    new LeakyBucket([telemetry], { levels: [bucket.state().levels[0]!], updatedAtMs: 0 }).take(
      0,
      10,
    ),
    true,
  );
  const a = new LeakyBucket([telemetry]);
  const b = new LeakyBucket([{ limit: 1, perMs: 1_000, burst: 0 }]);
  assert.equal(takeFromAll([a, b], 0, 1), true);
  assert.equal(takeFromAll([a, b], 0, 1), false);
  assert.deepEqual(a.state().levels, [1]);
});

test('a clock that goes back frees nothing and freezes nothing', () => {
  const bucket = new LeakyBucket([telemetry]);
  taken(bucket, 1e6, 11);
  assert.equal(bucket.take(0, 1), false);
  const moved = new LeakyBucket([telemetry]);
  assert.equal(moved.take(1e6, 1), true);
  assert.equal(taken(moved, 0, 20), 10);
  assert.equal(moved.take(200, 1), true);
});

test('a cost above one takes as many places', () => {
  const bucket = new LeakyBucket([telemetry]);
  assert.equal(bucket.take(0, 11), true);
  assert.equal(bucket.take(0, 1), false);
  assert.equal(new LeakyBucket([telemetry]).take(0, 12), false);
});

test('a bucket goes on from its state as if it had not been moved', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 3 }))),
      (steps) => {
        const stays = new LeakyBucket([telemetry, { limit: 100, perMs: 60_000, burst: 20 }]);
        let moves = new LeakyBucket(stays.windows);
        let now = 0;
        for (const [gap, cost] of steps) {
          now += gap;
          const sent: unknown = JSON.parse(JSON.stringify(moves.state()));
          moves = new LeakyBucket(
            stays.windows,
            now === 0 ? undefined : (sent as ReturnType<LeakyBucket['state']>),
          );
          assert.equal(moves.take(now, cost), stays.take(now, cost));
        }
      },
    ),
  );
});

test('nothing passes above the rate, whatever the timing', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 400, noNaN: true }), { minLength: 1, maxLength: 200 }),
      (gaps) => {
        const bucket = new LeakyBucket([telemetry]);
        let now = 0;
        let passed = 0;
        for (const gap of gaps) {
          now += gap;
          if (bucket.take(now, 1)) passed += 1;
        }
        assert.ok(passed <= 11 + (now * 5) / 1_000 + 1e-3);
      },
    ),
  );
});

test('a state of other windows, or a broken one, starts anew', () => {
  const state = { levels: [1, 2], updatedAtMs: 0 };
  assert.deepEqual(new LeakyBucket([telemetry], state).state().levels, [0]);
  const broken = { levels: [Number.NaN], updatedAtMs: 0 };
  assert.equal(taken(new LeakyBucket([telemetry], broken), 0, 20), 11);
});

test('a bucket is idle when forgetting it would change nothing', () => {
  const bucket = new LeakyBucket([telemetry]);
  assert.equal(bucket.idle(0), true);
  bucket.take(0, 1);
  assert.equal(bucket.idle(199), false);
  assert.equal(bucket.idle(200), true);
});
