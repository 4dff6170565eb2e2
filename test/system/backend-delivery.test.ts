/**
 * What devices send by curl and mosquitto_pub arrives at HTTP backends as CloudEvents, and at MQTT subscribers as it is:
 * exact in every attribute, at every backend that is to get it, and nowhere else.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Arrival } from '../harness/backend-record.ts';
import { startBackend } from '../harness/backend.ts';
import type { Backend } from '../harness/backend.ts';
import { curl } from '../harness/curl.ts';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { spoolOf } from '../harness/spool-state.ts';

async function newBackend(): Promise<Backend> {
  const backend = await startBackend();
  after(() => backend[Symbol.asyncDispose]());
  return backend;
}

const [single, batched, other, moved, elsewhere] = await Promise.all([
  newBackend(),
  newBackend(),
  newBackend(),
  newBackend(),
  newBackend(),
]);
const retry = 'retry: { min: 50ms, max: 100ms }';
const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: `
trustDomain: fleet.example
routes:
  telemetry:
    match: devices/+/telemetry
    rate: []
    to:
      - { name: single, http: '${single.url}?key=a%20b', ${retry} }
      - { name: batched, http: '${batched.url}', batch: 20, batchWait: 50ms, ${retry} }
  both: { match: devices/both/#, to: [ { http: '${other.url}', ${retry} } ] }
  moved: { match: devices/+/diagnostics, to: [ { http: '${moved.url}', ${retry} } ] }
`,
});
const [d1, both] = await gateway.devices('d1', 'both');
const service = await gateway.service('be', 'backend');
assert.ok(d1 && both);
const mqtts = { port: gateway.mqttsPort, identity: d1 };

/** What a binary event is in the headers; the rest is the transport's. */
function eventHeaders({ request }: Arrival): Record<string, readonly string[]> {
  return Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => name.startsWith('ce-')),
  );
}

test('a reading by curl arrives in binary mode, in a batch, and at an MQTT subscriber', async () => {
  await using subscriber = await MosquittoSub.start(
    { port: gateway.mqttsPort, identity: service },
    'devices/+/telemetry',
  );
  const payload = '{"temperature":22.70,"of":"curl"}';
  const before = Date.now();
  const answer = await curl(gateway, d1, '/api/v1/telemetry', '-d', payload);
  const answered = Date.now();
  assert.deepEqual(answer, { status: 202, body: '' });

  const event = await single.arrival(({ text }) => text === payload);
  assert.equal(event.request.mode, 'binary');
  assert.equal(event.request.path, '/ingest?key=a%20b');
  assert.deepEqual(eventHeaders(event), {
    'ce-specversion': ['1.0'],
    'ce-id': [event.id],
    'ce-source': ['spiffe://fleet.example/device/d1'],
    'ce-type': ['com.sallyport.message.v1'],
    'ce-subject': ['devices/d1/telemetry'],
    'ce-time': [event.time],
  });
  assert.match(event.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Date.parse(event.time) >= before && Date.parse(event.time) <= answered);
  assert.deepEqual(event.request.headers['content-type'], ['application/json']);
  // Nothing of the gateway, its connections or the device's request beside it.
  assert.deepEqual(
    Object.keys(event.request.headers).filter((name) => !name.startsWith('ce-')),
    ['host', 'connection', 'content-type', 'content-length'],
  );

  const inBatch = await batched.arrival(({ id }) => id === event.id);
  assert.equal(inBatch.request.mode, 'batch');
  const { source, subject, type, time, contentType } = inBatch;
  assert.deepEqual(
    { source, subject, type, time, contentType, data: JSON.parse(inBatch.text ?? '') as unknown },
    {
      source: 'spiffe://fleet.example/device/d1',
      subject: 'devices/d1/telemetry',
      type: 'com.sallyport.message.v1',
      time: event.time,
      contentType: 'application/json',
      data: { temperature: 22.7, of: 'curl' },
    },
  );
  const received = await subscriber.message((message) => message.payload === payload);
  assert.equal(received.topic, 'devices/d1/telemetry');
});

const kinds = [
  { version: 'mqttv5', message: '{"of":"5"}', extra: [], type: 'application/json' },
  { version: 'mqttv311', message: '{"of":"3.1.1"}', extra: [], type: 'application/json' },
  { version: 'mqttv5', message: 'no JSON', extra: [], type: 'application/octet-stream' },
  {
    version: 'mqttv5',
    message: 'héllo, world',
    extra: ['-D', 'publish', 'content-type', 'text/plain; charset=utf-8'],
    type: 'text/plain; charset=utf-8',
  },
  {
    version: 'mqttv5',
    message: '{"of":"a device that would be a backend\'s own source"}',
    extra: ['-D', 'publish', 'content-type', 'application/cloudevents+json'],
    type: 'application/json',
  },
] as const;

for (const { version, message, extra, type } of kinds) {
  test(`${message} over ${version} arrives as ${type}, single and in a batch`, async () => {
    const sent = await mosquittoPub({ ...mqtts, version }, 'devices/d1/telemetry', message, extra);
    assert.equal(sent.code, 0, sent.output);
    const event = await single.arrival(({ text }) => text === message);
    const inBatch = await batched.arrival(({ id }) => id === event.id);
    for (const arrival of [event, inBatch]) {
      assert.equal(arrival.contentType, type);
      assert.equal(arrival.source, 'spiffe://fleet.example/device/d1');
      assert.equal(arrival.subject, 'devices/d1/telemetry');
    }
    assert.equal(inBatch.text, message);
  });
}

test('what was sent together goes in batches, in the order of each device, and never above their size', async () => {
  using client = await connect(d1);
  await batched.behave({ do: 'slow', ms: 200 }, { do: 'accept' });
  const codes = await Promise.all(
    Array.from({ length: 60 }, (_, i) =>
      client.publish('devices/d1/telemetry', JSON.stringify({ seq: i + 1 })),
    ),
  );
  assert.deepEqual(new Set(codes), new Set([0]));
  await batched.arrival(({ seq }) => seq === 60);
  const batches = batched
    .record()
    .requests.map(({ events }) => events.flatMap(({ seq }) => seq ?? []))
    .filter((seqs) => seqs.length > 0);
  assert.deepEqual(
    batches.flat(),
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  const sizes = batches.map((seqs) => seqs.length);
  assert.ok(Math.max(...sizes) === 20, `${sizes.join()}`);
});

test('a message goes to every backend of every route that matches, under one id, and to no other', async () => {
  const payload = '{"for":"both"}';
  assert.equal((await curl(gateway, both, '/api/v1/telemetry', '-d', payload)).status, 202);
  const wanted = ({ text }: Arrival): boolean => text === payload;
  const arrivals = await Promise.all([single, batched, other].map((to) => to.arrival(wanted)));
  assert.equal(new Set(arrivals.map(({ id }) => id)).size, 1);
  const status = '{"only":"other"}';
  assert.equal((await curl(gateway, both, '/api/v1/status', '-d', status)).status, 202);
  await other.arrival(({ text, subject }) => text === status && subject === 'devices/both/status');
  for (const name of ['single', 'batched']) {
    await spoolOf(gateway, 'telemetry', ({ waiting }) => waiting === 0, name);
  }
  assert.ok(!single.record().arrivals.some(({ text }) => text === status));
  assert.ok(!other.record().arrivals.some(({ device }) => device !== 'both'));
});

test('one backend that is down holds up no other of the same route', async () => {
  await single.kill();
  const payload = '{"while":"single is down"}';
  assert.equal((await curl(gateway, d1, '/api/v1/telemetry', '-d', payload)).status, 202);
  await batched.arrival(({ text }) => text === payload);
  await spoolOf(gateway, 'telemetry', ({ waiting }) => waiting === 1, 'single');
  await single.start();
  await single.arrival(({ text }) => text === payload);
  await spoolOf(gateway, 'telemetry', ({ waiting }) => waiting === 0, 'single');
});

test('a redirect is not followed: the message waits until its own backend takes it', async () => {
  const payload = '{"to":"moved"}';
  for (const status of [301, 302, 303, 307, 308]) {
    await moved.behave({ do: 'answer', status, location: elsewhere.url });
    const sent = await curl(gateway, d1, '/api/v1/diagnostics', '-d', payload);
    assert.equal(sent.status, 202);
    const { requests } = moved.record();
    const before = requests.length;
    await moved.recorded(`two tries answered ${status}`, (now) => now.requests.length > before + 2);
  }
  await moved.behave({ do: 'accept' });
  await spoolOf(gateway, 'moved', ({ waiting, deadLetters }) => waiting + deadLetters === 0);
  assert.equal(moved.record().arrivals.length, 5);
  assert.deepEqual(elsewhere.record().requests, []);
});

test('QoS 0 is delivered too', async () => {
  using client = await connect(d1);
  client.publishUnacknowledged('devices/d1/telemetry', '{"qos":0}');
  await single.arrival(({ text }) => text === '{"qos":0}');
});
