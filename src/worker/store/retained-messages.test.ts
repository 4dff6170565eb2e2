import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { Message } from '../broker/message.ts';
import { MemoryStore } from './memory-store.ts';
import { RecordCipher } from './record-cipher.ts';
import { RetainedMessages } from './retained-messages.ts';

function setUp(limits = { retainedPerIdentity: 3, retainedBytesPerIdentity: 10_000 }) {
  const hands = { now: 1_700_000_000_000 };
  const clock = { now: () => hands.now, monotonic: () => hands.now };
  const store = new MemoryStore(clock);
  const open = (): RetainedMessages =>
    new RetainedMessages({
      store,
      cipher: new RecordCipher(Buffer.alloc(32, 1)),
      durability: () => 'flushed',
      limits: () => limits,
      clock,
      logger: silentLogger,
    });
  return { hands, store, limits, open, retained: open() };
}

function message(
  owner: string,
  topic: string,
  payload: string,
  more: Partial<Message> = {},
): Message {
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 1,
    retain: true,
    properties: noProperties,
    publisher: principalName('device', owner),
    publisherSession: `device/${owner} ${owner}`,
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

async function read(retained: RetainedMessages, filter: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { topic, payload } of retained.match(filter)) {
    found.push(`${topic}=${payload.toString()}`);
  }
  return found;
}

const over = (error: unknown): boolean => error instanceof SallyportError && error.code === 'quota';

test('the last message of a topic is kept for every worker, until an empty one removes it', async () => {
  const { retained, open } = setUp();
  await retained.put(message('d1', 'devices/d1/status', 'up'));
  await retained.put(message('d1', 'devices/d1/status', 'down'));
  await retained.put(message('d2', 'devices/d2/status', 'up'));
  assert.deepEqual(await read(open(), 'devices/+/status'), [
    'devices/d1/status=down',
    'devices/d2/status=up',
  ]);
  assert.equal(await open().count(), 2);
  await retained.put(message('d1', 'devices/d1/status', ''));
  await retained.put(message('d1', 'devices/d1/none', ''));
  assert.deepEqual(await read(open(), '#'), ['devices/d2/status=up']);
  assert.equal(await open().count(), 1);
});

test('what is stored is sealed, and a record that was damaged is left out and can be replaced', async () => {
  const { retained, store } = setUp();
  await retained.put(message('d1', 'a', 'secret words'));
  await retained.put(message('d1', 'b', 'fine'));
  const entry = await store.get('ma');
  assert.ok(entry && !entry.value.includes('secret'));
  entry.value[entry.value.length - 1]! ^= 1;
  await store.commit([], [{ key: 'ma', value: entry.value }]);
  assert.deepEqual(await read(retained, '#'), ['b=fine']);
  await retained.put(message('d1', 'a', 'again'));
  assert.deepEqual(await read(retained, 'a'), ['a=again']);
});

test('a record moved to another topic does not pass for it', async () => {
  const { retained, store } = setUp();
  await retained.put(message('d1', 'devices/d1/status', 'x'));
  const entry = await store.get('mdevices/d1/status');
  await store.commit([], [{ key: 'mdevices/d2/status', value: entry!.value }]);
  assert.deepEqual(await read(retained, '#'), ['devices/d1/status=x']);
});

test('an identity has so many messages and no more; replacing is not adding, removing gives back', async () => {
  const { retained } = setUp();
  for (const topic of ['a', 'b', 'c']) await retained.put(message('d1', topic, 'x'));
  await assert.rejects(retained.put(message('d1', 'd', 'x')), over);
  await retained.put(message('d1', 'c', 'y'));
  await retained.put(message('d2', 'd', 'other identity'));
  await retained.put(message('d1', 'a', ''));
  await retained.put(message('d1', 'e', 'x'));
  assert.deepEqual(await read(retained, '#'), ['b=x', 'c=y', 'd=other identity', 'e=x']);
});

test('an identity has so many bytes and no more, and may always take less', async () => {
  const { retained, limits } = setUp({ retainedPerIdentity: 10, retainedBytesPerIdentity: 1_000 });
  await retained.put(message('d1', 'a', 'x'.repeat(800)));
  await assert.rejects(retained.put(message('d1', 'b', 'x'.repeat(800))), over);
  await assert.rejects(retained.put(message('d1', 'a', 'x'.repeat(1_100))), over);
  assert.deepEqual(
    await read(retained, 'a'),
    [`a=${'x'.repeat(800)}`],
    'a refusal changes nothing',
  );
  limits.retainedBytesPerIdentity = 100;
  await retained.put(message('d1', 'a', 'x'.repeat(700)));
  await assert.rejects(retained.put(message('d1', 'a', 'x'.repeat(701))), over);
});

test('a topic set by another identity moves to its quota', async () => {
  const { retained } = setUp({ retainedPerIdentity: 1, retainedBytesPerIdentity: 10_000 });
  await retained.put(message('d1', 'a', 'x'));
  await retained.put(message('d2', 'a', 'y'));
  await retained.put(message('d1', 'b', 'x'));
  await assert.rejects(retained.put(message('d2', 'c', 'x')), over);
  await retained.put(message('d3', 'a', ''));
  await retained.put(message('d2', 'c', 'x'));
  assert.equal(await retained.count(), 2);
});

test('an expired message is not delivered, is removed, and gives its quota back', async () => {
  const { retained, hands, store } = setUp({
    retainedPerIdentity: 1,
    retainedBytesPerIdentity: 10_000,
  });
  await retained.put(message('d1', 'a', 'x', { expiresAt: hands.now + 1_000 }));
  hands.now += 999;
  assert.deepEqual(await read(retained, 'a'), ['a=x']);
  hands.now += 1;
  assert.deepEqual(await read(retained, '#'), []);
  assert.equal(await store.get('ma'), undefined);
  assert.equal(await retained.count(), 0);
  await retained.put(message('d1', 'b', 'x', { expiresAt: hands.now + 1_000 }));
  hands.now += 1_000;
  await retained.put(message('d1', 'c', 'x'));
  assert.deepEqual(await read(retained, '#'), ['c=x']);
});

test('a sweep removes what has expired, whatever was set again in between', async () => {
  const { retained, hands, store } = setUp();
  await retained.put(message('d1', 'a', 'x', { expiresAt: hands.now + 10 }));
  await retained.put(message('d1', 'b', 'x', { expiresAt: hands.now + 10 }));
  await retained.put(message('d1', 'b', 'y', { expiresAt: hands.now + 10 }));
  await retained.put(message('d1', 'c', 'x', { expiresAt: hands.now + 10 }));
  await retained.put(message('d1', 'c', 'y', { expiresAt: hands.now + 1_000 }));
  await retained.put(message('d2', 'a', 'z'));
  assert.equal(await retained.sweep(), 0);
  hands.now += 10;
  assert.equal(await retained.sweep(), 1);
  assert.deepEqual(await read(retained, '#'), ['a=z', 'c=y']);
  hands.now += 1_000;
  assert.equal(await retained.sweep(), 1);
  const left: string[] = [];
  for await (const { key } of store.scan('')) left.push(key);
  assert.deepEqual(left, ['ma', 'qdevice/d2'], 'no pointer and no account stays behind');
});

test('filters match as in subscriptions, long and odd topics included', async () => {
  const { retained } = setUp({ retainedPerIdentity: 100, retainedBytesPerIdentity: 1_000_000 });
  const long = `long/${'é'.repeat(1_500)}`;
  const pair = `${'x'.repeat(424)}😀${'y'.repeat(2_000)}/z`;
  const topics = ['a', 'a/b', 'a/b/c', 'ab', '$SYS/a', '/', '__proto__/b', long, `${long}2`, pair];
  for (const topic of topics) await retained.put(message('d1', topic, '1'));
  const topicsOf = async (filter: string) =>
    (await read(retained, filter)).map((t) => t.slice(0, -2));
  assert.deepEqual(await topicsOf('a/#'), ['a', 'a/b', 'a/b/c']);
  assert.deepEqual(await topicsOf('+/b'), ['__proto__/b', 'a/b']);
  assert.deepEqual(await topicsOf('$SYS/#'), ['$SYS/a']);
  assert.equal((await topicsOf('#')).length, topics.length - 1);
  assert.deepEqual(await topicsOf(long), [long]);
  assert.deepEqual((await topicsOf('long/+')).toSorted(), [long, `${long}2`].toSorted());
  assert.deepEqual(await topicsOf(`${long}/#`), [long]);
  assert.deepEqual(await topicsOf(pair.replace('/z', '/+')), [pair]);
});

test('many writers of one topic and one account keep the books right', async () => {
  const { open, store } = setUp({ retainedPerIdentity: 100, retainedBytesPerIdentity: 1_000_000 });
  const writers = Array.from({ length: 4 }, open);
  await Promise.all(
    writers.flatMap((writer, i) =>
      Array.from({ length: 5 }, (_, n) =>
        writer.put(message(`d${i % 2}`, `t${n % 3}`, n === 4 ? '' : `${i}${n}`)),
      ),
    ),
  );
  const held: string[] = [];
  for await (const { topic } of writers[0]!.match('#')) held.push(topic);
  assert.equal(await writers[0]!.count(), held.length);
  for (const topic of held) await writers[1]!.put(message('d0', topic, ''));
  for await (const { key } of store.scan('')) assert.fail(`${key} stayed behind`);
});

test('what an identity sends in one go is kept in its order, and what is over its quota is the last of it', async (t) => {
  const limits = { retainedPerIdentity: 120, retainedBytesPerIdentity: 100_000 };
  const { retained, store } = setUp(limits);
  const commits = t.mock.method(store, 'commit');
  const outcomes = await Promise.allSettled(
    Array.from({ length: 130 }, (_, n) => retained.put(message('d1', `a/${n}`, 'x'))),
  );
  assert.deepEqual(
    outcomes.flatMap(({ status }, n) => (status === 'rejected' ? [n] : [])),
    Array.from({ length: 10 }, (_, n) => 120 + n),
  );
  assert.equal(commits.mock.callCount(), 120, 'each of them changes the account of the identity');
});

test('what an identity deletes in one go is deleted, and its account adds up', async (t) => {
  const { retained, store } = setUp({
    retainedPerIdentity: 200,
    retainedBytesPerIdentity: 100_000,
  });
  const topics = Array.from({ length: 130 }, (_, n) => `a/${n}`);
  for (const topic of topics) await retained.put(message('d1', topic, 'x'));
  const commits = t.mock.method(store, 'commit');
  await Promise.all(topics.map((topic) => retained.put(message('d1', topic, ''))));
  assert.equal(commits.mock.callCount(), topics.length);
  for await (const { key } of store.scan('')) assert.fail(`${key} stayed behind`);
});

test('any sequence keeps what a plain map keeps, and the accounts add up', async () => {
  const step = fc.record({
    owner: fc.constantFrom('d1', 'd2'),
    topic: fc.constantFrom('a', 'b', 'c', 'a/b', 'constructor'),
    payload: fc.constantFrom('', 'x', 'yy'),
    lives: fc.option(fc.constantFrom(5, 50), { nil: undefined }),
    passes: fc.constantFrom(0, 0, 10),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const { retained, hands } = setUp();
      const model = new Map<string, { owner: string; payload: string; expiresAt: number }>();
      for (const { owner, topic, payload, lives, passes } of steps) {
        hands.now += passes;
        await retained.sweep();
        for (const [name, { expiresAt }] of model) {
          if (expiresAt <= hands.now) model.delete(name);
        }
        const expiresAt = lives === undefined ? undefined : hands.now + lives;
        const owned = [...model].filter(([name, held]) => held.owner === owner && name !== topic);
        const allowed = payload === '' || owned.length < 3;
        const put = retained.put(message(owner, topic, payload, { expiresAt }));
        if (!allowed) {
          await assert.rejects(put, over);
          continue;
        }
        await put;
        if (payload === '') model.delete(topic);
        else model.set(topic, { owner, payload, expiresAt: expiresAt ?? Number.POSITIVE_INFINITY });
      }
      const expected = [...model].map(([name, { payload }]) => `${name}=${payload}`);
      assert.deepEqual((await read(retained, '#')).toSorted(), expected.toSorted());
      assert.equal(await retained.count(), model.size);
    }),
    { numRuns: 60 },
  );
});
