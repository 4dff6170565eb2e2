import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InTime } from './in-time.ts';

const late = (): Error => new Error('too late');

test('what settles in time is passed on as it is', async () => {
  const inTime = new InTime(10_000, late);
  assert.equal(await inTime.settled(Promise.resolve(7)), 7);
  await assert.rejects(inTime.settled(Promise.reject(new RangeError('no'))), RangeError);
});

test('what does not settle is given up, once its time is over and not before', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  const ends: string[] = [];
  const inTime = new InTime(400, late);
  const begin = (name: string): { settle: () => void } => {
    const { promise, resolve } = Promise.withResolvers<void>();
    inTime.settled(promise).then(
      () => ends.push(`${name} settled`),
      (error: unknown) => ends.push(`${name}: ${error instanceof Error ? error.message : ''}`),
    );
    return { settle: resolve };
  };
  const pass = async (ms: number): Promise<void> => {
    now += ms;
    t.mock.timers.tick(ms);
    await Promise.resolve();
    await Promise.resolve();
  };
  const first = begin('first');
  begin('second');
  await pass(300);
  begin('third');
  first.settle();
  await pass(99);
  assert.deepEqual(ends, ['first settled']);
  await pass(101);
  assert.deepEqual(ends, ['first settled', 'second: too late']);
  await pass(300);
  assert.deepEqual(ends, ['first settled', 'second: too late', 'third: too late']);
  // Nothing waits and no timer runs; the next one is watched all the same.
  await pass(1_000);
  begin('fourth');
  await pass(500);
  assert.equal(ends.at(-1), 'fourth: too late');
});
