/**
 * From publisher to subscriber, on one worker and across two: what arrives is what was sent, once and in order, no
 * faster and no larger than the receiver said that it can take.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet, packetTypes, publishPacket, unsubscribePacket } from '../harness/mqtt-bytes.ts';
import { text, u16 } from '../harness/mqtt-fields.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import type { Property } from '../harness/mqtt-properties.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const config = "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }";
const { gateway, connect } = await sharedGateway({ config, workers: 2 });
const { workers } = gateway.run();
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

const noLocal = 0x04;

/** A publisher on one worker, subscribers on both: the way inside a worker and the way across. */
async function onePublisherTwoSubscribers() {
  const publisher = await connect(alice, { clientId: 'publisher' });
  const found = await onEachWorker(gateway, workers, async () => ({
    client: await connect(bob, { clientId: '' }),
  }));
  const subscribers = [...found.values()].map(({ client }) => client);
  return {
    publisher,
    subscribers,
    [Symbol.dispose]() {
      for (const client of [publisher, ...subscribers]) client[Symbol.dispose]();
    },
  };
}

/** What `client` has received before a last message from the same publisher, which has to come after it. */
async function receivedBy(client: RawMqtt, publisher: RawMqtt): Promise<readonly string[]> {
  await client.subscribe('t/fence');
  await publisher.publish('t/fence', 'fence');
  await client.message(({ topic }) => topic === 't/fence');
  await client.unsubscribe('t/fence');
  return client.messages.filter(({ topic }) => topic !== 't/fence').map(({ payload }) => payload);
}

test('properties arrive as they were sent, user properties in their order', async () => {
  using clients = await onePublisherTwoSubscribers();
  const properties: readonly Property[] = [
    ['payloadFormatIndicator', 1],
    ['contentType', 'application/json; charset=utf-8'],
    ['responseTopic', 't/answers/\u{1f6aa}'],
    ['correlationData', Buffer.from([0, 255, 0, 1])],
    ['userProperty', ['z', '1']],
    ['userProperty', ['a', '2']],
    ['userProperty', ['z', '3']],
    ['userProperty', ['', '']],
    ['userProperty', ['__proto__', 'x']],
    ['userProperty', ['constructor', 'y']],
  ];
  for (const subscriber of clients.subscribers) {
    assert.deepEqual(await subscriber.subscribe('t/properties'), [1]);
  }
  assert.equal(await clients.publisher.publish('t/properties', '{}', { properties }), 0);
  for (const subscriber of clients.subscribers) {
    const message = await subscriber.message(() => true);
    assert.deepEqual(message.properties, properties);
    assert.deepEqual([message.qos, message.retain], [1, false]);
  }
});

test('a message expiry interval arrives reduced by the time that has gone by, and never grown', async () => {
  using clients = await onePublisherTwoSubscribers();
  for (const subscriber of clients.subscribers) await subscriber.subscribe('t/expiry');
  await clients.publisher.publish('t/expiry', 'x', {
    properties: [['messageExpiryInterval', 60]],
  });
  for (const subscriber of clients.subscribers) {
    const { properties } = await subscriber.message(() => true);
    const left = Number(valuesOf(properties, 'messageExpiryInterval')[0]);
    assert.ok(left > 50 && left <= 60, `${left}`);
  }
});

test('a message that expires at once reaches nobody', async () => {
  using clients = await onePublisherTwoSubscribers();
  for (const subscriber of clients.subscribers) await subscriber.subscribe('t/now');
  const properties = [['messageExpiryInterval', 0]] as const;
  assert.equal(await clients.publisher.publish('t/now', 'x', { properties }), 0x10);
  for (const subscriber of clients.subscribers) {
    assert.deepEqual(await receivedBy(subscriber, clients.publisher), []);
  }
});

test('MQTT 3.1.1 and MQTT 5 understand each other; what 3.1.1 cannot say is left out', async () => {
  using five = await connect(alice, { clientId: 'five' });
  using four = await connect(bob, { clientId: 'four', version: 4 });
  await five.subscribe('t/mixed');
  await four.subscribe('t/mixed');
  await five.publish('t/mixed', 'from 5', { properties: [['contentType', 'text/plain']] });
  await four.publish('t/mixed', 'from 3.1.1');
  for (const client of [five, four]) {
    await client.message(() => client.messages.length === 2);
    assert.deepEqual(client.messages.map(({ payload }) => payload).toSorted(), [
      'from 3.1.1',
      'from 5',
    ]);
  }
});

test('the QoS of a delivery is the lower one of message and subscription', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using subscriber = await connect(bob, { clientId: 's' });
  await subscriber.subscribeTo([
    { filter: 't/zero', options: 0 },
    { filter: 't/one', options: 1 },
    { filter: 't/two', options: 2 },
  ]);
  for (const topic of ['t/zero', 't/one', 't/two']) {
    publisher.publishUnacknowledged(topic, '0');
    await publisher.publish(topic, '1');
  }
  await subscriber.message(() => subscriber.messages.length === 6);
  assert.deepEqual(
    subscriber.messages.map(({ topic, payload, qos }) => [topic, payload, qos]),
    [
      ['t/zero', '0', 0],
      ['t/zero', '1', 0],
      ['t/one', '0', 0],
      ['t/one', '1', 1],
      ['t/two', '0', 0],
      ['t/two', '1', 1],
    ],
  );
});

test('messages of one publisher arrive in their order, on both workers', async () => {
  using clients = await onePublisherTwoSubscribers();
  for (const subscriber of clients.subscribers) await subscriber.subscribe('t/order/#');
  const payloads = Array.from({ length: 500 }, (_, n) => `${n}`);
  const packets = payloads.map((payload, n) =>
    publishPacket({ version: 5, topic: `t/order/${n % 3}`, payload, qos: 1, packetId: n + 1 }),
  );
  clients.publisher.send(Buffer.concat(packets));
  for (const subscriber of clients.subscribers) {
    await subscriber.message(({ payload }) => payload === '499');
    assert.deepEqual(
      subscriber.messages.map(({ payload }) => payload),
      payloads,
    );
  }
});

test('overlapping subscriptions deliver once, with the highest QoS', async () => {
  using clients = await onePublisherTwoSubscribers();
  for (const subscriber of clients.subscribers) {
    await subscriber.subscribeTo([
      { filter: 't/#', options: 0 },
      { filter: 't/overlap/+', options: 1 },
      { filter: 't/overlap/x', options: 0 },
    ]);
  }
  await clients.publisher.publish('t/overlap/x', 'once');
  await clients.publisher.publish('t/overlap/y/z', 'fence');
  for (const subscriber of clients.subscribers) {
    await subscriber.message(({ payload }) => payload === 'fence');
    assert.deepEqual(
      subscriber.messages.map(({ payload, qos }) => [payload, qos]),
      [
        ['once', 1],
        ['fence', 0],
      ],
    );
  }
});

test('a subscription that is made again takes the place of the one before', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using subscriber = await connect(bob, { clientId: 's' });
  assert.deepEqual(await subscriber.subscribeTo([{ filter: 't/again', options: 1 }]), [1]);
  assert.deepEqual(await subscriber.subscribeTo([{ filter: 't/again', options: 0 }]), [0]);
  await publisher.publish('t/again', 'x');
  assert.equal((await subscriber.message(() => true)).qos, 0);
  assert.deepEqual(await receivedBy(subscriber, publisher), ['x']);
});

test('no local: what a session publishes does not come back to it, and to others it does', async () => {
  using own = await connect(alice, { clientId: 'own' });
  using sibling = await connect(alice, { clientId: 'sibling' });
  assert.deepEqual(await own.subscribeTo([{ filter: 't/local/#', options: 1 | noLocal }]), [1]);
  assert.deepEqual(await sibling.subscribeTo([{ filter: 't/local/#', options: 1 | noLocal }]), [1]);
  await own.publish('t/local/x', 'from own');
  await sibling.publish('t/local/x', 'from sibling');
  await own.message(({ payload }) => payload === 'from sibling');
  await sibling.message(({ payload }) => payload === 'from own');
  assert.deepEqual(await receivedBy(own, own), ['from sibling']);
  assert.deepEqual(await receivedBy(sibling, sibling), ['from own']);
  // Another filter of the same session that did not ask for it still matches.
  assert.deepEqual(await own.subscribeTo([{ filter: 't/local/y', options: 1 }]), [1]);
  await own.publish('t/local/y', 'both');
  await own.message(({ payload }) => payload === 'both');
});

test('UNSUBSCRIBE answers filter by filter, and nothing more is delivered', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using five = await connect(bob, { clientId: 's' });
  await five.subscribe('t/a', 't/b', 't/+');
  assert.deepEqual(
    await five.unsubscribe('t/a', 't/c', 't/+', 't/a', '#', '$SYS/#'),
    [0, 0x11, 0, 0x11, 0x11, 0x11],
  );
  await publisher.publish('t/a', 'a');
  await publisher.publish('t/b', 'b');
  assert.deepEqual(await receivedBy(five, publisher), ['b']);
  using four = await connect(bob, { clientId: 'four', version: 4 });
  await four.subscribe('t/a');
  four.send(unsubscribePacket(4, 77, ['t/a', 't/unknown']));
  const { body } = await four.next(packetTypes.unsuback);
  assert.deepEqual(body, u16(77));
  await publisher.publish('t/a', 'a');
  assert.deepEqual(await receivedBy(four, publisher), []);
});

test('UNSUBSCRIBE without a filter is malformed', async () => {
  using client = await connect(bob, { clientId: 's' });
  client.send(unsubscribePacket(5, 1, []));
  assert.equal((await within(client.ended, 10_000, 'the end')).disconnect, 0x82);
});

test('PINGREQ is answered by PINGRESP, in both versions', async () => {
  for (const version of [5, 4] as const) {
    using client = await connect(alice, { clientId: 'p', version });
    client.send(Buffer.of(0xc0, 0, 0xc0, 0));
    for (const _ of [1, 2]) {
      assert.equal((await client.next(packetTypes.pingresp)).body.length, 0);
    }
  }
});

test('receive maximum: never more in flight than the client takes, and the next after its PUBACK', async () => {
  for (const most of [1, 3]) {
    using publisher = await connect(alice, { clientId: 'p' });
    using client = await connect(bob, {
      clientId: 's',
      acknowledges: false,
      properties: [['receiveMaximum', most]],
    });
    await client.subscribe('t/inflight');
    for (let n = 0; n < 8; n += 1) await publisher.publish('t/inflight', `${n}`);
    for (let acknowledged = 0; acknowledged < 8; acknowledged += 1) {
      const wanted = Math.min(8, acknowledged + most);
      await client.message(() => client.messages.length >= wanted);
      await client.ping();
      assert.equal(client.messages.length, wanted);
      client.acknowledge(client.messages[acknowledged]!);
    }
    assert.deepEqual(
      client.messages.map(({ payload }) => payload),
      ['0', '1', '2', '3', '4', '5', '6', '7'],
    );
  }
});

test('receive maximum does not hold back QoS 0', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using client = await connect(bob, {
    clientId: 's',
    acknowledges: false,
    properties: [['receiveMaximum', 1]],
  });
  await client.subscribe('t/inflight');
  await publisher.publish('t/inflight', 'first');
  await publisher.publish('t/inflight', 'waits');
  publisher.publishUnacknowledged('t/inflight', 'passes');
  await client.message(({ payload }) => payload === 'passes');
  assert.deepEqual(
    client.messages.map(({ payload }) => payload),
    ['first', 'passes'],
  );
});

test("the client's maximum packet size is honoured: what is larger is not sent, the rest is", async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  const maximum = 64;
  using client = await connect(bob, {
    clientId: 's',
    properties: [['maximumPacketSize', maximum]],
  });
  using other = await connect(bob, { clientId: 'o' });
  for (const each of [client, other]) await each.subscribe('t/size');
  // PUBLISH of QoS 1: 2 bytes of header, 2 + 6 of topic, 2 of packet identifier, 1 of properties.
  const fits = 'x'.repeat(maximum - 13);
  for (const payload of [`${fits}y`, fits, `${fits}yy`]) await publisher.publish('t/size', payload);
  await other.message(() => other.messages.length === 3);
  assert.deepEqual(await receivedBy(client, publisher), [fits]);
});

test('a subscriber that ends is forgotten, and its client id brings nothing back', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  const client = await connect(bob, { clientId: 's' });
  await client.subscribe('t/forgotten');
  assert.equal(await publisher.publish('t/forgotten', 'x'), 0);
  await client.close();
  await until('nobody wants it any more', 10_000, async () => {
    return (await publisher.publish('t/forgotten', 'x')) === 0x10;
  });
  using again = await connect(bob, { clientId: 's' });
  assert.deepEqual(await receivedBy(again, publisher), []);
});

test('PUBLISH split at every byte, and several in one write, are the same to a subscriber', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using subscriber = await connect(bob, { clientId: 's' });
  await subscriber.subscribe('t/split');
  publisher.socket.setNoDelay(true);
  const bytes = publishPacket({ version: 5, topic: 't/split', payload: 'abc', qos: 1 });
  for (let at = 1; at < bytes.length; at += 1) {
    publisher.send(bytes.subarray(0, at));
    publisher.send(bytes.subarray(at));
    await publisher.next(packetTypes.puback);
  }
  publisher.send(Buffer.concat([bytes, bytes, bytes]));
  for (let n = 0; n < 3; n += 1) await publisher.next(packetTypes.puback);
  const sent = bytes.length + 2;
  await subscriber.message(() => subscriber.messages.length === sent);
  assert.ok(subscriber.messages.every(({ payload }) => payload === 'abc'));
});

test('a payload is bytes: all 256 of them, and none', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using subscriber = await connect(bob, { clientId: 's' });
  await subscriber.subscribe('t/bytes');
  const raw: Buffer[] = [];
  subscriber.socket.on('data', (chunk: Buffer) => raw.push(chunk));
  const all = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  await publisher.publish('t/bytes', all);
  await publisher.publish('t/bytes', '');
  await subscriber.message(() => subscriber.messages.length === 2);
  const head = (packetId: number): Buffer =>
    Buffer.concat([text('t/bytes'), u16(packetId), Buffer.of(0)]);
  const [first, second] = subscriber.messages;
  const expected = [
    packet(packetTypes.publish, 2, [head(first?.packetId ?? 0), all]),
    packet(packetTypes.publish, 2, [head(second?.packetId ?? 0)]),
  ];
  assert.deepEqual(Buffer.concat(raw), Buffer.concat(expected));
});
