import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { principalName } from '../../../common/base/principal.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import { Acceptances } from './acceptances.ts';

function message(bytes = 1, more: Partial<Message> = {}): Message {
  return {
    topic: 'devices/d1/telemetry',
    payload: Buffer.alloc(bytes),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('device', 'd1'),
    publisherSession: 'd1',
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

function setUp(limits = { receiveMaximum: 4, outboundBytes: 1_000 }) {
  const answers: string[] = [];
  const acceptances = new Acceptances(limits, {
    ready: (_, id, stored) => void answers.push(`${id} ${stored ? 'stored' : 'ready'}`),
    failed: (_, id, error) => void answers.push(`${id} ${String(error)}`),
  });
  return { acceptances, answers };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Whether a promise has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const late = turn().then(() => 'late');
  return (await Promise.race([promise.then(() => 'settled'), late])) === 'settled';
}

test('each is answered in its turn, whichever is stored first, failures and what need not be stored included', async () => {
  const { acceptances, answers } = setUp();
  const [first, second, fourth] = [1, 2, 4].map(() => Promise.withResolvers<void>());
  assert.ok(first !== undefined && second !== undefined && fourth !== undefined);
  acceptances.add(message(), 1, first.promise);
  acceptances.add(message(), 2, second.promise);
  acceptances.add(message(), 3, undefined);
  acceptances.add(message(), 4, fourth.promise);
  fourth.resolve();
  second.reject(new RangeError('full'));
  await turn();
  assert.deepEqual(answers, []);
  first.resolve();
  await turn();
  assert.deepEqual(answers, ['1 stored', '2 RangeError: full', '3 ready', '4 stored']);
  assert.ok(acceptances.idle);
});

test('full: by number and by bytes; room when half of it has gone', async () => {
  for (const bytes of [1, 251]) {
    const { acceptances } = setUp();
    const stores = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    for (const [n, { promise }] of stores.entries()) {
      acceptances.add(message(bytes), n, promise);
      assert.equal(acceptances.full, n === (bytes === 1 ? 4 : 3), `${n}`);
      if (acceptances.full) break;
    }
    const room = acceptances.room();
    const none = acceptances.none();
    stores[0]?.resolve();
    await turn();
    assert.equal(await isSettled(room), false);
    stores[1]?.resolve();
    stores[2]?.resolve();
    assert.equal(await isSettled(room), true);
    assert.equal(await isSettled(none), false);
    stores[3]?.resolve();
    stores[4]?.resolve();
    assert.equal(await isSettled(none), true);
    assert.equal(await isSettled(acceptances.room()), true);
  }
});

test('messages of QoS 1 count until they are answered; QoS 0 is owed no answer, QoS 2 is counted elsewhere', async () => {
  const { acceptances } = setUp();
  const first = Promise.withResolvers<void>();
  acceptances.add(message(1, { qos: 0 }), 0, first.promise);
  acceptances.add(message(1, { qos: 2 }), 1, undefined);
  acceptances.add(message(), 2, undefined);
  acceptances.add(message(), 3, undefined);
  assert.equal(acceptances.unacknowledged, 2);
  first.resolve();
  await turn();
  assert.equal(acceptances.unacknowledged, 0);
});

test('which topics wait to be retained', () => {
  const { acceptances } = setUp();
  const never = new Promise<void>(() => {});
  acceptances.add(message(1, { topic: 'a' }), 1, never);
  acceptances.add(message(1, { topic: 'b', retain: true }), 2, never);
  assert.deepEqual(
    ['a', 'b', 'c'].map((topic) => acceptances.retains(topic)),
    [false, true, false],
  );
});

test('in any order of stores the order of answers is that of the messages, and nothing is counted twice', async () => {
  const one = fc.record({ bytes: fc.nat(300), qos: fc.constantFrom(0 as const, 1 as const) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(one, { minLength: 1, maxLength: 12 }).chain((messages) =>
        fc.record({
          messages: fc.constant(messages),
          order: fc.shuffledSubarray([...messages.keys()], { minLength: messages.length }),
        }),
      ),
      async ({ messages, order }) => {
        const { acceptances, answers } = setUp();
        const stores = messages.map(() => Promise.withResolvers<void>());
        for (const [n, { bytes, qos }] of messages.entries()) {
          acceptances.add(message(bytes, { qos }), n, stores[n]?.promise);
        }
        for (const n of order) {
          stores[n]?.resolve();
          await Promise.resolve();
        }
        await acceptances.none();
        assert.deepEqual(
          answers,
          messages.map((_, n) => `${n} stored`),
        );
        assert.ok(acceptances.idle && !acceptances.full && acceptances.unacknowledged === 0);
        assert.equal(await isSettled(acceptances.room()), true);
      },
    ),
    { numRuns: 50 },
  );
});
