import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import { Broker } from './broker.ts';
import type { Message } from './message.ts';
import type { Crossing, Subscriber, SubscriptionOptions } from './ports.ts';

class FakeCrossing implements Crossing {
  readonly interest: string[] = [];
  readonly sent: [readonly number[], string][] = [];
  readonly wantedBy = new Map<string, readonly number[]>();
  onMessage: (message: Message) => void = () => {};

  addInterest(filter: string): void {
    this.interest.push(`+${filter}`);
  }

  dropInterest(filter: string): void {
    this.interest.push(`-${filter}`);
  }

  wanting(topic: string): readonly number[] {
    return this.wantedBy.get(topic) ?? [];
  }

  send(slots: readonly number[], { topic }: Message): void {
    this.sent.push([slots, topic]);
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
  return { qos, noLocal: false, retainAsPublished: false, ...more };
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
    expiresAt: undefined,
    ...more,
  };
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
