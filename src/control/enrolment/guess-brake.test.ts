import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../common/base/clock.ts';
import { GuessBrake } from './guess-brake.ts';

const perMinute = 10;

function brakeAt(clock: { ms: number }): GuessBrake {
  const injected: Clock = { now: () => clock.ms, monotonic: () => clock.ms };
  return new GuessBrake(injected, () => perMinute);
}

test('a source may fail so often a minute, and then as often as that is forgiven', () => {
  const clock = { ms: 0 };
  const brake = brakeAt(clock);
  for (let n = 0; n < perMinute; n += 1) {
    assert.equal(brake.waitMs(0, '192.0.2.1', false), 0, `failure ${n}`);
    brake.failed(0, '192.0.2.1');
  }
  assert.equal(brake.waitMs(0, '192.0.2.1', false), 60_000 / perMinute);
  assert.equal(brake.waitMs(0, '192.0.2.2', false), 0, 'another source');

  let passed = 0;
  for (clock.ms = 0; clock.ms < 600_000; clock.ms += 100) {
    if (brake.waitMs(0, '192.0.2.1', false) > 0) continue;
    passed += 1;
    brake.failed(0, '192.0.2.1');
  }
  assert.ok(passed <= 10 * perMinute, `${passed} guesses in ten minutes`);
  assert.ok(passed >= 9 * perMinute, 'it is slowed down, not shut out');
});

test('the addresses of one IPv6 network are one source', () => {
  const brake = brakeAt({ ms: 0 });
  for (let n = 0; n < perMinute; n += 1) brake.failed(0, `2001:db8:0:1::${n}`);
  assert.ok(brake.waitMs(0, '2001:db8:0:1:ffff::1', false) > 0);
  assert.equal(brake.waitMs(0, '2001:db8:0:2::1', false), 0);
});

test('a worker that makes sources up is slowed down as a whole, and no other with it', () => {
  const brake = brakeAt({ ms: 0 });
  let made = 0;
  const next = (): string => {
    made += 1;
    return `10.${made >> 16}.${(made >> 8) & 255}.${made & 255}`;
  };
  while (brake.waitMs(0, next(), false) === 0) {
    assert.ok(made < 10_000, 'there is a bound');
    brake.failed(0, next());
  }
  assert.equal(brake.waitMs(1, next(), false), 0);
  assert.equal(brake.waitMs(0, next(), true), 0, 'a good token from where nobody has failed');
});

test('sources are remembered up to a bound, the last ones to fail longest', () => {
  const clock = { ms: 0 };
  const brake = brakeAt(clock);
  for (let n = 0; n < perMinute; n += 1) brake.failed(n, '192.0.2.1');
  for (let n = 0; n < 5_000; n += 1) brake.failed(n, `10.0.${n >> 8}.${n & 255}`);
  assert.equal(brake.waitMs(9_000, '192.0.2.1', false), 0, 'forgotten');
  for (let n = 0; n < perMinute; n += 1) brake.failed(n, '10.0.19.1');
  assert.ok(brake.waitMs(9_000, '10.0.19.1', false) > 0, 'remembered');
});
