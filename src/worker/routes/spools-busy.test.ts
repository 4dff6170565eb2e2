import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import { MemorySpoolStore } from '../store/memory-spool-store.ts';
import { backend, telemetry, TestWorkers } from './test-support.ts';

/** A worker whose store makes nothing while it is held, and had these spools to open meanwhile. */
function held(settings: readonly BackendSettings[]) {
  let isHeld = true;
  let openings = 0;
  const workers = new TestWorkers((micros, slot) => {
    const store = new MemorySpoolStore(micros, slot, new Map());
    const open = store.open.bind(store);
    store.open = (spool) => {
      openings += 1;
      if (isHeld) throw new SallyportError('busy', 'another worker opens the store');
      open(spool);
    };
    return store;
  });
  const { spools, peers } = workers.start();
  spools.update(settings, 'fleet.x');
  workers.group.view([peers.slot]);
  return {
    workers,
    spools,
    openings: () => openings,
    goOn: async () => {
      isHeld = false;
      spools.storeIsFree();
      // They are read first.
      await workers.time.pass(100);
    },
  };
}

test('spools that come while another worker opens the store are opened when it has', async () => {
  const other = backend({ spool: 'b/other', match: 'devices/+/status' });
  const { workers, spools, openings, goOn } = held([backend(), other]);
  const message = telemetry('d1', 'x');
  const status = { ...message, topic: 'devices/d1/status' };
  assert.throws(() => spools.spool(message), { code: 'unavailable' });
  assert.throws(() => spools.spool(status), { code: 'unavailable' });
  await goOn();
  await spools.spool(message);
  await spools.spool(status);
  await workers.time.pass(100);
  assert.equal(workers.backend.events.length, 2);
  const before = openings();
  spools.storeIsFree();
  assert.equal(openings(), before);
});

test('one that was left out again meanwhile is not opened', async () => {
  const { spools, openings, goOn } = held([backend()]);
  spools.update([], 'fleet.x');
  const before = openings();
  await goOn();
  assert.equal(openings(), before);
  assert.equal(spools.spool(telemetry('d1', 'x')), undefined);
});
