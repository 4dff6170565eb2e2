import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fc } from '../../common/base/property-test-support.ts';
import { principalName } from '../../common/base/principal.ts';
import { matches } from '../../common/base/topic-filter.ts';
import { Broker } from '../broker/broker.ts';
import type { Message } from '../broker/message.ts';
import { noIdentifiers } from '../broker/ports.ts';
import type { Subscriber } from '../broker/ports.ts';
import { sessionKey } from '../broker/session-key.ts';
import { filterOfShared } from '../broker/shared-subscription.ts';
import { eventually, messageTo, PeeringGroup } from './peering-group.ts';

const principal = principalName('service', 'be');
const clock = { now: () => 0, monotonic: () => 0 };
const options = {
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  identifiers: noIdentifiers,
} as const;

class Member implements Subscriber {
  readonly principal = principal;
  readonly key: string;
  readonly got: string[] = [];

  constructor(clientId: string) {
    this.key = sessionKey(principal, clientId);
  }

  deliver({ payload }: Message): void {
    this.got.push(payload.toString());
  }
}

/** Workers with a broker each. */
class Workers {
  readonly group: PeeringGroup;
  readonly #brokers: Map<number, Broker>;
  #marks = 0;

  constructor(group: PeeringGroup) {
    this.group = group;
    this.#brokers = new Map(
      group.workers.map(({ member, peering }) => [
        member.slot,
        new Broker({ crossing: peering.crossing, clock }),
      ]),
    );
  }

  static async of(t: TestContext, ...slots: readonly number[]): Promise<Workers> {
    const group = await PeeringGroup.of(...slots);
    t.after(() => group[Symbol.asyncDispose]());
    return new Workers(group);
  }

  broker(slot: number): Broker {
    const broker = this.#brokers.get(slot);
    assert.ok(broker);
    return broker;
  }

  /** Everybody knows who takes part in what. */
  async settled(): Promise<void> {
    await this.group.linked();
  }

  /** What was sent has arrived, also when it was handed on: words come after the messages that were sent before them. */
  async drained(): Promise<void> {
    for (let hop = 0; hop < 4; hop += 1) {
      await nextTurn();
      this.#marks += 1;
      for (const { peering } of this.group.workers) {
        peering.crossing.addInterest(`mark/${this.#marks}`);
      }
      await this.settled();
    }
  }
}

const group = '$share/g/t';

test('the members of a group share what is published on any worker, evenly', async (t) => {
  const workers = await Workers.of(t, 0, 1, 2);
  const members = [0, 1, 1, 2].map((slot, i) => {
    const member = new Member(`${i}`);
    workers.broker(slot).subscribe(member, group, options);
    return member;
  });
  await workers.settled();
  for (let i = 0; i < 600; i += 1) {
    assert.equal(workers.broker(i % 3).publish(messageTo('t', `${i}`)), 1);
  }
  await workers.drained();
  assert.deepEqual(
    members.map(({ got }) => got.length),
    [150, 150, 150, 150],
  );
  const all = members.flatMap(({ got }) => got);
  assert.equal(new Set(all).size, 600);
});

test("a dead worker's members get nothing any more, and a live group misses nothing", async (t) => {
  const workers = await Workers.of(t, 0, 1, 2);
  const [a, b] = [new Member('a'), new Member('b')];
  workers.broker(1).subscribe(a, group, options);
  workers.broker(2).subscribe(b, group, options);
  await workers.settled();
  await workers.group.kill(2);
  workers.group.announce();
  await eventually('forgotten', () => !workers.group.worker(0).peering.peers.linked.has(2));
  for (let i = 0; i < 20; i += 1) workers.broker(0).publish(messageTo('t', `${i}`));
  await workers.drained();
  assert.equal(a.got.length, 20);
  workers.broker(1).removeSubscriber(a);
  await workers.settled();
  assert.equal(workers.broker(0).publish(messageTo('t')), 0, 'the group has ended');
});

test('a worker that comes later knows the members there are', async (t) => {
  const workers = await Workers.of(t, 0);
  const member = new Member('a');
  workers.broker(0).subscribe(member, group, options);
  const { peering } = await workers.group.start(1);
  const late = new Broker({ crossing: peering.crossing, clock });
  workers.group.announce();
  await workers.settled();
  assert.equal(late.publish(messageTo('t')), 1);
  await eventually('arrived', () => member.got.length === 1);
  peering.peers.cut(0, 'for the test');
  await eventually('forgotten', () => late.groups.size === 0);
  await eventually('told again', () => late.groups.size === 1);
});

test('what is on its way to a member that leaves goes to one that stays', async (t) => {
  const workers = await Workers.of(t, 0, 1, 2);
  const [leaving, staying] = [new Member('leaving'), new Member('staying')];
  workers.broker(1).subscribe(leaving, group, options);
  workers.broker(2).subscribe(staying, group, options);
  const reader = new Member('reader');
  workers.broker(2).subscribe(reader, 't', options);
  await workers.settled();
  for (let i = 0; i < 500; i += 1) workers.broker(0).publish(messageTo('t', `${i}`));
  workers.broker(1).removeSubscriber(leaving);
  await workers.drained();
  assert.equal(leaving.got.length, 0);
  assert.equal(new Set(staying.got).size, 500);
  assert.equal(staying.got.length, 500);
  assert.equal(reader.got.length, 500, 'who reads for himself gets nothing twice');
});

/** Each session takes part in one of them, so that it is plain for which group it got a message. */
const subscriptions = ['$share/g/a/b', '$share/g/a/+', '$share/h/a/b', '$share/h/#'];
const slot = fc.constantFrom(0, 1, 2);
const step = fc.oneof(
  fc.record({
    do: fc.constantFrom('join', 'leave'),
    slot,
    to: fc.constantFrom(...subscriptions),
    n: fc.constantFrom(1, 2),
  }),
  fc.record({ do: fc.constant('publish'), slot, topic: fc.constantFrom('a/b', 'a/c', 'x') }),
);

test('every message goes to exactly one member of each group that has one', async (t) => {
  const workers = await Workers.of(t, 0, 1, 2);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), async (steps) => {
      const members = new Map<string, Member>();
      const model = new Map(subscriptions.map((each) => [each, new Set<Member>()]));
      const expected: (readonly [payload: string, to: readonly Member[]])[] = [];
      for (const [at, each] of steps.entries()) {
        const broker = workers.broker(each.slot);
        if ('topic' in each) {
          await workers.settled();
          const groups = [...model].filter(([name]) => matches(filterOfShared(name), each.topic));
          for (const [, to] of groups) if (to.size > 0) expected.push([`${at}`, [...to]]);
          broker.publish(messageTo(each.topic, `${at}`));
          continue;
        }
        const id = `${each.slot} ${each.to} ${each.n}`;
        const member = members.get(id) ?? new Member(id);
        members.set(id, member);
        if (each.do === 'join') {
          broker.subscribe(member, each.to, options);
          model.get(each.to)?.add(member);
        } else {
          // What is on its way to it would go to members that come later.
          await workers.drained();
          broker.unsubscribe(member, each.to);
          model.get(each.to)?.delete(member);
        }
      }
      await workers.drained();
      for (const [payload, to] of expected) {
        const got = to.flatMap((member) => member.got.filter((one) => one === payload));
        assert.equal(got.length, 1, `message ${payload}`);
      }
      const all = [...members.values()].flatMap(({ got }) => got);
      assert.equal(all.length, expected.length, 'nobody else got anything');
      for (const [id, member] of members) workers.broker(Number(id[0])).removeSubscriber(member);
      await workers.settled();
    }),
    { numRuns: 40 },
  );
});
