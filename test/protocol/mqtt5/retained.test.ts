/** MQTT 5 §3.3.1.3 and §3.8.3.1: what is retained, what a new subscription brings of it, and how it is marked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bothVersions, wireGateway } from '../../harness/mqtt-wire.ts';

const { alice, bob, come } = await wireGateway(['retainedPerIdentity: 1000']);

const retainAsPublished = 0x08;
const onlyIfNew = 0x10;
const never = 0x20;

for (const [name, version] of bothVersions) {
  const topic = `t/kept/${version}`;
  const onTopic = (options: number) => [{ filter: topic, options }];

  test(`${name}: the last retained message of a topic takes the place of the one before [MQTT-3.3.1-5]`, async () => {
    using publisher = await come(alice, { version });
    for (const payload of ['1', '2', '3'])
      await publisher.publish({ topic, payload, retain: true });
    await publisher.publish({ topic: `${topic}/other`, payload: 'other', retain: true });
    using subscriber = await come(bob, { version });
    await subscriber.subscribe(onTopic(1));
    const kept = await subscriber.message();
    assert.deepEqual([kept.topic, kept.payload, kept.retain], [topic, '3', true]);
    await subscriber.nothing();
  });

  test(`${name}: a message without RETAIN is not kept, and leaves what is kept alone [MQTT-3.3.1-8]`, async () => {
    using publisher = await come(alice, { version });
    await publisher.publish({ topic, payload: 'kept', retain: true });
    await publisher.publish({ topic, payload: 'passing' });
    await publisher.publish({ topic, payload: '' });
    await publisher.publish({ topic: `${topic}/never`, payload: 'passing' });
    using subscriber = await come(bob, { version });
    await subscriber.subscribe(onTopic(0));
    assert.equal((await subscriber.message()).payload, 'kept');
    await subscriber.subscribe([{ filter: `${topic}/never`, options: 0 }]);
    await subscriber.nothing();
  });

  test(`${name}: a retained message without payload is delivered, removes what is kept and is not kept [MQTT-3.3.1-6] [MQTT-3.3.1-7]`, async () => {
    using publisher = await come(alice, { version });
    await publisher.publish({ topic, payload: 'kept', retain: true });
    using live = await come(bob, { version });
    await live.subscribe(onTopic(1));
    assert.equal((await live.message()).payload, 'kept');
    await publisher.publish({ topic, payload: '', retain: true });
    assert.equal((await live.message()).payload, '');
    using late = await come(bob, { version });
    await late.subscribe(onTopic(1));
    await late.nothing();
  });

  test(`${name}: a message of every QoS is retained and delivered with the lower of both [MQTT-3.3.1-5] [MQTT-3.8.4-8]`, async () => {
    using publisher = await come(alice, { version });
    publisher.send(publisher.publishBytes({ topic: `${topic}/q/0`, payload: '', qos: 0 }));
    publisher.send(
      publisher.publishBytes({ topic: `${topic}/q/0`, payload: 'x', qos: 0, retain: true }),
    );
    for (const qos of [1, 2] as const) {
      await publisher.publish({ topic: `${topic}/q/${qos}`, payload: 'x', qos, retain: true });
    }
    for (const granted of [0, 1, 2] as const) {
      using subscriber = await come(bob, { version });
      await subscriber.subscribe([{ filter: `${topic}/q/+`, options: granted }]);
      const delivered = new Map<string, number>();
      for (let n = 0; n < 3; n += 1) {
        const message = await subscriber.message();
        delivered.set(message.topic, message.qos);
      }
      for (const qos of [0, 1, 2]) {
        assert.equal(delivered.get(`${topic}/q/${qos}`), Math.min(qos, granted));
      }
    }
  });
}

test('MQTT 3.1.1: every SUBSCRIBE brings what is retained [MQTT-3.3.1-9]', async () => {
  using publisher = await come(alice, { version: 4 });
  await publisher.publish({ topic: 't/every', payload: 'x', retain: true });
  using subscriber = await come(bob, { version: 4 });
  for (let n = 0; n < 3; n += 1) {
    await subscriber.subscribe([{ filter: 't/every', options: 0 }]);
    assert.equal((await subscriber.message()).retain, true);
  }
  await subscriber.nothing();
});

test('MQTT 5: Retain Handling 0 brings what is retained with every SUBSCRIBE [MQTT-3.3.1-9] [MQTT-3.8.4-4]', async () => {
  using publisher = await come(alice);
  for (const last of ['a', 'b']) {
    await publisher.publish({ topic: `t/zero/${last}`, payload: 'x', retain: true });
  }
  using subscriber = await come(bob);
  for (let n = 0; n < 3; n += 1) {
    await subscriber.subscribe([{ filter: 't/zero/+', options: 0 }]);
    const topics = [(await subscriber.message()).topic, (await subscriber.message()).topic];
    assert.deepEqual(topics.toSorted(), ['t/zero/a', 't/zero/b']);
    await subscriber.nothing();
  }
});

test('MQTT 5: Retain Handling 1 brings it for a subscription that is new, and for no other [MQTT-3.3.1-10]', async () => {
  using publisher = await come(alice);
  await publisher.publish({ topic: 't/one', payload: 'x', retain: true });
  using subscriber = await come(bob);
  const filter = { filter: 't/one', options: onlyIfNew };
  await subscriber.subscribe([filter]);
  assert.equal((await subscriber.message()).payload, 'x');
  await subscriber.subscribe([filter]);
  await subscriber.subscribe([{ ...filter, options: onlyIfNew | 1 }]);
  await subscriber.nothing();
  // Another filter that matches the same topic is a new subscription.
  await subscriber.subscribe([{ filter: 't/one/#', options: onlyIfNew }]);
  assert.equal((await subscriber.message()).payload, 'x');
});

test('MQTT 5: Retain Handling 2 brings nothing [MQTT-3.3.1-11]', async () => {
  using publisher = await come(alice);
  await publisher.publish({ topic: 't/two', payload: 'kept', retain: true });
  using subscriber = await come(bob);
  await subscriber.subscribe([{ filter: 't/two', options: never }]);
  await publisher.publish({ topic: 't/two', payload: 'live' });
  assert.equal((await subscriber.message()).payload, 'live');
  await subscriber.nothing();
});

test('MQTT 5: live messages keep their RETAIN flag with Retain As Published, and have none without [MQTT-3.3.1-12] [MQTT-3.3.1-13]', async () => {
  using publisher = await come(alice);
  using plain = await come(bob);
  using published = await come(bob);
  await plain.subscribe([{ filter: 't/flag', options: never }]);
  await published.subscribe([{ filter: 't/flag', options: never | retainAsPublished }]);
  for (const retain of [true, false]) {
    await publisher.publish({ topic: 't/flag', payload: 'x', retain });
    assert.equal((await plain.message()).retain, false);
    assert.equal((await published.message()).retain, retain);
  }
});

test('MQTT 3.1.1: live messages have no RETAIN flag [MQTT-3.3.1-12]', async () => {
  using publisher = await come(alice, { version: 4 });
  using subscriber = await come(bob, { version: 4 });
  await subscriber.subscribe([{ filter: 't/flag4', options: 0 }]);
  await publisher.publish({ topic: 't/flag4', payload: 'x', retain: true });
  assert.equal((await subscriber.message()).retain, false);
});
