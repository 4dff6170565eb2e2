import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameBudget } from './frame-budget.ts';

test('frames and bytes are counted per second', () => {
  const budget = new FrameBudget({ framesPerSecond: 2, bytesPerSecond: 100 });
  assert.equal(budget.take(10, 0), true);
  assert.equal(budget.take(10, 999), true);
  assert.equal(budget.take(10, 999), false);
  assert.equal(budget.take(100, 1_000), true);
  assert.equal(budget.take(1, 1_001), false);
});
