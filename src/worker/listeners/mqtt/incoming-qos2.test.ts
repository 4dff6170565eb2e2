/** QoS 2 from a client: published once, whatever is sent again (MQTT 5 §4.3.3). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Connect } from '../../../common/codec/mqtt/packets.ts';
import { publishOf, responseOf, subscribeTo, World } from '../../session-world.ts';

const topic = 'devices/d1/telemetry';
const kept: Partial<Connect> = { properties: { sessionExpiryInterval: 60 } };
const clean: Partial<Connect> = { cleanStart: true };

/** A device, and a backend that reads what it publishes. */
async function setUp(t: TestContext, options: Partial<Connect> = clean) {
  const world = new World();
  const worker = world.worker();
  t.after(() => worker.listener.drain(0, 1_000));
  const reader = await worker.connect('be', clean);
  reader.send(subscribeTo(topic, 0));
  assert.deepEqual(await reader.heard(), ['connack', 'suback']);
  const device = await worker.connect('d1', options);
  assert.deepEqual(await device.heard(), ['connack']);
  return { world, worker, reader, device };
}

for (const [session, options] of [
  ['a session in memory', clean],
  ['a durable session', kept],
] as const) {
  test(`${session}: a message is published once; its identifier is free after PUBCOMP`, async (t) => {
    const { device, reader } = await setUp(t, options);
    device.send(publishOf(topic, 'one', 2, 7));
    assert.deepEqual(await device.heard(), ['pubrec 7']);
    assert.deepEqual(await reader.heard(), ['publish one']);
    // MQTT-4.3.3-10, whatever the flag and the content say
    device.send(publishOf(topic, 'one', 2, 7, { dup: true }), publishOf(topic, 'other', 2, 7));
    assert.deepEqual(await device.heard(), ['pubrec 7', 'pubrec 7']);
    device.send(responseOf('pubrel', 7));
    assert.deepEqual(await device.heard(), ['pubcomp 7']);
    assert.deepEqual(await reader.heard(), []);
    // MQTT-4.3.3-12
    device.send(publishOf(topic, 'two', 2, 7));
    assert.deepEqual(await device.heard(), ['pubrec 7']);
    assert.deepEqual(await reader.heard(), ['publish two']);
  });
}

test('PUBREL of what is not held is answered with 0x92', async (t) => {
  const { device } = await setUp(t);
  device.send(responseOf('pubrel', 9));
  assert.deepEqual(await device.heard(), ['pubcomp 9 0x92']);
});

test('a message that is refused holds no identifier: sent again it is judged again', async (t) => {
  const { device, reader, world } = await setUp(t);
  const forbidden = 'devices/d2/telemetry';
  device.send(publishOf(forbidden, 'x', 2, 5));
  assert.deepEqual(await device.heard(), ['pubrec 5 0x87']);
  device.send(responseOf('pubrel', 5));
  assert.deepEqual(await device.heard(), ['pubcomp 5 0x92']);
  device.send(publishOf(topic, 'now', 2, 5));
  assert.deepEqual(await device.heard(), ['pubrec 5']);
  assert.deepEqual(await reader.heard(), ['publish now']);
  assert.deepEqual(world.logged, []);
});

test('a message that matches no subscription is received all the same, and says so', async (t) => {
  const { device } = await setUp(t);
  device.send(publishOf('devices/d1/diagnostics', 'x', 2, 5));
  assert.deepEqual(await device.heard(), ['pubrec 5 0x10']);
  device.send(publishOf('devices/d1/diagnostics', 'x', 2, 5), responseOf('pubrel', 5));
  assert.deepEqual(await device.heard(), ['pubrec 5', 'pubcomp 5']);
});

test('more than the receive maximum without PUBREL ends the connection with 0x93', async (t) => {
  const { device, reader } = await setUp(t);
  for (const packetId of [1, 2, 3, 4]) device.send(publishOf(topic, 'x', 2, packetId));
  assert.equal((await device.heard()).length, 4);
  device.send(responseOf('pubrel', 1), publishOf(topic, 'x', 1, 1));
  assert.deepEqual(await device.heard(), ['pubcomp 1', 'puback 1']);
  device.send(publishOf(topic, 'x', 2, 5), publishOf(topic, 'x', 2, 6));
  assert.deepEqual(await device.heard(), ['pubrec 5', 'disconnect 0x93']);
  assert.equal((await reader.heard()).length, 6);
});

test('3.1.1, which is told no receive maximum, is closed at 1,024', async (t) => {
  const { device, world } = await setUp(t, { ...clean, version: 4 });
  world.limits = { ...world.limits, controlPacketsPerSecond: 1 };
  for (let packetId = 1; packetId <= 1_024; packetId += 1) {
    device.send(publishOf(topic, 'x', 2, packetId));
  }
  assert.equal((await device.heard()).length, 1_024);
  assert.equal(device.transport.ended, false);
  device.send(publishOf(topic, 'x', 2, 1_025));
  assert.deepEqual(await device.heard(), []);
  assert.equal(device.transport.ended, true);
});

test('the same message again and again is a flood', async (t) => {
  const { device, world } = await setUp(t);
  world.limits = { ...world.limits, controlPacketsPerSecond: 3 };
  for (let n = 0; n < 6; n += 1) device.send(publishOf(topic, 'x', 2, 1));
  const heard = await device.heard();
  assert.deepEqual(heard.slice(-1), ['disconnect 0x96']);
  assert.equal(heard.length, 5);
});

test('exchanges that are answered are no flood, however many', async (t) => {
  const { device, world } = await setUp(t);
  world.limits = { ...world.limits, controlPacketsPerSecond: 3 };
  for (let n = 1; n <= 50; n += 1) {
    device.send(publishOf(topic, 'x', 2, n), responseOf('pubrel', n));
  }
  const heard = await device.heard();
  assert.equal(heard.length, 100);
  assert.deepEqual(heard.slice(-2), ['pubrec 50', 'pubcomp 50']);
});

test('a durable session knows after a reconnect, on another worker, what it has received', async (t) => {
  const { device, reader, world } = await setUp(t, kept);
  device.send(publishOf(topic, 'one', 2, 7), publishOf(topic, 'two', 2, 8));
  assert.deepEqual(await device.heard(), ['pubrec 7', 'pubrec 8']);
  device.send(responseOf('pubrel', 8));
  assert.deepEqual(await device.heard(), ['pubcomp 8']);
  device.vanish();
  const other = world.worker();
  t.after(() => other.listener.drain(0, 1_000));
  const again = await other.connect('d1', kept);
  assert.deepEqual(await again.heard(), ['connack present']);
  again.send(publishOf(topic, 'one', 2, 7, { dup: true }));
  assert.deepEqual(await again.heard(), ['pubrec 7']);
  again.send(responseOf('pubrel', 7), publishOf(topic, 'three', 2, 8));
  assert.deepEqual((await again.heard()).toSorted(), ['pubcomp 7', 'pubrec 8']);
  assert.deepEqual(await reader.heard(), ['publish one', 'publish two']);
});

test('identifiers held from an earlier connection leave the quota of the new one as it is', async (t) => {
  const { device, worker } = await setUp(t, kept);
  for (const packetId of [1, 2, 3, 4]) device.send(publishOf(topic, 'x', 2, packetId));
  await device.heard();
  device.vanish();
  const again = await worker.connect('d1', kept);
  for (const packetId of [5, 6, 7, 8]) again.send(publishOf(topic, 'x', 2, packetId));
  assert.deepEqual(await again.heard(), [
    'connack present',
    ...[5, 6, 7, 8].map((packetId) => `pubrec ${packetId}`),
  ]);
  for (const packetId of [1, 2]) again.send(responseOf('pubrel', packetId));
  again.send(publishOf(topic, 'x', 2, 9));
  assert.deepEqual((await again.heard()).at(-1), 'disconnect 0x93');
});

test('PUBCOMP waits until the identifier is forgotten: killed before, the client releases it again', async (t) => {
  const { device, worker } = await setUp(t, kept);
  device.send(publishOf(topic, 'one', 2, 7));
  await device.heard();
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.held = promise;
  device.send(responseOf('pubrel', 7), responseOf('pubrel', 7));
  assert.deepEqual(await device.heard(), []);
  // It is in use until then.
  device.send(publishOf(topic, 'two', 2, 7));
  assert.deepEqual(await device.heard(), ['pubrec 7']);
  resolve();
  assert.deepEqual(await device.heard(), ['pubcomp 7']);
});
