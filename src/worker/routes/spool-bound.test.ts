/** How much a spool takes in, and when it takes in again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import { MemorySpoolStore } from '../store/memory-spool-store.ts';
import type { SharedSpools } from '../store/memory-spool-store.ts';
import type { Spools } from './spools.ts';
import { accepted, backend, failed, telemetry, TestWorkers } from './test-support.ts';

/** One worker that delivers already. */
async function setUp(...settings: readonly BackendSettings[]): Promise<{
  readonly workers: TestWorkers;
  readonly spools: Spools;
}> {
  const shared: SharedSpools = new Map();
  const workers = new TestWorkers((micros, slot) => new MemorySpoolStore(micros, slot, shared));
  const { spools, peers } = workers.start();
  spools.update(settings, 'fleet.x');
  workers.group.view([peers.slot]);
  await workers.time.pass(100);
  return { workers, spools };
}

const isUnavailable = (error: unknown): boolean =>
  error instanceof SallyportError && error.code === 'unavailable';

test('the bound holds also for what comes at once when the size has just been asked for', async () => {
  const { workers, spools } = await setUp(backend({ messages: 10 }));
  workers.backend.answer = () => failed;
  for (let i = 0; i < 9; i += 1) await spools.spool(telemetry('d1', `${i}`));
  await workers.time.pass(60);
  const taken: (Promise<void> | undefined)[] = [];
  for (let i = 0; i < 9; i += 1) {
    try {
      taken.push(spools.spool(telemetry('d1', `more ${i}`)));
    } catch (error) {
      assert.ok(isUnavailable(error));
    }
  }
  assert.equal(taken.length, 1);
  await taken[0];
  assert.equal((await spools.states())[0]?.waiting, 10);
});

test('once there is room a spool refuses nobody, though nobody has asked for a while', async () => {
  const { workers, spools } = await setUp(
    backend({ messages: 1, retry: { minMs: 300, maxMs: 300 } }),
  );
  workers.backend.answer = () => failed;
  await spools.spool(telemetry('d1', '1'));
  assert.throws(() => spools.spool(telemetry('d1', '2')), isUnavailable);
  workers.backend.answer = () => accepted;
  await workers.time.pass(400);
  assert.equal((await spools.states())[0]?.waiting, 0);
  await spools.spool(telemetry('d1', '3'));
});

test('without room on the disk what is for a backend is refused, and what waits is delivered', async () => {
  const { workers, spools } = await setUp(backend());
  await spools.spool(telemetry('d1', '1'));
  workers.hasRoom = false;
  assert.throws(() => spools.spool(telemetry('d1', '2')), isUnavailable);
  assert.equal(spools.spool({ ...telemetry('d1', '3'), topic: 'of/no/route' }), undefined);
  await workers.time.pass(1_000);
  assert.equal((await spools.states())[0]?.waiting, 0);
  workers.hasRoom = true;
  await spools.spool(telemetry('d1', '4'));
  await workers.time.pass(1_000);
  assert.deepEqual(workers.backend.payloads, ['1', '4']);
});

test('a message for several spools of which one is full is in none of them', async () => {
  const settings = [backend(), backend({ spool: 'b/small', match: '#', messages: 1 })];
  const { workers, spools } = await setUp(...settings);
  workers.backend.answer = () => failed;
  await spools.spool(telemetry('d1', '1'));
  assert.throws(() => spools.spool(telemetry('d1', '2')), isUnavailable);
  const states = await spools.states();
  assert.deepEqual(
    states.map(({ waiting }) => waiting),
    [1, 1],
  );
});
