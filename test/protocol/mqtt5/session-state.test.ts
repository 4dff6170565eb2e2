/** MQTT 5 §4.1: everything that a session consists of is there when its client comes back, on whichever worker. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribePacket, unsubscribePacket } from '../../harness/mqtt-bytes.ts';
import { valuesOf } from '../../harness/mqtt-properties.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { ack, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';
import type { WireClient, WireOptions } from '../../harness/mqtt-wire.ts';

const { alice, bob, come, dial } = await wireGateway([], { workers: 2 });

const { puback, pubrec, pubrel, pubcomp } = wireTypes;
const noLocal = 0x04;
const retainAsPublished = 0x08;
const onlyIfNew = 0x10;
const expiry: readonly Property[] = [['sessionExpiryInterval', 3_600]];

let sessions = 0;

/** A client id of its own, and what goes on with its session. */
function fresh(): WireOptions {
  sessions += 1;
  return { clientId: `state-${sessions}`, cleanStart: false, properties: expiry };
}

async function back(options: WireOptions): Promise<WireClient> {
  const client = await dial(bob, options.version);
  const { code, sessionPresent } = await client.connect(options);
  assert.deepEqual([code, sessionPresent], [0, true]);
  return client;
}

test('MQTT 5: options and identifiers of subscriptions, as they were last [MQTT-3.1.2-5] [MQTT-3.8.4-3]', async () => {
  using publisher = await come(alice);
  const options = fresh();
  const first = await come(bob, options);
  await first.subscribe([{ filter: 't/a', options: 0 }], [['subscriptionIdentifier', 1]]);
  await first.subscribe(
    [{ filter: 't/a', options: 2 | retainAsPublished }],
    [['subscriptionIdentifier', 300]],
  );
  await first.subscribe([{ filter: 't/b', options: 1 | noLocal }]);
  await first.subscribe([{ filter: 't/gone', options: 1 }]);
  first.send(unsubscribePacket(5, 9, ['t/gone']));
  await first.expect(wireTypes.unsuback);
  await first.drop();
  await publisher.publish({ topic: 't/gone', payload: '' });
  await publisher.publish({ topic: 't/a', payload: 'away', qos: 2, retain: true });
  using again = await back(options);
  await publisher.publish({ topic: 't/a', payload: 'here', qos: 2, retain: true });
  for (const payload of ['away', 'here']) {
    const message = await again.message();
    assert.deepEqual([message.payload, message.qos, message.retain], [payload, 2, true]);
    assert.deepEqual(valuesOf(message.properties, 'subscriptionIdentifier'), [300]);
  }
  again.send(again.publishBytes({ topic: 't/b', payload: 'own', qos: 0 }));
  await again.nothing();
});

test('MQTT 5: a subscription that a session brings with it is not new [MQTT-3.3.1-10]', async () => {
  using publisher = await come(alice);
  await publisher.publish({ topic: 't/kept', payload: 'x', retain: true });
  const options = fresh();
  const first = await come(bob, options);
  await first.subscribe([{ filter: 't/kept', options: onlyIfNew }]);
  assert.equal((await first.message()).payload, 'x');
  await first.drop();
  using again = await back(options);
  await again.subscribe([{ filter: 't/kept', options: onlyIfNew }]);
  await again.nothing();
});

test('MQTT 5: queued messages, with their properties, in their order [MQTT-4.5.0-1] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-4.6.0-5]', async () => {
  using publisher = await come(alice);
  const options = fresh();
  const first = await come(bob, options);
  await first.subscribe([{ filter: 't/queue/#', options: 2 }]);
  await first.drop();
  const properties: readonly Property[] = [
    ['payloadFormatIndicator', 1],
    ['contentType', 'text/plain'],
    ['responseTopic', 't/answers'],
    ['correlationData', Buffer.of(0, 255)],
    ['userProperty', ['z', '1']],
    ['userProperty', ['a', '2']],
    ['userProperty', ['z', '3']],
  ];
  const count = 120;
  for (let n = 0; n < count; n += 1) {
    const publish = { topic: `t/queue/${n % 3}`, payload: `${n}`, properties };
    await publisher.publish({ ...publish, qos: n % 2 === 0 ? 1 : 2, packetId: 1 + n });
  }
  using again = await back(options);
  const payloads: string[] = [];
  for (let n = 0; n < count;) {
    const next = await again.next();
    if (next.type === pubrel) {
      again.send(ack(pubcomp, next.body.readUInt16BE(0)));
      continue;
    }
    assert.equal(next.type, wireTypes.publish);
    const { payload, qos, packetId = 0, properties: got, dup } = again.read(next);
    assert.deepEqual([qos, dup], [n % 2 === 0 ? 1 : 2, false]);
    assert.deepEqual(new Set(got), new Set(properties));
    assert.deepEqual(valuesOf(got, 'userProperty'), valuesOf(properties, 'userProperty'));
    again.send(ack(qos === 1 ? puback : pubrec, packetId));
    payloads.push(payload);
    n += 1;
  }
  assert.deepEqual(
    payloads,
    Array.from({ length: count }, (_, n) => `${n}`),
  );
});

test('MQTT 5: a client that takes less than before is not sent more for it, and nothing is lost [MQTT-3.3.4-9] [MQTT-4.9.0-2] [MQTT-4.4.0-1]', async () => {
  using publisher = await come(alice);
  const options = fresh();
  const first = await come(bob, options);
  await first.subscribe([{ filter: 't/less', options: 1 }]);
  for (let n = 0; n < 6; n += 1) {
    await publisher.publish({ topic: 't/less', payload: `${n}` });
    await first.message();
  }
  await first.drop();
  const properties: readonly Property[] = [...expiry, ['receiveMaximum', 2]];
  using again = await back({ ...options, properties });
  const waiting = [await again.message(), await again.message()];
  const payloads = waiting.map(({ payload }) => payload);
  await again.nothing();
  for (let n = 2; n < 6; n += 1) {
    again.send(ack(puback, waiting.shift()?.packetId ?? 0));
    const message = await again.message();
    assert.equal(message.dup, true);
    waiting.push(message);
    payloads.push(message.payload);
    await again.nothing();
  }
  assert.deepEqual(payloads, ['0', '1', '2', '3', '4', '5']);
});

test('MQTT 5: what is too large for the client that comes back is dropped as if it were done [MQTT-3.1.2-24] [MQTT-3.1.2-25]', async () => {
  using publisher = await come(alice);
  const options = fresh();
  const first = await come(bob, options);
  await first.subscribe([{ filter: 't/large', options: 2 }]);
  const large = 'x'.repeat(200);
  for (const qos of [1, 2] as const) {
    await publisher.publish({ topic: 't/large', payload: large, qos });
    await first.message();
  }
  await first.drop();
  for (const qos of [1, 2] as const) {
    await publisher.publish({ topic: 't/large', payload: large, qos });
  }
  await publisher.publish({ topic: 't/large', payload: 'small' });
  const properties: readonly Property[] = [...expiry, ['maximumPacketSize', 100]];
  using again = await back({ ...options, properties });
  for (;;) {
    const next = await again.next();
    assert.ok(next.bytes.length <= 100);
    // An exchange of QoS 2 that the client may have accepted is brought to its end.
    if (next.type === pubrel) again.send(ack(pubcomp, next.body.readUInt16BE(0)));
    else {
      assert.equal(again.read(next).payload, 'small');
      again.send(ack(puback, again.read(next).packetId ?? 0));
      break;
    }
  }
  await again.nothing();
});

for (const [name, version] of bothVersions) {
  test(`${name}: the session of one identity is not another's, whatever its client id [MQTT-3.1.3-2]`, async () => {
    using publisher = await come(alice, { version });
    const options = { ...fresh(), version };
    const mine = await come(bob, options);
    await mine.subscribe([{ filter: 't/mine', options: 1 }]);
    await mine.drop();
    await publisher.publish({ topic: 't/mine', payload: 'for bob' });
    const other = await dial(alice, version);
    assert.equal((await other.connect(options)).sessionPresent, false);
    await other.nothing();
    await other.drop();
    using again = await back(options);
    assert.equal((await again.message()).payload, 'for bob');
  });

  test(`${name}: a subscription that was just acknowledged is kept when the connection breaks behind it [MQTT-3.1.2-23] [MQTT-4.5.0-1]`, async () => {
    using publisher = await come(alice, { version });
    for (let n = 0; n < 5; n += 1) {
      const options = { ...fresh(), version };
      const first = await come(bob, options);
      first.send(subscribePacket(version, 1, [{ filter: 't/just', options: 1 }]));
      await first.expect(wireTypes.suback);
      first.socket.destroy();
      await publisher.publish({ topic: 't/just', payload: `${n}` });
      const again = await back(options);
      assert.equal((await again.message()).payload, `${n}`);
      await again.leave();
    }
  });
}

for (const [from, to] of [
  [5, 4],
  [4, 5],
] as const) {
  const name = (version: 4 | 5): string => (version === 5 ? 'MQTT 5' : 'MQTT 3.1.1');

  test(`a session that was begun in ${name(from)} goes on in ${name(to)} [MQTT-3.1.2-5]`, async () => {
    using publisher = await come(alice);
    const options = fresh();
    const topic = `t/across/${to}`;
    const first = await come(bob, { ...options, version: from });
    await first.subscribe([{ filter: topic, options: 2 }]);
    await publisher.publish({ topic, payload: 'in flight', qos: 2 });
    const { packetId } = await first.message();
    await first.drop();
    const properties = [['contentType', 'text/plain']] as const;
    await publisher.publish({ topic, payload: 'queued', properties });
    using again = await back({ ...options, version: to });
    const resent = await again.message();
    assert.deepEqual([resent.packetId, resent.dup, resent.payload], [packetId, true, 'in flight']);
    const queued = await again.message();
    assert.deepEqual([queued.payload, queued.properties], ['queued', to === 5 ? properties : []]);
    again.send(ack(pubrec, packetId ?? 0));
    assert.equal((await again.acknowledged(pubrel)).packetId, packetId);
    again.send(ack(pubcomp, packetId ?? 0), ack(puback, queued.packetId ?? 0));
    await again.nothing();
  });
}
