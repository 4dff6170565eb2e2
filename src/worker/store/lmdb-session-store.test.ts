import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open } from 'lmdb';
import { lifeRange, overRange } from './queue-entries.ts';
import {
  messageOf,
  optionsOf,
  put,
  sessionStoreContract,
  targetOf,
  textsOf,
  wantedSession,
} from './session-store-contract.ts';
import { TestWorkers } from './session-test-support.ts';

sessionStoreContract('lmdb', ({ clock, limits, onSessionChanged }) => {
  const workers = new TestWorkers(clock, limits);
  workers.onSessionChanged = onSessionChanged;
  return {
    store: workers.start(0).store,
    other: workers.start(1).store,
    dispose: () => workers[Symbol.asyncDispose](),
  };
});

test('a message, its other places and its packet id are one transaction', async () => {
  await using workers = new TestWorkers();
  const { store } = workers.start(0);
  const spools = workers.environment.spools(0);
  spools.open('s');
  const values = workers.environment.store('other');
  const publisher = await store.open(wantedSession({ clientId: 'p' }));
  const targets = [];
  for (let i = 0; i < 40; i += 1) {
    const session = await store.open(wantedSession({ clientId: `c${i}` }));
    targets.push(targetOf(session, { key: `device/d1 c${i}` }));
  }
  const environment = open({ path: workers.directory, noSubdir: false });
  const transactions = (): number => {
    // lmdb declares no statistics.
    return (environment.getStats() as { lastTxnId: number }).lastTxnId;
  };
  // More than lmdb's own buffers and thresholds hold.
  const payload = 'x'.repeat(100_000);
  const before = transactions();
  const id = spools.newId(0);
  await Promise.all([
    spools.append([{ spool: 's', id, value: Buffer.from(payload) }]),
    values.commit([], [{ key: 'retained', value: Buffer.from(payload) }], 'process'),
    store.enqueue(store.newId(), messageOf(payload), targets, {
      session: publisher.id,
      packetId: 1,
    }),
  ]);
  assert.equal(transactions() - before, 1);
});

test('after a restart of the machine messages queue up behind those that wait, whatever its clocks say', async () => {
  await using workers = new TestWorkers();
  let uptime = 0;
  const start = (wallMicros: number) => {
    uptime = 1_000;
    return workers.start(
      0,
      () => uptime,
      () => wallMicros,
    );
  };
  const before = start(9_000_000);
  const session = await before.store.open(wantedSession());
  uptime = 500_000;
  await put(before.store, session, 'first');
  workers.kill(before);
  const after = start(1_000_000);
  const again = await after.store.open(wantedSession({ epoch: 2 }));
  await put(after.store, again, 'second');
  assert.deepEqual(await textsOf(again), ['first', 'second']);
});

test('what comes too late for a session leaves nothing behind', async () => {
  await using workers = new TestWorkers();
  const { store, tables } = workers.start(0);
  const session = await store.open(wantedSession());
  const late = Array.from({ length: 20 }, (_, i) => put(store, session, `${i}`));
  const ending = session.end();
  const later = Array.from({ length: 20 }, (_, i) => put(store, session, `${i}`));
  await Promise.all([...late, ending, ...later]);
  await put(store, session, 'x');
  while (tables.keys(overRange, 1).length > 0) await put(store, session, 'x');
  assert.deepEqual(tables.keys(lifeRange(session.id), 10), []);
});

test('a session is refused, and goes on, when the others cannot be told', async () => {
  await using workers = new TestWorkers();
  const { store } = workers.start(0);
  const session = await store.open(wantedSession());
  const wanted = new Map([['a', optionsOf()]]);
  workers.onSessionChanged = () => Promise.reject(new Error('nobody there'));
  await assert.rejects(session.subscribe(wanted), /nobody there/);
  workers.onSessionChanged = async () => {};
  workers.told.length = 0;
  await session.subscribe(wanted);
  assert.deepEqual(workers.told, ['device/d1 c'], 'though nothing has changed since');
  await session.subscribe(wanted);
  assert.equal(workers.told.length, 1);
});

test('a damaged message is left out and removed, and the others are read', async () => {
  await using workers = new TestWorkers();
  const problems: string[] = [];
  workers.logger = { ...workers.logger, error: (_, text) => problems.push(text) };
  const { store, tables } = workers.start(0);
  const session = await store.open(wantedSession());
  await put(store, session, 'a');
  const damaged = await put(store, session, 'b');
  await put(store, session, 'c');
  const [, key] = tables.keys(lifeRange(session.id), 10).filter((each) => each.length > 20);
  assert.ok(key !== undefined);
  const entry = Buffer.from(tables.value(key) ?? '');
  entry[entry.length - 1] = (entry.at(-1) ?? 0) ^ 1;
  await tables.write(() => tables.put(key, entry));
  assert.deepEqual(await textsOf(session), ['a', 'c']);
  assert.deepEqual(problems, ['a queued message cannot be read']);
  assert.equal(session.has(damaged), false);
});
