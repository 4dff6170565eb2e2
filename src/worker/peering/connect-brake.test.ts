import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../common/base/principal.ts';
import { ConnectBrake } from './connect-brake.ts';

const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');

function setUp(limits = { perMinute: 10, servicePerMinute: 50, longestMs: 8_000 }) {
  let now = 0;
  const clock = { now: () => now, monotonic: () => now };
  const brake = new ConnectBrake(clock, () => limits);
  /** Tries at this pace. @returns when it was let in, in seconds. */
  const tries = (count: number, everyMs: number, principal = d1): number[] =>
    Array.from({ length: count }).flatMap(() => {
      now += everyMs;
      return brake.admits(principal) ? [now / 1_000] : [];
    });
  return { brake, tries, pass: (ms: number) => (now += ms) };
}

test('so many in a minute are let in, as a burst or one after the other', () => {
  assert.equal(setUp().tries(10, 1).length, 10);
  assert.equal(setUp().tries(100, 6_000).length, 100);
});

test('who goes on is let in once after each wait, and the waits double up to the longest', () => {
  const { tries } = setUp();
  tries(10, 1);
  const times = tries(400, 100);
  const waits = times.slice(1).map((at, i) => Math.round(at - (times[i] ?? 0)));
  assert.deepEqual(waits, [2, 4, 8, 8, 8, 8]);
});

test('who comes less often than it may is soon let in as before', () => {
  const { tries, pass } = setUp();
  tries(200, 100);
  pass(120_000);
  assert.equal(tries(10, 1).length, 10);
});

test('who tries less often than it may is let in again, without a rest', () => {
  const { tries } = setUp();
  tries(200, 100);
  assert.ok(tries(20, 12_000).length >= 15);
});

test('a service may connect more often', () => {
  assert.equal(setUp().tries(60, 1, principalName('service', 'be')).length, 50);
});

test('identities do not wait for each other', () => {
  const { tries } = setUp();
  tries(100, 1);
  assert.equal(tries(10, 1, d2).length, 10);
});

test('who has rested is forgotten; memory is bounded', () => {
  const { brake, tries, pass } = setUp();
  tries(50, 1);
  tries(1, 1, d2);
  brake.sweep();
  assert.equal(brake.size, 2);
  pass(180_000);
  brake.sweep();
  assert.equal(brake.size, 0);
  for (let i = 0; i <= 100_000; i += 1) brake.admits(principalName('device', `d${i}`));
  assert.equal(brake.size, 100_000);
});
