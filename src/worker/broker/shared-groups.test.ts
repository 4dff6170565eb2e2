import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { matches } from '../../common/base/topic-filter.ts';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import type { Message, SharedPick } from './message.ts';
import { noIdentifiers } from './ports.ts';
import type { Subscriber, SubscriptionOptions } from './ports.ts';
import { SharedGroups } from './shared-groups.ts';
import { filterOfShared } from './shared-subscription.ts';

const self = 7;

function subscriber(key: string): Subscriber {
  return { key, principal: principalName('service', 's'), deliver: () => {} };
}

function options(qos: QoS): SubscriptionOptions {
  return { qos, noLocal: false, retainAsPublished: false, identifiers: noIdentifiers };
}

function messageTo(topic: string, qos: QoS = 1): Message {
  return {
    topic,
    payload: Buffer.from('x'),
    qos,
    retain: false,
    properties: noProperties,
    publisher: principalName('device', 'p'),
    publisherSession: 'device/p p',
    delivery: undefined,
    expiresAt: undefined,
  };
}

const fromZero = (): SharedGroups => new SharedGroups(self, () => 0);
const names = (picks: readonly SharedPick[]): string[] => picks.map(({ to }) => to);

test('members take turns, wherever they are connected', () => {
  const groups = fromZero();
  groups.join('$share/g/t/#', subscriber('a'), options(1));
  groups.joined(2, '$share/g/t/#', 'b');
  groups.joined(3, '$share/g/t/#', 'c');
  const picked = Array.from({ length: 6 }, () => groups.pick(messageTo('t/x'), false)[0]);
  assert.deepEqual(
    picked.map((pick) => [pick?.to, pick?.slot, pick?.queued]),
    [0, 1].flatMap(() => [
      ['a', self, false],
      ['b', 2, false],
      ['c', 3, false],
    ]),
  );
  assert.deepEqual(groups.pick(messageTo('u'), false), []);
});

test('workers do not all begin with the same member', () => {
  const first = new Set<string | undefined>();
  for (let worker = 0; worker < 64; worker += 1) {
    const groups = new SharedGroups(worker);
    for (const key of ['a', 'b', 'c', 'd']) groups.joined(100, '$share/g/t', key);
    first.add(groups.pick(messageTo('t'), false)[0]?.to);
  }
  assert.ok(first.size > 1);
});

test('each group gets a message once, whatever else matches', () => {
  const groups = fromZero();
  groups.joined(1, '$share/g/t/#', 'a');
  groups.joined(1, '$share/g/t/+', 'b');
  groups.joined(1, '$share/h/t/#', 'c');
  groups.joined(1, '$share/h/t/#', 'd');
  const picks = groups.pick(messageTo('t/x'), false);
  assert.deepEqual(picks.map(({ subscription }) => subscription).toSorted(), [
    '$share/g/t/#',
    '$share/g/t/+',
    '$share/h/t/#',
  ]);
});

test('a queue is picked when nobody is there, and only for what it may hold', () => {
  const groups = fromZero();
  groups.store('$share/g/t', 'service/s away', options(1));
  groups.store('$share/g/t', 'service/s never', options(0));
  assert.equal(groups.mayQueue('t'), true);
  assert.equal(groups.mayQueue('u'), false);
  const queued = {
    subscription: '$share/g/t',
    to: 'service/s away',
    slot: undefined,
    queued: true,
  };
  for (let i = 0; i < 3; i += 1) assert.deepEqual(groups.pick(messageTo('t'), true), [queued]);
  assert.deepEqual(groups.pick(messageTo('t', 0), true), [], 'QoS 0 is not queued');
  assert.deepEqual(groups.pick(messageTo('t'), false), [], 'too late for queues');
  groups.joined(2, '$share/g/t', 'b');
  assert.deepEqual(names(groups.pick(messageTo('t'), true)), ['b'], 'whoever is there comes first');
  groups.joined(3, '$share/g/t', 'service/s away');
  const picks = [0, 1].flatMap(() => groups.pick(messageTo('t'), true));
  const durable = picks.find(({ to }) => to === 'service/s away');
  assert.deepEqual(durable, { ...queued, slot: 3 }, 'a durable session that is there has a queue');
  groups.unstore('$share/g/t', 'service/s away');
  assert.equal(groups.mayQueue('t'), true, 'another one is stored still');
  groups.unstore('$share/g/t', 'service/s never');
  assert.equal(groups.mayQueue('t'), false);
});

test("a device's own commands are in its mailbox and in no queue", () => {
  const groups = fromZero();
  groups.store('$share/g/devices/#', 'device/d1 d1', options(1));
  assert.deepEqual(groups.pick(messageTo('devices/d1/commands/go'), true), []);
  assert.deepEqual(names(groups.pick(messageTo('devices/d2/commands/go'), true)), ['device/d1 d1']);
});

test('a session that moves is a member all the time, whoever is heard first', () => {
  for (const order of ['new first', 'old first'] as const) {
    const groups = fromZero();
    groups.joined(1, '$share/g/t', 'a');
    if (order === 'old first') groups.left(1, '$share/g/t', 'a');
    groups.joined(2, '$share/g/t', 'a');
    if (order === 'new first') groups.left(1, '$share/g/t', 'a');
    assert.equal(groups.pick(messageTo('t'), false)[0]?.slot, 2, order);
    groups.left(1, '$share/g/t', 'a');
    groups.left(2, '$share/g/t', 'a');
    assert.deepEqual(groups.pick(messageTo('t'), false), []);
    assert.equal(groups.size, 0);
  }
});

test('instead of one that has gone another one is picked, never itself', () => {
  const groups = fromZero();
  groups.joined(1, '$share/g/t', 'a');
  const [pick] = groups.pick(messageTo('t'), false);
  assert.ok(pick);
  assert.equal(groups.instead(pick), undefined);
  groups.joined(2, '$share/g/t', 'b');
  groups.store('$share/g/t', 'service/s away', options(1));
  for (let i = 0; i < 4; i += 1) assert.equal(groups.instead(pick)?.to, 'b');
});

/** What a group is, without a thought for speed. */
interface Model {
  readonly connected: Map<string, Set<number>>;
  readonly stored: Map<string, QoS>;
}

type Change = readonly [
  what: 'join' | 'leave' | 'joined' | 'left' | 'store' | 'unstore',
  subscription: string,
  key: string,
  slot: number,
  qos: QoS,
];

const subscriptions = ['$share/g/a/b', '$share/g/a/+', '$share/h/c'];
const keys = ['1', '2', '3', '4', '5'].map((id) => `service/s ${id}`);
const change: fc.Arbitrary<Change> = fc.tuple(
  fc.constantFrom('join', 'leave', 'joined', 'left', 'store', 'unstore'),
  fc.constantFrom(...subscriptions),
  fc.constantFrom(...keys),
  fc.constantFrom(1, 2),
  fc.constantFrom<QoS>(0, 1, 2),
);

test('whatever comes and goes, one member of each group that has one is picked, and it is one of them', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60, size: 'max' }), (changes) => {
      const groups = new SharedGroups(self);
      const here = new Map(keys.map((key) => [key, subscriber(key)]));
      const model = new Map<string, Model>(
        subscriptions.map((each) => [each, { connected: new Map(), stored: new Map() }]),
      );
      for (const each of changes) {
        apply(groups, here, each);
        applyToModel(model, each);
        for (const topic of ['a/b', 'a/c', 'c']) {
          for (const qos of [0, 1, 0, 1, 0, 1] as const) {
            const picks = groups.pick(messageTo(topic, qos), true);
            assert.equal(new Set(picks.map(({ subscription }) => subscription)).size, picks.length);
            for (const [subscription, expected] of model) {
              const pick = picks.find((one) => one.subscription === subscription);
              judge(pick, expected, qos, matches(filterOfShared(subscription), topic));
            }
          }
        }
      }
    }),
    { numRuns: 60 },
  );
});

function judge(pick: SharedPick | undefined, model: Model, qos: QoS, matching: boolean): void {
  const connected = [...model.connected].filter(([, slots]) => slots.size > 0);
  const away = [...model.stored].filter(([key, wanted]) => {
    const there = (model.connected.get(key)?.size ?? 0) > 0;
    return !there && wanted > 0 && qos > 0;
  });
  if (!matching || connected.length + away.length === 0) {
    assert.equal(pick, undefined);
    return;
  }
  assert.ok(pick);
  const slots = model.connected.get(pick.to);
  const stored = (model.stored.get(pick.to) ?? 0) > 0;
  if (connected.length > 0) {
    assert.ok(pick.slot !== undefined && slots?.has(pick.slot) === true);
    assert.equal(pick.queued, stored && qos > 0);
  } else {
    assert.ok(away.some(([key]) => key === pick.to));
    assert.deepEqual([pick.slot, pick.queued], [undefined, true]);
  }
}

function apply(
  groups: SharedGroups,
  here: ReadonlyMap<string, Subscriber>,
  [what, subscription, key, slot, qos]: Change,
): void {
  const one = here.get(key) ?? subscriber(key);
  if (what === 'join') groups.join(subscription, one, options(qos));
  else if (what === 'leave') groups.leave(subscription, one);
  else if (what === 'joined') groups.joined(slot, subscription, key);
  else if (what === 'left') groups.left(slot, subscription, key);
  else if (what === 'store') groups.store(subscription, key, options(qos));
  else groups.unstore(subscription, key);
}

function applyToModel(
  model: ReadonlyMap<string, Model>,
  [what, subscription, key, slot, qos]: Change,
): void {
  const group = model.get(subscription);
  assert.ok(group);
  const slots = group.connected.get(key) ?? new Set();
  group.connected.set(key, slots);
  if (what === 'join') slots.add(self);
  else if (what === 'leave') slots.delete(self);
  else if (what === 'joined') slots.add(slot);
  else if (what === 'left') slots.delete(slot);
  else if (what === 'store') group.stored.set(key, qos);
  else group.stored.delete(key);
}
