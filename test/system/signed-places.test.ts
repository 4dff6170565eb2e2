/** Strangers who say nothing hold no place that a device needs on the listeners without client certificates. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestWith } from '../harness/https-text.ts';
import { iotHeaders } from '../harness/iot-signature.ts';
import type { HmacKey } from '../harness/iot-signature.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { signedJwt } from '../harness/signed-jwt.ts';
import { until, within } from '../harness/waiting.ts';

const gateway = await startGateway({
  workers: 1,
  listener: [
    'httpsSigned: { host: 127.0.0.1, port: 0 }',
    'mqttsSigned: { host: 127.0.0.1, port: 0 }',
  ].join('\n  '),
  config: [
    'limits: { signedConnections: 5, connect: 60s }',
    'routes: { telemetry: { authenticate: [ signature, device-jwt ], integrity: { required: false } } }',
  ].join('\n'),
});
after(() => gateway[Symbol.asyncDispose]());
const { ca } = await gateway.device('d1');
const key = (await gateway.ok('device', 'key', 'add', 'd1', '--json')).json() as HmacKey; // docs/openapi says so
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(gateway.at('d1.pub'), pair.publicKey.export({ type: 'spki', format: 'pem' }));
const added = await gateway.ok(
  'device',
  'key',
  'add',
  'd1',
  '--public',
  gateway.at('d1.pub'),
  '--json',
);
const { keyId: kid } = added.json() as HmacKey; // the same

const { httpsSigned, mqttsSigned } = gateway.run().listeners;
assert.ok(httpsSigned !== undefined && mqttsSigned !== undefined);
const https = { port: httpsSigned.port, ca };
const mqtts = { port: mqttsSigned.port, ca };

async function isServed(connection: RawHttps): Promise<boolean> {
  const path = '/api/v1/time';
  connection.send(requestWith('GET', path, iotHeaders(key, { method: 'GET', path, body: '' })));
  return (await connection.answer()).status === 200;
}

test('a device takes the place of the oldest of the strangers, and none that has proven who it is', async () => {
  using first = await RawHttps.open({ ...https, localAddress: '127.1.1.1' });
  assert.ok(await isServed(first));
  using session = await RawMqtt.open({ ...mqtts, localAddress: '127.1.1.2' });
  const now = Math.floor(Date.now() / 1_000);
  const claims = { aud: 'localhost', sub: 'd1', iat: now, exp: now + 300 };
  const password = signedJwt({ alg: 'ES256', kid }, claims, pair.privateKey);
  assert.equal((await session.connect({ userName: 'd1', password })).code, 0);
  using oldest = await RawMqtt.open({ ...mqtts, localAddress: '127.9.9.1' });
  using older = await RawHttps.open({ ...https, localAddress: '127.9.9.2' });
  using youngest = await RawHttps.open({ ...https, localAddress: '127.9.9.3' });

  using second = await RawHttps.open({ ...https, localAddress: '127.2.2.2' });
  assert.ok(await isServed(second));
  await within(oldest.ended, 10_000, 'the end of the oldest stranger');
  using third = await RawMqtt.open({ ...mqtts, localAddress: '127.3.3.3' });
  assert.equal((await third.connect({ userName: 'd1', password })).code, 0);
  await within(older.ended, 10_000, 'the end of the next');
  assert.ok(!youngest.isEnded);

  assert.ok(await isServed(first));
  await session.ping();
  // A place that is left is there for the next.
  second[Symbol.dispose]();
  await until('a place for the next', 30_000, async () => {
    using fourth = await RawHttps.open({ ...https, localAddress: '127.4.4.4' });
    return await isServed(fourth).catch(() => false);
  });
});
