import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogBudget } from './log-budget.ts';

test('ten seconds of lines may come at once, then one at a time, and what was left out is counted once', () => {
  let now = 0;
  const budget = new LogBudget(2, { now: () => now, monotonic: () => now });
  const written = Array.from({ length: 25 }, () => budget.take()).filter(Boolean).length;
  assert.equal(written, 20);
  now += 500;
  assert.equal(budget.take(), true);
  assert.equal(budget.take(), false);
  assert.deepEqual(budget.suppressed(), { suppressed: 6 });
  assert.deepEqual(budget.suppressed(), {});
});
