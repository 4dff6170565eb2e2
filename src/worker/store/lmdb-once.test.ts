import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Clock } from '../../common/base/clock.ts';
import { systemClock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { onceKeyBytes } from '../credentials/ports.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';
import type { LmdbOnce } from './lmdb-once.ts';
import { onceStoreContract } from './once-contract.ts';

const scratch = (): string => mkdtempSync(join(tmpdir(), 'sallyport-once-'));

function environmentOf(directory: string, clock: Clock, mayWrite = () => true): LmdbEnvironment {
  return LmdbEnvironment.open({ directory, names: [], clock, mayWrite });
}

onceStoreContract('lmdb', (clock) => {
  const directory = scratch();
  const environment = environmentOf(directory, clock);
  return {
    store: environment.once(),
    async dispose() {
      await environment.close();
      rmSync(directory, { recursive: true });
    },
  };
});

test('what has been seen is seen after a restart, by whoever opens the store', async () => {
  const directory = scratch();
  const key = Buffer.alloc(onceKeyBytes, 7);
  try {
    const expiresAt = Date.now() + 600_000;
    const first = environmentOf(directory, systemClock);
    assert.equal(await first.once().putIfAbsent(key, expiresAt), true);
    await first.close();
    const second = environmentOf(directory, systemClock);
    assert.equal(await second.once().putIfAbsent(key, expiresAt), false);
    await second.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('what a process that has ended had not listed is swept all the same, however much there is', async () => {
  const directory = scratch();
  const hands = { now: 1_000_000 };
  const clock: Clock = { now: () => hands.now, monotonic: () => hands.now };
  const put = (once: LmdbOnce, name: string, expiresAt: number) =>
    once.putIfAbsent(Buffer.from(name.padStart(onceKeyBytes)), expiresAt);
  try {
    for (let life = 0; life < 20; life += 1) {
      const environment = environmentOf(directory, clock);
      const once = environment.once();
      const all = Array.from({ length: 40 }, (_, i) => put(once, `${life} ${i}`, 1_000_100));
      assert.ok((await Promise.all(all)).every(Boolean));
      await environment.close();
    }
    const environment = environmentOf(directory, clock);
    const once = environment.once();
    await put(once, 'stays', 2_000_000);
    hands.now = 1_000_200;
    let removed = 0;
    for (let sweeps = 0; sweeps < 3; sweeps += 1) removed += await once.sweep();
    assert.equal(removed, 800);
    assert.equal(await put(once, 'stays', 2_000_000), false);
    assert.equal(await put(once, '7 7', 2_000_000), true);
    await environment.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a store that may not write, or is closed, says so and takes nothing', async () => {
  const directory = scratch();
  const hands = { mayWrite: false };
  const environment = environmentOf(directory, systemClock, () => hands.mayWrite);
  const isIo = (error: unknown): boolean => error instanceof SallyportError && error.code === 'io';
  try {
    const once = environment.once();
    const put = () => once.putIfAbsent(Buffer.alloc(onceKeyBytes, 1), Date.now() + 600_000);
    await assert.rejects(put(), isIo);
    hands.mayWrite = true;
    assert.equal(await put(), true);
    await environment.close();
    await assert.rejects(put(), isIo);
    await assert.rejects(once.sweep(), isIo);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
