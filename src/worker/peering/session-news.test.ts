import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import { Broker } from '../broker/broker.ts';
import { DurableIndex } from '../broker/durable-index.ts';
import { sessionKey } from '../broker/session-key.ts';
import type { StoredSession } from '../broker/sessions.ts';
import { eventually, messageTo, PeeringGroup } from './peering-group.ts';
import { SessionNews } from './session-news.ts';

const principal = principalName('service', 'be');
const clock = { now: () => 0, monotonic: () => 0 };

/** What is stored, the same for all workers, each of which may fail to read it. */
class Shared {
  readonly records = new Map<string, StoredSession>();
  readonly failing = new Set<number>();
  failures = 0;
  readonly scans = new Map<number, number>();

  put(clientId: string, filter: string): string {
    const key = sessionKey(principal, clientId);
    const wanted = { qos: 1, noLocal: false, retainAsPublished: false, identifiers: [] } as const;
    this.records.set(key, { id: '1', key, principal, subscriptions: new Map([[filter, wanted]]) });
    return key;
  }

  of(slot: number) {
    const check = (): void => {
      if (!this.failing.has(slot)) return;
      this.failures += 1;
      throw new SallyportError('io', 'the disk');
    };
    return {
      find: async (key: string) => {
        check();
        return this.records.get(key);
      },
      all: () => {
        check();
        this.scans.set(slot, (this.scans.get(slot) ?? 0) + 1);
        return this.#all();
      },
    };
  }

  async *#all(): AsyncIterable<StoredSession> {
    yield* this.records.values();
  }
}

const hour = 3_600_000;

async function setUp(
  t: { after(done: () => Promise<void>): void },
  slots: readonly number[],
  rescanAfterMs = hour,
) {
  const group = await PeeringGroup.of(...slots);
  t.after(() => group[Symbol.asyncDispose]());
  const shared = new Shared();
  const join = (slot: number) => {
    const { crossing, peers } = group.worker(slot).peering;
    const { groups } = new Broker({ crossing, clock });
    const index = new DurableIndex({ sessions: shared.of(slot), groups });
    const parts = { peers, crossing, index, logger: silentLogger, rescanAfterMs };
    return { peers, index, news: new SessionNews(parts) };
  };
  const workers = new Map(slots.map((slot) => [slot, join(slot)]));
  const worker = (slot: number) => {
    const found = workers.get(slot);
    assert.ok(found);
    return found;
  };
  await Promise.all([...workers.values()].map(({ index }) => index.rescan()));
  return { group, shared, join, worker };
}

const wants = (index: DurableIndex, topic: string): boolean =>
  index.targets(messageTo(topic)).length > 0;

test('when a change is told every worker acts on it', async (t) => {
  const { shared, worker } = await setUp(t, [0, 1, 2]);
  await worker(0).news.changed(shared.put('a', 't'));
  for (const slot of [0, 1, 2]) assert.ok(wants(worker(slot).index, 't'), `worker ${slot}`);
  shared.records.clear();
  await worker(1).news.changed(sessionKey(principal, 'a'));
  for (const slot of [0, 1, 2]) assert.ok(!wants(worker(slot).index, 't'), `worker ${slot}`);
});

test('many changes at once, with the longest client ids there are, all arrive', async (t) => {
  const { shared, worker } = await setUp(t, [0, 1]);
  const long = '\u0001'.repeat(65_000);
  const ids = Array.from({ length: 1_200 }, (_, i) => (i < 100 ? `${i}${long}` : `${i}`));
  await Promise.all(ids.map((id) => worker(0).news.changed(shared.put(id, `t/${id.slice(0, 9)}`))));
  await eventually('all are read', () => worker(1).index.size === 1_200);
  assert.equal(worker(1).peers.linked.size, 1, 'nobody was cut');
});

test('interest is settled when the change is acted on, not before', async (t) => {
  const { group, shared, worker } = await setUp(t, [0, 1]);
  const key = shared.put('a', 't');
  shared.failing.add(1);
  const changed = worker(0).news.changed(key);
  const { crossing } = group.worker(0).peering;
  let settled = false;
  const settling = crossing.interestSettled().then(() => (settled = true));
  await eventually('worker 1 was told', () => shared.failures > 0);
  for (let i = 0; i < 20; i += 1) await nextTurn();
  assert.equal(settled, false);
  shared.failing.clear();
  await eventually('it is read again until that succeeds', () => wants(worker(1).index, 't'));
  await Promise.all([changed, settling]);
});

test('a worker that comes later reads all, and what it hears while it does is not lost', async (t) => {
  const { group, shared, worker, join } = await setUp(t, [0]);
  shared.put('a', 'a');
  await worker(0).news.changed(shared.put('b', 'b'));
  await group.start(1);
  const late = join(1);
  group.announce();
  await group.linked();
  shared.failing.add(1);
  let reply: unknown;
  worker(0).peers.call(1, 'sessions', { keys: [shared.put('c', 'c')] }, hour, (got) => {
    reply = got;
  });
  await eventually('told', () => reply !== undefined);
  assert.ok(shared.failing.has(1), 'nobody waits for a worker that accepts no messages yet');
  shared.failing.clear();
  await late.index.rescan();
  for (const topic of ['a', 'b', 'c']) assert.ok(wants(late.index, topic), topic);
});

test('over a new link what may have been lost is read again', async (t) => {
  const { shared, worker } = await setUp(t, [0, 1]);
  await worker(0).news.changed(shared.put('a', 'a'));
  const before = shared.scans.get(1);
  shared.put('lost', 'lost');
  const news = worker(0).news.changed(shared.put('b', 'b'));
  worker(0).peers.cut(1, 'for the test');
  await news;
  await eventually('all is read', () => wants(worker(1).index, 'lost'));
  assert.ok((shared.scans.get(1) ?? 0) > (before ?? 0));
});

test('when a worker dies, what it had told only some of is read again', async (t) => {
  const { group, shared, worker } = await setUp(t, [0, 1, 2], 1);
  shared.put('a', 'untold');
  await group.kill(2);
  await eventually('read', () => wants(worker(0).index, 'untold'));
  await eventually('read', () => wants(worker(1).index, 'untold'));
});

test('a peer that says what is none is cut', async (t) => {
  const { worker } = await setUp(t, [0, 1]);
  const garbage = [
    {},
    { keys: 'some' },
    { keys: [1] },
    { keys: ['no key'] },
    { keys: ['device/d1'] },
    { keys: Array.from({ length: 501 }, (_, i) => `device/d1 ${i}`) },
  ];
  for (const word of garbage) {
    await eventually('linked', () => worker(0).peers.linked.has(1));
    let reply: unknown = 'none yet';
    worker(0).peers.call(1, 'sessions', word, 5_000, (got) => {
      reply = got;
    });
    await eventually('cut', () => reply === undefined);
  }
});
