import assert from 'node:assert/strict';
import { test } from 'node:test';
import { homeOf } from './rendezvous.ts';

const principals = Array.from({ length: 6_000 }, (_, i) => `device/d${i}`);

test('everybody agrees on a home, whatever the order of the members', () => {
  for (const principal of principals.slice(0, 200)) {
    assert.equal(homeOf(principal, [0, 1, 2, 7]), homeOf(principal, [7, 2, 0, 1]));
    assert.equal(homeOf(principal, [4]), 4);
    assert.equal(homeOf(principal, []), undefined);
  }
});

test('identities spread evenly over the members', () => {
  for (const slots of [
    [0, 1],
    [0, 1, 2, 3, 4, 5],
    [3, 1_000],
  ]) {
    const counts = new Map<number | undefined, number>();
    for (const principal of principals) {
      const home = homeOf(principal, slots);
      counts.set(home, (counts.get(home) ?? 0) + 1);
    }
    const fair = principals.length / slots.length;
    for (const slot of slots) {
      const count = counts.get(slot) ?? 0;
      assert.ok(Math.abs(count - fair) < fair * 0.15, `slot ${slot} of ${slots.length}: ${count}`);
    }
  }
});

test('only the identities of a member that goes move, and they move everywhere', () => {
  for (const principal of principals) {
    const before = homeOf(principal, [0, 1, 2]);
    const after = homeOf(principal, [0, 2]);
    if (before === 1) assert.notEqual(after, 1);
    else assert.equal(after, before);
  }
});
