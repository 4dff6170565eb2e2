/**
 * Signed messages to a real gateway: what is signed passes once, whoever shows it again, on whatever worker, over whatever
 * protocol, whatever was killed in between.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { iotHeaders, iotProperties, newNonce } from '../harness/iot-signature.ts';
import type { HmacKey, IotHeaders } from '../harness/iot-signature.ts';
import type { Property } from '../harness/mqtt-properties.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const config = `
routes:
  telemetry:
    match: devices/+/telemetry
    rate: []
    integrity: { accept: [ hmac ], clock: 10m, required: true }
`;
const topic = 'devices/d1/telemetry';
const path = '/api/v1/telemetry';
const body = '{"temp":22.5}';
const notAuthorized = 0x87;
const quotaExceeded = 0x97;
/** Success, or success without a subscriber. */
const accepted: readonly number[] = [0, 0x10];

async function keyFor(gateway: Gateway, id: string): Promise<HmacKey> {
  const { stdout } = await gateway.ok('device', 'key', 'add', id, '--json');
  return JSON.parse(stdout) as HmacKey; // its form is the tests' of the command
}

async function connect(gateway: Gateway, identity: Identity, over?: 'websocket') {
  const port = over === undefined ? gateway.mqttsPort : gateway.httpsPort;
  const client = await RawMqtt.open({ port, identity, ...(over === undefined ? {} : { over }) });
  const { code } = await client.connect({ clientId: `c${newNonce()}` });
  assert.equal(code, 0);
  return { client };
}

async function publish(
  gateway: Gateway,
  identity: Identity,
  properties: readonly Property[],
  over?: 'websocket',
): Promise<number> {
  const { client } = await connect(gateway, identity, over);
  using publisher = client;
  return await publishSoon(publisher, properties);
}

/** As often as it takes: while the home of an identity is being replaced nobody can say what is left of its rate. */
function publishSoon(client: RawMqtt, properties: readonly Property[]): Promise<number> {
  return until('an answer that is about the signature', 60_000, async () => {
    const code = await client.publish(topic, body, { properties });
    return code === quotaExceeded ? undefined : { code };
  }).then(({ code }) => code);
}

async function post(gateway: Gateway, identity: Identity, headers: IotHeaders | object) {
  using device = HttpsDevice.of(gateway, identity);
  const answer = await device.requestAlone('POST', path, { body, headers: { ...headers } });
  const code = /"code":"([a-z-]+)"/.exec(answer.body.toString())?.[1];
  return code === undefined ? String(answer.status) : `${answer.status} ${code}`;
}

test('a signed message is taken once, over HTTPS, MQTT and WebSocket, and an unsigned one never', async () => {
  await using gateway = await startGateway({ config });
  const d1 = await gateway.device('d1');
  const key = await keyFor(gateway, 'd1');
  assert.equal(await post(gateway, d1, {}), '401 integrity');
  assert.equal(await publish(gateway, d1, []), notAuthorized);

  const posted = iotHeaders(key, { method: 'POST', path, body });
  assert.equal(await post(gateway, d1, posted), '202');
  assert.equal(await post(gateway, d1, posted), '401 integrity');
  // Signed anew for MQTT with the nonce that HTTPS has used.
  const reused = iotProperties(key, topic, body, posted['x-iot-nonce']);
  assert.equal(await publish(gateway, d1, reused), notAuthorized);

  const published = iotProperties(key, topic, body);
  assert.ok(accepted.includes(await publish(gateway, d1, published)));
  assert.equal(await publish(gateway, d1, published), notAuthorized);
  assert.equal(await publish(gateway, d1, published, 'websocket'), notAuthorized);
  const nonce = newNonce();
  const overWebSocket = iotProperties(key, topic, body, nonce);
  assert.ok(accepted.includes(await publish(gateway, d1, overWebSocket, 'websocket')));
  assert.equal(await publish(gateway, d1, overWebSocket), notAuthorized);
  const again = iotHeaders(key, { method: 'POST', path, body, nonce });
  assert.equal(await post(gateway, d1, again), '401 integrity');

  // MQTT 3.1.1 has no place for a signature: it is closed and nothing is acknowledged.
  using old = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1, version: 4 });
  assert.equal((await old.connect({ clientId: 'old' })).code, 0);
  await assert.rejects(old.publish(topic, body));
  await gateway.stop();
});

test('what was changed, or is signed by another device, is refused', async () => {
  await using gateway = await startGateway({ config });
  const [d1, d2] = await gateway.devices('d1', 'd2');
  assert.ok(d1 !== undefined && d2 !== undefined);
  const [key, other] = [await keyFor(gateway, 'd1'), await keyFor(gateway, 'd2')];
  const signed = { method: 'POST', path, body };
  const good = iotHeaders(key, signed);
  const now = Math.floor(Date.now() / 1_000);
  const changed: readonly object[] = [
    { ...good, 'x-iot-nonce': newNonce() },
    { ...good, 'x-iot-timestamp': String(now + 1_000) },
    { ...good, 'x-iot-key-id': other.keyId },
    { ...good, 'x-iot-signature': '0'.repeat(64) },
    iotHeaders(key, { ...signed, body: '{"temp":99}' }),
    iotHeaders(key, { ...signed, path: '/api/v1/status' }),
    iotHeaders(key, { ...signed, method: 'PUT' }),
    iotHeaders(key, { ...signed, query: 'a=1' }),
    iotHeaders(key, { ...signed, timestamp: now - 3_600 }),
    iotHeaders(key, { ...signed, timestamp: now + 3_600 }),
    iotHeaders({ ...key, key: other.key }, signed),
    iotHeaders(other, signed),
  ];
  for (const headers of changed) assert.equal(await post(gateway, d1, headers), '401 integrity');
  // d2 shows on its own connection what d1 has signed.
  assert.equal(await post(gateway, d2, good), '401 integrity');
  assert.equal(await post(gateway, d1, good), '202', 'and none of them has used it up');
  await gateway.ok('device', 'key', 'remove', 'd1', key.keyId.replace('d1.', ''));
  assert.equal(await post(gateway, d1, iotHeaders(key, signed)), '401 integrity');
  await gateway.stop();
});

test('a replay is refused by another worker, after kill -9 of the one that saw the first, and after a restart', async () => {
  const folder = temporaryFolder();
  try {
    let posted: IotHeaders;
    let published: readonly Property[];
    let d1: Identity;
    let key: HmacKey;
    {
      await using gateway = await startGateway({ config, workers: 2, folder });
      d1 = await gateway.device('d1');
      key = await keyFor(gateway, 'd1');
      posted = iotHeaders(key, { method: 'POST', path, body });
      published = iotProperties(key, topic, body);
      assert.equal(await post(gateway, d1, posted), '202');

      const { workers } = gateway.run();
      const clients = await onEachWorker(gateway, workers, () => connect(gateway, d1));
      const [first, second] = workers.map((pid) => clients.get(pid)?.client);
      const [saw] = workers;
      assert.ok(first !== undefined && second !== undefined && saw !== undefined);
      assert.ok(accepted.includes(await first.publish(topic, body, { properties: published })));
      process.kill(saw, 'SIGKILL');
      await first.ended;
      assert.equal(await publishSoon(second, published), notAuthorized);

      const run = await gateway.runFile(
        (now) => now.workers.length === 2 && !now.workers.includes(saw),
      );
      const all = await onEachWorker(gateway, run.workers, () => connect(gateway, d1));
      for (const { client } of all.values()) {
        assert.equal(await publishSoon(client, published), notAuthorized);
        client[Symbol.dispose]();
      }
      second[Symbol.dispose]();
      // Everything at once, as soon as it has been accepted.
      const last = iotHeaders(key, { method: 'POST', path, body });
      assert.equal(await post(gateway, d1, last), '202');
      posted = last;
      await gateway.kill();
    }
    for (const how of ['stop', 'kill'] as const) {
      await using gateway = await startGateway({ config, workers: 2, folder });
      const refused = await until('an answer', 60_000, () => post(gateway, d1, posted));
      assert.equal(refused, '401 integrity');
      assert.equal(await publish(gateway, d1, published), notAuthorized);
      const fresh = iotHeaders(key, { method: 'POST', path, body });
      assert.equal(await post(gateway, d1, fresh), '202', 'the key is as good as before');
      await gateway[how]();
    }
  } finally {
    folder[Symbol.dispose]();
  }
});
