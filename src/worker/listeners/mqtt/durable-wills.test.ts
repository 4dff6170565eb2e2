/** Wills, which are stored with their sessions: when they are published, and when not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Connect, Disconnect, Will } from '../../../common/codec/mqtt/packets.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import { publishOf, subscribeTo, worldOf } from '../../session-world.ts';

const kept: Partial<Connect> = { properties: { sessionExpiryInterval: 60 } };
const clean: Partial<Connect> = { cleanStart: true };

const disconnect = (reasonCode: number, sessionExpiryInterval?: number): Disconnect => ({
  type: 'disconnect',
  reasonCode,
  properties: sessionExpiryInterval === undefined ? noProperties : { sessionExpiryInterval },
});

const topic = 'devices/d1/status';
const will: Will = {
  topic,
  payload: Buffer.from('gone'),
  qos: 2,
  retain: false,
  properties: { willDelayInterval: 10 },
};

/** A backend that hears of the device's will, and the device. */
async function withWill(t: TestContext, options: Partial<Connect>) {
  const { world, worker, other } = worldOf(t);
  const reader = await worker.connect('be', clean);
  reader.send(subscribeTo('devices/+/status', 2));
  await reader.heard();
  const device = await worker.connect('d1', { will, ...options });
  assert.deepEqual(await device.heard(), ['connack']);
  const stored = () =>
    [...world.shared.values()].map((life) => life.will?.message.payload.toString());
  /** With `setInterval` mocked. */
  const passes = (ms: number): void => {
    world.clock.time += ms;
    t.mock.timers.tick(1_000);
  };
  return { world, worker, other, reader, device, stored, passes };
}

test('a will with a delay waits in the store, and a client that comes back takes it away', async (t) => {
  const { device, reader, worker, stored } = await withWill(t, kept);
  assert.deepEqual(stored(), ['gone']);
  device.vanish();
  assert.deepEqual(await reader.heard(), []);
  assert.deepEqual(stored(), ['gone']);
  await worker.connect('d1', kept);
  assert.deepEqual(stored(), [undefined]);
  assert.deepEqual(await reader.heard(), []);
});

for (const [when, options, ending] of [
  ['the session ends with its connection', clean, undefined],
  ['DISCONNECT ends the session', kept, disconnect(4, 0)],
  ['it has no delay', { ...kept, will: { ...will, properties: noProperties } }, disconnect(4)],
] as const) {
  test(`a will is published at once, and is no longer stored, when ${when}`, async (t) => {
    const { device, reader, stored } = await withWill(t, options);
    assert.deepEqual(stored(), ['gone']);
    if (ending === undefined) device.vanish();
    else device.send(ending);
    assert.deepEqual(await reader.heard(), ['publish 1 gone']);
    assert.deepEqual(
      stored().filter((each) => each === 'gone'),
      [],
    );
  });
}

test('a normal DISCONNECT takes the will with it', async (t) => {
  const { device, reader, stored } = await withWill(t, kept);
  device.send(disconnect(0));
  assert.deepEqual(await reader.heard(), []);
  assert.deepEqual(stored(), [undefined]);
});

test('MQTT-3.1.3-9: a takeover that goes on with the session keeps a delayed will quiet; a clean start does not', async (t) => {
  const { device, reader, worker, other } = await withWill(t, kept);
  const second = await other.connect('d1', { ...kept, will });
  assert.deepEqual(await device.heard(), ['disconnect 0x8e']);
  assert.deepEqual(await reader.heard(), []);
  await worker.connect('d1', { ...kept, cleanStart: true });
  assert.deepEqual(await second.heard(), ['connack present', 'disconnect 0x8e']);
  assert.deepEqual(await reader.heard(), ['publish 1 gone']);
});

for (const [says, heard, ...last] of [
  [
    'a message and DISCONNECT',
    ['publish last words'],
    publishOf(topic, 'last words', 0),
    disconnect(0),
  ],
  ['nothing more', ['publish 1 gone']],
] as const) {
  test(`a client that closes while its SUBSCRIBE waits, and says ${says} behind it, is heard to the end`, async (t) => {
    const { device, reader, worker } = await withWill(t, clean);
    const { promise, resolve } = Promise.withResolvers<void>();
    worker.heldInterest = promise;
    device.send(subscribeTo('devices/d1/commands/#', 1), ...last);
    device.finish();
    assert.deepEqual(await reader.heard(), []);
    assert.equal(device.transport.ended, false);
    resolve();
    assert.deepEqual(await reader.heard(), heard);
    assert.deepEqual(await device.heard(), ['suback']);
    assert.equal(device.transport.ended, true);
    device.vanish();
    assert.deepEqual(await reader.heard(), []);
  });
}

test('what a client that has closed left behind is not waited for without end', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { device, reader, worker, passes } = await withWill(t, clean);
  worker.heldInterest = new Promise(() => {});
  device.send(subscribeTo('devices/d1/commands/#', 1), disconnect(0));
  device.finish();
  passes(19_000);
  assert.deepEqual([await reader.heard(), device.transport.ended], [[], false]);
  passes(2_000);
  assert.deepEqual(await reader.heard(), ['publish 1 gone']);
  assert.equal(device.transport.ended, true);
});

test('what a client that has closed left behind is waited for as long as there is progress', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { device, reader, worker, passes } = await withWill(t, clean);
  const waits = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  worker.heldInterest = waits[0]!.promise;
  const subscribe = subscribeTo('devices/d1/commands/#', 1);
  device.send(subscribe, subscribe, subscribe, publishOf(topic, 'last words', 0), disconnect(0));
  device.finish();
  for (const [n, { resolve }] of waits.entries()) {
    passes(15_000);
    assert.deepEqual([await reader.heard(), device.transport.ended], [[], false]);
    worker.heldInterest = waits[n + 1]?.promise;
    resolve();
    assert.deepEqual(await device.heard(), ['suback']);
  }
  assert.deepEqual(await reader.heard(), ['publish last words']);
  assert.equal(device.transport.ended, true);
});

test('an answer to a client that has closed is progress', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { device, reader, worker, passes } = await withWill(t, clean);
  const waits = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  worker.heldPuts.push(...waits.map(({ promise }) => promise));
  const keep = [1, 2, 3].map((id) => publishOf(topic, `${id}`, 1, id, { retain: true }));
  device.send(...keep);
  device.finish();
  for (const [n, { resolve }] of waits.entries()) {
    passes(15_000);
    assert.equal(device.transport.ended, false);
    resolve();
    assert.deepEqual(await device.heard(), [`puback ${n + 1}`]);
  }
  assert.equal(device.transport.ended, true);
  assert.deepEqual((await reader.heard()).at(-1), 'publish 4 gone');
});

test('a client that has closed before its CONNECT is answered takes no session and leaves no will', async (t) => {
  const { device, reader, worker, other } = await withWill(t, kept);
  const late = other.connect('d1', { ...kept, will: { ...will, properties: noProperties } }, true);
  assert.deepEqual(await (await late).heard(), []);
  assert.deepEqual(await reader.heard(), []);
  device.send(publishOf(topic, 'still here', 0));
  assert.deepEqual(await reader.heard(), ['publish still here']);
  assert.equal(worker.world.epoch, 2);
});
