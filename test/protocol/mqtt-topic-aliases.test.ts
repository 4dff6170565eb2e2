/**
 * Topic aliases, MQTT 5 §3.3.2.3.4, from the client and to it: what is meant is what policy judges and what arrives,
 * whichever of the two sides put a number in place of a topic.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import type { Property } from '../harness/mqtt-properties.ts';
import { ack, wireGateway, wireTypes } from '../harness/mqtt-wire.ts';
import type { WireClient, WireMessage } from '../harness/mqtt-wire.ts';

const most = 3;
const { gateway, alice, bob, come, dial } = await wireGateway([
  `topicAliases: ${most}`,
  'receiveMaximum: 50',
]);

const noTopic = '';

function aliasOf({ properties }: WireMessage): number | undefined {
  const [alias] = valuesOf(properties, 'topicAlias');
  return alias === undefined ? undefined : Number(alias);
}

/** A PUBLISH with an alias, as bytes. */
function aliased(
  topic: string,
  alias: number,
  qos: 0 | 1 | 2 = 0,
  others: readonly Property[] = [],
): Buffer {
  return publishPacket({
    version: 5,
    topic,
    payload: 'x',
    qos,
    packetId: 7,
    properties: [['topicAlias', alias], ...others],
  });
}

async function subscriber(filter: string, topicAliasMaximum = 0): Promise<WireClient> {
  const client = await come(bob, {
    properties: topicAliasMaximum === 0 ? [] : [['topicAliasMaximum', topicAliasMaximum]],
  });
  assert.deepEqual(await client.subscribe([{ filter, options: 1 }]), [1]);
  return client;
}

test('CONNACK tells the Topic Alias Maximum, and all that it allows are taken [MQTT-3.3.2-12]', async () => {
  using client = await dial(alice);
  const { properties } = await client.connect();
  assert.deepEqual(valuesOf(properties, 'topicAliasMaximum'), [most]);
  using watching = await subscriber('t/in/#');
  for (let alias = 1; alias <= most; alias += 1) {
    client.send(aliased(`t/in/${alias}`, alias), aliased(noTopic, alias));
  }
  for (let alias = 1; alias <= most; alias += 1) {
    for (const _ of ['set', 'used']) {
      const message = await watching.message();
      assert.equal(message.topic, `t/in/${alias}`);
      assert.deepEqual(message.properties, []);
    }
  }
});

test('an alias that is set anew stands for the new topic', async () => {
  using client = await come(alice);
  using watching = await subscriber('t/anew/#');
  client.send(aliased('t/anew/a', 1), aliased('t/anew/b', 1), aliased(noTopic, 1));
  const topics = [];
  for (let n = 0; n < 3; n += 1) topics.push((await watching.message()).topic);
  assert.deepEqual(topics, ['t/anew/a', 't/anew/b', 't/anew/b']);
});

test('an alias of 0 or above the maximum ends the connection with 0x94 [MQTT-3.3.2-8] [MQTT-3.3.2-9]', async () => {
  for (const alias of [0, most + 1, 65_535]) {
    for (const qos of [0, 1, 2] as const) {
      using client = await come(alice);
      client.send(aliased('t/x', alias, qos));
      await client.refused(0x94);
    }
  }
});

test('an alias that was never set ends the connection with 0x82', async () => {
  for (const qos of [0, 1, 2] as const) {
    using client = await come(alice);
    client.send(aliased('t/x', 1, 0), aliased(noTopic, 2, qos));
    await client.refused(0x82);
  }
});

test('an alias is forgotten with its connection, whatever becomes of the session [MQTT-3.3.2-7]', async () => {
  const properties: readonly Property[] = [['sessionExpiryInterval', 60]];
  using client = await come(alice, { clientId: 'aliases', properties });
  client.send(aliased('t/x', 1));
  await client.leave();
  using again = await come(alice, { clientId: 'aliases', cleanStart: false, properties });
  again.send(aliased(noTopic, 1));
  await again.refused(0x82);
});

test('the policy judges the topic that an alias stands for, and a refused message sets it all the same', async () => {
  using client = await come(alice);
  const refused = async (bytes: Buffer): Promise<number> => {
    client.send(bytes);
    return (await client.acknowledged(wireTypes.puback)).code;
  };
  assert.equal(await refused(aliased('not/mine', 1, 1)), 0x87);
  assert.equal(await refused(aliased(noTopic, 1, 1)), 0x87);
  // Set to what is granted, and set back.
  assert.equal(await refused(aliased('t/nobody', 1, 1)), 0x10);
  assert.equal(await refused(aliased(noTopic, 1, 1)), 0x10);
  assert.equal(await refused(aliased('not/mine', 1, 1)), 0x87);
  assert.equal(await refused(aliased(noTopic, 1, 1)), 0x87);
  await client.nothing();
});

test('a retained message is retained under the topic that its alias stands for', async () => {
  using client = await come(alice);
  client.send(aliased('t/kept', 2));
  const bytes = publishPacket({
    version: 5,
    topic: noTopic,
    payload: 'kept',
    qos: 1,
    packetId: 9,
    retain: true,
    properties: [
      ['topicAlias', 2],
      ['contentType', 'text/plain'],
    ],
  });
  client.send(bytes);
  assert.ok((await client.acknowledged(wireTypes.puback)).code < 0x80);
  using watching = await come(bob);
  await watching.subscribe([{ filter: 't/kept', options: 0 }]);
  const message = await watching.message();
  assert.deepEqual([message.topic, message.payload, message.retain], ['t/kept', 'kept', true]);
  assert.deepEqual(message.properties, [['contentType', 'text/plain']]);
});

test('a topic that comes again is given an alias, and no more than the client takes are used [MQTT-3.3.2-8] [MQTT-3.3.2-11]', async () => {
  for (const [asked, granted] of [
    [1, 1],
    [2, 2],
    [most + 5, most],
  ] as const) {
    using publisher = await come(alice);
    using reader = await subscriber('t/out/#', asked);
    const meant = new Map<number, string>();
    let left = 0;
    for (let n = 0; n < 5 * (granted + 1); n += 1) {
      const topic = `t/out/of-some-length/${n % (granted + 1)}`;
      publisher.send(publisher.publishBytes({ topic, payload: `${n}`, qos: 1, packetId: n + 1 }));
      const message = await reader.message();
      const alias = aliasOf(message);
      if (alias !== undefined && message.topic !== '') meant.set(alias, message.topic);
      if (message.topic === '') left += 1;
      assert.ok(alias === undefined || (alias >= 1 && alias <= granted), `alias ${alias}`);
      assert.equal(message.topic === '' ? meant.get(alias ?? 0) : message.topic, topic);
      assert.equal(message.payload, `${n}`);
      if (message.packetId !== undefined) reader.send(ack(wireTypes.puback, message.packetId));
    }
    assert.ok(left >= 2 * granted, `${left} messages did without their topic`);
  }
});

test('a client that takes no aliases is sent none, and so is one of MQTT 3.1.1 [MQTT-3.3.2-11]', async () => {
  using publisher = await come(alice);
  using five = await subscriber('t/none/#');
  using four = await come(bob, { version: 4 });
  await four.subscribe([{ filter: 't/none/#', options: 0 }]);
  for (let n = 0; n < 4; n += 1) {
    publisher.send(publisher.publishBytes({ topic: 't/none/at-all', payload: 'x', qos: 0 }));
    for (const client of [five, four]) {
      const message = await client.message();
      assert.deepEqual([message.topic, message.properties], ['t/none/at-all', []]);
    }
  }
});

test('one message reaches readers with an alias, without one and with a subscription identifier, each as its own', async () => {
  using publisher = await come(alice);
  using short = await subscriber('t/fan/#', 2);
  using plain = await subscriber('t/fan/#');
  using numbered = await come(bob, { properties: [['topicAliasMaximum', 2]] });
  await numbered.subscribe([{ filter: 't/fan/#', options: 1 }], [['subscriptionIdentifier', 77]]);
  for (let n = 0; n < 3; n += 1) {
    await publisher.publish({
      topic: 't/fan/to-many',
      payload: `${n}`,
      properties: [['contentType', 'c']],
    });
  }
  for (let n = 0; n < 3; n += 1) {
    const [first, second, third] = [
      await short.message(),
      await plain.message(),
      await numbered.message(),
    ];
    const topic = n < 2 ? 't/fan/to-many' : '';
    const alias = n < 1 ? undefined : 1;
    assert.deepEqual([first.topic, aliasOf(first), first.payload], [topic, alias, `${n}`]);
    assert.deepEqual(second.properties, [['contentType', 'c']]);
    assert.deepEqual([third.topic, aliasOf(third), third.payload], [topic, alias, `${n}`]);
    assert.deepEqual(valuesOf(third.properties, 'subscriptionIdentifier'), [77]);
    for (const { properties } of [first, third]) {
      assert.deepEqual(valuesOf(properties, 'contentType'), ['c']);
    }
  }
});

test('an alias is set by a packet that was sent: a message too large for the client sets none', async () => {
  using publisher = await come(alice);
  using reader = await come(bob, {
    properties: [
      ['topicAliasMaximum', 1],
      ['maximumPacketSize', 100],
    ],
  });
  await reader.subscribe([{ filter: 't/size/#', options: 0 }]);
  const topic = 't/size/of-a-packet';
  const sizes = [10, 200, 200, 200, 10, 10];
  for (const bytes of sizes) {
    publisher.send(publisher.publishBytes({ topic, payload: 'x'.repeat(bytes), qos: 0 }));
  }
  const seen = [];
  for (let n = 0; n < 3; n += 1) {
    const message = await reader.message();
    seen.push([message.topic, aliasOf(message), message.payload.length]);
  }
  assert.deepEqual(seen, [
    [topic, undefined, 10],
    [topic, 1, 10],
    ['', 1, 10],
  ]);
  await reader.nothing();
});

test('with a limit of 0 none is offered, taken or used', async () => {
  // The last test of this file: from here on the gateway knows no aliases.
  const roles = "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }";
  gateway.configure(`${roles}\nlimits: { topicAliases: 0 }`);
  await gateway.ok('reload');
  using client = await dial(alice);
  const { properties } = await client.connect({ properties: [['topicAliasMaximum', 10]] });
  assert.deepEqual(valuesOf(properties, 'topicAliasMaximum'), []);
  await client.subscribe([{ filter: 't/off/#', options: 0 }]);
  for (let n = 0; n < 3; n += 1) {
    client.send(client.publishBytes({ topic: 't/off/for-good', payload: 'x', qos: 0 }));
    assert.deepEqual((await client.message()).properties, []);
  }
  client.send(aliased('t/off/x', 1));
  await client.refused(0x94);
});
