import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import { Broker } from './broker.ts';
import type { Message } from './message.ts';
import { noIdentifiers } from './ports.ts';
import type { Crossing, Subscriber, SubscriptionOptions } from './ports.ts';

class FakeCrossing implements Crossing {
  readonly slot = 0;
  readonly interest: string[] = [];
  readonly sent: [readonly number[], string][] = [];
  readonly messages: Message[] = [];
  readonly wantedBy = new Map<string, readonly number[]>();
  onMessage: (message: Message) => void = () => {};
  onMember: Crossing['onMember'] = () => {};
  onGap: () => void = () => {};

  addInterest(filter: string): void {
    this.interest.push(`+${filter}`);
  }

  dropInterest(filter: string): void {
    this.interest.push(`-${filter}`);
  }

  addMember(subscription: string, key: string): void {
    this.interest.push(`+${subscription} ${key}`);
  }

  dropMember(subscription: string, key: string): void {
    this.interest.push(`-${subscription} ${key}`);
  }

  wanting(topic: string): readonly number[] {
    return this.wantedBy.get(topic) ?? [];
  }

  send(slots: readonly number[], sent: Message): void {
    this.sent.push([slots, sent.topic]);
    this.messages.push(sent);
  }
}

class FakeSubscriber implements Subscriber {
  readonly principal = principalName('device', 'd1');
  readonly key: string;
  readonly got: string[] = [];
  readonly options: SubscriptionOptions[] = [];
  onDeliver: () => void = () => {};

  constructor(key: string) {
    this.key = key;
  }

  deliver({ topic, payload }: Message, wanted: SubscriptionOptions): void {
    this.got.push(`${topic}:${payload.toString()}`);
    this.options.push(wanted);
    this.onDeliver();
  }
}

function options(qos: QoS, more: Partial<SubscriptionOptions> = {}): SubscriptionOptions {
  return { qos, noLocal: false, retainAsPublished: false, identifiers: noIdentifiers, ...more };
}

function message(topic: string, payload = 'x', more: Partial<Message> = {}): Message {
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('device', 'p'),
    publisherSession: 'device/p p',
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

function sorted(identifiers: readonly number[] | undefined): number[] {
  return [...(identifiers ?? [])].toSorted((a, b) => a - b);
}

function setUp() {
  const crossing = new FakeCrossing();
  const hands = { now: 1_000 };
  const clock = { now: () => hands.now, monotonic: () => hands.now };
  return { crossing, hands, broker: new Broker({ crossing, clock }) };
}

test('a message reaches those whose filter matches, in the order of publishing', () => {
  const { broker } = setUp();
  const [a, b] = [new FakeSubscriber('a'), new FakeSubscriber('b')];
  assert.deepEqual(broker.subscribe(a, 'devices/+/telemetry', options(1)), { existed: false });
  broker.subscribe(b, 'devices/d2/#', options(0));
  assert.equal(broker.publish(message('devices/d1/telemetry', '1')), 1);
  assert.equal(broker.publish(message('devices/d2/telemetry', '2')), 2);
  assert.equal(broker.publish(message('devices/d3/other', '3')), 0);
  assert.deepEqual(a.got, ['devices/d1/telemetry:1', 'devices/d2/telemetry:2']);
  assert.deepEqual(b.got, ['devices/d2/telemetry:2']);
});

test('overlapping filters deliver once, with the highest QoS', () => {
  const { broker } = setUp();
  const a = new FakeSubscriber('a');
  broker.subscribe(a, 't/#', options(0));
  broker.subscribe(a, 't/+', options(1, { retainAsPublished: true }));
  broker.subscribe(a, 't/x', options(0));
  assert.equal(broker.publish(message('t/x')), 1);
  assert.deepEqual(a.options, [options(1, { retainAsPublished: true })]);
  broker.unsubscribe(a, 't/+');
  broker.publish(message('t/x'));
  assert.deepEqual(a.options[1], options(0));
});

test('no local keeps a message from its own session only, and only where every filter says so', () => {
  const { broker } = setUp();
  const own = new FakeSubscriber('device/p p');
  const other = new FakeSubscriber('device/p q');
  for (const subscriber of [own, other]) {
    broker.subscribe(subscriber, 't/#', options(1, { noLocal: true }));
  }
  assert.equal(broker.publish(message('t/x')), 1);
  assert.deepEqual([own.got.length, other.got.length], [0, 1]);
  broker.subscribe(own, 't/x', options(0));
  assert.equal(broker.publish(message('t/x')), 2);
  assert.deepEqual(
    own.options,
    [options(0)],
    'the filter with no local lends nothing to the other',
  );
});

test('subscribing again replaces the options and says that it existed', () => {
  const { broker, crossing } = setUp();
  const a = new FakeSubscriber('a');
  broker.subscribe(a, 't', options(0));
  assert.deepEqual(broker.subscribe(a, 't', options(1)), { existed: true });
  broker.publish(message('t'));
  assert.deepEqual(a.options, [options(1)]);
  assert.deepEqual(crossing.interest, ['+t']);
});

test('interest is announced with the first subscriber of a filter and dropped with the last', () => {
  const { broker, crossing } = setUp();
  const [a, b] = [new FakeSubscriber('a'), new FakeSubscriber('b')];
  broker.subscribe(a, 't', options(0));
  broker.subscribe(b, 't', options(0));
  broker.subscribe(b, 'u/#', options(0));
  assert.equal(broker.unsubscribe(a, 't'), true);
  assert.equal(broker.unsubscribe(a, 't'), false);
  assert.equal(broker.unsubscribe(b, 'v'), false);
  assert.deepEqual(crossing.interest, ['+t', '+u/#']);
  broker.removeSubscriber(b);
  broker.removeSubscriber(b);
  assert.deepEqual(crossing.interest, ['+t', '+u/#', '-t', '-u/#']);
  assert.equal(broker.publish(message('t')), 0);
  assert.equal(broker.subscribers, 0);
});

test('a message goes to the workers that want it; one that came from a worker stays here', () => {
  const { broker, crossing } = setUp();
  const a = new FakeSubscriber('a');
  broker.subscribe(a, 't', options(0));
  crossing.wantedBy.set('t', [3, 5]);
  assert.equal(broker.publish(message('t')), 3);
  assert.deepEqual(crossing.sent, [[[3, 5], 't']]);
  crossing.onMessage(message('t', 'from afar'));
  assert.deepEqual(a.got, ['t:x', 't:from afar']);
  assert.equal(crossing.sent.length, 1);
});

test('an expired message goes to nobody', () => {
  const { broker, crossing, hands } = setUp();
  const a = new FakeSubscriber('a');
  broker.subscribe(a, 't', options(0));
  crossing.wantedBy.set('t', [3]);
  assert.equal(broker.publish(message('t', 'x', { expiresAt: hands.now + 1 })), 2);
  hands.now += 1;
  assert.equal(broker.publish(message('t', 'x', { expiresAt: hands.now })), 0);
  assert.equal(a.got.length, 1);
  assert.equal(crossing.sent.length, 1);
});

test('a subscriber that leaves while it is served does not disturb the others', () => {
  const { broker } = setUp();
  const all = ['a', 'b', 'c'].map((key) => new FakeSubscriber(key));
  for (const subscriber of all) {
    broker.subscribe(subscriber, 't', options(0));
    subscriber.onDeliver = () => broker.removeSubscriber(subscriber);
  }
  assert.equal(broker.publish(message('t')), 3);
  assert.equal(broker.publish(message('t')), 0);
  assert.deepEqual(
    all.map(({ got }) => got.length),
    [1, 1, 1],
  );
});

test('overlapping filters deliver all their identifiers, one as often as it was given', () => {
  const { broker } = setUp();
  const a = new FakeSubscriber('a');
  broker.subscribe(a, 't/#', options(0, { identifiers: [3] }));
  broker.subscribe(a, 't/+', options(2, { identifiers: [7] }));
  broker.subscribe(a, '+/x', options(1, { identifiers: [3] }));
  broker.subscribe(a, 't/x', options(1));
  assert.equal(broker.publish(message('t/x')), 1);
  assert.equal(a.options.at(0)?.qos, 2);
  assert.deepEqual(sorted(a.options.at(0)?.identifiers), [3, 3, 7]);
  for (const filter of ['t/#', 't/+', '+/x']) broker.unsubscribe(a, filter);
  broker.publish(message('t/x'));
  assert.deepEqual(a.options[1]?.identifiers, []);
});

test('a shared subscription gives each message to one member, here or on another worker', () => {
  const { broker, crossing } = setUp();
  const a = new FakeSubscriber('a');
  assert.deepEqual(broker.subscribe(a, '$share/g/t', options(1)), { existed: false });
  assert.deepEqual(broker.subscribe(a, '$share/g/t', options(0)), { existed: true });
  assert.deepEqual(crossing.interest, ['+$share/g/t a'], 'no interest in its topics');
  crossing.onMember(4, '$share/g/t', 'far', true);
  for (let i = 0; i < 10; i += 1) assert.equal(broker.publish(message('t', `${i}`)), 1);
  assert.equal(a.got.length, 5);
  assert.deepEqual(a.options[0], options(0));
  assert.deepEqual(
    crossing.messages.map(({ delivery }) => delivery?.picks.map(({ to, slot }) => [to, slot])),
    Array.from({ length: 5 }, () => [['far', 4]]),
  );
  broker.removeSubscriber(a);
  assert.deepEqual(crossing.interest, ['+$share/g/t a', '-$share/g/t a']);
  crossing.onMember(4, '$share/g/t', 'far', false);
  assert.equal(broker.publish(message('t')), 0);
});

test('a member that also subscribes for itself gets the message once, as both of them want it', () => {
  const { broker } = setUp();
  const a = new FakeSubscriber('a');
  broker.subscribe(a, '$share/g/#', options(1, { identifiers: [1] }));
  broker.subscribe(a, 't', options(0, { identifiers: [2] }));
  assert.equal(broker.publish(message('t')), 1);
  assert.equal(a.options.at(0)?.qos, 1);
  assert.deepEqual(sorted(a.options.at(0)?.identifiers), [1, 2]);
});

test('a message for a member that has gone goes to another one, unless it lies in its queue', () => {
  const { broker, crossing } = setUp();
  const pick = { subscription: '$share/g/t', to: 'gone', slot: 0, queued: false };
  const dealt = (more: object): Message =>
    message('t', 'x', { delivery: { id: '1', picks: [{ ...pick, ...more }], handedOn: 0 } });
  crossing.onMessage(dealt({}));
  assert.equal(crossing.messages.length, 0, 'nobody else is there');
  crossing.onMember(4, '$share/g/t', 'far', true);
  crossing.onMessage(dealt({ queued: true }));
  crossing.onMessage(dealt({ slot: 3 }));
  assert.equal(crossing.messages.length, 0, 'it is queued, or not for a session of ours');
  crossing.onMessage(dealt({}));
  assert.deepEqual(crossing.sent, [[[4], 't']]);
  assert.deepEqual(crossing.messages.at(0)?.delivery, {
    id: '1',
    picks: [{ subscription: '$share/g/t', to: 'far', slot: 4, queued: false }],
    handedOn: 1,
  });
  const here = new FakeSubscriber('here');
  const reader = new FakeSubscriber('reader');
  broker.subscribe(reader, 't', options(1));
  broker.subscribe(here, '$share/g/t', options(1));
  crossing.onMember(4, '$share/g/t', 'far', false);
  crossing.onMessage(dealt({}));
  assert.deepEqual([here.got.length, reader.got.length], [1, 1]);
  crossing.onMessage({ ...dealt({}), delivery: { id: '1', picks: [pick], handedOn: 1 } });
  assert.deepEqual([here.got.length, reader.got.length], [2, 1], 'all others had it before');
  crossing.onMember(4, '$share/g/t', 'far', true);
  broker.unsubscribe(here, '$share/g/t');
  crossing.onMessage({ ...dealt({}), delivery: { id: '1', picks: [pick], handedOn: 3 } });
  assert.equal(crossing.messages.length, 1, 'not for ever');
});

test('who was picked when the message was stored gets it where he is now, or somebody else does', () => {
  const { broker, crossing } = setUp();
  crossing.onMember(4, '$share/g/t', 'moves', true);
  crossing.onMember(5, '$share/h/t', 'leaves', true);
  const picks = broker.groups.pick(message('t'), false);
  assert.equal(picks.length, 2);
  crossing.onMember(6, '$share/g/t', 'moves', true);
  crossing.onMember(4, '$share/g/t', 'moves', false);
  crossing.onMember(5, '$share/h/t', 'leaves', false);
  const other = new FakeSubscriber('other');
  broker.subscribe(other, '$share/h/t', options(1));
  const dealt = message('t', 'x', { delivery: { id: undefined, picks, handedOn: 0 } });
  assert.equal(broker.publish(dealt), 2);
  assert.deepEqual(crossing.sent, [[[6], 't']]);
  assert.equal(other.got.length, 1);
});

test('a message that lies in a queue has a receiver', () => {
  const { broker } = setUp();
  const delivery = { id: '1', picks: [], handedOn: 0 };
  assert.equal(broker.publish(message('t', 'x', { delivery })), 1);
});

test('when messages may have been lost between workers, durable sessions look into their queues', async () => {
  const { broker, crossing } = setUp();
  const poked: string[] = [];
  const count = (): number => poked.length;
  for (let i = 0; i < 1_000; i += 1) {
    const subscriber: Subscriber = Object.assign(new FakeSubscriber(`s${i}`), {
      poke: () => {
        poked.push(`s${i}`);
      },
    });
    broker.subscribe(i % 2 === 0 ? subscriber : new FakeSubscriber(`s${i}`), `t/${i}`, options(1));
  }
  crossing.onGap();
  assert.equal(count(), 0, 'not in the turn of the link');
  const turns: number[] = [];
  for (let turn = 0; turn < 10; turn += 1) {
    await nextTurn();
    if (count() < 500) turns.push(count());
  }
  assert.ok(turns.length >= 4, 'a few at a time');
  assert.equal(count(), 500);
  assert.equal(new Set(poked).size, 500);
});
