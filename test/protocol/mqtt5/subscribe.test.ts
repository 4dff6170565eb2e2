/** MQTT 5 §3.8 to §3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet, subscribePacket, unsubscribePacket } from '../../harness/mqtt-bytes.ts';
import { text, u16 } from '../../harness/mqtt-fields.ts';
import { valuesOf } from '../../harness/mqtt-properties.ts';
import { ack, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';

const { alice, bob, come } = await wireGateway();

const noLocal = 0x04;

for (const [name, version] of bothVersions) {
  const none = Buffer.alloc(version - 4);
  const refused = version === 5 ? 0x87 : 0x80;

  test(`${name}: SUBSCRIBE and UNSUBSCRIBE without a filter are protocol errors [MQTT-3.8.3-2] [MQTT-3.10.3-2]`, async () => {
    for (const bytes of [subscribePacket(version, 1, []), unsubscribePacket(version, 1, [])]) {
      using client = await come(alice, { version });
      client.send(bytes);
      await client.refused(0x82);
    }
  });

  test(`${name}: reserved subscription options are refused [MQTT-3.8.3-5]`, async () => {
    const wrong = version === 5 ? [0x40, 0x80, 0xc0, 0x41] : [0x04, 0x08, 0x40, 0x80, 0xff];
    for (const options of wrong) {
      using client = await come(alice, { version });
      client.send(subscribePacket(version, 1, [{ filter: 't/x', options }]));
      await client.refused(0x81);
    }
    using qos3 = await come(alice, { version });
    qos3.send(subscribePacket(version, 1, [{ filter: 't/x', options: 3 }]));
    await qos3.refused(version === 5 ? 0x82 : 0x81);
  });

  test(`${name}: a SUBACK for each SUBSCRIBE, a code for each filter, in their order [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]`, async () => {
    using client = await come(alice, { version });
    const codes = await client.subscribe(
      [
        { filter: 't/a', options: 2 },
        { filter: 'not/mine', options: 2 },
        { filter: 't/b', options: 0 },
        { filter: '#', options: 1 },
        { filter: 't/c', options: 1 },
        { filter: 't/a', options: 0 },
      ],
      [],
      0xfedc,
    );
    assert.deepEqual(codes, [2, refused, 0, refused, 1, 0]);
    // As if each had come by itself: the last one for t/a counts, and what was refused is not there.
    using publisher = await come(bob, { version });
    for (const topic of ['t/a', 't/b', 't/c']) await publisher.publish({ topic, payload: topic });
    const got: (readonly [string, number])[] = [];
    for (let n = 0; n < 3; n += 1) {
      const { topic, qos } = await client.message();
      got.push([topic, qos]);
    }
    assert.deepEqual(got, [
      ['t/a', 0],
      ['t/b', 0],
      ['t/c', 1],
    ]);
    await client.nothing();
  });

  test(`${name}: the same filter again takes the place of its subscription, and no message is lost over it [MQTT-3.8.4-3] [MQTT-3.8.4-4]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/again/+', options: 0 }]);
    const count = 60;
    const payloads: string[] = [];
    for (let n = 0; n < count; n += 1) {
      const qos = n % 2;
      subscriber.send(subscribePacket(version, 9, [{ filter: 't/again/+', options: qos }]));
      await publisher.publish({ topic: 't/again/x', payload: `${n}` });
    }
    for (let answers = 0; answers < 2 * count; answers += 1) {
      const next = await subscriber.next();
      if (next.type === wireTypes.suback) continue;
      assert.equal(next.type, wireTypes.publish);
      payloads.push(next.body.subarray(11 + none.length + (next.flags & 2)).toString());
      if ((next.flags & 2) !== 0)
        subscriber.send(ack(wireTypes.puback, next.body.readUInt16BE(11)));
    }
    assert.deepEqual(
      payloads,
      Array.from({ length: count }, (_, n) => `${n}`),
    );
    await subscriber.nothing();
  });

  test(`${name}: a delivery has the lower one of the QoS published and the QoS granted [MQTT-3.8.4-8]`, async () => {
    using publisher = await come(bob, { version });
    for (const granted of [0, 1, 2] as const) {
      using subscriber = await come(alice, { version });
      assert.deepEqual(await subscriber.subscribe([{ filter: 't/min', options: granted }]), [
        granted,
      ]);
      publisher.send(publisher.publishBytes({ topic: 't/min', payload: '', qos: 0 }));
      await publisher.publish({ topic: 't/min', payload: '' });
      await publisher.publish({ topic: 't/min', payload: '', qos: 2 });
      for (const published of [0, 1, 2]) {
        assert.equal((await subscriber.message()).qos, Math.min(granted, published));
      }
    }
  });

  test(`${name}: UNSUBSCRIBE deletes the filter that is the same letter by letter, and no other [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-6]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    const filters = ['t/u/a', 't/u/+', 't/u/#', 't/u/\u{e9}', 't/u/e\u{301}'];
    await subscriber.subscribe(filters.map((filter) => ({ filter, options: 0 })));
    const received = async (topic: string): Promise<boolean> => {
      await publisher.publish({ topic, payload: topic });
      await publisher.publish({ topic: 't/u-fence', payload: '' });
      const { topic: first } = await subscriber.message();
      if (first !== 't/u-fence') assert.equal((await subscriber.message()).topic, 't/u-fence');
      return first === topic;
    };
    await subscriber.subscribe([{ filter: 't/u-fence', options: 0 }]);
    const drop = async (...gone: readonly string[]): Promise<Buffer> => {
      subscriber.send(unsubscribePacket(version, 5, gone));
      return (await subscriber.expect(wireTypes.unsuback)).body;
    };
    assert.ok(await received('t/u/b'));
    const body = await drop('t/u/+', 't/u/#', 't/u/A', '#', 't/u');
    assert.deepEqual(
      [...body],
      version === 5 ? [0, 5, 0, 0, 0, 0x11, 0x11, 0x11] : [0, 5],
      'a code for each, in their order',
    );
    assert.ok(!(await received('t/u/b')));
    assert.ok(await received('t/u/a'));
    await drop('t/u/\u{e9}');
    assert.ok(!(await received('t/u/\u{e9}')));
    assert.ok(await received('t/u/e\u{301}'));
  });

  test(`${name}: UNSUBSCRIBE is answered, also when there was nothing to delete [MQTT-3.10.4-4] [MQTT-3.10.4-5]`, async () => {
    using client = await come(alice, { version });
    for (const packetId of [1, 0xabcd]) {
      client.send(unsubscribePacket(version, packetId, ['t/never', 'not/mine']));
      const { body } = await client.expect(wireTypes.unsuback);
      assert.deepEqual(body, Buffer.concat([u16(packetId), Buffer.from(rest())]));
    }
    function rest(): readonly number[] {
      return version === 5 ? [0, 0x11, 0x11] : [];
    }
  });

  test(`${name}: after UNSUBSCRIBE what was begun is finished and nothing new is sent [MQTT-3.10.4-2] [MQTT-3.10.4-3]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/begun', options: 2 }]);
    await publisher.publish({ topic: 't/begun', payload: '1' });
    await publisher.publish({ topic: 't/begun', payload: '2', qos: 2 });
    const first = await subscriber.message();
    const second = await subscriber.message();
    subscriber.send(unsubscribePacket(version, 1, ['t/begun']));
    await subscriber.expect(wireTypes.unsuback);
    await publisher.publish({ topic: 't/begun', payload: 'new', qos: 2 });
    subscriber.send(ack(wireTypes.puback, first.packetId ?? 0));
    subscriber.send(ack(wireTypes.pubrec, second.packetId ?? 0));
    assert.equal((await subscriber.acknowledged(wireTypes.pubrel)).packetId, second.packetId);
    subscriber.send(ack(wireTypes.pubcomp, second.packetId ?? 0));
    await subscriber.nothing();
  });

  test(`${name}: SUBSCRIBE and UNSUBSCRIBE that end inside a field are malformed [MQTT-4.13.1-1]`, async () => {
    for (const bytes of [
      packet(8, 2, [u16(1), none, text('t/x')]),
      packet(8, 2, [u16(1), none, u16(9), Buffer.from('t/x')]),
      packet(10, 2, [u16(1), none, u16(9), Buffer.from('t/x')]),
      packet(8, 2, [Buffer.of(1)]),
    ]) {
      using client = await come(alice, { version });
      client.send(bytes);
      await client.refused(0x81);
    }
  });
}

test('MQTT 5: with No Local a session does not get what it publishes itself, and others do [MQTT-3.8.3-3]', async () => {
  using own = await come(alice, { clientId: 'own' });
  using sibling = await come(alice, { clientId: 'sibling' });
  for (const client of [own, sibling]) {
    await client.subscribe([{ filter: 't/local', options: noLocal }]);
  }
  own.send(own.publishBytes({ topic: 't/local', payload: 'mine', qos: 0 }));
  assert.equal((await sibling.message()).payload, 'mine');
  await own.nothing();
  sibling.send(sibling.publishBytes({ topic: 't/local', payload: 'theirs', qos: 0 }));
  assert.equal((await own.message()).payload, 'theirs');
  await sibling.nothing();
});

test('MQTT 5: a subscription made anew has the identifier of the last SUBSCRIBE [MQTT-3.8.4-3]', async () => {
  using client = await come(alice);
  const filters = [{ filter: 't/anew', options: 0 }];
  const identified = async (): Promise<readonly unknown[]> => {
    client.send(client.publishBytes({ topic: 't/anew', payload: '', qos: 0 }));
    return valuesOf((await client.message()).properties, 'subscriptionIdentifier');
  };
  await client.subscribe(filters, [['subscriptionIdentifier', 3]]);
  assert.deepEqual(await identified(), [3]);
  await client.subscribe(filters, [['subscriptionIdentifier', 4]]);
  assert.deepEqual(await identified(), [4]);
  await client.subscribe(filters);
  assert.deepEqual(await identified(), []);
});

test('MQTT 5: UNSUBACK has a code of its own for each filter, in their order [MQTT-3.11.3-1] [MQTT-3.11.3-2]', async () => {
  using client = await come(alice);
  await client.subscribe([
    { filter: 't/1', options: 0 },
    { filter: 't/2', options: 0 },
  ]);
  client.send(unsubscribePacket(5, 2, ['t/0', 't/1', 't/3', 't/2', 't/1']));
  const { bytes } = await client.expect(wireTypes.unsuback);
  assert.equal(bytes.toString('hex'), 'b0080002001100110011');
});
