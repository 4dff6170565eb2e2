/**
 * Commands to devices over MQTT: kept for a device that is away, given until it acknowledges them, once per connection,
 * in their order, on whichever worker it comes in.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { packetTypes, publishPacket, readPuback } from '../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import type { ClientOptions } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const most = 6;
const config = [
  'roles:',
  '  desk: { allow: { publish: [ devices/+/commands/# ], subscribe: [ devices/+/commands/# ] } }',
  `limits: { commandsPerDevice: ${most}, commandBytesPerDevice: 4KiB }`,
].join('\n');
const { gateway, connect } = await sharedGateway({ config, workers: 2 });
const { workers } = gateway.run();
const desk = await gateway.service('desk', 'desk');
const sender = await connect(desk, { clientId: 'sender' });
const sender4 = await connect(desk, { clientId: 'sender4', version: 4 });
const ids = Array.from({ length: 16 }, (_, n) => `d${n + 1}`);
const devices = [...(await gateway.devices(...ids))];

const nobody = 0x10;
const quotaExceeded = 0x97;

/** A device that no other test has seen. */
function newDevice(): Identity {
  const device = devices.pop();
  assert.ok(device !== undefined, 'make more devices');
  return device;
}

function send(device: Identity, payload: string, from: RawMqtt = sender): Promise<number> {
  return from.publish(`devices/${device.id}/commands/go`, payload);
}

/** The device comes in and asks for its commands. */
async function comes(device: Identity, options: ClientOptions & { qos?: 0 | 1 } = {}) {
  const { qos = 1, ...rest } = options;
  const client = await connect(device, { clientId: 'agent', ...rest });
  const filters = [{ filter: `devices/${device.id}/commands/#`, options: qos }];
  assert.deepEqual(await client.subscribeTo(filters), [qos]);
  return client;
}

/** What the device gets up to a command that is sent now, which has to come after everything before it. */
async function receivedBy(client: RawMqtt, device: Identity): Promise<readonly string[]> {
  const fence = `fence ${Math.random()}`;
  assert.equal(await send(device, fence), 0);
  await client.message(({ payload }) => payload === fence);
  return client.messages
    .map(({ payload }) => payload)
    .filter((payload) => !payload.startsWith('fence'));
}

test('nothing is kept for who is not registered', async () => {
  assert.equal(await sender.publish('devices/stranger/commands/go', 'x'), nobody);
});

for (const version of [5, 4] as const satisfies readonly MqttVersion[]) {
  test(`MQTT ${version}: a command to a device that is away is acknowledged, given when it comes, and gone when it says so`, async () => {
    const device = newDevice();
    assert.equal(await send(device, 'one', version === 5 ? sender : sender4), 0);
    {
      using client = await comes(device, { version });
      const { topic, payload, qos, retain } = await client.message(() => true);
      assert.deepEqual(
        { topic, payload, qos, retain },
        { topic: `devices/${device.id}/commands/go`, payload: 'one', qos: 1, retain: false },
      );
      // Its PUBACK has been read when the answer to what comes after it is there, and is durable soon after.
      await client.ping();
    }
    await until('it is gone', 10_000, async () => {
      using client = await comes(device, { version });
      return !(await receivedBy(client, device)).includes('one');
    });
  });
}

test('what a device does not acknowledge is given again, in its order, on every worker', async () => {
  const device = newDevice();
  for (const payload of ['1', '2', '3']) assert.equal(await send(device, payload), 0);
  const found = await onEachWorker(gateway, workers, async () => {
    const client = await comes(device, { clientId: '', acknowledges: false });
    await client.message(() => client.messages.length === 3);
    assert.deepEqual(
      client.messages.map(({ payload }) => payload),
      ['1', '2', '3'],
    );
    return { client };
  });
  const [first, second] = [...found.values()].map(({ client }) => client);
  assert.ok(first !== undefined && second !== undefined);
  // Both sessions have all of them; the first acknowledgement counts for both.
  first.acknowledge(first.messages[1]!);
  second.acknowledge(second.messages[0]!);
  await until('two are gone', 10_000, async () => {
    using client = await comes(device, { clientId: 'third', acknowledges: false });
    await client.message(({ payload }) => payload === '3');
    return client.messages.length === 1;
  });
  for (const client of [first, second]) client[Symbol.dispose]();
});

test('a device that is there gets a command at once, each of its sessions once', async () => {
  const device = newDevice();
  // An acknowledgement of one session counts for all: it could take a command away before the other has got it.
  const found = await onEachWorker(gateway, workers, async () => ({
    client: await comes(device, { clientId: '', acknowledges: false }),
  }));
  const clients = [...found.values()].map(({ client }) => client);
  for (const payload of ['1', '2', '3']) assert.equal(await send(device, payload), 0);
  for (const client of clients) {
    assert.deepEqual(await receivedBy(client, device), ['1', '2', '3']);
    client[Symbol.dispose]();
  }
});

test('commands that are sent without waiting are acknowledged and given in their order', async () => {
  const [device, other] = [newDevice(), newDevice()];
  using client = await comes(device);
  using mailbox = HttpsDevice.of(gateway, device);
  const rounds = Array.from({ length: 10 }, (_, n) => n);
  for (const round of rounds) {
    const packets = [0, 1, 2, 3].map((n) => {
      const packetId = 1_000 + round * 4 + n;
      // Every fourth goes where there is nothing to store.
      const id = [device.id, other.id, device.id, 'stranger'][n] ?? '';
      const topic = `devices/${id}/commands/go`;
      return publishPacket({ version: 5, topic, payload: `${packetId}`, qos: 1, packetId });
    });
    sender.send(Buffer.concat(packets));
    const codes: number[][] = [];
    for (let n = 0; n < 4; n += 1) {
      const { packetId, code } = readPuback(await sender.next(packetTypes.puback));
      codes.push([packetId, code]);
    }
    const first = 1_000 + round * 4;
    // The mailbox of the other device, which never comes, is full after some of them.
    assert.deepEqual(codes, [
      [first, 0],
      [first + 1, round < most ? 0 : quotaExceeded],
      [first + 2, 0],
      [first + 3, nobody],
    ]);
    await client.message(({ payload }) => payload === `${first + 2}`);
    // What the device acknowledges makes room when that is stored.
    await until('its mailbox is empty', 30_000, async () => {
      return (await mailbox.request('GET', '/api/v1/commands')).status === 204;
    });
  }
  const received = await receivedBy(client, device);
  assert.deepEqual(
    received,
    rounds.flatMap((round) => [`${1_000 + round * 4}`, `${1_002 + round * 4}`]),
  );
});

test('a full mailbox refuses with 0x97, 3.1.1 by closing; an acknowledgement makes room', async () => {
  const [device, other] = [newDevice(), newDevice()];
  for (let n = 0; n < most; n += 1) assert.equal(await send(device, `${n}`), 0);
  assert.equal(await send(device, 'too many'), quotaExceeded);
  assert.equal(await send(other, 'x'.repeat(3_000)), 0);
  assert.equal(await send(other, 'x'.repeat(3_000)), quotaExceeded);
  assert.equal(await send(other, 'fits'), 0);
  using old = await connect(desk, { clientId: 'old', version: 4 });
  old.send(
    publishPacket({
      version: 4,
      topic: `devices/${device.id}/commands/go`,
      payload: 'too many',
      qos: 1,
      packetId: 1,
    }),
  );
  await within(old.ended, 10_000, 'the end');
  using client = await comes(device);
  await client.message(() => client.messages.length === most);
  await until('there is room', 10_000, async () => (await send(device, 'now')) === 0);
  await client.message(({ payload }) => payload === 'now');
  assert.equal(client.messages.length, most + 1);
});

test('QoS 0, of the command or of the subscription: kept until the device comes, then given once', async () => {
  const [byCommand, bySubscription] = [newDevice(), newDevice()];
  sender.publishUnacknowledged(`devices/${byCommand.id}/commands/go`, 'zero');
  assert.equal(await send(byCommand, 'one'), 0);
  assert.equal(await send(bySubscription, 'one'), 0);
  for (const [device, qos, expected] of [
    [byCommand, 1, ['zero 0', 'one 1']],
    [bySubscription, 0, ['one 0']],
  ] as const) {
    {
      using client = await comes(device, { qos });
      await client.message(({ payload }) => payload === 'one');
      assert.deepEqual(
        client.messages.map((message) => `${message.payload} ${message.qos}`),
        expected,
      );
      await client.ping();
    }
    await until('they are gone', 10_000, async () => {
      using client = await comes(device, { qos });
      return (await receivedBy(client, device)).length === 0;
    });
  }
});

test('an expired command is not given and takes no room; one that is given tells what is left', async () => {
  const device = newDevice();
  const topic = `devices/${device.id}/commands/go`;
  const expiring = (payload: string, seconds: number): Promise<number> =>
    sender.publish(topic, payload, { properties: [['messageExpiryInterval', seconds]] });
  for (let n = 0; n < most - 1; n += 1) assert.equal(await expiring('soon', 1), 0);
  assert.equal(await expiring('later', 100), 0);
  const sentAt = performance.now();
  // They were not sent in the same millisecond, so each gives its room at its own time.
  const rooms = Array.from({ length: most - 1 }, (_, n) => `room ${n}`);
  for (const room of rooms) {
    await until('there is room', 10_000, async () => (await send(device, room)) === 0);
  }
  // What is left is told in whole seconds, and one that has begun counts.
  await until('a second has gone by', 10_000, () => performance.now() - sentAt > 1_100);
  using client = await comes(device);
  await client.message(({ payload }) => payload === rooms.at(-1));
  assert.deepEqual(
    client.messages.map(({ payload }) => payload),
    ['later', ...rooms],
  );
  const left = Number(valuesOf(client.messages[0]!.properties, 'messageExpiryInterval')[0]);
  assert.ok(left > 50 && left < 100, `${left}`);
});

test('a device gets what its filters ask for, once however many match, and the rest when it asks for that', async () => {
  const device = newDevice();
  const at = (name: string): string => `devices/${device.id}/commands/${name}`;
  for (const name of ['a', 'b/c', 'd']) assert.equal(await sender.publish(at(name), name), 0);
  using client = await connect(device, { clientId: 'agent' });
  await client.subscribe(at('d'), at('+'));
  await client.message(() => client.messages.length === 2);
  assert.deepEqual(
    client.messages.map(({ payload }) => payload),
    ['a', 'd'],
  );
  await client.subscribe(at('#'));
  await client.message(({ payload }) => payload === 'b/c');
  assert.equal(await sender.publish(at('e'), 'e'), 0);
  await client.message(({ payload }) => payload === 'e');
  assert.equal(client.messages.length, 4);
  await client.unsubscribe(at('#'), at('+'), at('d'));
  assert.equal(await sender.publish(at('f'), 'f'), 0);
  await client.ping();
  assert.equal(client.messages.length, 4);
});

test('properties arrive as they were sent', async () => {
  const device = newDevice();
  const properties = [
    ['contentType', 'application/json'],
    ['responseTopic', `devices/${device.id}/command_responses`],
    ['correlationData', Buffer.from([0, 1, 255])],
    ['userProperty', ['__proto__', 'x']],
  ] as const;
  assert.equal(await sender.publish(`devices/${device.id}/commands/go`, '{}', { properties }), 0);
  using client = await comes(device);
  const message = await client.message(() => true);
  assert.deepEqual(message.properties, properties);
});

test('a service that may read commands gets them live, as any other message, and takes none away', async () => {
  const device = newDevice();
  using reader = await connect(desk, { clientId: 'reader' });
  assert.deepEqual(await reader.subscribe('devices/+/commands/#'), [1]);
  assert.equal(await send(device, 'seen'), 0);
  await reader.message(({ payload }) => payload === 'seen');
  using client = await comes(device);
  await client.message(({ payload }) => payload === 'seen');
});

test('a command that was also retained is given once, and not again when it was acknowledged', async () => {
  const device = newDevice();
  const topic = `devices/${device.id}/commands/go`;
  await sender.publish(topic, 'open the valve', { retain: true });
  {
    using client = await comes(device);
    assert.deepEqual(await receivedBy(client, device), ['open the valve']);
    await client.ping();
  }
  // What a device has acknowledged is gone from the store a flush later.
  await until('it is gone', 10_000, async () => {
    using client = await comes(device);
    const received = await receivedBy(client, device);
    assert.ok(received.length <= 1, received.join());
    return received.length === 0;
  });
});
