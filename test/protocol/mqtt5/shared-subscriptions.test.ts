/** MQTT 5 §4.8.2: shared subscriptions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribePacket, unsubscribePacket } from '../../harness/mqtt-bytes.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { ack, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';
import type { WireClient, WireOptions } from '../../harness/mqtt-wire.ts';

const { alice, bob, come } = await wireGateway([], { workers: 2 });

const { puback, pubrec, pubrel, pubcomp } = wireTypes;
const noLocal = 0x04;
const kept: readonly Property[] = [['sessionExpiryInterval', 3_600]];

let fences = 0;
const fenceOf = new WeakMap<WireClient, string>();

/** Subscribers to the filter, each with a connection and with a topic of its own to fence its messages off. */
async function members(
  filter: string,
  qos: number,
  options: readonly WireOptions[],
): Promise<readonly WireClient[]> {
  const clients: WireClient[] = [];
  for (const each of options) {
    const client = await come(bob, each);
    fences += 1;
    const fence = `t/fence/${fences}`;
    fenceOf.set(client, fence);
    const filters = [
      { filter, options: qos },
      { filter: fence, options: 1 },
    ];
    assert.deepEqual(await client.subscribe(filters), [qos, 1]);
    clients.push(client);
  }
  return clients;
}

/**
 * What each of them has got, up to a message to it alone from the same publisher.
 *
 * @param code with which QoS 1 and 2 are acknowledged; of 0x80 and more it ends an exchange of QoS 2.
 */
async function drained(
  publisher: WireClient,
  clients: readonly WireClient[],
  code = 0,
): Promise<readonly (readonly string[])[]> {
  const all: string[][] = [];
  for (const client of clients) {
    const fence = fenceOf.get(client) ?? '';
    await publisher.publish({ topic: fence, payload: '' });
    const got: string[] = [];
    for (;;) {
      const { topic, payload, packetId, qos } = await client.message();
      if (packetId !== undefined) client.send(ack(qos === 1 ? puback : pubrec, packetId, code));
      if (topic === fence) break;
      got.push(payload);
    }
    all.push(got);
  }
  return all;
}

test('each message goes to one member of each group, and to every other subscriber', async () => {
  using publisher = await come(alice);
  const [one, two] = await members('$share/g/t/each', 1, [{}, {}]);
  const [other] = await members('$share/h/t/each', 1, [{}]);
  const [plain] = await members('t/each', 1, [{}]);
  assert.ok(one && two && other && plain);
  const payloads = Array.from({ length: 20 }, (_, n) => `${n}`);
  for (const payload of payloads) await publisher.publish({ topic: 't/each', payload });
  const [first = [], second = [], third, fourth] = await drained(publisher, [
    one,
    two,
    other,
    plain,
  ]);
  assert.deepEqual([...first, ...second].toSorted(), payloads.toSorted());
  assert.ok(first.length > 0 && second.length > 0, `${first.length} and ${second.length}`);
  assert.deepEqual(third, payloads);
  assert.deepEqual(fourth, payloads);
  for (const client of [one, two, other, plain]) client[Symbol.dispose]();
});

test('$share is followed by a name of a character or more, without wildcards, and by a filter [MQTT-4.8.2-1] [MQTT-4.8.2-2]', async () => {
  for (const filter of [
    '$share/',
    '$share/g',
    '$share/g/',
    '$share//t/x',
    '$share/+/t/x',
    '$share/#',
    '$share/g#/t/x',
    '$share/a+/t/x',
  ]) {
    using client = await come(bob);
    client.send(subscribePacket(5, 1, [{ filter, options: 1 }]));
    await client.refused(0x8f);
  }
  using client = await come(bob);
  const filters = ['$share/g/t/x', '$share/\u{e9}/t/+', '$share/g/t/#', '$share/$share/t/x'];
  assert.deepEqual(
    await client.subscribe(filters.map((filter) => ({ filter, options: 1 }))),
    [1, 1, 1, 1],
  );
  // What does not start with $share/ is a filter like any other, and not granted here.
  const plain = ['$share', '$shared/g/t/x', '$SHARE/g/t/x'];
  const codes = await client.subscribe(plain.map((filter) => ({ filter, options: 1 })));
  assert.deepEqual(codes, [0x87, 0x87, 0x87]);
});

test('No Local on a shared subscription is a protocol error [MQTT-3.8.3-4]', async () => {
  using client = await come(bob);
  client.send(subscribePacket(5, 1, [{ filter: '$share/g/t/x', options: 1 | noLocal }]));
  await client.refused(0x82);
});

test('a member gets messages with the QoS that was granted to it [MQTT-4.8.2-3]', async () => {
  using publisher = await come(alice);
  for (const granted of [0, 1, 2]) {
    const [member] = await members(`$share/q${granted}/t/granted`, granted, [{}]);
    assert.ok(member);
    for (const published of [1, 2] as const) {
      await publisher.publish({ topic: 't/granted', payload: '', qos: published });
      const { qos, packetId } = await member.message();
      assert.equal(qos, Math.min(granted, published));
      if (qos === 1) member.send(ack(puback, packetId ?? 0));
    }
    await member.drop();
  }
});

test('a message of QoS 2 on its way to a member is completed with that member when it comes back [MQTT-4.8.2-4]', async () => {
  using publisher = await come(alice);
  const filter = '$share/done/t/done';
  const options = { clientId: 'comes-back', properties: kept };
  const [member] = await members(filter, 2, [options]);
  assert.ok(member);
  await publisher.publish({ topic: 't/done', payload: 'x', qos: 2 });
  const { packetId = 0 } = await member.message();
  const [other] = await members(filter, 2, [{}]);
  assert.ok(other);
  await member.drop();
  const back = await come(bob, { ...options, cleanStart: false });
  const resent = await back.message();
  assert.deepEqual([resent.payload, resent.packetId, resent.dup], ['x', packetId, true]);
  back.send(ack(pubrec, packetId));
  assert.equal((await back.acknowledged(pubrel)).packetId, packetId);
  back.send(ack(pubcomp, packetId));
  await back.nothing();
  assert.deepEqual(await drained(publisher, [other]), [[]]);
  await back.drop();
  await other.drop();
});

test('a message of QoS 2 on its way to a member whose session ends goes to nobody else [MQTT-4.8.2-5]', async () => {
  using publisher = await come(alice);
  const filter = '$share/ends/t/ends';
  const options = { clientId: 'ends', properties: kept };
  const [member] = await members(filter, 2, [options]);
  assert.ok(member);
  await publisher.publish({ topic: 't/ends', payload: 'x', qos: 2 });
  await member.message();
  const [other] = await members(filter, 2, [{}]);
  assert.ok(other);
  await member.drop();
  const [clean] = await members('t/nothing', 1, [{ ...options, cleanStart: true }]);
  assert.ok(clean);
  assert.deepEqual(await drained(publisher, [other, clean]), [[], []]);
  await clean.drop();
  await other.drop();
});

test('a message that a member refuses goes to nobody else [MQTT-4.8.2-6]', async () => {
  using publisher = await come(alice);
  const clients = await members('$share/refuses/t/refuses', 2, [{}, {}]);
  const payloads = Array.from({ length: 8 }, (_, n) => `${n}`);
  for (const [n, payload] of payloads.entries()) {
    await publisher.publish({ topic: 't/refuses', payload, qos: n % 2 === 0 ? 1 : 2 });
  }
  const refused = await drained(publisher, clients, 0x83);
  assert.deepEqual(refused.flat().toSorted(), payloads);
  assert.deepEqual(await drained(publisher, clients), [[], []]);
  for (const client of clients) await client.drop();
});

test('UNSUBSCRIBE of a shared subscription is of that name and filter', async () => {
  using publisher = await come(alice);
  using client = await come(bob);
  const filters = ['$share/a/t/leave', '$share/b/t/leave'];
  await client.subscribe(filters.map((filter) => ({ filter, options: 0 })));
  client.send(unsubscribePacket(5, 1, ['$share/a/t/leave', 't/leave', '$share/c/t/leave']));
  const { bytes } = await client.expect(wireTypes.unsuback);
  assert.equal(bytes.toString('hex'), 'b006000100001111');
  await publisher.publish({ topic: 't/leave', payload: 'b' });
  assert.equal((await client.message()).payload, 'b');
  await client.nothing();
});
