import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../../common/base/principal.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { RetainedMessage } from '../../broker/retained.ts';
import { Replays } from './replays.ts';
import type { WantedRetained } from './replays.ts';

const options = { qos: 0, noLocal: false, retainAsPublished: false, identifiers: [] } as const;
const all: WantedRetained = { filter: '#', options };

function retained(topic: string): RetainedMessage {
  return {
    topic,
    payload: Buffer.from('x'),
    qos: 0,
    retain: true,
    properties: noProperties,
    publisher: principalName('device', 'd1'),
    publisherSession: '',
    delivery: undefined,
    expiresAt: undefined,
  };
}

/** A session whose reader takes one message each time the test gives it room. */
function setUp(topics: readonly string[]) {
  const sent: string[] = [];
  const failures: string[] = [];
  /** How many messages had been sent at each end. */
  const ends: number[] = [];
  const scans: string[] = [];
  const waiting: (() => void)[] = [];
  let wanted = true;
  let broken = false;
  const replays = new Replays({
    async *match(filter) {
      scans.push(filter);
      if (broken) throw new TypeError('the store is gone');
      for (const topic of topics) yield await Promise.resolve(retained(topic));
    },
    room: () => new Promise((resolve) => waiting.push(resolve)),
    wants: () => wanted,
    deliver: ({ topic }) => void sent.push(topic),
    failed: (detail) => void failures.push(detail),
    done: () => void ends.push(sent.length),
  });
  const giveRoom = async (times = 1): Promise<void> => {
    for (let n = 0; n < times; n += 1) {
      waiting.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return {
    replays,
    sent,
    failures,
    ends,
    scans,
    giveRoom,
    leave: () => (wanted = false),
    breakStore: (is: boolean) => (broken = is),
  };
}

test('retained messages go out at the speed of the reader', async () => {
  const { replays, sent, giveRoom } = setUp(['a', 'b']);
  replays.add([all]);
  await giveRoom(0);
  assert.deepEqual(sent, []);
  await giveRoom();
  assert.deepEqual(sent, ['a']);
  await giveRoom(2);
  assert.deepEqual(sent, ['a', 'b']);
});

test('a retained message that was replaced while its replay waited does not follow the newer one', async () => {
  const { replays, sent, giveRoom } = setUp(['a', 'b', 'c']);
  replays.add([all]);
  await giveRoom();
  replays.replacedLive('b');
  await giveRoom(3);
  assert.deepEqual(sent, ['a', 'c']);
});

test('what was replaced before a replay began does not concern it', async () => {
  const { replays, sent, giveRoom } = setUp(['a']);
  replays.replacedLive('a');
  replays.add([all]);
  await giveRoom(2);
  assert.deepEqual(sent, ['a']);
});

test('a subscription that has gone gets no more', async () => {
  const { replays, sent, giveRoom, leave } = setUp(['a', 'b']);
  replays.add([all]);
  await giveRoom();
  leave();
  await giveRoom(2);
  assert.deepEqual(sent, ['a']);
});

test('asking again and again while a replay runs starts one more, not many', async () => {
  const { replays, scans, giveRoom } = setUp(['a']);
  replays.add([all]);
  for (let n = 0; n < 50; n += 1) replays.add([{ filter: 'x', options }]);
  await giveRoom(6);
  assert.deepEqual(scans, ['#', 'x']);
});

test('a replay that fails is told, and does not keep the next one', async () => {
  const { replays, sent, failures, giveRoom, breakStore } = setUp(['a']);
  breakStore(true);
  replays.add([all, { filter: 'x', options }]);
  await giveRoom();
  breakStore(false);
  await giveRoom(3);
  assert.deepEqual(failures, ['the store is gone']);
  assert.deepEqual(sent, ['a']);
});

test('the end is told once, after everything that was asked for meanwhile', async () => {
  const { replays, ends, giveRoom } = setUp(['a']);
  replays.add([all]);
  replays.add([{ filter: 'x', options }]);
  await giveRoom(2);
  assert.deepEqual(ends, []);
  await giveRoom(4);
  assert.deepEqual(ends, [2]);
});
