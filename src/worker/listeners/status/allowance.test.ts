import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Allowance, SourceAllowances } from './allowance.ts';

let now = 0;
const clock = { now: () => now, monotonic: () => now };

test('ten seconds worth may be taken at once, and comes back with time', () => {
  const allowance = new Allowance(clock, () => 5);
  let taken = 0;
  while (allowance.take(1)) taken += 1;
  assert.equal(taken, 50);
  now += 1_000;
  taken = 0;
  while (allowance.take(1)) taken += 1;
  assert.equal(taken, 5);
});

test('what costs more than there ever is may be taken once all of it is there, and is paid for', () => {
  const allowance = new Allowance(clock, () => 1);
  assert.equal(allowance.take(25), true);
  now += 14_000;
  assert.equal(allowance.take(1), false);
  now += 2_000;
  assert.equal(allowance.take(1), true);
  allowance.spend(100);
  assert.equal(allowance.take(1), false);
});

test('the addresses of one subscriber share one allowance', () => {
  const sources = new SourceAllowances(clock, () => 1);
  assert.equal(sources.of('2001:db8::1'), sources.of('2001:db8::ffff'));
  assert.notEqual(sources.of('2001:db8::1'), sources.of('2001:db8:0:1::1'));
  assert.notEqual(sources.of('192.0.2.1'), sources.of('192.0.2.2'));
  assert.equal(sources.of('192.0.2.1'), sources.of('::ffff:192.0.2.1'));
});

test('when there are too many sources the one that was quiet for longest is forgotten', () => {
  const sources = new SourceAllowances(clock, () => 1);
  const quiet = sources.of('192.0.2.1');
  const busy = sources.of('192.0.2.2');
  for (let i = 0; i < 50_000; i += 1) {
    sources.of(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    if (i % 1_000 === 0) sources.of('192.0.2.2');
  }
  assert.equal(sources.of('192.0.2.2'), busy);
  assert.notEqual(sources.of('192.0.2.1'), quiet);
});
