/** Debian's python3-paho-mqtt over mutual TLS and over `wss`, in both versions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PahoPython } from '../harness/paho.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import type { PahoConnect, PahoMessage } from '../harness/paho.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const config = [
  "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }",
  'limits: { sessionsPerIdentity: 100 }',
].join('\n');
const { gateway, port } = await sharedGateway({ config, workers: 2 });
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

const versions = [
  ['MQTT 5', 5],
  ['MQTT 3.1.1', 4],
] as const;

const wss = { port: gateway.httpsPort, transport: 'websockets' } as const;

function come(options: Partial<PahoConnect> = {}): Promise<PahoPython> {
  const client = { port, identity: alice, version: 5, id: '', clean: true } as const;
  return PahoPython.connect({ ...client, ...options });
}

/** What makes a session of its own outlive its connection. */
function lasting(version: MqttVersion, id: string): Partial<PahoConnect> {
  const kept = { version, identity: bob, id, clean: false } as const;
  return version === 5 ? { ...kept, properties: { SessionExpiryInterval: 300 } } : kept;
}

/** The payloads that come before `last`. */
async function payloadsBefore(client: PahoPython, last: string): Promise<readonly string[]> {
  const payloads: string[] = [];
  for (;;) {
    const { payload } = await client.message();
    if (payload === last) return payloads;
    payloads.push(payload);
  }
}

for (const [name, version] of versions) {
  test(`${name}: QoS 0, 1 and 2, from one to the other`, async () => {
    await using publisher = await come({ version });
    await using subscriber = await come({ version, identity: bob });
    assert.deepEqual(await subscriber.subscribe([['t/qos/#', 2]]), [2]);
    for (const qos of [0, 1, 2] as const) {
      const topic = `t/qos/${qos}`;
      await publisher.publish({ topic, payload: `${qos}`, qos });
      const message = await subscriber.message();
      assert.deepEqual([message.topic, message.payload, message.qos], [topic, `${qos}`, qos]);
    }
  });

  test(`${name}: a retained message for who subscribes later`, async () => {
    const kept: PahoMessage = { topic: `t/kept/${version}`, payload: 'x', qos: 2, retain: true };
    await using publisher = await come({ version });
    await publisher.publish(kept);
    await using subscriber = await come({ version, identity: bob });
    await subscriber.subscribe([[kept.topic, 1]]);
    const message = await subscriber.message();
    assert.deepEqual([message.payload, message.qos, message.retain], ['x', 1, true]);
  });

  test(`${name}: the will of a client that is killed`, async () => {
    await using watching = await come({ version, identity: bob });
    await watching.subscribe([['t/will', 2]]);
    await using mortal = await come({
      version,
      will: { topic: 't/will', payload: 'gone', qos: 2 },
    });
    await mortal[Symbol.asyncDispose]();
    const message = await watching.message();
    assert.deepEqual([message.payload, message.qos], ['gone', 2]);
  });

  test(`${name}: a session that is taken up again brings what was missed`, async () => {
    const options = lasting(version, `returns-${version}`);
    await using first = await come(options);
    assert.equal(first.present, false);
    await first.subscribe([['t/missed', 2]]);
    await first.leave();
    await using publisher = await come({ version });
    for (const qos of [1, 2] as const) {
      await publisher.publish({ topic: 't/missed', payload: `${qos}`, qos });
    }
    await using back = await come(options);
    assert.equal(back.present, true);
    for (const qos of [1, 2]) {
      const message = await back.message();
      assert.deepEqual([message.payload, message.qos], [`${qos}`, qos]);
    }
  });

  test(`${name} over wss: QoS 0, 1 and 2, and a large message`, async () => {
    await using publisher = await come({ version, ...wss });
    await using subscriber = await come({ version, ...wss, identity: bob });
    await subscriber.subscribe([['t/wss', 2]]);
    for (const qos of [0, 1, 2] as const) {
      const payload = `${qos}`.repeat(qos === 2 ? 200_000 : 1);
      await publisher.publish({ topic: 't/wss', payload, qos });
      const message = await subscriber.message();
      assert.ok(message.payload === payload && message.qos === qos, `QoS ${qos}`);
    }
  });

  test(`${name}: a session begun over TLS goes on over wss`, async () => {
    const options = lasting(version, `moves-${version}`);
    await using first = await come(options);
    await first.subscribe([['t/moves', 2]]);
    await first.leave();
    await using publisher = await come({ version });
    await publisher.publish({ topic: 't/moves', payload: 'missed', qos: 2 });
    await using back = await come({ ...options, ...wss });
    assert.equal(back.present, true);
    const message = await back.message();
    assert.deepEqual([message.payload, message.qos], ['missed', 2]);
  });

  test(`${name}: what is in flight when the network fails comes exactly once`, async () => {
    const payloads = Array.from({ length: 60 }, (_, n) => `${n}`);
    await using publisher = await come(lasting(version, `sends-${version}`));
    await using subscriber = await come(lasting(version, `receives-${version}`));
    await subscriber.subscribe([[`t/cut/${version}`, 2]]);
    const topic = `t/cut/${version}`;
    const published = payloads.map((payload) => publisher.publish({ topic, payload, qos: 2 }));
    for (const client of [publisher, subscriber]) {
      await client.cut();
      await client.connected();
      assert.equal(client.present, true);
    }
    await Promise.all(published);
    await publisher.publish({ topic, payload: 'last', qos: 2 });
    assert.deepEqual(await payloadsBefore(subscriber, 'last'), payloads);
  });

  test(`${name}: a forbidden subscription is refused, and one given up brings nothing`, async () => {
    await using publisher = await come({ version });
    await using subscriber = await come({ version, identity: bob });
    const codes = await subscriber.subscribe([
      ['secret/#', 1],
      ['t/up/#', 1],
      ['t/stay', 1],
    ]);
    assert.deepEqual(codes, [version === 5 ? 0x87 : 0x80, 1, 1]);
    await subscriber.unsubscribe('t/up/#');
    await publisher.publish({ topic: 't/up/a', payload: 'given up', qos: 1 });
    await publisher.publish({ topic: 't/stay', payload: 'last', qos: 1 });
    assert.deepEqual(await payloadsBefore(subscriber, 'last'), []);
  });
}

test('MQTT 5: properties, user properties in their order, and a subscription identifier', async () => {
  await using publisher = await come();
  await using subscriber = await come({ identity: bob });
  await subscriber.subscribe([['t/properties', 2]], { SubscriptionIdentifier: 4_711 });
  const sent = {
    PayloadFormatIndicator: 1,
    ContentType: 'application/json',
    ResponseTopic: 't/answers',
    CorrelationData: '00ff0102',
    UserProperty: [
      ['z', '1'],
      ['a', '2'],
      ['z', '3'],
    ],
  };
  const message = { topic: 't/properties', payload: '{}', qos: 2 } as const;
  await publisher.publish({
    ...message,
    properties: { ...sent, MessageExpiryInterval: 60, TopicAlias: 1 },
  });
  const { properties } = await subscriber.message();
  const { MessageExpiryInterval: left, SubscriptionIdentifier: identifier, ...same } = properties;
  assert.deepEqual(same, sent);
  assert.deepEqual(identifier, [4_711]);
  assert.ok(Number(left) > 50 && Number(left) <= 60, String(left));
});

test('MQTT 5: a shared subscription gives each message to one of its members', async () => {
  await using publisher = await come();
  await using one = await come({ identity: bob });
  await using two = await come({ identity: bob });
  const members = [one, two];
  const payloads = Array.from({ length: 10 }, (_, n) => `${n}`);
  for (const member of members) await member.subscribe([['$share/workers/t/shared', 1]]);
  for (const payload of payloads) await publisher.publish({ topic: 't/shared', payload, qos: 1 });
  const got: string[] = [];
  for (const [n, member] of members.entries()) {
    await member.subscribe([[`t/last/${n}`, 1]]);
    await publisher.publish({ topic: `t/last/${n}`, payload: 'last', qos: 1 });
    for (;;) {
      const { payload } = await member.message();
      if (payload === 'last') break;
      got.push(payload);
    }
  }
  assert.deepEqual(got.toSorted(), payloads);
});

test('MQTT 5: no local, retain as published and retain handling', async () => {
  await using other = await come();
  await other.publish({ topic: 't/options', payload: 'kept', qos: 1, retain: true });
  await using client = await come({ identity: bob });
  const next = async (): Promise<unknown> => {
    const { payload, retain } = await client.message();
    return [payload, retain];
  };
  await client.subscribe([['t/options', 1, { noLocal: true, retainAsPublished: true }]]);
  // Retained messages follow the SUBACK: what is kept then.
  assert.deepEqual(await next(), ['kept', true]);
  await client.publish({ topic: 't/options', payload: 'own', qos: 1, retain: true });
  await client.subscribe([['t/options', 1, { retainHandling: 1 }]]);
  await client.subscribe([['t/options', 1, { retainHandling: 2, retainAsPublished: true }]]);
  await other.publish({ topic: 't/options', payload: 'update', qos: 1, retain: true });
  // From another worker a message comes a moment after its publisher's PUBACK.
  assert.deepEqual(await next(), ['update', true]);
  await client.subscribe([['t/options', 1, { retainHandling: 0 }]]);
  assert.deepEqual(await next(), ['update', true]);
});

test('MQTT 5: a will with its properties, after its delay or at a DISCONNECT that asks for it', async () => {
  await using watching = await come({ identity: bob });
  await watching.subscribe([['t/delayed', 2]]);
  const properties = {
    ContentType: 'text/plain',
    UserProperty: [
      ['z', '1'],
      ['a', '2'],
    ],
  };
  const will = { topic: 't/delayed', payload: 'gone', qos: 2 } as const;
  const mortal = await come({
    id: 'mortal',
    will: { ...will, properties: { ...properties, WillDelayInterval: 1 } },
    properties: { SessionExpiryInterval: 300 },
  });
  const before = performance.now();
  await mortal[Symbol.asyncDispose]();
  const delayed = await watching.message();
  assert.ok(performance.now() - before > 900, 'it came before its delay');
  assert.deepEqual([delayed.payload, delayed.properties], ['gone', properties]);

  await using quiet = await come({ will: { ...will, payload: 'never' } });
  await quiet.leave();
  await using leaving = await come({ will: { ...will, payload: 'left', properties } });
  await leaving.leave(4);
  const left = await watching.message();
  assert.deepEqual([left.payload, left.properties], ['left', properties]);
});

test('MQTT 5: a DISCONNECT that says so ends the session and all that it held', async () => {
  const options = lasting(5, 'ends');
  await using first = await come(options);
  await first.subscribe([['t/ends', 1]]);
  await first.leave(0, { SessionExpiryInterval: 0 });
  await using back = await come(options);
  assert.equal(back.present, false);
});

test('MQTT 5: CONNACK tells what the gateway takes and the id that it gave', async () => {
  await using client = await come();
  const { AssignedClientIdentifier: id, ...offers } = client.properties;
  assert.match(String(id), /^\S{8,}$/);
  assert.deepEqual(offers, {
    MaximumPacketSize: 320 * 1024,
    ReceiveMaximum: 64,
    TopicAliasMaximum: 16,
  });
});

test('MQTT 5: an alias that paho has set stands for its topic', async () => {
  await using publisher = await come();
  await using subscriber = await come({ identity: bob });
  await subscriber.subscribe([['t/alias', 2]]);
  const properties = { TopicAlias: 3 };
  await publisher.publish({ topic: 't/alias', payload: 'first', qos: 2, properties });
  await publisher.publish({ topic: '', payload: 'last', qos: 2, properties });
  assert.deepEqual(await payloadsBefore(subscriber, 'last'), ['first']);
});

test('MQTT 5: overlapping filters bring one message with both identifiers', async () => {
  await using publisher = await come();
  await using subscriber = await come({ identity: bob });
  await subscriber.subscribe([['t/over/#', 1]], { SubscriptionIdentifier: 1 });
  await subscriber.subscribe([['t/over/a', 2]], { SubscriptionIdentifier: 268_435_455 });
  await publisher.publish({ topic: 't/over/a', payload: 'both', qos: 2 });
  const { qos, properties } = await subscriber.message();
  const identifiers = properties['SubscriptionIdentifier'];
  assert.ok(Array.isArray(identifiers) && qos === 2);
  assert.deepEqual(new Set(identifiers), new Set([1, 268_435_455]));
  await publisher.publish({ topic: 't/over/b', payload: 'one', qos: 2 });
  const next = await subscriber.message();
  assert.deepEqual([next.payload, next.qos], ['one', 1]);
});

test('MQTT 5: no more and nothing larger than the client takes', async () => {
  await using publisher = await come();
  const properties = { ReceiveMaximum: 1, MaximumPacketSize: 200 };
  await using subscriber = await come({ identity: bob, properties });
  await subscriber.subscribe([['t/bounds', 2]]);
  const payloads = Array.from({ length: 20 }, (_, n) => `${n}`);
  for (const payload of [...payloads, 'x'.repeat(500), 'last']) {
    await publisher.publish({ topic: 't/bounds', payload, qos: 2 });
  }
  assert.deepEqual(await payloadsBefore(subscriber, 'last'), payloads);
});

test('MQTT 5: an answer goes to the response topic of its request', async () => {
  await using asking = await come();
  await using service = await come({ identity: bob });
  await asking.subscribe([['t/answers/1', 1]]);
  await service.subscribe([['t/ask', 1]]);
  const request = { ResponseTopic: 't/answers/1', CorrelationData: '00ff' };
  await asking.publish({ topic: 't/ask', payload: 'question', qos: 1, properties: request });
  const { properties } = await service.message();
  const { ResponseTopic: topic, CorrelationData } = properties;
  const answer = { payload: 'answer', qos: 1, properties: { CorrelationData } } as const;
  await service.publish({ ...answer, topic: String(topic) });
  const got = await asking.message();
  assert.deepEqual([got.payload, got.properties['CorrelationData']], ['answer', '00ff']);
});

test('MQTT 5: who is taken over from loses its connection', async () => {
  await using first = await come({ id: 'one-of-two' });
  await using second = await come({ id: 'one-of-two' });
  await first.closed();
  await second[Symbol.asyncDispose]();
});
