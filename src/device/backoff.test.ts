import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../common/base/property-test-support.ts';
import { Backoff } from './backoff.ts';
import { seededRandom } from './random.ts';

const limits = { minMs: 1_000, maxMs: 60_000 };

test('each wait is in the upper half of its step, and steps double up to the bound', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const backoff = new Backoff(limits, seededRandom(seed));
      for (const step of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
        const ms = backoff.nextMs();
        assert.ok(ms >= step / 2 && ms < step, `${ms} of ${step}`);
      }
    }),
  );
});

test('after a reset it begins again', () => {
  const backoff = new Backoff(limits, () => 0);
  assert.deepEqual([backoff.nextMs(), backoff.nextMs()], [500, 1_000]);
  backoff.reset();
  assert.equal(backoff.nextMs(), 500);
});

test('devices that lost their gateway at one moment do not come back at one moment', () => {
  const waits = new Set(
    Array.from({ length: 100 }, (_, seed) =>
      Math.floor(new Backoff(limits, seededRandom(seed)).nextMs() / 50),
    ),
  );
  assert.equal(waits.size, 10);
});
