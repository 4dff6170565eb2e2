/**
 * One budget for an identity, however it spreads its messages: HTTPS connections, fresh or kept, certificates, workers,
 * and MQTT beside it. Limit 5 with burst 10 passes 11 at once and refuses the twelfth.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { Identity } from '../harness/gateway.ts';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { telemetryText } from '../harness/https-text.ts';
import { makeRequest } from '../harness/openssl.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

/** As slow as a rate can be: during a test nothing flows back, however slow the machine is. */
const config = [
  'routes:',
  '  telemetry: { rate: { limit: 5/day, burst: 10 } }',
  '  status: { match: devices/+/status, rate: { limit: 5/s, burst: 10 } }',
  'limits: { sessionsPerIdentity: 100, connectionsPerIdentity: 100 }',
].join('\n');

const { gateway, connect } = await sharedGateway({ config, workers: 2 });
const port = gateway.httpsPort;
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

/** @returns whether it was accepted; what is not is refused as too fast, and says when to come again. */
function isAccepted(answer: HttpAnswer): boolean {
  if (answer.status === 202) return true;
  assert.deepEqual([answer.status, problemCode(answer)], [429, 'rate']);
  assert.match(answer.headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
  return false;
}

const count = (accepted: readonly boolean[]): number => accepted.filter(Boolean).length;

function times<T>(n: number, make: (n: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: n }, (_, each) => make(each)));
}

async function secondCertificate(device: Identity): Promise<Identity> {
  const { key, csr } = makeRequest(gateway.at(`second-${device.id}`), device.id);
  const crt = gateway.at(`second-${device.id}`, 'second.crt');
  await gateway.ok('device', 'enroll', device.id, '--csr', csr, '--out', crt);
  return { ...device, key, crt };
}

test('on one connection eleven are accepted, the twelfth is told to come later, and the connection stays', async () => {
  const device = await freshDevice();
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe(`devices/${device.id}/telemetry`), [1]);
  using client = HttpsDevice.of(gateway, device);
  for (let n = 1; n <= passes + 2; n += 1) {
    assert.equal(isAccepted(await client.post('telemetry', `${n}`)), n <= passes, `${n}`);
  }
  // Other topics have their own budget.
  assert.equal((await client.post('diagnostics', '{}')).status, 202);
  assert.equal(client.sockets.length, 1);
  await backend.message(({ payload }) => payload === `${passes}`);
  await backend.ping();
  assert.equal(backend.messages.length, passes);
});

test('sent all at once, in one write', async () => {
  const device = await freshDevice();
  using raw = await RawHttps.open({ port, identity: device });
  // A connection takes eight requests that wait for the one before them.
  for (const batch of [8, 6]) {
    raw.send(telemetryText('{}').repeat(batch));
    for (let n = 0; n < batch; n += 1) {
      const sent = n + (batch === 8 ? 1 : 9);
      assert.equal(isAccepted(await raw.answer()), sent <= passes, `${sent}`);
    }
  }
});

test('what flows back is what the rate says, and no more', async () => {
  const device = await freshDevice();
  using client = HttpsDevice.of(gateway, device);
  const began = performance.now();
  let accepted = 0;
  await until('three have flowed back', 30_000, async () => {
    if (isAccepted(await client.post('status', '{}'))) accepted += 1;
    return accepted === passes + 3;
  });
  // 5/s: the third after the burst fits six tenths of a second after the first of all.
  const tookMs = performance.now() - began;
  assert.ok(tookMs > 550, `after ${tookMs} ms`);
});

test('every message is a curl of its own', async () => {
  const device = await freshDevice();
  const curl = (): Promise<string> =>
    promisify(execFile)('curl', [
      '--silent',
      '--cacert',
      device.ca,
      '--cert',
      device.crt,
      '--key',
      device.key,
      '--output',
      gateway.at('answer'),
      '--write-out',
      '%{http_code} %header{retry-after}',
      '--data',
      '{"temperature":22.7}',
      `https://localhost:${port}/api/v1/telemetry`,
    ]).then(({ stdout }) => stdout);
  for (let n = 1; n <= passes + 2; n += 1) {
    assert.match(await curl(), n <= passes ? /^202 $/ : /^429 [1-9]/, `${n}`);
  }
});

test('every message is a connection of its own, all at the same time', async () => {
  const device = await freshDevice();
  using client = HttpsDevice.of(gateway, device);
  const answers = await times(2 * passes, () =>
    client.requestAlone('POST', '/api/v1/telemetry', { body: '{}' }),
  );
  assert.equal(count(answers.map(isAccepted)), passes);
});

test('half goes over MQTT', async () => {
  const device = await freshDevice();
  const topic = `devices/${device.id}/telemetry`;
  using https = HttpsDevice.of(gateway, device);
  using mqtt = await connect(device, { clientId: 'c' });
  const overMqtt = async (): Promise<boolean> => {
    const code = await mqtt.publish(topic, '{}');
    assert.ok([0, 0x10, quotaExceeded].includes(code));
    return code !== quotaExceeded;
  };
  const overHttps = async (): Promise<boolean> => isAccepted(await https.post('telemetry', '{}'));
  const turns: boolean[] = [];
  for (let n = 0; n < 4; n += 1) turns.push(await overMqtt(), await overHttps());
  assert.equal(count(turns), 8);
  const rest = await Promise.all([times(passes, overMqtt), times(passes, overHttps)]);
  assert.equal(count(rest.flat()), passes - 8);
  assert.equal(await overMqtt(), false);
  assert.equal(await overHttps(), false);
});

test('two certificates, two workers, both versions of TLS, both protocols', async () => {
  const device = await freshDevice();
  const certificates = [device, await secondCertificate(device)];
  const senders: (() => Promise<boolean>)[] = [];
  const opened: Disposable[] = [];
  for (const [n, identity] of certificates.entries()) {
    const tls = n === 0 ? 'TLSv1.2' : 'TLSv1.3';
    const https = await onEachWorker(gateway, workers, async () => ({
      client: await RawHttps.open({ port, identity, maxVersion: tls }),
    }));
    const mqtt = await onEachWorker(gateway, workers, async () => ({
      client: await connect(identity, { clientId: '', maxVersion: tls }),
    }));
    for (const { client } of https.values()) {
      opened.push(client);
      senders.push(async () => {
        client.send(telemetryText('{}'));
        return isAccepted(await client.answer());
      });
    }
    for (const { client } of mqtt.values()) {
      opened.push(client);
      const topic = `devices/${device.id}/telemetry`;
      senders.push(async () => (await client.publish(topic, '{}')) !== quotaExceeded);
    }
  }
  assert.equal(senders.length, 8);
  try {
    const accepted: boolean[] = [];
    // Turn by turn, then all at once.
    for (const send of senders) accepted.push(await send());
    for (let n = 0; n < 3; n += 1) {
      accepted.push(...(await Promise.all(senders.map((send) => send()))));
    }
    assert.equal(count(accepted), passes);
  } finally {
    for (const each of opened) each[Symbol.dispose]();
  }
});

test('a budget that was spent on one worker is spent on the other, and over MQTT', async () => {
  const device = await freshDevice();
  {
    using client = HttpsDevice.of(gateway, device);
    for (let n = 0; n < passes; n += 1) {
      assert.equal((await client.post('telemetry', '{}')).status, 202);
    }
  }
  const found = await onEachWorker(gateway, workers, async () => {
    const client = await RawHttps.open({ port, identity: device });
    client.send(telemetryText('{}'));
    assert.equal(isAccepted(await client.answer()), false);
    return { client };
  });
  for (const { client } of found.values()) client[Symbol.dispose]();
  using mqtt = await connect(device, { clientId: 'c' });
  assert.equal(await mqtt.publish(`devices/${device.id}/telemetry`, '{}'), quotaExceeded);
});

test("one device's flood does not touch another's budget", async () => {
  const [noisy, quiet] = [await freshDevice(), await freshDevice()];
  using flood = HttpsDevice.of(gateway, noisy);
  using client = HttpsDevice.of(gateway, quiet);
  const [flooded, served] = await Promise.all([
    times(3 * passes, async () => isAccepted(await flood.post('telemetry', '{}'))),
    times(passes, async () => isAccepted(await client.post('telemetry', '{}'))),
  ]);
  assert.equal(count(flooded), passes);
  assert.equal(count(served), passes);
});
