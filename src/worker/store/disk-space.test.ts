import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../common/base/logger.ts';
import type { Logger } from '../../common/base/logger.ts';
import { DiskSpace } from './disk-space.ts';

function setUp(reserve = 400) {
  const state = { now: 0, free: 10_000, spare: 0, reserve, looks: 0 };
  const told: string[] = [];
  const tell = (_: object, message: string): void => void told.push(message);
  const logger: Logger = { ...silentLogger, error: tell, info: tell };
  const disk = new DiskSpace({
    directory: '.',
    reserveBytes: () => state.reserve,
    spareBytes: () => state.spare,
    freeBytes: () => {
      state.looks += 1;
      return state.free;
    },
    clock: { now: () => state.now, monotonic: () => state.now },
    logger,
  });
  /** Whether new things, and whether anything, may be written. */
  const may = (free: number, spare = 0): readonly [boolean, boolean] => {
    Object.assign(state, { free, spare, now: state.now + 100 });
    return [!disk.scarce, !disk.exhausted];
  };
  return { state, told, disk, may };
}

test('room is what the disk has left and what the file has to spare', () => {
  const { may } = setUp();
  assert.deepEqual(may(400), [true, true]);
  assert.deepEqual(may(399), [false, true]);
  assert.deepEqual(may(0, 420), [true, true]);
  assert.deepEqual(may(99), [false, false]);
  assert.deepEqual(may(40, 65), [false, true]);
});

test('at the edge it does not change its mind, and says each change once', () => {
  const { may, told } = setUp();
  for (const free of [399, 401, 419, 399]) assert.deepEqual(may(free), [false, true]);
  for (const free of [420, 401, 400]) assert.deepEqual(may(free), [true, true]);
  for (const free of [99, 100, 104]) assert.deepEqual(may(free), [false, false]);
  assert.deepEqual(may(105), [false, true]);
  assert.equal(told.length, 3);
});

test('however often it is asked, it looks now and then', () => {
  const { state, disk } = setUp();
  for (let i = 0; i < 1_000; i += 1) {
    state.now += 1;
    assert.equal(disk.scarce || disk.exhausted, false);
  }
  assert.equal(state.looks, 50);
});

test('what cannot be seen is as it was', () => {
  const { state, may } = setUp();
  assert.deepEqual(may(1), [false, false]);
  Object.defineProperty(state, 'reserve', {
    get() {
      throw new Error('no policy yet');
    },
  });
  assert.deepEqual(may(1_000), [false, false]);
});

test('the disk of a real folder', () => {
  const of = (directory: string, reserve: number): boolean =>
    new DiskSpace({
      directory,
      reserveBytes: () => reserve,
      spareBytes: () => 0,
      clock: { now: () => 0, monotonic: () => 0 },
      logger: silentLogger,
    }).scarce;
  assert.equal(of('.', 1), false);
  assert.equal(of('.', 2 ** 60), true);
  assert.equal(of('/nowhere/at/all', 2 ** 60), false);
});
