import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { systemClock } from '../../common/base/clock.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';
import { microsOfId } from './message-ids.ts';
import { spoolStoreContract } from './spool-store-contract.ts';

const scratch = (): string => mkdtempSync(join(tmpdir(), 'sallyport-spool-'));
const open = (directory: string): LmdbEnvironment =>
  LmdbEnvironment.open({ directory, names: ['s'], clock: systemClock });

spoolStoreContract('lmdb', (micros) => {
  const directory = scratch();
  const environment = open(directory);
  return {
    store: environment.spools(0, micros),
    async dispose() {
      await environment.close();
      rmSync(directory, { recursive: true });
    },
  };
});

/** A machine that is started again and again: the monotonic clock begins anew each time. */
async function boots(
  t: TestContext,
  each: readonly {
    readonly micros: number;
    readonly wall: number;
    readonly deliver: 'all' | 'none' | 'refuse';
  }[],
): Promise<readonly number[]> {
  const directory = scratch();
  t.after(() => rmSync(directory, { recursive: true }));
  const times: number[] = [];
  for (const { micros, wall, deliver } of each) {
    const environment = open(directory);
    const store = environment.spools(
      3,
      () => micros,
      () => wall,
    );
    store.open('s');
    const id = store.newId(200);
    times.push(microsOfId(id));
    await store.append([{ spool: 's', id, value: Buffer.from('x') }]);
    if (deliver === 'all') await store.settle('s', [id]);
    if (deliver === 'refuse') await store.refuse('s', id, Buffer.from('x'));
    await environment.close();
  }
  return times;
}

for (const deliver of ['all', 'none', 'refuse'] as const) {
  test(`ids rise over restarts of the machine, whatever its wall clock says (${deliver})`, async (t) => {
    const times = await boots(t, [
      { micros: 50_000, wall: 1_000_000, deliver },
      { micros: 60_000, wall: 9_000_000, deliver },
      { micros: 10, wall: 2_000_000, deliver },
      { micros: 5, wall: 500, deliver },
      { micros: 4, wall: 5, deliver },
      { micros: 3, wall: 90_000_000, deliver },
    ]);
    assert.equal(times[0], 1_000_000, 'the first boot begins with the wall clock');
    assert.equal(times[1], 1_010_000, 'within a boot the wall clock may be set');
    for (let i = 1; i < times.length; i += 1) {
      assert.ok((times[i] ?? 0) > (times[i - 1] ?? 0), times.join(' '));
    }
  });
}

test('the worker that starts second takes the clock of the first', async (t) => {
  const directory = scratch();
  t.after(() => rmSync(directory, { recursive: true }));
  const environment = open(directory);
  t.after(() => environment.close());
  let micros = 1_000;
  const a = environment.spools(
    0,
    () => micros,
    () => 5_000_000,
  );
  a.open('s');
  const ids = [a.newId(1)];
  await a.append([{ spool: 's', id: ids[0] ?? '', value: Buffer.from('x') }]);
  await a.settle('s', ids);
  micros += 5;
  const b = environment.spools(
    1,
    () => micros,
    () => 77_000_000,
  );
  ids.push(b.newId(1));
  micros += 1;
  ids.push(a.newId(1));
  micros += 1;
  ids.push(b.newId(1));
  assert.deepEqual(ids, ids.toSorted());
  assert.ok(b.names().includes('s'));
  assert.equal((await b.usage('s')).messages, 0);
});

test('spools of earlier runs are there again, and a bounded number of them', async (t) => {
  const directory = scratch();
  t.after(() => rmSync(directory, { recursive: true }));
  const first = open(directory);
  const store = first.spools(0);
  for (let i = 0; i < 512; i += 1) store.open(`s${i}`);
  assert.throws(() => store.open('one more'), { code: 'quota' });
  await store.append([{ spool: 's511', id: store.newId(1), value: Buffer.from('x') }]);
  await first.close();
  const second = open(directory);
  const again = second.spools(0);
  assert.equal(again.names().length, 512);
  assert.equal((await again.usage('s511')).messages, 1);
  await second.close();
});
