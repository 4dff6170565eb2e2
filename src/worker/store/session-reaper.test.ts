import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import { neverExpires } from '../broker/sessions.ts';
import type { OwnedSession, SessionWill } from '../broker/sessions.ts';
import { messageOf, optionsOf, put, wantedSession } from './session-store-contract.ts';
import { TestWorkers } from './session-test-support.ts';
import type { TestWorker } from './session-test-support.ts';

const key = 'device/d1 c';
const willOf = (text: string, delaySeconds: number): SessionWill => ({
  message: messageOf(text),
  delaySeconds,
});
const left = (expirySeconds: number, will?: SessionWill) => ({ inFlight: [], expirySeconds, will });

/** Lets everything that waits for the store come to its end. */
async function settled(workers: TestWorkers): Promise<void> {
  for (let i = 0; i < 20; i += 1) {
    await workers.environment
      .store('other')
      .commit([], [{ key: 'k', value: undefined }], 'process');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function turn(workers: TestWorkers, ms: number): Promise<void> {
  workers.timers.turn(ms);
  await settled(workers);
}

async function keysOf({ store }: TestWorker): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const session of store.all()) keys.push(session.key);
  return keys;
}

/** What is in the queue database of a session, its life included. */
function remainsOf({ tables }: TestWorker, { id }: OwnedSession): number {
  const start = Buffer.concat([Buffer.of(3), Buffer.from(id, 'hex')]);
  const end = Buffer.concat([start, Buffer.of(0xff)]);
  return tables.keys({ start, end }, 1_000).length;
}

test('a session is ended when its expiry has passed, with all that was kept of it', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const session = await worker.store.open(wantedSession());
  await session.subscribe(new Map([['a', optionsOf()]]));
  for (let i = 0; i < 600; i += 1) void put(worker.store, session, `${i}`);
  await session.leave(left(10));
  workers.told.length = 0;
  await turn(workers, 9_999);
  assert.equal(remainsOf(worker, session), 601);
  await turn(workers, 1);
  assert.deepEqual(await keysOf(worker), []);
  assert.deepEqual(workers.told, [key], 'the others stop to queue for it');
  await turn(workers, 0);
  assert.equal(remainsOf(worker, session), 0);
  assert.deepEqual(worker.tables.uncleared(10), []);
  assert.equal(workers.counted.get('mqtt_sessions_expired'), 1);
});

test('a will is published once when its delay has passed, and the session goes on', async () => {
  await using workers = new TestWorkers();
  const [leaving, home] = [workers.start(0), workers.start(1)];
  workers.home = 1;
  const session = await leaving.store.open(wantedSession());
  await put(leaving.store, session, 'x');
  await session.leave(left(1_000, willOf('gone', 5)));
  await home.reaper.look();
  await turn(workers, 4_999);
  assert.deepEqual(workers.wills, []);
  await turn(workers, 1);
  assert.deepEqual(workers.wills, ['device/d1 gone'], 'both knew, one did it');
  const again = await home.store.open(wantedSession({ epoch: 2 }));
  assert.equal(again.present, true);
  assert.equal(again.endedWill, undefined);
  await turn(workers, 2_000_000);
  assert.deepEqual(workers.wills, ['device/d1 gone']);
  assert.deepEqual(await keysOf(home), [key], 'a session whose client is there never expires');
});

test('a timer that rings a moment too early is no end of the work', async () => {
  let lateMs = 0;
  const now = (): number => workers.timers.now - lateMs;
  await using workers: TestWorkers = new TestWorkers({ now, monotonic: now });
  const worker = workers.start(0);
  const session = await worker.store.open(wantedSession());
  await session.leave(left(1_000, willOf('gone', 5)));
  lateMs = 1;
  await turn(workers, 5_000);
  assert.deepEqual(workers.wills, []);
  await turn(workers, 1);
  assert.deepEqual(workers.wills, ['device/d1 gone']);
});

test('a client that is back within the delay keeps its will from being published', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const session = await worker.store.open(wantedSession());
  await session.leave(left(1_000, willOf('gone', 5)));
  await turn(workers, 4_000);
  await worker.store.open(wantedSession({ epoch: 2, will: willOf('second', 5) }));
  await worker.reaper.look();
  await turn(workers, 500_000);
  assert.deepEqual(workers.wills, []);
});

test('a session that ends before the delay of its will publishes it then', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const session = await worker.store.open(wantedSession());
  await session.leave(left(3, willOf('gone', 60)));
  await turn(workers, 3_000);
  assert.deepEqual(workers.wills, ['device/d1 gone']);
  assert.deepEqual(await keysOf(worker), []);
});

test('what the sessions of a worker that died wait for counts from when that is known', async () => {
  await using workers = new TestWorkers();
  const [victim, survivor] = [workers.start(0), workers.start(1)];
  workers.home = 1;
  const will = (text: string, seconds: number) => ({ will: willOf(text, seconds) });
  const open = (clientId: string, more: object) =>
    victim.store.open(wantedSession({ clientId, ...more }));
  const kept = await open('kept', { expirySeconds: 20, ...will('kept', 7) });
  await put(survivor.store, kept, 'x');
  await open('plain', { expirySeconds: 0, ...will('plain', 60) });
  await open('ever', { expirySeconds: neverExpires, ...will('ever', 0) });
  await survivor.reaper.look();
  await turn(workers, 500_000);
  assert.deepEqual(workers.wills, [], 'its clients are connected');
  workers.kill(victim);
  await survivor.reaper.look();
  await turn(workers, 0);
  assert.deepEqual(new Set(workers.wills), new Set(['device/d1 ever', 'device/d1 plain']));
  await turn(workers, 6_999);
  assert.equal(workers.wills.length, 2);
  await turn(workers, 1);
  assert.equal(workers.wills[2], 'device/d1 kept');
  assert.deepEqual((await keysOf(survivor)).toSorted(), ['device/d1 ever', 'device/d1 kept']);
  await turn(workers, 13_000);
  assert.deepEqual(await keysOf(survivor), ['device/d1 ever']);
  await turn(workers, 1e10);
  assert.deepEqual(await keysOf(survivor), ['device/d1 ever']);
});

for (const home of [0, 1]) {
  test(`a new process in the slot of the dead one is not taken for it (home: ${home})`, async () => {
    await using workers = new TestWorkers();
    const [victim, other] = [workers.start(0), workers.start(1)];
    workers.home = home;
    await victim.store.open(wantedSession({ will: willOf('gone', 0) }));
    workers.kill(victim);
    const next = workers.start(0);
    await Promise.all([next.reaper.look(), other.reaper.look()]);
    await turn(workers, 0);
    assert.deepEqual(workers.wills, ['device/d1 gone']);
  });
}

test('a will whose publisher died in the middle is published by the next one', async () => {
  await using workers = new TestWorkers();
  const [victim, survivor] = [workers.start(0), workers.start(1)];
  const session = await victim.store.open(wantedSession());
  await session.leave(left(1_000, willOf('gone', 5)));
  workers.publishWill = () => new Promise(() => {});
  await turn(workers, 5_000);
  assert.equal(workers.wills.length, 1, 'it has begun');
  const back = await survivor.store.open(wantedSession({ epoch: 2, will: willOf('new', 5) }));
  assert.equal(back.endedWill, undefined, 'whoever has it in hand publishes it');
  await back.leave(left(1_000, willOf('new', 5)));
  await turn(workers, 5_000);
  assert.equal(workers.wills.length, 2);
  // Now its publisher does not come back from it.
  workers.kill(victim);
  workers.publishWill = async () => {};
  workers.home = 2;
  const third = workers.start(2);
  workers.present = [2];
  await third.reaper.look();
  await turn(workers, 0);
  assert.deepEqual(workers.wills.slice(2), ['device/d1 new']);
});

test('a will that one worker is publishing is left alone by another one that knew of it', async () => {
  await using workers = new TestWorkers();
  const [leaving, other] = [workers.start(0), workers.start(1)];
  const session = await leaving.store.open(wantedSession());
  await session.leave(left(1_000, willOf('gone', 5)));
  let publish = (): void => {};
  workers.publishWill = () =>
    new Promise((resolve) => {
      publish = resolve;
    });
  await turn(workers, 5_000);
  other.reaper.note(key, workers.timers.now);
  await turn(workers, 0);
  assert.equal(workers.wills.length, 1);
  publish();
  await settled(workers);
  other.reaper.note(key, workers.timers.now);
  await turn(workers, 0);
  assert.equal(workers.wills.length, 1);
});

test('before it knows who is there a worker takes nobody for dead', async () => {
  await using workers = new TestWorkers();
  const [a, b] = [workers.start(0), workers.start(1)];
  await b.store.open(wantedSession({ will: willOf('gone', 0) }));
  workers.present = [];
  await a.reaper.look();
  await turn(workers, 0);
  assert.deepEqual(workers.wills, []);
});

test('what one process did not get to remove another one removes', async () => {
  await using workers = new TestWorkers();
  const [victim, survivor] = [workers.start(0), workers.start(1)];
  const session = await victim.store.open(wantedSession());
  await put(victim.store, session, 'x');
  const ending = session.end();
  victim.tables.clear = () => new Promise(() => {});
  await ending;
  await settled(workers);
  assert.equal(remainsOf(survivor, session), 1, 'a message, and no life');
  await survivor.reaper.look();
  assert.equal(remainsOf(survivor, session), 0);
  assert.deepEqual(survivor.tables.uncleared(1), []);
});

test('many sessions at once are read and settled a few at a time', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const sessions = await Promise.all(
    Array.from({ length: 500 }, (_, i) => worker.store.open(wantedSession({ clientId: `c${i}` }))),
  );
  await Promise.all(sessions.map((session) => session.leave(left(10, willOf('gone', 10)))));
  let turns = 0;
  let looking = true;
  const tick = (): void => {
    turns += 1;
    if (looking) setImmediate(tick);
  };
  setImmediate(tick);
  await worker.reaper.look();
  looking = false;
  assert.ok(turns >= 7, `others had ${turns} turns`);
  const waiting: (() => void)[] = [];
  workers.publishWill = () => new Promise((resolve) => waiting.push(resolve));
  workers.timers.turn(10_000);
  for (let done = 0; done < 500; done += 1) {
    while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(workers.wills.length - done <= 32, `${workers.wills.length} at once`);
    waiting.shift()?.();
  }
  await settled(workers);
  assert.deepEqual(await keysOf(worker), []);
  assert.equal(workers.counted.get('mqtt_sessions_expired'), 500);
});

test('a session that is damaged is over, and its client begins anew', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const clients = ['a', 'b'];
  for (const clientId of clients) {
    const session = await worker.store.open(wantedSession({ clientId }));
    await session.leave(left(1_000));
    const epoch = 1;
    const damage = new Map([['x', { ...optionsOf(), qos: 3 as 2 }]]); // no writer of ours does
    const found = worker.tables.get(`device/d1 ${clientId}`);
    assert.ok(found !== undefined);
    await worker.tables.change(found.key, epoch, () =>
      worker.tables.putRecord(found.key, epoch, found.life, damage),
    );
    assert.equal((await worker.store.find(found.key))?.subscriptions.size, 0);
  }
  const again = await worker.store.open(wantedSession({ clientId: 'a', epoch: 2 }));
  assert.equal(again.present, false);
  await turn(workers, 1_000_000);
  await turn(workers, 0);
  assert.deepEqual(await keysOf(worker), ['device/d1 a']);
});

test('of an identity that was revoked while nobody saw it nothing is left, and its will is not published', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const [away, connected] = [
    await worker.store.open(wantedSession()),
    await worker.store.open(wantedSession({ clientId: 'connected', will: willOf('gone', 0) })),
  ];
  await away.subscribe(new Map([['a', optionsOf()]]));
  await put(worker.store, away, 'x');
  await away.leave(left(1_000, willOf('gone', 5)));
  const other = principalName('device', 'd2');
  await worker.store.open(wantedSession({ principal: other }));
  workers.told.length = 0;
  workers.revoked.add(principalName('device', 'd1'));
  await worker.reaper.look();
  await turn(workers, 0);
  assert.deepEqual(await keysOf(worker), ['device/d2 c']);
  assert.deepEqual(workers.told, [key]);
  assert.equal(remainsOf(worker, away), 0);
  await assert.rejects(connected.end(), { code: 'busy' });
  workers.revoked.clear();
  assert.equal((await worker.store.open(wantedSession({ epoch: 2 }))).present, false);
  await turn(workers, 10_000);
  assert.deepEqual(workers.wills, []);
});

for (const wrong of ['leave', 'end', 'open'] as const) {
  test(`a session whose ${wrong} could not be stored is not taken for connected`, async () => {
    await using workers = new TestWorkers();
    const worker = workers.start(0);
    // Its own process alone knows, wherever its home is.
    workers.home = 1;
    const { tables } = worker;
    const change = tables.change.bind(tables);
    const full = (): never => {
      throw new SallyportError('io', 'the disk is full');
    };
    const wanted = wantedSession({ expirySeconds: 10, will: willOf('gone', 5) });
    if (wrong === 'open') {
      // Committed, and not flushed.
      tables.change = (...all) => change(...all).then(full);
      await assert.rejects(worker.store.open(wanted), { code: 'io' });
    } else {
      const session = await worker.store.open(wanted);
      tables.change = async () => full();
      const going = wrong === 'leave' ? session.leave(left(10, willOf('gone', 5))) : session.end();
      await assert.rejects(going, { code: 'io' });
      await worker.reaper.look();
    }
    await turn(workers, 1_000);
    assert.deepEqual(await keysOf(worker), [key]);
    tables.change = change;
    await worker.reaper.look();
    await turn(workers, 0);
    assert.deepEqual(await keysOf(worker), wrong === 'end' ? [] : [key]);
    await turn(workers, 4_000);
    assert.deepEqual(workers.wills, wrong === 'leave' ? ['device/d1 gone'] : []);
    await turn(workers, 5_000);
    assert.deepEqual(await keysOf(worker), []);
  });
}

test('a client that is back is not disturbed by what its last connection could not store', async () => {
  await using workers = new TestWorkers();
  const worker = workers.start(0);
  const { tables } = worker;
  const session = await worker.store.open(wantedSession({ will: willOf('gone', 0) }));
  const change = tables.change.bind(tables);
  tables.change = async () => {
    throw new SallyportError('io', 'the disk is full');
  };
  await assert.rejects(session.leave(left(10)));
  tables.change = change;
  const again = await worker.store.open(wantedSession({ epoch: 2, will: willOf('new', 0) }));
  await worker.reaper.look();
  await turn(workers, 200_000);
  assert.deepEqual(workers.wills, []);
  await again.leave(left(10));
});

test('sessions that cannot be settled are told of in one line', async () => {
  await using workers = new TestWorkers();
  const lines: object[] = [];
  workers.logger = { ...silentLogger, warn: (fields) => lines.push(fields) };
  const worker = workers.start(0);
  for (const clientId of ['a', 'b', 'c']) {
    const session = await worker.store.open(wantedSession({ clientId }));
    await session.leave(left(100, willOf('gone', 5)));
  }
  workers.publishWill = async () => {
    throw new SallyportError('io', 'the disk is full');
  };
  await turn(workers, 5_000);
  assert.deepEqual(lines, [{ session: 'device/d1 a', err: 'the disk is full', sessions: 3 }]);
});
