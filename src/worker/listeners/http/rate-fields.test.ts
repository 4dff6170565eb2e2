import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RateBucket } from '../../policy/ports.ts';
import { HandClock, LocalRates } from '../../policy/test-support.ts';
import { rateFields, wholeSeconds } from './rate-fields.ts';
import { problems, tooFast } from './wire.ts';

const buckets: readonly RateBucket[] = Object.freeze([
  { key: 'identity', windows: [{ limit: 100, perMs: 1_000, burst: 200 }] },
  {
    key: 'route:pump control',
    windows: [
      { limit: 5, perMs: 1_000, burst: 10 },
      { limit: 10_000, perMs: 86_400_000, burst: 1_000 },
    ],
  },
  { key: 'bytes:upload', windows: [{ limit: 1_000, perMs: 60_000, burst: 9_999 }], unit: 'bytes' },
]);

test('each window has a name of its own, its quota, what passes at once, and when all is back', () => {
  const clock = new HandClock();
  const rates = new LocalRates(clock);
  assert.ok(rates.take(buckets, [1, 1, 500]));
  assert.deepEqual(rateFields(rates, buckets), [
    'RateLimit-Policy',
    '"identity";q=100;w=1, "route";q=5;w=1, "route-2";q=10000;w=86400, "bytes";q=1000;w=60;qu="content-bytes"',
    'RateLimit',
    '"identity";r=100;t=1, "route";r=5;t=1, "route-2";r=1000;t=9, "bytes";r=1000;t=30',
  ]);
  for (let i = 0; i < 8; i += 1) assert.ok(rates.take(buckets, 1));
  assert.match(rateFields(rates, buckets)[3] ?? '', /"route";r=2;t=2,/);
});

test('without a limit, or without knowing, nothing is said', () => {
  assert.deepEqual(rateFields(new LocalRates(new HandClock()), []), []);
  assert.deepEqual(rateFields({ take: () => true }, buckets), []);
  assert.deepEqual(rateFields({ take: () => true, levels: () => undefined }, buckets), []);
});

test('seconds are rounded up, and a rounding of the clock is none', () => {
  assert.deepEqual(
    [0, 0.0001, 1, 999, 1_000, 1_000.0000001, 1_001].map(wholeSeconds),
    [0, 0, 1, 1, 1, 1, 2],
  );
});

test('Retry-After says when the window lets it through', () => {
  const after = (ms: number | undefined): string => {
    const { keeping } = tooFast(ms).headers;
    return /^Retry-After: (.*)\r$/m.exec(keeping)?.[1] ?? '';
  };
  assert.deepEqual([undefined, 0, 1, 200, 1_001, 8_640, Infinity].map(after), [
    '1',
    '1',
    '1',
    '1',
    '2',
    '9',
    '1',
  ]);
  assert.equal(tooFast(4_200), tooFast(5_000), 'made once');
  assert.equal(tooFast(undefined), problems.rate);
});
