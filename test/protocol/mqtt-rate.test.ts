/**
 * Rates: limit 5/s with burst 10 passes 11 at once and refuses the twelfth. One budget for an identity, however it
 * spreads its messages: connections, client ids, certificates, workers, versions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { packetTypes, publishPacket, readPuback } from '../harness/mqtt-bytes.ts';
import { readMetrics } from '../harness/metrics.ts';
import { makeRequest } from '../harness/openssl.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

/** As slow as a rate can be: during a test nothing flows back, however slow the machine is. */
const config = [
  'routes:',
  '  telemetry: { rate: { limit: 5/day, burst: 10 } }',
  '  status: { match: devices/+/status, rate: { limit: 10/s, burst: 0 } }',
  'limits: { rateRefusals: 20, ratePause: 1s, sessionsPerIdentity: 100 }',
].join('\n');

const { gateway, connect } = await sharedGateway({ config, workers: 2 });
const { workers } = gateway.run();
const be = await gateway.service('be', 'backend');

/** From burst 10 and the one that fits at once. */
const passes = 11;
const quotaExceeded = 0x97;
let devices = 0;

/** A device whose budget nobody has touched. */
async function freshDevice(): Promise<Identity> {
  devices += 1;
  return gateway.device(`d${devices}`);
}

function telemetryOf(device: Identity): string {
  return `devices/${device.id}/telemetry`;
}

/** Several QoS 1 messages in one write, and the codes of their PUBACKs in order. */
async function burst(client: RawMqtt, topic: string, count: number): Promise<readonly number[]> {
  const packets = Array.from({ length: count }, (_, n) =>
    publishPacket({ version: client.version, topic, payload: '{}', qos: 1, packetId: 1_000 + n }),
  );
  client.send(Buffer.concat(packets));
  const codes: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const { packetId, code } = readPuback(await client.next(packetTypes.puback));
    assert.equal(packetId, 1_000 + n);
    codes.push(code);
  }
  return codes;
}

function accepted(codes: readonly number[]): number {
  for (const code of codes) assert.ok([0, 0x10, quotaExceeded].includes(code), code.toString(16));
  return codes.filter((code) => code !== quotaExceeded).length;
}

// First, because it counts what the gateway has refused since its start.
test('MQTT 5: QoS 0 beyond the rate is dropped and counted, and the connection goes on', async () => {
  const device = await freshDevice();
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe(`devices/${device.id}/#`), [0x87]);
  assert.deepEqual(
    await backend.subscribe(telemetryOf(device), `devices/${device.id}/diagnostics`),
    [1, 1],
  );
  using client = await connect(device, { clientId: 'c' });
  for (let n = 0; n < passes + 5; n += 1) client.publishUnacknowledged(telemetryOf(device), `${n}`);
  assert.equal(await client.publish(`devices/${device.id}/diagnostics`, 'after'), 0);
  await backend.message(({ payload }) => payload === 'after');
  assert.deepEqual(
    backend.messages.map(({ payload }) => payload),
    [...Array.from({ length: passes }, (_, n) => `${n}`), 'after'],
  );
  await until('the five that were dropped are counted', 10_000, async () => {
    const metrics = await readMetrics(gateway);
    return metrics.sum('sallyport_refused_total', { code: 'rate' }) === 5;
  });
});

test('MQTT 5: of a burst eleven are accepted and the twelfth gets PUBACK 0x97', async () => {
  const device = await freshDevice();
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe(telemetryOf(device)), [1]);
  using client = await connect(device, { clientId: 'c' });
  const codes = await burst(client, telemetryOf(device), 14);
  assert.deepEqual(codes, [...Array.from({ length: passes }, () => 0), 0x97, 0x97, 0x97]);
  // Other topics have their own budget; the connection is not harmed.
  assert.equal(await client.publish(`devices/${device.id}/diagnostics`, '{}'), 0x10);
  await backend.message(() => backend.messages.length === passes);
  await backend.ping();
  assert.equal(backend.messages.length, passes);
});

test('MQTT 3.1.1: what is too fast is held back until it fits, and then acknowledged', async () => {
  const device = await freshDevice();
  using client = await connect(device, { clientId: 'c', version: 4 });
  const began = performance.now();
  // 10/s without a burst: the fourth fits three tenths of a second after the first.
  const codes = await burst(client, `devices/${device.id}/status`, 4);
  assert.deepEqual(codes, [0, 0, 0, 0]);
  const tookMs = performance.now() - began;
  assert.ok(tookMs > 250, `held back for ${tookMs} ms only`);
});

test('MQTT 3.1.1: nothing behind a message that is held back is answered before it', async () => {
  const device = await freshDevice();
  using client = await connect(device, { clientId: 'c', version: 4 });
  const answers: number[] = [];
  const packet = (packetId: number): Buffer =>
    publishPacket({
      version: 4,
      topic: `devices/${device.id}/status`,
      payload: '{}',
      qos: 1,
      packetId,
    });
  client.send(Buffer.concat([packet(1), packet(2), Buffer.of(0xc0, 0)]));
  const order = [packetTypes.puback, packetTypes.puback, packetTypes.pingresp];
  for (const _ of order) answers.push((await client.take(() => true, 'an answer')).type);
  assert.deepEqual(answers, order);
});

test('MQTT 3.1.1: what does not fit in the time it may be held back is never acknowledged', async () => {
  const device = await freshDevice();
  using client = await connect(device, { clientId: 'c', version: 4 });
  assert.equal(accepted(await burst(client, telemetryOf(device), passes)), passes);
  const twelfth = client.publish(telemetryOf(device), '{}').then(
    () => 'acknowledged',
    () => 'closed',
  );
  assert.equal(await twelfth, 'closed');
  assert.ok(client.isEnded);
});

test('a flood that ignores its refusals is ended with 0x96, whatever its QoS', async () => {
  for (const qos of [0, 1] as const) {
    const device = await freshDevice();
    using bystander = await connect(device, { clientId: 'bystander' });
    using client = await connect(device, { clientId: 'flood' });
    const flood = Array.from({ length: 200 }, (_, n) =>
      publishPacket({
        version: 5,
        topic: telemetryOf(device),
        payload: '{}',
        qos,
        packetId: n + 1,
      }),
    );
    client.send(Buffer.concat(flood));
    const { disconnect } = await within(client.ended, 10_000, 'the end of the flood');
    assert.equal(disconnect, 0x96);
    await bystander.ping();
  }
});

test('forbidden messages are a flood too', async () => {
  const device = await freshDevice();
  using client = await connect(device, { clientId: 'c' });
  const codes = await burst(client, 'devices/somebody-else/telemetry', passes + 1);
  assert.deepEqual(codes, [...Array.from({ length: passes }, () => 0x87), 0x97]);
  assert.equal(await client.publish(telemetryOf(device), '{}'), 0x97);
});

test('a device that connects again for every message meets the same limit', async () => {
  const device = await freshDevice();
  const codes: number[] = [];
  for (let n = 0; n < passes + 4; n += 1) {
    using client = await connect(device, { clientId: `c${n}` });
    codes.push(await client.publish(telemetryOf(device), '{}'));
    await client.close();
  }
  assert.equal(accepted(codes), passes);
});

test('so does one that drops its connection without a word each time', async () => {
  const device = await freshDevice();
  const codes: number[] = [];
  for (let n = 0; n < passes + 4; n += 1) {
    using client = await connect(device, { clientId: `c${n}` });
    codes.push(await client.publish(telemetryOf(device), '{}'));
  }
  assert.equal(accepted(codes), passes);
});

test('two client ids and two certificates on two workers share one budget', async () => {
  const device = await freshDevice();
  const { key, csr } = makeRequest(gateway.at('second'), device.id);
  const crt = gateway.at('second', 'second.crt');
  await gateway.ok('device', 'enroll', device.id, '--csr', csr, '--out', crt);
  const certificates = [device, { ...device, key, crt }];
  const clients: RawMqtt[] = [];
  for (const identity of certificates) {
    const found = await onEachWorker(gateway, workers, async () => ({
      client: await connect(identity, { clientId: '' }),
    }));
    clients.push(...[...found.values()].map(({ client }) => client));
  }
  assert.equal(clients.length, 4);
  // Turn by turn, then all at once.
  const codes: number[] = [];
  for (const client of clients) codes.push(await client.publish(telemetryOf(device), '{}'));
  const bursts = await Promise.all(clients.map((client) => burst(client, telemetryOf(device), 5)));
  assert.equal(accepted([...codes, ...bursts.flat()]), passes);
  for (const client of clients) client[Symbol.dispose]();
});

test('a budget that was spent on one worker is spent on the other', async () => {
  const device = await freshDevice();
  using first = await connect(device, { clientId: 'first' });
  assert.equal(accepted(await burst(first, telemetryOf(device), passes)), passes);
  await first.close();
  const found = await onEachWorker(gateway, workers, async () => {
    const client = await connect(device, { clientId: '' });
    assert.equal(await client.publish(telemetryOf(device), '{}'), quotaExceeded);
    return { client };
  });
  for (const { client } of found.values()) client[Symbol.dispose]();
});

test("one device's flood does not touch another's budget", async () => {
  const [noisy, quiet] = [await freshDevice(), await freshDevice()];
  using flood = await connect(noisy, { clientId: 'c' });
  assert.equal(accepted(await burst(flood, telemetryOf(noisy), 15)), passes);
  using client = await connect(quiet, { clientId: 'c' });
  assert.equal(accepted(await burst(client, telemetryOf(quiet), passes)), passes);
});
