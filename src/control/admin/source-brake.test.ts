import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SourceBrake, sourceKey } from './source-brake.ts';

function brakeAt(start = 0) {
  const hands = { now: start };
  const brake = new SourceBrake({ now: () => hands.now, monotonic: () => hands.now });
  return { brake, hands };
}

test('each attempt doubles the wait, up to five minutes', () => {
  const { brake, hands } = brakeAt();
  const waits: number[] = [];
  for (let i = 0; i < 11; i += 1) {
    assert.equal(brake.enter('a'), 0);
    const wait = brake.enter('a');
    waits.push(wait / 1000);
    hands.now += wait;
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
});

test('attempts at the same time do not pass together, other sources are not slowed', () => {
  const { brake } = brakeAt();
  assert.equal(brake.enter('a'), 0);
  assert.equal(brake.enter('a'), 1000);
  assert.equal(brake.enter('b'), 0);
});

test('success forgets', () => {
  const { brake } = brakeAt();
  brake.enter('a');
  brake.succeeded('a');
  assert.equal(brake.enter('a'), 0);
});

test('a flood of sources is bounded and newcomers wait until the old ones are forgotten', () => {
  const { brake, hands } = brakeAt();
  for (let i = 0; i < 4096; i += 1) assert.equal(brake.enter(`s${i}`), 0);
  assert.equal(brake.enter('newcomer'), 1000);
  hands.now += 1000 + 5 * 60_000;
  assert.equal(brake.enter('newcomer'), 0);
});

test('a source is an IPv4 address or an IPv6 /64', () => {
  const keys: readonly (readonly [string | undefined, string])[] = [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    [undefined, 'unknown'],
  ];
  for (const [address, key] of keys) assert.equal(sourceKey(address), key, String(address));
});
