/** MQTT 5 §3.4 to §3.7 and §4.3: the exchanges of QoS 1 and QoS 2, in both directions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribePacket, unsubscribePacket } from '../../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../../harness/mqtt-bytes.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { ack, again, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';
import type { WireClient } from '../../harness/mqtt-wire.ts';

const { alice, bob, come } = await wireGateway();

const topic = 't/qos';
const { puback, pubrec, pubrel, pubcomp } = wireTypes;

interface Pair extends Disposable {
  readonly publisher: WireClient;
  readonly subscriber: WireClient;
}

async function pair(version: MqttVersion, options = 2): Promise<Pair> {
  const subscriber = await come(bob, { version });
  await subscriber.subscribe([{ filter: 't/#', options }]);
  const publisher = await come(alice, { version });
  return {
    publisher,
    subscriber,
    [Symbol.dispose]() {
      publisher[Symbol.dispose]();
      subscriber[Symbol.dispose]();
    },
  };
}

for (const [name, version] of bothVersions) {
  test(`${name}: QoS 1 from a client: after its PUBACK the same identifier is a new message, whatever DUP says [MQTT-4.3.2-5]`, async () => {
    using clients = await pair(version);
    const { publisher, subscriber } = clients;
    const publish = (payload: string): Buffer =>
      publisher.publishBytes({ topic, payload, qos: 1, packetId: 5 });
    for (const [payload, bytes] of [
      ['first', publish('first')],
      ['second', publish('second')],
      ['third', again(publish('third'))],
    ] as const) {
      publisher.send(bytes);
      assert.equal((await publisher.acknowledged(puback)).packetId, 5);
      const message = await subscriber.message();
      assert.deepEqual([message.payload, message.qos], [payload, 1]);
    }
  });

  test(`${name}: QoS 1 to a client: in flight until its PUBACK, and not sent again meanwhile [MQTT-4.3.2-2] [MQTT-4.3.2-3] [MQTT-4.4.0-1]`, async () => {
    using clients = await pair(version);
    const { publisher, subscriber } = clients;
    await publisher.publish({ topic, payload: 'x' });
    const { packetId, dup } = await subscriber.message();
    assert.equal(dup, false);
    for (let n = 0; n < 20; n += 1) {
      await publisher.publish({ topic, payload: `${n}` });
      const message = await subscriber.message();
      assert.notEqual(message.packetId, packetId, 'its identifier is in use');
      subscriber.send(ack(puback, message.packetId ?? 0));
    }
    subscriber.send(ack(puback, packetId ?? 0));
    await subscriber.nothing();
  });

  test(`${name}: QoS 2 from a client: PUBREC, PUBCOMP, and one delivery however often PUBLISH and PUBREL come [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11]`, async () => {
    using clients = await pair(version);
    const { publisher, subscriber } = clients;
    const publish = publisher.publishBytes({ topic, payload: 'once', qos: 2, packetId: 3 });
    publisher.send(publish);
    assert.deepEqual(await publisher.acknowledged(pubrec), {
      packetId: 3,
      code: 0,
      properties: [],
    });
    for (const bytes of [again(publish), publish, again(publish)]) {
      publisher.send(bytes);
      const repeated = await publisher.acknowledged(pubrec);
      assert.equal(repeated.packetId, 3);
      assert.ok(repeated.code < 0x80, `0x${repeated.code.toString(16)}`);
    }
    publisher.send(ack(pubrel, 3));
    assert.deepEqual(await publisher.acknowledged(pubcomp), {
      packetId: 3,
      code: 0,
      properties: [],
    });
    // Lost PUBCOMP: the client asks again and is answered; 5 says that there is nothing of this identifier.
    publisher.send(ack(pubrel, 3));
    assert.equal((await publisher.acknowledged(pubcomp)).packetId, 3);
    await publisher.publish({ topic, payload: 'fence', qos: 2, packetId: 4 });
    assert.equal((await subscriber.message()).payload, 'once');
    assert.equal((await subscriber.message()).payload, 'fence');
  });

  test(`${name}: QoS 2 from a client: after PUBCOMP the same identifier is a new message [MQTT-4.3.3-12]`, async () => {
    using clients = await pair(version);
    const { publisher, subscriber } = clients;
    for (const [n, payload] of ['a', 'b', 'c'].entries()) {
      const publish = publisher.publishBytes({ topic, payload, qos: 2, packetId: 3 });
      publisher.send(n === 2 ? again(publish) : publish);
      assert.equal((await publisher.acknowledged(pubrec)).code & 0x80, 0);
      publisher.send(ack(pubrel, 3));
      assert.equal((await publisher.acknowledged(pubcomp)).code, 0);
      assert.equal((await subscriber.message()).payload, payload);
    }
  });

  test(`${name}: QoS 2 to a client: PUBREL after PUBREC, with the identifier, and the end after PUBCOMP [MQTT-4.3.3-2] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-3.6.2-1]`, async () => {
    using clients = await pair(version);
    const { publisher, subscriber } = clients;
    await publisher.publish({ topic, payload: 'x', qos: 2 });
    const { packetId = 0, dup, qos } = await subscriber.message();
    assert.deepEqual([dup, qos], [false, 2]);
    await subscriber.nothing();
    subscriber.send(ack(pubrec, packetId));
    assert.deepEqual(await subscriber.acknowledged(pubrel), { packetId, code: 0, properties: [] });
    // Not before PUBCOMP is the identifier free: nothing else in flight bears it.
    await publisher.publish({ topic, payload: 'y', qos: 1 });
    const other = await subscriber.message();
    assert.notEqual(other.packetId, packetId);
    subscriber.send(ack(puback, other.packetId ?? 0), ack(pubcomp, packetId));
    await subscriber.nothing();
  });

  test(`${name}: QoS 2 to a client: a PUBREC that comes again is answered by PUBREL again, never by PUBLISH [MQTT-4.3.3-6]`, async () => {
    using clients = await pair(version);
    const { publisher, subscriber } = clients;
    await publisher.publish({ topic, payload: 'x', qos: 2 });
    const { packetId = 0 } = await subscriber.message();
    for (let n = 0; n < 3; n += 1) {
      subscriber.send(ack(pubrec, packetId));
      assert.equal((await subscriber.acknowledged(pubrel)).packetId, packetId);
      await subscriber.nothing();
    }
    subscriber.send(ack(pubcomp, packetId));
    await subscriber.nothing();
  });

  test(`${name}: acknowledgements of what is not in flight change nothing, PUBREL gets its PUBCOMP [MQTT-4.3.3-11] [MQTT-3.7.2-1]`, async () => {
    using client = await come(alice, { version });
    client.send(ack(puback, 77));
    await client.nothing();
    client.send(ack(pubrel, 77));
    const { packetId, code } = await client.acknowledged(pubcomp);
    assert.deepEqual([packetId, code], [77, version === 5 ? 0x92 : 0]);
  });

  test(`${name}: PUBREL with flags other than 0010 is malformed [MQTT-3.6.1-1]`, async () => {
    for (const flags of [0, 1, 3, 6, 10]) {
      using client = await come(alice, { version });
      const bytes = ack(pubrel, 1);
      bytes.writeUInt8(0x60 | flags, 0);
      client.send(bytes);
      await client.refused(0x81);
    }
  });
}

test('MQTT 5: a PUBREC that refuses ends the exchange: the identifier is free and the message new [MQTT-4.3.3-9] [MQTT-3.5.2-1]', async () => {
  using clients = await pair(5);
  const { publisher, subscriber } = clients;
  for (let n = 0; n < 2; n += 1) {
    publisher.send(
      publisher.publishBytes({ topic: 'not/mine', payload: 'x', qos: 2, packetId: 9 }),
    );
    assert.deepEqual(await publisher.acknowledged(pubrec), {
      packetId: 9,
      code: 0x87,
      properties: [],
    });
  }
  await publisher.publish({ topic, payload: 'new', qos: 2, packetId: 9 });
  assert.equal((await subscriber.message()).payload, 'new');
  publisher.send(ack(pubrel, 9));
  assert.equal((await publisher.acknowledged(pubcomp)).code, 0x92);
});

test('MQTT 5: a client that refuses a message with PUBACK or PUBREC is sent neither PUBREL nor it again [MQTT-4.4.0-2] [MQTT-4.3.3-4]', async () => {
  const options = { clientId: 'refuses', properties: [['sessionExpiryInterval', 60]] } as const;
  using publisher = await come(alice);
  const subscriber = await come(bob, options);
  await subscriber.subscribe([{ filter: topic, options: 2 }]);
  for (const [qos, type] of [
    [1, puback],
    [2, pubrec],
  ] as const) {
    await publisher.publish({ topic, payload: `${qos}`, qos });
    const { packetId = 0 } = await subscriber.message();
    subscriber.send(ack(type, packetId, 0x80));
    await subscriber.nothing();
  }
  await subscriber.drop();
  using back = await come(bob, { ...options, cleanStart: false });
  await back.nothing();
});

test('MQTT 5: message expiry does not stop an exchange that has begun, in either direction [MQTT-4.3.3-7] [MQTT-4.3.3-13]', async () => {
  const options = { clientId: 'expires', properties: [['sessionExpiryInterval', 60]] } as const;
  using publisher = await come(alice);
  const subscriber = await come(bob, options);
  await subscriber.subscribe([{ filter: topic, options: 2 }]);
  // The exchange with the reader has to begin before the message has expired, also when a disk takes its time.
  const seconds = 6;
  const properties = [['messageExpiryInterval', seconds]] as const;
  publisher.send(
    publisher.publishBytes({ topic, payload: 'short', qos: 2, packetId: 6, properties }),
  );
  assert.equal((await publisher.acknowledged(pubrec)).code, 0);
  const { packetId = 0 } = await subscriber.message();
  await subscriber.drop();
  // Longer than the message lives: expiry has no event to wait for.
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000 + 200));
  publisher.send(ack(pubrel, 6));
  assert.deepEqual(await publisher.acknowledged(pubcomp), { packetId: 6, code: 0, properties: [] });
  using back = await come(bob, { ...options, cleanStart: false });
  const resent = await back.message();
  assert.deepEqual([resent.packetId, resent.dup, resent.payload], [packetId, true, 'short']);
  back.send(ack(pubrec, packetId));
  assert.equal((await back.acknowledged(pubrel)).packetId, packetId);
  back.send(ack(pubcomp, packetId));
  await back.nothing();
});

test('MQTT 5: acknowledgements have codes of their own packets, and are refused with any other [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]', async () => {
  for (const bytes of [
    ack(puback, 1, 0x01),
    ack(puback, 1, 0x92),
    ack(pubrec, 1, 0x02),
    ack(pubrel, 1, 0x10),
    ack(pubcomp, 1, 0x80),
  ]) {
    using client = await come(alice);
    client.send(bytes);
    await client.refused(0x82);
  }
  using client = await come(alice);
  const codes: number[] = [];
  for (const each of ['t/nobody-wants-it', 'not/mine']) {
    client.send(client.publishBytes({ topic: each, payload: '', qos: 1 }));
    codes.push((await client.acknowledged(puback)).code);
    client.send(client.publishBytes({ topic: each, payload: '', qos: 2 }));
    codes.push((await client.acknowledged(pubrec)).code);
    client.send(ack(pubrel, 1));
    codes.push((await client.acknowledged(pubcomp)).code);
  }
  // No matching subscribers; not authorized, after which there is nothing to release.
  assert.deepEqual(codes, [0x10, 0x10, 0, 0x87, 0x87, 0x92]);
});

test('MQTT 5: an acknowledgement never outgrows what the client takes by a reason string or user properties [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4]', async () => {
  const most = 64;
  const properties: readonly Property[] = [['maximumPacketSize', most]];
  using client = await come(alice, { properties });
  const answers: Buffer[] = [];
  const answered = async (bytes: Buffer): Promise<void> => {
    client.send(bytes);
    answers.push((await client.next()).bytes);
  };
  for (const qos of [1, 2] as const) {
    await answered(client.publishBytes({ topic: 'not/mine', payload: '', qos, packetId: 7 }));
  }
  await answered(ack(pubrel, 8));
  client.send(client.publishBytes({ topic: 't/x', payload: '', qos: 2, packetId: 9 }));
  await client.acknowledged(pubrec);
  await client.subscribe([{ filter: 't/y', options: 2 }]);
  using publisher = await come(bob);
  await publisher.publish({ topic: 't/y', payload: '', qos: 2 });
  const { packetId = 0 } = await client.message();
  await answered(ack(pubrec, packetId));
  client.send(ack(pubcomp, packetId));
  await answered(subscribePacket(5, 2, [{ filter: 'not/mine', options: 0 }]));
  await answered(unsubscribePacket(5, 3, ['not/mine']));
  for (const each of answers) assert.ok(each.length <= most, each.toString('hex'));
  client.send(Buffer.of(0, 0));
  await client.refused(0x81);
});

// The last: what it retains others would be given.
for (const [name, version] of bothVersions) {
  test(`${name}: what is accepted is acknowledged, also to a client that has closed its side`, async () => {
    using client = await come(alice, { version });
    const ids = [1, 2, 3, 4, 5];
    client.send(
      ...ids.map((packetId) =>
        client.publishBytes({
          topic: `t/half/${packetId}`,
          payload: 'x',
          qos: 1,
          packetId,
          retain: true,
        }),
      ),
    );
    client.socket.end();
    for (const packetId of ids)
      assert.equal((await client.acknowledged(puback)).packetId, packetId);
    assert.equal(await client.end(), '');
  });
}
