/**
 * Workers come and go, stand still, and believe for a while that a lane is theirs when it is not; the backend fails,
 * hangs, answers into the void and refuses. Whatever happens: each message arrives, under one id, and no device's later
 * message arrives for the first time before an earlier one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { MemorySpoolStore } from '../store/memory-spool-store.ts';
import type { SharedSpools } from '../store/memory-spool-store.ts';
import type { Delivery } from './backend-client.ts';
import type { SpoolStore } from './ports.ts';
import {
  accepted,
  backend,
  failed,
  refused,
  settled,
  telemetry,
  TestWorkers,
} from './test-support.ts';
import type { ReceivedEvent } from './test-support.ts';

const workerCount = 3;

type Mood = 'well' | 'down' | 'slow' | 'mute' | 'hanging' | 'busy';

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ publish: fc.nat(3), by: fc.nat(workerCount - 1), bad: fc.nat(15) }),
  },
  { weight: 3, arbitrary: fc.record({ passMs: fc.constantFrom(0, 1, 60, 120, 700, 15_000) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      mood: fc.constantFrom<Mood>('well', 'well', 'down', 'slow', 'mute', 'hanging', 'busy'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ live: fc.subarray([0, 1, 2], { minLength: 1 }) }) },
  { weight: 1, arbitrary: fc.record({ slow: fc.nat(workerCount - 1) }) },
  { weight: 1, arbitrary: fc.record({ requests: fc.constantFrom(1, 2, 8) }) },
);

/** A disk whose every step takes a while on one worker: it acts on what it has read long after others have changed it. */
function delayable(store: SpoolStore, wait: () => Promise<void>): SpoolStore {
  return {
    newId: (partition) => store.newId(partition),
    names: () => store.names(),
    open: (spool) => store.open(spool),
    append: (...a) => store.append(...a),
    read: async (...a) => {
      const entries = await store.read(...a);
      await wait();
      return entries;
    },
    settle: async (...a) => {
      await wait();
      await store.settle(...a);
    },
    usage: (...a) => store.usage(...a),
    refuse: async (...a) => {
      await wait();
      await store.refuse(...a);
    },
    deadLetters: (...a) => store.deadLetters(...a),
    deadLetter: (...a) => store.deadLetter(...a),
    restore: (...a) => store.restore(...a),
    discard: (...a) => store.discard(...a),
    discardOldest: (...a) => store.discardOldest(...a),
  };
}

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function play(steps: readonly Step[], batch: number): Promise<void> {
  const shared: SharedSpools = new Map();
  const slowMs = [0, 0, 0];
  const workers = new TestWorkers((micros, slot) =>
    delayable(new MemorySpoolStore(micros, slot, shared), async () => {
      const ms = slowMs[slot] ?? 0;
      if (ms > 0) await after(ms);
    }),
  );
  const { time, backend: peer, group } = workers;
  const after = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      time.after(ms, resolve);
    });
  let mood: Mood = 'well';
  /** In the order in which the backend took them. */
  const taken: ReceivedEvent[] = [];
  const judge = (events: readonly ReceivedEvent[]): Delivery => {
    if (events.some(({ payload }) => payload.includes('bad'))) return refused;
    taken.push(...events);
    return accepted;
  };
  peer.answer = async (events): Promise<Delivery> => {
    switch (mood) {
      case 'well':
        await after(5);
        return judge(events);
      case 'slow':
        await after(400);
        return judge(events);
      case 'down':
        return failed;
      case 'busy':
        return { outcome: 'failed', reason: 'answered 503', retryAfterMs: 1_000 };
      case 'mute':
        judge(events);
        return failed;
      case 'hanging':
        await after(5_000);
        // It may have taken them, and nobody was told.
        judge(events);
        return failed;
    }
  };
  const settings = { batch, batchWaitMs: 50 };
  const all = Array.from({ length: workerCount }, () => workers.start());
  for (const { spools } of all) spools.update([backend({ ...settings, requests: 2 })], 'fleet.x');
  group.view([0, 1, 2]);
  await settled();

  const published = new Map<number, string[]>();
  const publish = async (device: number, by: number, bad: boolean): Promise<void> => {
    const own = published.get(device) ?? [];
    published.set(device, own);
    const payload = JSON.stringify(`${bad ? 'bad' : 'good'} ${own.length}`);
    // The next one is given, to whichever worker, after this one is safe.
    await all[by]?.spools.spool(telemetry(`d${device}`, payload));
    own.push(payload);
  };
  for (const each of steps) {
    if ('publish' in each) await publish(each.publish, each.by, each.bad === 0);
    if ('passMs' in each) await time.pass(each.passMs);
    if ('mood' in each) ({ mood } = each);
    if ('live' in each) group.view(each.live);
    if ('slow' in each) slowMs[each.slow] = (slowMs[each.slow] ?? 0) === 0 ? 150 : 0;
    if ('requests' in each) {
      for (const { spools } of all) spools.update([backend({ ...settings, ...each })], 'fleet.x');
    }
    await settled();
  }
  mood = 'well';
  slowMs.fill(0);
  await time.pass(600_000);

  const ids = new Map<string, string>();
  for (const { id, source, payload } of peer.events) {
    const key = `${source} ${payload}`;
    assert.equal(ids.get(key) ?? id, id, `${key} came under two ids`);
    ids.set(key, id);
  }
  for (const [device, payloads] of published) {
    const firsts = new Set(
      taken.filter(({ source }) => source.endsWith(`/d${device}`)).map(({ payload }) => payload),
    );
    const good = payloads.filter((payload) => payload.includes('good'));
    assert.deepEqual([...firsts], good, `d${device}`);
  }
  const bad = [...published.values()].flat().filter((payload) => payload.includes('bad'));
  const [state] = await all[0]!.spools.states();
  assert.deepEqual([state?.waiting, state?.deadLetters], [0, bad.length]);
}

for (const batch of [1, 4]) {
  test(`each message arrives and each device’s in order, whatever fails (batch ${batch})`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), (steps) => play(steps, batch)),
      { numRuns: 60 },
    );
  });
}
