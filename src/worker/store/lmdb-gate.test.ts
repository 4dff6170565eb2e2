import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../../common/base/clock.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';
import type { LmdbSpoolStore } from './lmdb-spool-store.ts';

interface World {
  readonly environment: LmdbEnvironment;
  readonly spools: LmdbSpoolStore;
  /** Appends; the value says which it was. */
  readonly append: (value: string) => Promise<string>;
  readonly stored: () => Promise<readonly string[]>;
}

function open(t: TestContext): World {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-gate-'));
  const environment = LmdbEnvironment.open({ directory, names: ['s'], clock: systemClock });
  t.after(async () => {
    environment.goOn();
    await environment.close();
    rmSync(directory, { recursive: true });
  });
  const spools = environment.spools(0);
  spools.open('a/b');
  return {
    environment,
    spools,
    append: async (value) => {
      await spools.append([{ spool: 'a/b', id: spools.newId(1), value: Buffer.from(value) }]);
      return value;
    },
    stored: async () => {
      const skip = new Set<string>();
      const range = { from: 0, to: 256, limit: 1_000, bytes: 1e6, skip };
      return (await spools.read('a/b', range)).map(({ value }) => value.toString());
    },
  };
}

test('what was under way is stored when all is still, and nothing after it until it goes on', async (t) => {
  const { environment, append, stored } = open(t);
  const before = Array.from({ length: 20 }, (_, i) => append(`${i}`));
  // Its turn ends, and lmdb's thread begins.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  await environment.hold();
  assert.equal((await stored()).length, before.length);
  const states: string[] = [];
  const later: Promise<unknown>[] = [];
  for (let i = 0; i < 3; i += 1) {
    later.push(append(`late ${i}`).then((value) => states.push(value)));
    await delay(20);
  }
  assert.deepEqual(states, []);
  assert.equal((await stored()).length, before.length);
  environment.goOn();
  await Promise.all([...before, ...later]);
  assert.deepEqual(states, ['late 0', 'late 1', 'late 2']);
  assert.equal((await stored()).length, before.length + 3);
});

test('what was written in the turn of the hold waits too', async (t) => {
  const { environment, append, stored } = open(t);
  const written = append('1');
  await environment.hold();
  await delay(20);
  assert.deepEqual(await stored(), []);
  environment.goOn();
  await written;
  assert.deepEqual(await stored(), ['1']);
  await append('2');
});

test('a spool that is not there is not made while the store is held', async (t) => {
  const { environment, spools } = open(t);
  await environment.hold();
  spools.open('a/b');
  assert.throws(() => spools.open('c/d'), { code: 'busy' });
  environment.goOn();
  spools.open('c/d');
});
