/** MQTT 5 §3.3, PUBLISH: what a server takes, what it forwards and in which form. QoS 1 and 2 as exchanges: qos.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../harness/mqtt-bytes.ts';
import type { PublishBytes } from '../../harness/mqtt-bytes.ts';
import { text, u16, varint } from '../../harness/mqtt-fields.ts';
import { valuesOf } from '../../harness/mqtt-properties.ts';
import type { Property, PropertyName } from '../../harness/mqtt-properties.ts';
import { ack, again, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';

const { alice, bob, come, dial } = await wireGateway();

const topic = 't/publish';

for (const [name, version] of bothVersions) {
  const none = Buffer.alloc(version - 4);

  test(`${name}: a PUBLISH of QoS 0 that says it is sent again is malformed [MQTT-3.3.1-2] [MQTT-4.3.1-1]`, async () => {
    using client = await come(alice, { version });
    client.send(again(client.publishBytes({ topic, payload: '', qos: 0 })));
    await client.refused(0x81);
  });

  test(`${name}: a PUBLISH of QoS 3 is malformed [MQTT-3.3.1-4]`, async () => {
    for (const flags of [6, 7, 14]) {
      using client = await come(alice, { version });
      client.send(packet(3, flags, [text(topic), u16(1), none]));
      await client.refused(0x81);
    }
  });

  test(`${name}: what is forwarded is no duplicate because the incoming one was [MQTT-3.3.1-3] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2]`, async () => {
    using subscriber = await come(bob, { version });
    await subscriber.subscribe([{ filter: topic, options: 2 }]);
    using zero = await come(bob, { version });
    await zero.subscribe([{ filter: topic, options: 0 }]);
    using client = await come(alice, { version });
    for (const [qos, answer] of [
      [1, wireTypes.puback],
      [2, wireTypes.pubrec],
    ] as const) {
      client.send(again(client.publishBytes({ topic, payload: `${qos}`, qos, packetId: qos })));
      await client.acknowledged(answer);
      const message = await subscriber.message();
      assert.deepEqual([message.payload, message.qos, message.dup], [`${qos}`, qos, false]);
      const least = await zero.message();
      assert.deepEqual([least.payload, least.qos, least.dup], [`${qos}`, 0, false]);
    }
  });

  test(`${name}: a topic is there, has a character at least and no wildcard [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1]`, async () => {
    for (const qos of [0, 1, 2] as const) {
      for (const wrong of ['#', '+', 't/#', 't/+/x', 't/x+', 't#']) {
        using client = await come(alice, { version });
        client.send(client.publishBytes({ topic: wrong, payload: '', qos }));
        await client.refused(0x90);
      }
      using client = await come(alice, { version });
      client.send(client.publishBytes({ topic: '', payload: '', qos }));
      await client.refused(0x82);
    }
    using short = await come(alice, { version });
    short.send(packet(3, 0, [u16(9), Buffer.from('t/x')]));
    await short.refused(0x81);
  });

  test(`${name}: a message goes to those whose filters match its topic, under that topic [MQTT-3.3.2-3]`, async () => {
    using subscriber = await come(bob, { version });
    await subscriber.subscribe([
      { filter: 't/match/+', options: 0 },
      { filter: 't/all/#', options: 0 },
    ]);
    using client = await come(alice, { version });
    const topics = ['t/match/a', 't/match/a/b', 't/match', 't/all', 't/all/b', 't/all/b/c', 't/al'];
    for (const each of topics) await client.publish({ topic: each, payload: each });
    for (const matched of ['t/match/a', 't/all', 't/all/b', 't/all/b/c']) {
      const message = await subscriber.message();
      assert.deepEqual([message.topic, message.payload], [matched, matched]);
    }
    await subscriber.nothing();
  });

  test(`${name}: QoS 0 is not answered, QoS 1 by PUBACK, QoS 2 by PUBREC [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8]`, async () => {
    using client = await come(alice, { version });
    client.send(client.publishBytes({ topic, payload: '', qos: 0 }));
    await client.nothing();
    client.send(client.publishBytes({ topic, payload: '', qos: 1, packetId: 7 }));
    assert.equal((await client.acknowledged(wireTypes.puback)).packetId, 7);
    client.send(client.publishBytes({ topic, payload: '', qos: 2, packetId: 8 }));
    assert.equal((await client.acknowledged(wireTypes.pubrec)).packetId, 8);
    await client.nothing();
  });
}

const sent: readonly Property[] = [
  ['payloadFormatIndicator', 1],
  ['contentType', 'text/plain; charset=utf-8'],
  ['responseTopic', 't/answers/\u{1f6aa}'],
  ['correlationData', Buffer.of(0, 255, 0, 1)],
  ['userProperty', ['z', '1']],
  ['userProperty', ['a', '2']],
  ['userProperty', ['z', '3']],
  ['userProperty', ['', '']],
  ['userProperty', ['z', '1']],
];

test('MQTT 5: properties are forwarded unaltered, user properties in their order [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]', async () => {
  using subscriber = await come(bob);
  await subscriber.subscribe([{ filter: topic, options: 2 }]);
  using client = await come(alice);
  for (const qos of [0, 1, 2] as const) {
    for (const properties of [sent, sent.toReversed(), [['payloadFormatIndicator', 0]]] as const) {
      client.send(client.publishBytes({ topic, payload: 'x', qos, properties, packetId: 1 }));
      if (qos > 0) await client.next();
      if (qos === 2) {
        client.send(ack(wireTypes.pubrel, 1));
        await client.acknowledged(wireTypes.pubcomp);
      }
      const message = await subscriber.message();
      const order = (list: readonly Property[]): readonly Property[] =>
        list.filter(([each]) => each === 'userProperty');
      assert.deepEqual(order(message.properties), order(properties));
      for (const each of ofOneValue) {
        assert.deepEqual(valuesOf(message.properties, each), valuesOf(properties, each), each);
      }
    }
  }
});

const ofOneValue: readonly PropertyName[] = [
  'payloadFormatIndicator',
  'contentType',
  'responseTopic',
  'correlationData',
  'messageExpiryInterval',
];

test('MQTT 5: a response topic has no wildcard and a character at least [MQTT-3.3.2-14]', async () => {
  for (const wrong of ['#', 't/+', 't/x#', '']) {
    using client = await come(alice);
    const properties = [['responseTopic', wrong]] as const;
    client.send(client.publishBytes({ topic, payload: '', qos: 0, properties }));
    await client.refused(0x82);
  }
});

test('MQTT 5: a subscription identifier on a PUBLISH of a client is a protocol error [MQTT-3.3.4-6]', async () => {
  for (const qos of [0, 1, 2] as const) {
    using client = await come(alice);
    const properties = [['subscriptionIdentifier', 1]] as const;
    client.send(client.publishBytes({ topic, payload: '', qos, properties }));
    await client.refused(0x82);
  }
});

test('MQTT 5: a message expiry interval is forwarded less the time that the message has waited [MQTT-3.3.2-6]', async () => {
  using subscriber = await come(bob, { properties: [['receiveMaximum', 1]] });
  await subscriber.subscribe([{ filter: topic, options: 1 }]);
  using client = await come(alice);
  const properties = [['messageExpiryInterval', 100]] as const;
  const began = performance.now();
  await client.publish({ topic, payload: 'at once', properties });
  await client.publish({ topic, payload: 'waits', properties });
  const first = await subscriber.message();
  assert.deepEqual(valuesOf(first.properties, 'messageExpiryInterval'), [100]);
  // Two seconds behind the one that is in flight.
  await subscriber.nothing();
  await passes(2_100);
  subscriber.send(ack(wireTypes.puback, first.packetId ?? 0));
  const [left] = valuesOf((await subscriber.message()).properties, 'messageExpiryInterval');
  const least = 100 - Math.ceil((performance.now() - began) / 1_000);
  assert.ok(Number(left) >= least && Number(left) <= 98, String(left));
});

test('MQTT 5: a message that has expired before its turn comes is not delivered [MQTT-3.3.2-5]', async () => {
  using subscriber = await come(bob, { properties: [['receiveMaximum', 1]] });
  await subscriber.subscribe([{ filter: topic, options: 1 }]);
  using client = await come(alice);
  await client.publish({ topic, payload: 'in flight' });
  await client.publish({ topic, payload: 'expires', properties: [['messageExpiryInterval', 1]] });
  await client.publish({ topic, payload: 'stays' });
  const first = await subscriber.message();
  await passes(1_100);
  subscriber.send(ack(wireTypes.puback, first.packetId ?? 0));
  assert.equal((await subscriber.message()).payload, 'stays');
});

/** Expiry has no event to wait for: it is what happens when nothing does. */
function passes(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test('MQTT 5: overlapping subscriptions deliver with the highest QoS and all identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]', async () => {
  using subscriber = await come(bob);
  const identifier = (value: number): readonly Property[] => [['subscriptionIdentifier', value]];
  await subscriber.subscribe([{ filter: 't/over/#', options: 0 }], identifier(1));
  await subscriber.subscribe([{ filter: 't/over/+', options: 2 }], identifier(268_435_455));
  await subscriber.subscribe([{ filter: 't/over/x', options: 1 }]);
  await subscriber.subscribe([{ filter: 't/+/x', options: 1 }], identifier(77));
  await subscriber.subscribe([{ filter: 't/else', options: 1 }], identifier(5));
  using client = await come(alice);
  await client.publish({ topic: 't/over/x', payload: 'all', qos: 2 });
  await client.publish({ topic: 't/over/y/z', payload: 'one' });
  await client.publish({ topic: 't/else', payload: 'else' });
  // Of the two ways that the standard leaves, one copy with all identifiers.
  const all = await subscriber.message();
  assert.deepEqual([all.payload, all.qos], ['all', 2]);
  const numbers = valuesOf(all.properties, 'subscriptionIdentifier').map(Number);
  assert.deepEqual(
    numbers.toSorted((a, b) => a - b),
    [1, 77, 268_435_455],
  );
  const one = await subscriber.message();
  assert.deepEqual([one.payload, one.qos], ['one', 0]);
  assert.deepEqual(valuesOf(one.properties, 'subscriptionIdentifier'), [1]);
  const last = await subscriber.message();
  assert.deepEqual(valuesOf(last.properties, 'subscriptionIdentifier'), [5]);
  await subscriber.nothing();
});

test('MQTT 3.1.1: overlapping subscriptions deliver once, with the highest QoS [MQTT-3.3.4-2]', async () => {
  using subscriber = await come(bob, { version: 4 });
  await subscriber.subscribe([
    { filter: 't/over/#', options: 0 },
    { filter: 't/over/+', options: 2 },
    { filter: 't/over/x', options: 1 },
  ]);
  using client = await come(alice, { version: 4 });
  await client.publish({ topic: 't/over/x', payload: 'x', qos: 2 });
  assert.equal((await subscriber.message()).qos, 2);
  await subscriber.nothing();
});

test('MQTT 5: what is larger than the client takes is not sent to it, and the rest goes on [MQTT-3.1.2-24] [MQTT-3.1.2-25]', async () => {
  const most = 64;
  using subscriber = await come(bob, {
    properties: [
      ['maximumPacketSize', most],
      ['receiveMaximum', 2],
    ],
  });
  await subscriber.subscribe([{ filter: 't/size', options: 2 }]);
  using client = await come(alice);
  // Fixed header 2, topic 2 + 6, packet identifier 2, property length 1.
  const payload = (size: number): Buffer => Buffer.alloc(size - 13, 0x78);
  for (const qos of [1, 2] as const) {
    await client.publish({ topic: 't/size', payload: payload(most), qos });
    // As if it had been delivered: it takes none of the two places in flight.
    for (let n = 1; n < 4; n += 1) {
      await client.publish({ topic: 't/size', payload: payload(most + n), qos });
    }
    const fits = await subscriber.expect(wireTypes.publish);
    assert.equal(fits.bytes.length, most);
    await subscriber.nothing();
    const packetId = fits.body.readUInt16BE(8);
    if (qos === 1) subscriber.send(ack(wireTypes.puback, packetId));
  }
});

test('MQTT 5: a packet larger than the gateway takes is refused from its header [MQTT-3.2.2-15]', async () => {
  using client = await dial(alice);
  const { properties } = await client.connect();
  const most = Number(valuesOf(properties, 'maximumPacketSize')[0]);
  assert.ok(most > 0);
  for (const length of [most, 268_435_455]) {
    using large = await come(alice);
    large.send(Buffer.concat([Buffer.of(0x30), varint(length)]));
    await large.refused(0x95);
  }
});

test('MQTT 5: a topic alias stands for its topic on one connection and in one direction [MQTT-3.3.2-7] [MQTT-3.3.2-12]', async () => {
  using subscriber = await come(bob);
  await subscriber.subscribe([{ filter: 't/alias/#', options: 0 }]);
  const options = { clientId: 'aliases', properties: [['sessionExpiryInterval', 60]] } as const;
  using client = await come(alice, options);
  const send = (publish: Pick<PublishBytes, 'topic' | 'payload'>, alias: number): void =>
    client.send(client.publishBytes({ ...publish, qos: 0, properties: [['topicAlias', alias]] }));
  const most = await aliasesOffered();
  assert.ok(most > 1);
  for (const alias of [1, most]) {
    send({ topic: `t/alias/${alias}`, payload: 'first' }, alias);
    send({ topic: '', payload: 'second' }, alias);
    send({ topic: 't/alias/other', payload: 'third' }, alias);
    send({ topic: '', payload: 'fourth' }, alias);
    const topics: string[] = [];
    for (let n = 0; n < 4; n += 1) {
      const message = await subscriber.message();
      topics.push(message.topic);
      assert.deepEqual(valuesOf(message.properties, 'topicAlias'), []);
    }
    const first = `t/alias/${alias}`;
    assert.deepEqual(topics, [first, first, 't/alias/other', 't/alias/other']);
  }
  await client.drop();
  using next = await come(alice, { ...options, cleanStart: false });
  const properties = [['topicAlias', 1]] as const;
  next.send(next.publishBytes({ topic: '', payload: '', qos: 0, properties }));
  await next.refused(0x82);
});

async function aliasesOffered(): Promise<number> {
  using client = await dial(alice);
  const { properties } = await client.connect();
  return Number(valuesOf(properties, 'topicAliasMaximum')[0] ?? 0);
}

test('MQTT 5: topic alias 0, and one over what CONNACK offered, are invalid [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]', async () => {
  for (const alias of [0, (await aliasesOffered()) + 1, 65_535]) {
    using client = await come(alice);
    const properties = [['topicAlias', alias]] as const;
    client.send(client.publishBytes({ topic, payload: '', qos: 0, properties }));
    await client.refused(0x94);
  }
});

test('MQTT 5: no alias goes to a client that offers none, and none above what it offers [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]', async () => {
  using publisher = await come(alice);
  for (const most of [undefined, 0, 1, 2]) {
    const offer: readonly Property[] = most === undefined ? [] : [['topicAliasMaximum', most]];
    using subscriber = await come(bob, { properties: offer });
    await subscriber.subscribe([{ filter: 't/alias/#', options: 1 }]);
    const known = new Map<unknown, string>();
    for (let n = 0; n < 12; n += 1) {
      const sentTo = `t/alias/${n % 4}`;
      await publisher.publish({ topic: sentTo, payload: '' });
      const message = await subscriber.message();
      subscriber.send(ack(wireTypes.puback, message.packetId ?? 0));
      const [alias] = valuesOf(message.properties, 'topicAlias');
      if (alias === undefined) {
        assert.equal(message.topic, sentTo);
        continue;
      }
      assert.ok(
        Number(alias) > 0 && Number(alias) <= (most ?? 0),
        `alias ${Number(alias)} of ${most}`,
      );
      if (message.topic !== '') known.set(alias, message.topic);
      assert.equal(known.get(alias), sentTo);
    }
    assert.ok((most ?? 0) === 0 ? known.size === 0 : known.size > 0, `${known.size} of ${most}`);
  }
});
