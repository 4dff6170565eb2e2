import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countIn, Tally } from './tally.ts';

test('latencies are quantiles of what was acknowledged', () => {
  assert.equal(new Tally().latencyMs, undefined);
  const tally = new Tally();
  for (let ms = 1; ms <= 100; ms += 1) tally.acknowledgedAfter(ms);
  const { p50, p99, max } = tally.latencyMs ?? { p50: 0, p99: 0, max: 0 };
  assert.ok(Math.abs(p50 - 50) < 0.5 && Math.abs(p99 - 99) < 0.5 && Math.abs(max - 100) < 0.5);
  assert.equal(tally.acknowledged, 100);
});

test('a latency of nothing or of hours can be counted', () => {
  const tally = new Tally();
  tally.acknowledgedAfter(0);
  tally.acknowledgedAfter(10 * 3_600_000);
  assert.equal(tally.acknowledged, 2);
});

test('unanswered is what was sent and is in no other count', () => {
  const tally = new Tally();
  tally.sent = 10;
  tally.acknowledgedAfter(1);
  countIn(tally.refused, 'rate');
  countIn(tally.refused, 'rate');
  countIn(tally.refused, 'schema');
  tally.abandoned = 1;
  assert.equal(tally.unanswered, 5);
  assert.deepEqual(
    [...tally.refused],
    [
      ['rate', 2],
      ['schema', 1],
    ],
  );
});
