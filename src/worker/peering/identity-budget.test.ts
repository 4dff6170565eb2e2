import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { IdentityBudget } from './identity-budget.ts';

const windows = [{ limit: 5, perMs: 1_000, burst: 10 }];
const telemetry = Object.freeze([{ key: 'route:telemetry', windows }]);
const both = Object.freeze([
  { key: 'all', windows: [{ limit: 1, perMs: 1_000, burst: 1 }] },
  { key: 'route:telemetry', windows },
]);

function takeAll(budget: IdentityBudget, nowMs: number, buckets = telemetry): number {
  let taken = 0;
  while (taken < 100 && budget.take(buckets, 1, nowMs)) taken += 1;
  return taken;
}

test('5/s with burst 10 passes 11 at once and refuses the twelfth, then one per 200 ms', () => {
  const budget = new IdentityBudget();
  assert.equal(takeAll(budget, 0), 11);
  assert.equal(takeAll(budget, 199), 0);
  assert.equal(takeAll(budget, 200), 1);
  assert.equal(budget.idle(2_399), false);
  assert.equal(budget.idle(2_400), true);
});

test('taking from several buckets is all or nothing, and a bucket is shared by its key', () => {
  const budget = new IdentityBudget();
  assert.equal(takeAll(budget, 0, both), 2);
  assert.equal(takeAll(budget, 0), 9);
});

test('handed over at any moment, to any clock, the budget is the same', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ passMs: fc.nat(400), hand: fc.boolean() }), { maxLength: 60 }),
      fc.nat(1_000_000),
      (steps, skewMs) => {
        const whole = new IdentityBudget();
        let handed = new IdentityBudget();
        let now = 0;
        let skew = 0;
        for (const { passMs, hand } of steps) {
          now += passMs;
          if (hand) {
            const levels = handed.levels(now + skew);
            skew = skew === 0 ? skewMs : 0;
            handed = new IdentityBudget();
            handed.absorb(levels, now + skew);
          }
          assert.equal(handed.take(telemetry, 1, now + skew), whole.take(telemetry, 1, now));
        }
      },
    ),
  );
});

test('of two states the fuller one counts', () => {
  const one = new IdentityBudget();
  const other = new IdentityBudget();
  for (let i = 0; i < 4; i += 1) one.take(telemetry, 1, 0);
  for (let i = 0; i < 7; i += 1) other.take(telemetry, 1, 0);
  one.absorb(other.levels(0), 0);
  assert.equal(takeAll(one, 0), 4);
  other.absorb([{ key: 'route:telemetry', windows, levels: [1] }], 0);
  assert.equal(takeAll(other, 0), 4);
});

test('new limits go on from the old level', () => {
  const budget = new IdentityBudget();
  assert.equal(takeAll(budget, 0), 11);
  const wider = [{ key: 'route:telemetry', windows: [{ limit: 5, perMs: 1_000, burst: 12 }] }];
  assert.equal(takeAll(budget, 0, wider), 2);
  assert.equal(takeAll(budget, 0), 0);
});

test('the number of buckets is bounded: no room is a refusal, idle ones make room', () => {
  const budget = new IdentityBudget();
  const own = (i: number) => [{ key: `route:${i}`, windows }];
  for (let i = 0; i < 256; i += 1) assert.equal(budget.take(own(i), 1, 0), true);
  assert.equal(budget.take(own(256), 1, 0), false);
  assert.equal(budget.take(own(3), 1, 0), true);
  assert.equal(budget.take(own(256), 1, 10_000), true);
});
