/** The way from nothing to readings that arrive, with the programs that a reader of the README has. */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { after, test } from 'node:test';
import { runCli } from '../harness/cli.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { MosquittoSub, mosquittoPub } from '../harness/mosquitto.ts';
import type { MosquittoVersion } from '../harness/mosquitto.ts';
import { makeRequest } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';

const gateway = await startGateway({ workers: 2 });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});

const lab = gateway.at('lab');
const identity = (id: string): Identity => ({
  id,
  key: `${lab}/${id}.key`,
  crt: `${lab}/${id}.crt`,
  ca: `${lab}/ca.crt`,
});
const d1 = identity('d1');
const be = identity('be');
const port = gateway.mqttsPort;

test('run.json says who is ready and where it listens', () => {
  const run = gateway.run();
  assert.equal(run.version, 1);
  assert.equal(run.ready, true);
  assert.equal(run.pid, gateway.pid);
  assert.ok(Math.abs(Date.parse(run.startedAt) - Date.now()) < 300_000);
  assert.deepEqual(
    run.workers.toSorted((a, b) => a - b),
    gateway.processes().workers.toSorted((a, b) => a - b),
  );
  assert.deepEqual(Object.keys(run.listeners).toSorted(), ['admin', 'https', 'mqtts']);
  for (const { host, port: listening } of Object.values(run.listeners)) {
    assert.equal(host, '127.0.0.1');
    assert.ok(listening > 0);
  }
});

test('the first start prints what to paste next, and one operator enrolment', async () => {
  const banner = await gateway.printed(/mosquitto_pub .*\n/);
  assert.match(banner, /sallyport device create d1 --out lab/);
  assert.match(banner, /sallyport service create be --role backend --out lab/);
  assert.match(banner, new RegExp(`mosquitto_pub .*-p ${port} `));
  assert.equal(banner.match(/One-time operator enrolment/g)?.length, 1);
});

test('device create and service create write keys, chains and the root', async () => {
  const here = { cwd: gateway.at() };
  const create = ['device', 'create', 'd1', 'd2', '--out', 'lab', '--json'];
  const created = await gateway.cliWith(here, ...create);
  assert.equal(created.code, 0, created.stderr);
  assert.ok(Array.isArray(created.json()));
  await gateway.ok('service', 'create', 'be', '--role', 'backend', '--out', lab);
  for (const id of ['d1', 'd2', 'be']) {
    const { key, crt, ca } = identity(id);
    assert.equal(statSync(key).mode & 0o777, 0o600);
    // Leaf and issuing CA; the root is what a client trusts and comes apart.
    assert.equal(readFileSync(crt, 'utf8').match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert.equal(readFileSync(ca, 'utf8').match(/BEGIN CERTIFICATE/g)?.length, 1);
  }
});

for (const version of ['mqttv5', 'mqttv311'] satisfies MosquittoVersion[]) {
  test(`a reading published with mosquitto_pub arrives at mosquitto_sub, ${version}`, async () => {
    await using subscriber = await MosquittoSub.start(
      { port, identity: be, version },
      'devices/+/telemetry',
    );
    const reading = `{"temperature":22.5,"over":"${version}"}`;
    const sent = await mosquittoPub(
      { port, identity: d1, version },
      'devices/d1/telemetry',
      reading,
    );
    assert.equal(sent.code, 0, sent.output);
    const message = await subscriber.message(({ payload }) => payload === reading);
    assert.deepEqual(message, {
      topic: 'devices/d1/telemetry',
      qos: 1,
      retain: false,
      payload: reading,
    });
  });
}

test('a device with a key and CSR of its own publishes after device enroll', async () => {
  const { key, csr } = makeRequest(gateway.at('own'), 'd3');
  const crt = gateway.at('own', 'd3.crt');
  await gateway.ok('device', 'enroll', 'd3', '--csr', csr, '--out', crt);
  const d3 = { id: 'd3', key, crt, ca: be.ca };
  await using subscriber = await MosquittoSub.start({ port, identity: be }, 'devices/+/telemetry');
  const sent = await mosquittoPub({ port, identity: d3 }, 'devices/d3/telemetry', '{"n":3}');
  assert.equal(sent.code, 0, sent.output);
  await subscriber.message(({ topic, payload }) => {
    return topic === 'devices/d3/telemetry' && payload === '{"n":3}';
  });
});

test('a folder of CSRs is enrolled by one command, and again without harm', async () => {
  const folder = gateway.at('requests');
  for (const id of ['f1', 'f2']) makeRequest(folder, id);
  const out = gateway.at('issued');
  await gateway.ok('device', 'enroll', '--csr-dir', folder, '--out', out);
  const first = readFileSync(`${out}/f1.crt`, 'utf8');
  await gateway.ok('device', 'enroll', '--csr-dir', folder, '--out', out);
  assert.equal(readFileSync(`${out}/f1.crt`, 'utf8'), first);
  const f2 = { id: 'f2', key: `${folder}/f2.key`, crt: `${out}/f2.crt`, ca: be.ca };
  const sent = await mosquittoPub({ port, identity: f2 }, 'devices/f2/telemetry', '{}');
  assert.equal(sent.code, 0, sent.output);
});

test('a command of the backend reaches the device it is for', async () => {
  await using device = await MosquittoSub.start({ port, identity: d1 }, 'devices/d1/commands/#');
  const sent = await mosquittoPub(
    { port, identity: be },
    'devices/d1/commands/reboot',
    '{"in":"5s"}',
  );
  assert.equal(sent.code, 0, sent.output);
  await device.message(({ topic }) => topic === 'devices/d1/commands/reboot');
});

test('a topic of another device is refused in both versions', async () => {
  const refused5 = await mosquittoPub({ port, identity: d1 }, 'devices/d2/telemetry', '{}');
  // mosquitto_pub says so and keeps its exit code; 0x87 is "Not authorized".
  assert.match(refused5.output, /Not authorized/i);
  // 3.1.1 has no word for it: the connection is closed and nothing is acknowledged.
  using client = await RawMqtt.open({ port, identity: d1, version: 4 });
  assert.equal((await client.connect()).code, 0);
  await assert.rejects(client.publish('devices/d2/telemetry', '{}'), /the connection ended$/);
});

test('list and show know every identity that was made here', async () => {
  const listed = await gateway.ok('device', 'list');
  for (const id of ['d1', 'd2', 'd3', 'f1', 'f2']) {
    assert.match(listed.stdout, new RegExp(`\\b${id}\\b.*active`));
  }
  const shown = await gateway.ok('device', 'show', 'd3');
  assert.match(shown.stdout, /d3/);
  assert.match((await gateway.ok('service', 'list')).stdout, /\bbe\b.*backend/);
  assert.match((await gateway.ok('status')).stdout, /\d/);
});

test('a command for a gateway that does not run says so in one line and fails', async () => {
  const result = await runCli(['device', 'list', '--data', gateway.at('nowhere')]);
  assert.equal(result.code, 1);
  assert.equal(result.stdout, '');
  assert.match(result.stderr, /^error: no gateway runs on [^\n]*\n$/);
});
