/** Commands outlive every process: what was acknowledged to its publisher reaches the device, and once it is acknowledged by the device it stays away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import { publishPacket, readPuback, packetTypes } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

/** A device that looks again and again whether something has happened is not too fast. */
const config = 'limits: { connectsPerMinute: 10000 }';

async function connect(gateway: Gateway, identity: Identity, acknowledges = true) {
  const client = await RawMqtt.open({ port: gateway.mqttsPort, identity, acknowledges });
  assert.equal((await client.connect()).code, 0);
  return client;
}

async function commandsOf(gateway: Gateway, device: Identity, acknowledges: boolean) {
  const client = await connect(gateway, device, acknowledges);
  assert.deepEqual(await client.subscribe(`devices/${device.id}/commands/#`), [1]);
  return client;
}

test('kill -9 of everything: a command that was acknowledged is given, one that the device acknowledged is not', async () => {
  using folder = temporaryFolder();
  let last = 0;
  let d1: Identity;
  let be: Identity;
  {
    await using gateway = await startGateway({ workers: 2, folder, config });
    d1 = await gateway.device('d1');
    be = await gateway.service('be', 'backend');
    using backend = await connect(gateway, be);
    // Without waiting for answers, and killed in the middle of them.
    const packets = Array.from({ length: 50 }, (_, n) =>
      publishPacket({
        version: 5,
        topic: 'devices/d1/commands/go',
        payload: `${n + 1}`,
        qos: 1,
        packetId: n + 1,
      }),
    );
    backend.send(Buffer.concat(packets));
    for (let n = 0; n < 10; n += 1) {
      last = readPuback(await backend.next(packetTypes.puback)).packetId;
    }
    await gateway.kill();
  }
  assert.ok(last >= 10);
  {
    await using gateway = await startGateway({ workers: 2, folder, config });
    using device = await commandsOf(gateway, d1, false);
    await device.message(({ payload }) => payload === `${last}`);
    const payloads = device.messages.map(({ payload }) => Number(payload));
    assert.deepEqual(
      payloads.slice(0, last),
      Array.from({ length: last }, (_, n) => n + 1),
    );
    for (const message of device.messages.slice(0, 5)) device.acknowledge(message);
    await device.ping();
    await until('five are gone', 30_000, async () => {
      using again = await commandsOf(gateway, d1, false);
      await again.message(({ payload }) => payload === `${last}`);
      return again.messages[0]?.payload === '6';
    });
    await gateway.kill();
  }
  await using gateway = await startGateway({ workers: 2, folder, config });
  using device = await commandsOf(gateway, d1, true);
  await device.message(({ payload }) => payload === `${last}`);
  assert.equal(device.messages[0]?.payload, '6');
  await gateway.stop();
});

test('a worker that is killed after it took a command: the device gets it from the next one', async () => {
  await using gateway = await startGateway({ workers: 1 });
  const d1 = await gateway.device('d1');
  const be = await gateway.service('be', 'backend');
  using backend = await connect(gateway, be);
  using device = await commandsOf(gateway, d1, false);
  assert.equal(await backend.publish('devices/d1/commands/go', 'now'), 0);
  await device.message(({ payload }) => payload === 'now');
  const [worker] = gateway.run().workers;
  assert.ok(worker !== undefined);
  process.kill(worker, 'SIGKILL');
  await gateway.runFile(({ workers }) => workers.length === 1 && !workers.includes(worker));
  using again = await commandsOf(gateway, d1, true);
  await again.message(({ payload }) => payload === 'now');
  await gateway.stop();
});

test('mosquitto: published while the device is away, received when it subscribes, and not again', async () => {
  await using gateway = await startGateway({ workers: 2, config });
  const d1 = await gateway.device('d1');
  const be = await gateway.service('be', 'backend');
  const port = gateway.mqttsPort;
  for (const version of ['mqttv5', 'mqttv311'] as const) {
    const topic = `devices/d1/commands/${version}`;
    const sent = await mosquittoPub({ port, identity: be, version }, topic, '{"on":true}');
    assert.equal(sent.code, 0, sent.output);
    {
      await using device = await MosquittoSub.start({ port, identity: d1, version }, topic);
      await device.message(({ payload }) => payload === '{"on":true}');
    }
    await until('it is gone', 60_000, async () => {
      const fence = await mosquittoPub({ port, identity: be, version }, topic, 'fence');
      assert.equal(fence.code, 0, fence.output);
      await using device = await MosquittoSub.start({ port, identity: d1, version }, topic);
      await device.message(({ payload }) => payload === 'fence');
      return device.messages.every(({ payload }) => payload === 'fence');
    });
  }
  await gateway.stop();
});
