/** MQTT 5 §4.6 and §4.9: the order of messages and acknowledgements, and how many may be in flight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pingreqPacket, subscribePacket, unsubscribePacket } from '../../harness/mqtt-bytes.ts';
import { valuesOf } from '../../harness/mqtt-properties.ts';
import { ack, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';

const { alice, bob, come, dial } = await wireGateway([], { workers: 2 });

const { puback, pubrec, pubrel, pubcomp } = wireTypes;

for (const [name, version] of bothVersions) {
  test(`${name}: messages of one client come in their order, topic by topic and QoS by QoS [MQTT-4.6.0-5] [MQTT-4.6.0-6]`, async () => {
    using subscriber = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/order/#', options: 1 }]);
    using publisher = await come(alice, { version });
    const count = 300;
    const sent = Array.from({ length: count }, (_, n) => n);
    publisher.send(
      ...sent.map((n) =>
        publisher.publishBytes({
          topic: `t/order/${n % 2}`,
          payload: `${n}`,
          qos: n % 3 === 0 ? 0 : 1,
          packetId: 1 + (n % 60),
        }),
      ),
    );
    const got = new Map<string, number[]>();
    for (let n = 0; n < count; n += 1) {
      const { topic, payload, qos, packetId } = await subscriber.message();
      if (packetId !== undefined) subscriber.send(ack(puback, packetId));
      const key = `${topic} ${qos}`;
      got.set(key, [...(got.get(key) ?? []), Number(payload)]);
    }
    assert.equal(got.size, 4);
    for (const numbers of got.values()) {
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      );
    }
  });

  test(`${name}: PUBACK and PUBREC come in the order of the messages, PUBREL in the order of PUBREC [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4]`, async () => {
    using publisher = await come(alice, { version });
    // Every other message has to be stored for a client that is away, and waits for that; the next must not overtake it.
    const away = { version, clientId: `away-${version}`, cleanStart: false };
    const properties = version === 5 ? ([['sessionExpiryInterval', 60]] as const) : [];
    using durable = await come(bob, { ...away, properties });
    await durable.subscribe([{ filter: 't/acks/stored', options: 2 }]);
    await durable.drop();
    const ids = Array.from({ length: 30 }, (_, n) => n + 1);
    for (const [qos, answer] of [
      [1, puback],
      [2, pubrec],
    ] as const) {
      publisher.send(
        ...ids.map((packetId) => {
          const topic = packetId % 2 === 0 ? 't/acks/stored' : 't/acks/passing';
          return publisher.publishBytes({ topic, payload: '', qos, packetId });
        }),
      );
      const answered: number[] = [];
      for (const _ of ids) answered.push((await publisher.acknowledged(answer)).packetId);
      assert.deepEqual(answered, ids);
    }
    publisher.send(...ids.map((packetId) => ack(pubrel, packetId)));
    for (const packetId of ids) {
      assert.equal((await publisher.acknowledged(pubcomp)).packetId, packetId);
    }

    using subscriber = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/rel', options: 2 }]);
    const received: number[] = [];
    for (let n = 0; n < 10; n += 1) {
      await publisher.publish({ topic: 't/rel', payload: `${n}`, qos: 2 });
      received.push((await subscriber.message()).packetId ?? 0);
    }
    const order = received.toReversed();
    subscriber.send(...order.map((packetId) => ack(pubrec, packetId)));
    for (const packetId of order) {
      assert.equal((await subscriber.acknowledged(pubrel)).packetId, packetId);
    }
  });
}

test('MQTT 5: never more in flight than the client takes: PUBACK, PUBCOMP and a PUBREC that refuses make room, PUBREC does not [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]', async () => {
  using publisher = await come(alice);
  for (const most of [1, 2, 5]) {
    using subscriber = await come(bob, { properties: [['receiveMaximum', most]] });
    await subscriber.subscribe([{ filter: 't/quota', options: 2 }]);
    const total = most + 4;
    for (let n = 0; n < total; n += 1) {
      await publisher.publish({ topic: 't/quota', payload: `${n}`, qos: n % 2 === 0 ? 2 : 1 });
    }
    const waiting: { readonly packetId: number; readonly qos: number }[] = [];
    const receive = async (expected: string): Promise<void> => {
      const { payload, qos, packetId = 0 } = await subscriber.message();
      assert.equal(payload, expected);
      waiting.push({ packetId, qos });
    };
    for (let n = 0; n < most; n += 1) await receive(`${n}`);
    await subscriber.nothing();
    for (let n = most; n < total; n += 1) {
      const oldest = waiting.shift();
      assert.ok(oldest !== undefined);
      const { packetId } = oldest;
      if (oldest.qos === 1) subscriber.send(ack(puback, packetId));
      else if (n === most) subscriber.send(ack(pubrec, packetId, 0x80));
      else {
        subscriber.send(ack(pubrec, packetId));
        assert.equal((await subscriber.acknowledged(pubrel)).packetId, packetId);
        await subscriber.nothing();
        subscriber.send(ack(pubcomp, packetId));
      }
      await receive(`${n}`);
      await subscriber.nothing();
    }
  }
});

test('MQTT 5: everything but PUBLISH of QoS 1 and 2 goes on when the client has all that it takes [MQTT-3.3.4-10] [MQTT-4.9.0-3]', async () => {
  using publisher = await come(alice);
  using subscriber = await come(bob, { properties: [['receiveMaximum', 1]] });
  await subscriber.subscribe([{ filter: 't/full', options: 2 }]);
  await publisher.publish({ topic: 't/full', payload: 'in flight', qos: 2 });
  await publisher.publish({ topic: 't/full', payload: 'waits' });
  const { packetId = 0 } = await subscriber.message();
  subscriber.send(pingreqPacket());
  await subscriber.expect(wireTypes.pingresp);
  subscriber.send(subscribePacket(5, 8, [{ filter: 't/more', options: 1 }]));
  await subscriber.expect(wireTypes.suback);
  subscriber.send(subscriber.publishBytes({ topic: 't/else', payload: '', qos: 1, packetId: 3 }));
  await subscriber.acknowledged(puback);
  await subscriber.publish({ topic: 't/else', payload: '', qos: 2, packetId: 4 });
  subscriber.send(unsubscribePacket(5, 9, ['t/more']));
  await subscriber.expect(wireTypes.unsuback);
  subscriber.send(ack(pubrec, packetId));
  assert.equal((await subscriber.acknowledged(pubrel)).packetId, packetId);
  subscriber.send(ack(pubcomp, packetId));
  assert.equal((await subscriber.message()).payload, 'waits');
});

test('MQTT 5: a client that has more of QoS 2 in flight than CONNACK allowed is disconnected with 0x93 [MQTT-3.3.4-7]', async () => {
  using client = await dial(alice);
  const { properties } = await client.connect();
  const most = Number(valuesOf(properties, 'receiveMaximum')[0]);
  assert.ok(most > 0 && most <= 1_000);
  const publish = (packetId: number): Buffer =>
    client.publishBytes({ topic: 't/too-many', payload: '', qos: 2, packetId });
  for (let packetId = 1; packetId <= most; packetId += 1) client.send(publish(packetId));
  for (let packetId = 1; packetId <= most; packetId += 1) {
    assert.equal((await client.acknowledged(pubrec)).packetId, packetId);
  }
  // PUBCOMP makes room for one.
  client.send(ack(pubrel, 1));
  await client.acknowledged(pubcomp);
  client.send(publish(1));
  await client.acknowledged(pubrec);
  client.send(publish(most + 1));
  await client.refused(0x93);
});
