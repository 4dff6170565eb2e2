import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import { MemorySpoolStore } from '../store/memory-spool-store.ts';
import type { SharedSpools } from '../store/memory-spool-store.ts';
import type { SpoolStore } from './ports.ts';
import { accepted, backend, failed, refused, telemetry, TestWorkers } from './test-support.ts';
import type { TestWorker } from './test-support.ts';

const name = 'telemetry/backend';

interface Setup {
  readonly workers: TestWorkers;
  readonly started: readonly TestWorker[];
  readonly shared: SharedSpools;
  readonly logged: Record<string, unknown>[];
}

/** Workers that deliver already. */
async function setUp(
  settings: readonly BackendSettings[] = [backend()],
  count = 1,
  wrap: (store: SpoolStore) => SpoolStore = (store) => store,
): Promise<Setup> {
  const shared: SharedSpools = new Map();
  const workers = new TestWorkers((micros, slot) =>
    wrap(new MemorySpoolStore(micros, slot, shared)),
  );
  const logged: Record<string, unknown>[] = [];
  const log = (fields: object, message: string): void => {
    logged.push({ ...fields, message });
  };
  workers.logger = { ...silentLogger, info: log, warn: log, error: log };
  const started = Array.from({ length: count }, () => workers.start());
  for (const { spools } of started) spools.update(settings, 'fleet.x');
  workers.group.view(started.map(({ peers }) => peers.slot));
  await workers.time.pass(100);
  return { workers, started, shared, logged };
}

function first(started: readonly TestWorker[]): TestWorker {
  const [worker] = started;
  assert.ok(worker !== undefined);
  return worker;
}

const isUnavailable = (error: unknown): boolean =>
  error instanceof SallyportError && error.code === 'unavailable';

test('a message goes to the backend of every route that matches, under one id, and is gone', async () => {
  const settings = [
    backend(),
    backend({ spool: 'all/a', match: '#' }),
    backend({ spool: 'other/b', match: 'devices/+/status' }),
  ];
  const { workers, started } = await setUp(settings);
  const { spools, counted } = first(started);
  const message = telemetry('d1', '{}');
  assert.equal(spools.spool({ ...message, topic: '$SYS/x' }), undefined);
  await spools.spool(message);
  await workers.time.pass(10);
  const { events } = workers.backend;
  assert.equal(events.length, 2);
  assert.equal(events[0]?.id, events[1]?.id);
  assert.equal(events[0]?.source, 'spiffe://fleet.x/device/d1');
  const states = await spools.states();
  assert.deepEqual(
    states.map(({ spool, waiting }) => `${spool} ${waiting}`),
    ['all/a 0', 'other/b 0', 'telemetry/backend 0'],
  );
  assert.equal(counted.get(`deliveries{spool="${name}",outcome="accepted"}`), 1);
});

test('while the backend is down everything waits, and comes in order when it is back', async () => {
  const { workers, started, logged } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => failed;
  for (let i = 0; i < 50; i += 1) {
    for (const device of ['d1', 'd2', 'd3']) await spools.spool(telemetry(device, `${i}`));
    await workers.time.pass(5_000);
  }
  assert.equal((await spools.states())[0]?.waiting, 150);
  assert.equal(spools.gauges()[`backend_breaker{spool="${name}"}`], 2);
  const before = workers.backend.requests.length;
  // Ten minutes with pauses of at most 30 s, and one probe each time.
  assert.ok(before < 40, `${before} requests`);
  workers.backend.answer = () => accepted;
  await workers.time.pass(31_000);
  const delivered = workers.backend.requests.slice(before).flat();
  assert.equal(delivered.length, 150);
  for (const device of ['d1', 'd2', 'd3']) {
    const own = delivered.filter(({ source }) => source.endsWith(`/${device}`));
    assert.deepEqual(
      own.map(({ payload }) => payload),
      Array.from({ length: 50 }, (_, i) => `${i}`),
    );
  }
  const told = logged.map(({ message }) => message);
  assert.equal(told.filter((line) => String(line).includes('takes no messages')).length, 1);
  assert.equal(told.filter((line) => String(line).includes('takes messages again')).length, 1);
  assert.equal(spools.gauges()[`backend_breaker{spool="${name}"}`], 0);
});

test('a message that is sent again keeps its id', async () => {
  const { workers, started } = await setUp();
  let answers = 0;
  workers.backend.answer = () => {
    answers += 1;
    return answers < 4 ? failed : accepted;
  };
  await first(started).spools.spool(telemetry('d1', 'x'));
  await workers.time.pass(60_000);
  assert.equal(workers.backend.events.length, 4);
  assert.equal(new Set(workers.backend.events.map(({ id }) => id)).size, 1);
});

test('no more requests are under way than the settings allow, over all workers', async () => {
  const { workers, started } = await setUp([backend({ requests: 3 })], 4);
  workers.backend.answer = async () => {
    await new Promise<void>((resolve) => {
      workers.time.after(50, resolve);
    });
    return accepted;
  };
  for (let i = 0; i < 200; i += 1) {
    await started[i % 4]?.spools.spool(telemetry(`d${i}`, `${i}`));
  }
  await workers.time.pass(60_000);
  assert.equal(workers.backend.events.length, 200);
  assert.equal(workers.backend.mostUnderWay, 3);
});

test('a batch goes when it is full, or when its first message has waited long enough', async () => {
  const { workers, started } = await setUp([backend({ batch: 3, requests: 1 })]);
  const { spools } = first(started);
  await spools.spool(telemetry('d1', '1'));
  await workers.time.pass(99);
  assert.equal(workers.backend.requests.length, 0);
  await workers.time.pass(1);
  assert.deepEqual(workers.backend.payloads, ['1']);
  for (let i = 2; i < 6; i += 1) void spools.spool(telemetry('d1', `${i}`));
  await workers.time.pass(0);
  assert.deepEqual(
    workers.backend.requests.map((request) => request.length),
    [1, 3],
  );
  await workers.time.pass(100);
  assert.deepEqual(workers.backend.payloads, ['1', '2', '3', '4', '5']);
});

test('a request is bounded in bytes, whatever the batch', async () => {
  const { workers, started } = await setUp([backend({ batch: 1_000, requests: 1 })]);
  const { spools } = first(started);
  const payload = Buffer.alloc(100_000, 'x');
  for (let i = 0; i < 20; i += 1) void spools.spool(telemetry('d1', payload));
  await workers.time.pass(1_000);
  assert.equal(workers.backend.events.length, 20);
  for (const request of workers.backend.requests) assert.ok(request.length <= 6);
});

test('of a batch that is refused the message is found, the others go on in order', async () => {
  const { workers, started, logged } = await setUp([backend({ batch: 16, requests: 1 })]);
  const { spools, counted } = first(started);
  workers.backend.answer = (events) =>
    events.some(({ payload }) => payload.startsWith('"bad')) ? refused : accepted;
  const sent: string[] = [];
  for (let i = 0; i < 40; i += 1) {
    const payload = [7, 8, 30].includes(i) ? `"bad ${i}"` : `${i}`;
    sent.push(payload);
    await spools.spool(telemetry('d1', payload));
  }
  await workers.time.pass(5_000);
  const taken = workers.backend.requests.filter((events) =>
    events.every(({ payload }) => !payload.startsWith('"bad')),
  );
  assert.deepEqual(
    taken.flat().map(({ payload }) => payload),
    sent.filter((payload) => !payload.startsWith('"bad')),
  );
  // A bad message before a good one: nothing of a device is sent past one that is not settled.
  assert.ok(workers.backend.requests.length < 30, `${workers.backend.requests.length}`);
  const dead = await spools.deadLetters(name, '', 10);
  assert.equal(dead.length, 3);
  assert.deepEqual(
    dead.map(({ reason, topic, publisher }) => [reason, topic, publisher]),
    Array.from({ length: 3 }, () => ['answered 422', 'devices/d1/telemetry', 'device/d1']),
  );
  assert.ok((dead[0]?.refusedAt ?? 0) >= (dead[0]?.acceptedAt ?? Number.POSITIVE_INFINITY));
  assert.equal((await spools.deadLetters(name, dead[0]?.id ?? '', 1))[0]?.id, dead[1]?.id);
  assert.equal((await spools.states())[0]?.waiting, 0);
  assert.equal((await spools.states())[0]?.deadLetters, 3);
  assert.ok(counted.has(`deliveries{spool="${name}",outcome="refused"}`));
  assert.ok(logged.some(({ message }) => String(message).includes('refused a message')));
});

test('dead letters are retried with their ids and dropped', async () => {
  const { workers, started } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => refused;
  for (let i = 0; i < 5; i += 1) await spools.spool(telemetry('d1', `${i}`));
  await workers.time.pass(10);
  const dead = await spools.deadLetters(name, '', 100);
  assert.equal(dead.length, 5);
  const ids = dead.map(({ id }) => id);
  const before = workers.backend.requests.length;
  workers.backend.answer = () => accepted;
  assert.equal(await spools.retry(name, [ids[3] ?? '', 'f'.repeat(24), 'no id']), 1);
  await workers.time.pass(10);
  assert.equal(await spools.discard(name, [ids[0] ?? '']), 1);
  assert.equal(await spools.retry(name, undefined), 3);
  await workers.time.pass(10);
  assert.deepEqual(
    workers.backend.requests
      .slice(before)
      .flat()
      .map(({ id, payload }) => [id, payload]),
    [3, 1, 2, 4].map((i) => [ids[i], `${i}`]),
  );
  assert.deepEqual(await spools.deadLetters(name, '', 100), []);
  workers.backend.answer = () => refused;
  for (let i = 0; i < 5; i += 1) await spools.spool(telemetry('d1', `${i}`));
  await workers.time.pass(10);
  assert.equal(await spools.discard(name, undefined), 5);
  const notFound = (error: unknown) =>
    error instanceof SallyportError && error.code === 'not-found';
  await assert.rejects(spools.deadLetters('none', '', 1), notFound);
  await assert.rejects(spools.retry('none', undefined), notFound);
  await assert.rejects(spools.discard('none', undefined), notFound);
});

test('dead letters that are refused again do not go round for ever', async () => {
  const { workers, started } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => refused;
  for (let i = 0; i < 10; i += 1) await spools.spool(telemetry(`d${i}`, 'x'));
  await workers.time.pass(10);
  assert.equal((await spools.states())[0]?.deadLetters, 10);
  assert.equal(await spools.retry(name, undefined), 10);
  await workers.time.pass(60_000);
  assert.equal((await spools.states())[0]?.deadLetters, 10);
  assert.ok(workers.backend.requests.length <= 40, `${workers.backend.requests.length} requests`);
});

test('a backend that refuses everything is tried now and then, and loses nothing', async () => {
  const { workers, started } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => refused;
  for (let i = 0; i < 500; i += 1) await spools.spool(telemetry(`d${i}`, `${i}`));
  await workers.time.pass(30_000);
  const [state] = await spools.states();
  assert.ok(state !== undefined && state.deadLetters < 60, `${state?.deadLetters} dead letters`);
  workers.backend.answer = () => accepted;
  await workers.time.pass(120_000);
  await spools.retry(name, undefined);
  await workers.time.pass(10_000);
  assert.equal(new Set(workers.backend.payloads).size, 500);
  assert.deepEqual(
    (await spools.states()).map(({ waiting, deadLetters }) => [waiting, deadLetters]),
    [[0, 0]],
  );
});

test('a message at which the backend fails again and again is given up, while others pass', async () => {
  const { workers, started } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = (events) =>
    events.some(({ payload }) => payload === 'poison') ? failed : accepted;
  await spools.spool(telemetry('bad', 'poison'));
  await spools.spool(telemetry('bad', 'next'));
  // Others go on all the time: whether it is about the message is seen by that.
  for (let i = 0; i < 3_000; i += 1) {
    await spools.spool(telemetry(`d${i % 50}`, `${i}`));
    await workers.time.pass(100);
  }
  const letters = await spools.deadLetters(name, '', 10);
  assert.equal(letters.length, 1);
  assert.match(letters[0]?.reason ?? '', /again and again/);
  assert.ok(workers.backend.payloads.includes('next'), 'what came after it went on');
  assert.equal(new Set(workers.backend.payloads).size, 3_002);
});

test('an outage gives nothing up, however long it is', async () => {
  const { workers, started } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => failed;
  for (let i = 0; i < 20; i += 1) await spools.spool(telemetry(`d${i}`, `${i}`));
  await workers.time.pass(3_600_000);
  assert.equal((await spools.states())[0]?.deadLetters, 0);
  workers.backend.answer = () => accepted;
  await workers.time.pass(60_000);
  assert.equal((await spools.states())[0]?.waiting, 0);
});

test('the oldest dead letters go when there are too many, and are counted', async () => {
  const { workers, started, logged } = await setUp([backend({ deadLetters: 3 })]);
  const { spools, counted } = first(started);
  workers.backend.answer = () => refused;
  for (let i = 0; i < 10; i += 1) await spools.spool(telemetry('d1', `${i}`));
  await workers.time.pass(10);
  assert.equal((await spools.deadLetters(name, '', 100)).length, 3);
  assert.equal(counted.get(`dead_letters_dropped{spool="${name}"}`), 7);
  assert.ok(logged.some(({ message }) => String(message).includes('oldest are gone')));
});

test('a spool is full at its bound of messages or bytes, to the message within a turn', async () => {
  for (const bound of [{ messages: 10 }, { bytes: 2_000 }]) {
    const { workers, started } = await setUp([backend(bound)], 2);
    workers.backend.answer = () => failed;
    const { spools, counted } = first(started);
    const outcomes = Array.from({ length: 30 }, () => {
      try {
        return spools.spool(telemetry('d1', Buffer.alloc(50))) !== undefined;
      } catch (error) {
        assert.ok(isUnavailable(error));
        return false;
      }
    });
    await workers.time.pass(1_100);
    const taken = outcomes.filter(Boolean).length;
    const [state] = await spools.states();
    assert.equal(state?.waiting, taken);
    if ('messages' in bound) assert.equal(taken, bound.messages);
    else assert.ok(taken > 5 && state.bytes <= bound.bytes, `${taken}: ${state.bytes} bytes`);
    assert.ok((counted.get(`spool_full{spool="${name}"}`) ?? 0) > 0);
    // The other worker knows it too.
    if ('messages' in bound) {
      assert.throws(() => started[1]?.spools.spool(telemetry('d9', 'x')), isUnavailable);
    }
    workers.backend.answer = () => accepted;
    await workers.time.pass(60_000);
    await spools.spool(telemetry('d1', 'there is room again'));
  }
});

test('what a worker puts in another delivers at once, and also when nobody tells it', async () => {
  for (const deaf of [false, true]) {
    const { workers, started } = await setUp([backend()], 2);
    for (const { peers } of started) peers.deaf = deaf;
    for (let i = 0; i < 20; i += 1) await started[0]?.spools.spool(telemetry(`d${i}`, `${i}`));
    await workers.time.pass(6);
    const told = workers.backend.events.length;
    if (deaf) assert.ok(told < 20);
    else assert.equal(told, 20);
    await workers.time.pass(1_000);
    assert.equal(workers.backend.events.length, 20);
  }
});

test('words about new messages are few: one to each worker in some milliseconds', async () => {
  const { workers, started } = await setUp([backend({ batch: 100 })], 2);
  for (let i = 0; i < 1_000; i += 1) void first(started).spools.spool(telemetry(`d${i}`, 'x'));
  await workers.time.pass(20);
  assert.ok((started[1]?.peers.heard ?? 0) <= 4, `${started[1]?.peers.heard}`);
  await workers.time.pass(1_000);
  assert.equal(workers.backend.events.length, 1_000);
});

test('a word that does not fit is refused', async () => {
  const { started } = await setUp();
  const { peers } = first(started);
  for (const body of [
    { wakes: 1 },
    { wakes: [1] },
    { wakes: [[1, 1, 1]] },
    { wakes: [[name, 256, 1]] },
    { wakes: [[name, -1, 1]] },
    { wakes: [[name, 1, 'x']] },
    { wakes: Array.from({ length: 5_000 }, () => [name, 1, 1]) },
  ]) {
    assert.throws(() => peers.hear(1, 'spooled', body), SallyportError);
  }
  peers.hear(1, 'spooled', { wakes: [['__proto__', 1, 1]] });
  peers.hear(1, 'spooled', null);
});

test('when a worker goes, the others deliver what it would have', async () => {
  const { workers, started } = await setUp([backend()], 3);
  workers.backend.answer = () => failed;
  for (let i = 0; i < 60; i += 1)
    await started[i % 3]?.spools.spool(telemetry(`d${i % 6}`, `${i}`));
  workers.group.view([2]);
  workers.backend.answer = () => accepted;
  await workers.time.pass(90_000);
  const delivered = new Set(workers.backend.events.map(({ id }) => id));
  assert.equal(delivered.size, 60);
  assert.equal((await first(started).spools.states())[0]?.waiting, 0);
});

test('a new URL takes effect; what is under way comes to its end', async () => {
  const { workers, started } = await setUp([backend({ requests: 1 })]);
  const { spools } = first(started);
  let answer = (): void => {};
  workers.backend.answer = () =>
    new Promise((resolve) => {
      answer = () => resolve(accepted);
    });
  await spools.spool(telemetry('d1', '1'));
  await spools.spool(telemetry('d1', '2'));
  await workers.time.pass(10);
  const next = backend({ requests: 4, url: 'http://127.0.0.1:10/other', batch: 5 });
  spools.update([next], 'fleet.y');
  await workers.time.pass(200);
  assert.deepEqual(workers.backend.payloads, ['1'], 'the lane that was is still at it');
  workers.backend.answer = () => accepted;
  answer();
  await workers.time.pass(300);
  assert.deepEqual(workers.backend.payloads, ['1', '2']);
  assert.equal(workers.backend.events[1]?.source, 'spiffe://fleet.y/device/d1');
  assert.deepEqual(
    workers.connected.map(({ url }) => url),
    ['http://127.0.0.1:9/ingest', 'http://127.0.0.1:10/other'],
  );
});

test('what waits for a route that is gone stays, is named, and is delivered when it is back', async () => {
  const { workers, started, logged } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => failed;
  await spools.spool(telemetry('d1', '1'));
  await workers.time.pass(10);
  spools.update([], 'fleet.x');
  await workers.time.pass(60_000);
  assert.equal(spools.spool(telemetry('d1', '2')), undefined);
  const warning = logged.find(({ message }) => String(message).includes('route that is gone'));
  assert.deepEqual([warning?.['spool'], warning?.['waiting']], [name, 1]);
  assert.equal((await spools.states())[0]?.waiting, 1);
  const before = workers.backend.requests.length;
  workers.backend.answer = () => accepted;
  spools.update([backend()], 'fleet.x');
  await workers.time.pass(1_000);
  assert.equal(workers.backend.requests.length, before + 1);
  assert.equal((await spools.states())[0]?.waiting, 0);
});

test('a topic filter that changes takes effect', async () => {
  const { started } = await setUp();
  const { spools } = first(started);
  spools.update([backend({ match: 'devices/d2/telemetry' })], 'fleet.x');
  assert.equal(spools.spool(telemetry('d1', 'x')), undefined);
  assert.ok(spools.spool(telemetry('d2', 'x')) !== undefined);
});

/** A store whose writes fail at will. */
function breakable(store: SpoolStore, broken: { append: boolean; settle: boolean }): SpoolStore {
  const io = (): never => {
    throw new SallyportError('io', 'the disk is full');
  };
  return {
    newId: (partition) => store.newId(partition),
    names: () => store.names(),
    open: (spool) => store.open(spool),
    append: async (...a) => (broken.append ? io() : store.append(...a)),
    read: (...a) => store.read(...a),
    settle: async (...a) => (broken.settle ? io() : store.settle(...a)),
    usage: (...a) => store.usage(...a),
    refuse: async (...a) => (broken.settle ? io() : store.refuse(...a)),
    deadLetters: (...a) => store.deadLetters(...a),
    deadLetter: (...a) => store.deadLetter(...a),
    restore: (...a) => store.restore(...a),
    discard: (...a) => store.discard(...a),
    discardOldest: (...a) => store.discardOldest(...a),
  };
}

test('when the disk refuses a message it is unavailable, and the next one may go', async () => {
  const broken = { append: true, settle: false };
  const { workers, started } = await setUp([backend()], 1, (store) => breakable(store, broken));
  const { spools } = first(started);
  await assert.rejects(async () => spools.spool(telemetry('d1', 'x')), isUnavailable);
  broken.append = false;
  await spools.spool(telemetry('d1', 'y'));
  await workers.time.pass(10);
  assert.deepEqual(workers.backend.payloads, ['y']);
});

test('when the disk does not let go of what was delivered, it is not sent again, nor anything after it', async () => {
  const broken = { append: false, settle: true };
  const { workers, started } = await setUp([backend()], 1, (store) => breakable(store, broken));
  const { spools } = first(started);
  await spools.spool(telemetry('d1', '1'));
  await workers.time.pass(100);
  await spools.spool(telemetry('d1', '2'));
  await workers.time.pass(20_000);
  assert.deepEqual(workers.backend.payloads, ['1']);
  broken.settle = false;
  await workers.time.pass(2_000);
  assert.deepEqual(workers.backend.payloads, ['1', '2']);
  assert.equal((await spools.states())[0]?.waiting, 0);
});

test('what was delivered is removed for all lanes together', async () => {
  let settled = 0;
  const { workers, started } = await setUp([backend()], 1, (store) => ({
    ...breakable(store, { append: false, settle: false }),
    settle: async (...a) => {
      settled += 1;
      await store.settle(...a);
    },
  }));
  for (let i = 0; i < 500; i += 1) void first(started).spools.spool(telemetry(`d${i}`, `${i}`));
  await workers.time.pass(100);
  assert.equal(workers.backend.events.length, 500);
  assert.ok(settled <= 3, `${settled}`);
  assert.equal((await first(started).spools.states())[0]?.waiting, 0);
});

test('a record that cannot be read stands in nobody’s way and becomes a dead letter', async () => {
  const { workers, started, shared, logged } = await setUp();
  const { spools } = first(started);
  workers.backend.answer = () => failed;
  await spools.spool(telemetry('d1', '1'));
  await spools.spool(telemetry('d1', '2'));
  await workers.time.pass(10);
  const { waiting } = shared.get(name) ?? {};
  const [oldest] = [...(waiting?.keys() ?? [])].toSorted();
  waiting?.set(oldest ?? '', Buffer.from('damaged\n'));
  workers.backend.answer = () => accepted;
  await workers.time.pass(5_000);
  assert.equal(workers.backend.payloads.at(-1), '2');
  assert.equal(
    (await spools.deadLetters(name, '', 9))[0]?.reason,
    'the stored record cannot be read',
  );
  assert.ok(logged.some(({ message }) => String(message).includes('cannot be read')));
});

test('a spool that cannot be opened refuses its messages and no others', async () => {
  const settings = [backend(), backend({ spool: 'b/other', match: 'devices/+/status' })];
  const { started } = await setUp(settings, 1, (store) => ({
    ...breakable(store, { append: false, settle: false }),
    open: (spool) => {
      if (spool === name) throw new SallyportError('quota', 'too many');
      store.open(spool);
    },
  }));
  const { spools } = first(started);
  const message = telemetry('d1', 'x');
  assert.throws(() => spools.spool(message), isUnavailable);
  await spools.spool({ ...message, topic: 'devices/d1/status' });
});

test('draining sends nothing new and waits for what is under way, so long and no longer', async () => {
  for (const answers of [true, false]) {
    const { workers, started } = await setUp([backend({ requests: 1 })]);
    const { spools } = first(started);
    workers.backend.answer = () =>
      new Promise((resolve) => {
        if (answers) workers.time.after(400, () => resolve(accepted));
      });
    await spools.spool(telemetry('d1', '1'));
    await spools.spool(telemetry('d1', '2'));
    await workers.time.pass(10);
    let drained = false;
    const draining = spools.drain(1_000).then(() => {
      drained = true;
    });
    await workers.time.pass(389);
    assert.equal(drained, false);
    // What was delivered is removed with what else there is within milliseconds.
    await workers.time.pass(6);
    assert.equal(drained, answers);
    await workers.time.pass(610);
    await draining;
    assert.deepEqual(workers.backend.payloads, ['1']);
    assert.equal((await spools.states())[0]?.waiting, answers ? 1 : 2);
  }
});

test('a worker that drains goes on to spool, and the others deliver', async () => {
  const { workers, started } = await setUp([backend()], 2);
  workers.group.view([1]);
  const drained = started[0]?.spools.drain(1_000);
  await workers.time.pass(200);
  await started[0]?.spools.spool(telemetry('d1', 'late'));
  await workers.time.pass(10);
  await drained;
  assert.deepEqual(workers.backend.payloads, ['late']);
});

test('one worker tells what waits, each what it does', async () => {
  const { workers, started } = await setUp([backend()], 2);
  workers.backend.answer = () => failed;
  for (let i = 0; i < 10; i += 1) await first(started).spools.spool(telemetry(`d${i}`, 'x'));
  await workers.time.pass(2_000);
  const gauges = started.map(({ spools }) => spools.gauges());
  const waiting = gauges.map((of) => of[`spool_waiting{spool="${name}"}`]);
  assert.deepEqual(waiting, [10, undefined]);
  for (const of of gauges) assert.ok(`backend_breaker{spool="${name}"}` in of);
});
