import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RestartPolicy } from './restart-policy.ts';

test('the first restart is immediate, the next ones wait twice as long each, up to five seconds', () => {
  const policy = new RestartPolicy();
  const delays = Array.from({ length: 9 }, () => policy.nextDelayMs(10));
  assert.deepEqual(delays, [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
});

test('a child that has lived for half a minute is restarted at once again', () => {
  const policy = new RestartPolicy();
  for (let n = 0; n < 5; n += 1) policy.nextDelayMs(10);
  assert.equal(policy.nextDelayMs(30_000), 0);
});
