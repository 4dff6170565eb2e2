/** What a durable session is sent that nobody has put into its queue: retained messages, commands, what others were to get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connect } from '../../../common/codec/mqtt/packets.ts';
import { messageOf, queued, responseOf, subscribeTo, worldOf } from '../../session-world.ts';

const filter = 'devices/+/telemetry';
const topic = 'devices/d1/telemetry';
const kept: Partial<Connect> = { properties: { sessionExpiryInterval: 60 } };

test('retained messages of QoS 1 and 2 go through the queue: sent again after a reconnect', async (t) => {
  const { worker } = worldOf(t);
  worker.retained = ['a', 'b'].map((payload) => messageOf(topic, payload, 1, true));
  const reader = await worker.connect('be', kept);
  reader.send(subscribeTo(filter, 1, 0));
  const sent = ['publish 1 a', 'publish 2 b'];
  assert.deepEqual(await reader.heard(), ['connack', 'suback', ...sent]);
  reader.send(responseOf('puback', 1));
  await reader.heard();
  reader.vanish();
  const again = await worker.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'publish 2 b dup']);
});

test('retained messages come at the speed of the reader, and never fill its queue', async (t) => {
  const { worker, world } = worldOf(t);
  const all = Array.from({ length: 200 }, (_, n) => `${n}`);
  worker.retained = all.map((payload) => messageOf(topic, payload, 1, true));
  world.limits = { ...world.limits, queuedMessages: 70 };
  const reader = await worker.connect('be', kept);
  reader.send(subscribeTo(filter, 1, 0));
  const got: string[] = [];
  for (;;) {
    const packets = (await reader.packets()).filter((packet) => packet.type === 'publish');
    if (packets.length === 0) break;
    assert.ok(queued(world).length <= 64, `${queued(world).length} are queued`);
    got.push(...packets.map(({ payload }) => payload.toString()));
    reader.send(...packets.map(({ packetId }) => responseOf('puback', packetId)));
  }
  assert.deepEqual(got, all);
});

test('a message that came to the session in place of another one is put into its queue', async (t) => {
  const { worker, world } = worldOf(t);
  const reader = await worker.connect('be', kept);
  const subscription = '$share/g/devices/+/status';
  reader.send(subscribeTo(subscription, 1));
  await reader.heard();
  const { key } = worker.broker.groups.here({
    subscription,
    to: 'service/be c',
    slot: 0,
    queued: false,
  })?.subscriber ?? { key: '' };
  const pick = { subscription, to: key, slot: 0, queued: false };
  const delivery = { id: worker.store.newId(), picks: [pick], handedOn: 1 };
  worker.broker.publish({ ...messageOf('devices/d1/status', 'a', 1), delivery });
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  assert.deepEqual(queued(world), ['a']);
});

const commandTopic = 'devices/d1/commands/reboot';

test('commands of QoS 2: a client that may hold an identifier is told that its exchange is over, the mailbox gives the command again', async (t) => {
  const { worker } = worldOf(t);
  const options = { ...kept, clientId: 'd1' };
  const device = await worker.connect('d1', options);
  device.send(subscribeTo('devices/d1/commands/#', 2));
  await worker.mailbox.put('device/d1', messageOf(commandTopic, 'a', 2));
  await worker.mailbox.put('device/d1', messageOf(commandTopic, 'b', 2));
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.held = promise;
  assert.deepEqual(await device.heard(), ['connack', 'suback']);
  resolve();
  assert.deepEqual(await device.heard(), ['publish 1 a', 'publish 2 b']);
  // The client has it from here on, and only PUBCOMP is missing.
  device.send(responseOf('pubrec', 1));
  assert.deepEqual(await device.heard(), ['pubrel 1']);
  assert.equal(worker.mailbox.commands.length, 1);
  device.vanish();
  const again = await worker.connect('d1', options);
  const heard = await again.heard();
  assert.deepEqual(heard.toSorted(), ['connack present', 'publish 3 b', 'pubrel 1', 'pubrel 2']);
  again.send(responseOf('pubcomp', 1), responseOf('pubcomp', 2, 0x92), responseOf('pubrec', 3));
  assert.deepEqual(await again.heard(), ['pubrel 3']);
  assert.equal(worker.mailbox.commands.length, 0);
});

test('commands of QoS 2 that find no room come when there is', async (t) => {
  const { worker } = worldOf(t);
  const device = await worker.connect('d1', {
    properties: { sessionExpiryInterval: 60, receiveMaximum: 1 },
  });
  device.send(subscribeTo('devices/d1/commands/#', 2));
  for (const payload of ['a', 'b', 'c']) {
    await worker.mailbox.put('device/d1', messageOf(commandTopic, payload, 2));
  }
  assert.deepEqual(await device.heard(), ['connack', 'suback', 'publish 1 a']);
  device.send(responseOf('pubrec', 1), responseOf('pubcomp', 1));
  assert.deepEqual((await device.heard()).at(-1), 'publish 2 b');
  device.send(responseOf('pubrec', 2), responseOf('pubcomp', 2));
  assert.deepEqual((await device.heard()).at(-1), 'publish 3 c');
});
