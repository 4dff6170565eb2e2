/** Clients of durable sessions that mean harm, or go at the worst moment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf } from '../../policy/test-support.ts';
import { messageOf, publishOf, responseOf, subscribeTo, worldOf } from '../../session-world.ts';

const kept = { properties: { sessionExpiryInterval: 60 } };

test('PUBREC again and again is a flood, though the exchange is open: each would cost a write', async (t) => {
  const { worker } = worldOf(t);
  const reader = await worker.connect('be', kept);
  reader.send(subscribeTo('devices/+/telemetry', 2));
  await reader.heard();
  const device = await worker.connect('d1', { cleanStart: true });
  device.send(publishOf('devices/d1/telemetry', 'a', 2, 1));
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  reader.send(...Array.from({ length: 100 }, () => responseOf('pubrec', 1)));
  assert.equal((await reader.heard()).length, 100, 'a client that is confused is answered');
  reader.send(...Array.from({ length: 1_000 }, () => responseOf('pubrec', 1)));
  const heard = await reader.heard();
  assert.equal(heard.at(-1), 'disconnect 0x96');
  assert.ok(heard.length < 200, `${heard.length}`);
});

test('a client that goes while a subscription is withdrawn from its session takes part in nothing', async (t) => {
  const { world, worker } = worldOf(t);
  const reader = await worker.connect('be', kept);
  const filters = ['devices/+/telemetry', '$share/g/devices/+/status'];
  for (const filter of filters) {
    reader.send(subscribeTo(filter, 1));
    assert.ok((await reader.heard()).includes('suback'));
  }
  reader.vanish();
  await reader.heard();
  world.policy = compilePolicy(
    documentOf('roles: { backend: { allow: { subscribe: [devices/+/status] } } }'),
    2,
  );
  const { promise, resolve } = Promise.withResolvers<void>();
  const changed = world.changed.bind(world);
  world.changed = async (key) => {
    await promise;
    await changed(key);
  };
  const again = await worker.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present']);
  again.vanish();
  resolve();
  await again.heard();
  assert.equal(worker.broker.subscribers, 0);
  const [pick] = worker.broker.groups.pick(messageOf('devices/d1/status', 'a', 1), true);
  assert.deepEqual([pick?.slot, pick?.queued], [undefined, true], 'it waits in the queue');
});
