import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { OutgoingExchanges } from './outgoing-exchanges.ts';
import type { Sent } from './outgoing-exchanges.ts';

function sent(qos: 1 | 2, id?: string, queued = true): Sent {
  return { qos, id, queued: id !== undefined && queued, done: undefined };
}

test('QoS 1 ends with PUBACK, QoS 2 with PUBREC and then PUBCOMP, and nothing else ends them', () => {
  const exchanges = new OutgoingExchanges(10);
  const [one, two] = [exchanges.begin(sent(1)), exchanges.begin(sent(2))];
  assert.equal(exchanges.received(one, false).is, 'unknown');
  assert.equal(exchanges.completed(one), undefined);
  assert.equal(exchanges.acknowledged(two), undefined);
  assert.equal(exchanges.completed(two), undefined);
  assert.equal(exchanges.room, 8);
  assert.equal(exchanges.acknowledged(one)?.qos, 1);
  assert.equal(exchanges.acknowledged(one), undefined);
  assert.equal(exchanges.received(two, false).is, 'released');
  assert.equal(exchanges.received(two, false).is, 'again');
  assert.equal(exchanges.room, 9);
  assert.equal(exchanges.completed(two)?.qos, 2);
  assert.equal(exchanges.completed(two), undefined);
  assert.equal(exchanges.received(two, false).is, 'unknown');
  assert.equal(exchanges.room, 10);
});

test('PUBREC that refuses ends an exchange, also one that had been received', () => {
  const exchanges = new OutgoingExchanges(2);
  const [first, second] = [exchanges.begin(sent(2)), exchanges.begin(sent(2))];
  exchanges.received(second, false);
  assert.equal(exchanges.received(first, true).is, 'ended');
  assert.equal(exchanges.received(second, true).is, 'ended');
  assert.equal(exchanges.room, 2);
});

test('what is stored: in the order of sending, those that were received in the order of that, and nothing of memory alone', () => {
  const exchanges = new OutgoingExchanges(10);
  exchanges.begin(sent(1, 'a'));
  const b = exchanges.begin(sent(2, 'b'));
  exchanges.begin(sent(2));
  exchanges.begin(sent(2, 'd'));
  exchanges.begin(sent(2, 'kept', false));
  exchanges.received(b, false);
  assert.deepEqual(
    exchanges.stored().map(({ packetId, id, released }) => [packetId, id, released]),
    [
      [1, 'a', false],
      [4, 'd', false],
      [5, 'kept', true],
      [2, 'b', true],
    ],
  );
});

test('a message that is kept elsewhere is done with once, when the client holds it', () => {
  const exchanges = new OutgoingExchanges(10);
  const done = (): void => {};
  const packetId = exchanges.begin({ qos: 2, id: 'kept', queued: false, done });
  assert.equal(exchanges.received(packetId, false).sent?.done, done);
  assert.equal(exchanges.received(packetId, false).sent, undefined);
  assert.equal(exchanges.completed(packetId)?.done, undefined);
  const queued = exchanges.begin({ qos: 2, id: 'queued', queued: true, done });
  assert.equal(exchanges.received(queued, false).sent, undefined);
  assert.equal(exchanges.completed(queued)?.done, done);
});

test('restored: the identifiers are taken, and count once their messages are sent again', () => {
  const exchanges = new OutgoingExchanges(3);
  exchanges.restore({ packetId: 1, id: 'a', qos: 1, released: false }, undefined);
  exchanges.restore({ packetId: 3, id: 'b', qos: 2, released: true }, undefined);
  assert.equal(exchanges.room, 3);
  assert.deepEqual([exchanges.begin(sent(1)), exchanges.begin(sent(1))], [2, 4]);
  assert.equal(exchanges.resent(1), true);
  assert.equal(exchanges.resent(1), true);
  assert.equal(exchanges.room, 0);
  assert.equal(exchanges.completed(3)?.id, 'b');
  assert.equal(exchanges.room, 0);
  assert.equal(exchanges.acknowledged(1)?.id, 'a');
  assert.equal(exchanges.room, 1);
  assert.equal(exchanges.resent(1), false);
  exchanges.restore({ packetId: 9, id: 'c', qos: 2, released: false }, undefined);
  assert.equal(exchanges.received(9, false).is, 'released');
  assert.equal(exchanges.resent(9), false);
});

test('whatever comes in whatever order: identifiers in use differ, and room is what is not in use', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('begin' as const), qos: fc.constantFrom(1 as const, 2 as const) }),
    fc.record({
      do: fc.constantFrom(
        'puback' as const,
        'pubrec' as const,
        'refuse' as const,
        'pubcomp' as const,
      ),
      packetId: fc.integer({ min: 1, max: 12 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const exchanges = new OutgoingExchanges(5);
      /** Identifier → what is awaited: the plainest way to say it. */
      const open = new Map<number, 'puback' | 'pubrec' | 'pubcomp'>();
      for (const one of steps) {
        if (one.do === 'begin') {
          if (exchanges.room === 0) continue;
          const packetId = exchanges.begin(sent(one.qos, 'x'));
          assert.equal(open.has(packetId), false);
          open.set(packetId, one.qos === 1 ? 'puback' : 'pubrec');
        } else if (one.do === 'puback') {
          const ends = exchanges.acknowledged(one.packetId) !== undefined;
          assert.equal(ends, open.get(one.packetId) === 'puback');
          if (ends) open.delete(one.packetId);
        } else if (one.do === 'pubcomp') {
          const ends = exchanges.completed(one.packetId) !== undefined;
          assert.equal(ends, open.get(one.packetId) === 'pubcomp');
          if (ends) open.delete(one.packetId);
        } else {
          const awaited = open.get(one.packetId);
          const known = awaited !== undefined && awaited !== 'puback';
          const { is } = exchanges.received(one.packetId, one.do === 'refuse');
          const accepted = awaited === 'pubcomp' ? 'again' : 'released';
          const then = one.do === 'refuse' ? 'ended' : accepted;
          assert.equal(is, known ? then : 'unknown');
          if (is === 'ended') open.delete(one.packetId);
          if (is === 'released') open.set(one.packetId, 'pubcomp');
        }
        assert.equal(exchanges.room, 5 - open.size);
        assert.deepEqual(
          new Set(exchanges.stored().map(({ packetId }) => packetId)),
          new Set(open.keys()),
        );
      }
    }),
    { numRuns: 200 },
  );
});
