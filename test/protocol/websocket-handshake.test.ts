/**
 * The way from HTTPS to MQTT over WebSocket: who is let through, what everybody else is told, and what counts as what
 * on the way.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { problemCode } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { readMetrics } from '../harness/metrics.ts';
import { connectPacket } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import type { RawOptions } from '../harness/raw-mqtt.ts';
import { assertOpens, handshakeText, sampleKey } from '../harness/raw-websocket.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';
import { clientFrame, opcode, ServerFrameReader } from '../harness/websocket-bytes.ts';

const connectionsPerIdentity = 8;
const sessionsPerIdentity = 4;

const { gateway } = await sharedGateway({
  listener: 'https: { host: 127.0.0.1, port: 0, origins: [ "https://console.example" ] }',
  config: [
    'limits:',
    // Longer than this process may stand still in the middle of something.
    '  idle: 8s',
    '  request: 8s',
    '  requestHeaders: 8s',
    '  connect: 8s',
    `  connectionsPerIdentity: ${connectionsPerIdentity}`,
    `  sessionsPerIdentity: ${sessionsPerIdentity}`,
    '  identityRates: { device: { limit: 1000/s, burst: 1000 } }',
  ].join('\n'),
});
const port = gateway.httpsPort;
const [d1, many, silent, suspended, quarantined] = await gateway.devices(
  'd1',
  'many',
  'silent',
  'suspended',
  'quarantined',
);
assert.ok(d1 !== undefined && many !== undefined && silent !== undefined);
assert.ok(suspended !== undefined && quarantined !== undefined);
const be = await gateway.service('be', 'backend');
await gateway.ok('device', 'suspend', 'suspended');
await gateway.ok('device', 'quarantine', 'quarantined');

const time = requestText('GET', '/api/v1/time');

function open(identity: Identity, options: Partial<RawOptions> = {}): Promise<RawMqtt> {
  return RawMqtt.open({ over: 'websocket', port, identity, ...options });
}

test('who offers mqtt is answered mqtt and speaks it [MQTT-6.0.0-3] [MQTT-6.0.0-4]', async () => {
  using raw = await RawHttps.open({ port, identity: d1 });
  raw.send(handshakeText({ 'Sec-WebSocket-Protocol': 'chat, mqtt' }));
  assertOpens(await raw.answer(), sampleKey);
  for (const version of [4, 5] as const) {
    using client = await open(d1, { version });
    assert.equal((await client.connect({ clientId: 'c' })).code, 0);
    assert.deepEqual(await client.subscribe('devices/d1/commands/#'), [1]);
    await client.ping();
  }
});

test('a service speaks it too', async () => {
  using backend = await open(be);
  assert.equal((await backend.connect()).code, 0);
  assert.deepEqual(await backend.subscribe('devices/d1/diagnostics'), [1]);
  using device = await open(d1);
  assert.equal((await device.connect()).code, 0);
  assert.equal(await device.publish('devices/d1/diagnostics', 'both ends'), 0);
  await backend.message(({ payload }) => payload === 'both ends');
});

test('a connection that has served requests can become one', async () => {
  using raw = await RawHttps.open({ port, identity: d1 });
  for (let n = 0; n < 3; n += 1) {
    raw.send(time);
    assert.equal((await raw.answer()).status, 200);
  }
  raw.send(handshakeText());
  assertOpens(await raw.answer(), sampleKey);
});

test('frames that come with the handshake are read, in pieces too', async () => {
  const connect = connectPacket({ version: 5, clientId: 'eager' });
  const frame = clientFrame({ opcode: opcode.binary, payload: connect });
  const sent = Buffer.concat([Buffer.from(handshakeText()), frame]);
  const handshakeBytes = sent.length - frame.length;
  for (const at of [sent.length, handshakeBytes - 1, handshakeBytes, handshakeBytes + 1, 10]) {
    using raw = await RawHttps.open({ port, identity: d1 });
    raw.send(sent.subarray(0, at));
    // A turn of its own, so that it is a record of its own.
    await new Promise((resolve) => setImmediate(resolve));
    raw.send(sent.subarray(at));
    assertOpens(await raw.answer(), sampleKey);
    const connack = await until('CONNACK', 30_000, () => new ServerFrameReader().push(raw.rest)[0]);
    assert.deepEqual([connack.payload[0], connack.payload[3]], [0x20, 0], `cut at ${at}`);
  }
});

interface Refused {
  readonly what: string;
  readonly text: string;
  readonly status: number;
  readonly code: string;
  readonly identity?: Identity | undefined;
}

const refusals: readonly Refused[] = [
  {
    what: 'no subprotocol [MQTT-6.0.0-3]',
    text: handshakeText({ 'Sec-WebSocket-Protocol': undefined }),
    status: 400,
    code: 'malformed',
  },
  {
    what: 'another subprotocol [MQTT-6.0.0-3]',
    text: handshakeText({ 'Sec-WebSocket-Protocol': 'mqttv3.1' }),
    status: 400,
    code: 'malformed',
  },
  {
    what: 'no key',
    text: handshakeText({ 'Sec-WebSocket-Key': undefined }),
    status: 400,
    code: 'malformed',
  },
  {
    what: 'two keys',
    text: handshakeText({ 'Sec-WebSocket-Key': `${sampleKey}\r\nSec-WebSocket-Key: ${sampleKey}` }),
    status: 400,
    code: 'malformed',
  },
  {
    what: 'an old version',
    text: handshakeText({ 'Sec-WebSocket-Version': '8' }),
    status: 426,
    code: 'malformed',
  },
  {
    what: 'another protocol',
    text: handshakeText({ Upgrade: 'h2c' }),
    status: 426,
    code: 'malformed',
  },
  { what: 'a plain request', text: requestText('GET', '/mqtt'), status: 426, code: 'malformed' },
  {
    what: 'the page of somebody else',
    text: handshakeText({ Origin: 'https://evil.example' }),
    status: 403,
    code: 'forbidden',
  },
  {
    what: 'a page that came over plain HTTP',
    text: handshakeText({ Origin: 'http://localhost' }),
    status: 403,
    code: 'forbidden',
  },
  { what: 'a query', text: handshakeText({}, '/mqtt?x=1'), status: 400, code: 'malformed' },
  {
    what: 'content',
    text: handshakeText({ 'Content-Length': '0' }),
    status: 426,
    code: 'malformed',
  },
  { what: 'another path', text: handshakeText({}, '/mqtt/'), status: 404, code: 'not-found' },
  {
    what: 'bad headers',
    text: handshakeText({ 'Content-Type': 'a\r\nContent-Type: b' }),
    status: 400,
    code: 'malformed',
  },
  {
    what: 'a suspended device',
    text: handshakeText(),
    status: 403,
    code: 'standing',
    identity: suspended,
  },
  {
    what: 'a quarantined device',
    text: handshakeText(),
    status: 403,
    code: 'standing',
    identity: quarantined,
  },
];

/** A frame that would connect, if anybody read it. */
const hidden = clientFrame({
  opcode: opcode.binary,
  payload: connectPacket({ version: 5, clientId: 'hidden' }),
});

for (const { what, text, status, code, identity = d1 } of refusals) {
  test(`${status} ${code}: ${what}`, async () => {
    using raw = await RawHttps.open({ port, identity });
    raw.send(Buffer.concat([Buffer.from(text), hidden]));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], [status, code]);
    assert.deepEqual(await raw.answersUntilClose(), []);
    if (status !== 426) return;
    const said = ['upgrade', 'sec-websocket-version'].map((name) => answer.headers.get(name));
    assert.deepEqual(said, ['websocket', '13']);
    assert.match(answer.headers.get('connection') ?? '', /close, upgrade/i);
  });
}

test('without a certificate nobody is let through', async () => {
  using raw = await RawHttps.open({ port, identity: undefined, ca: d1.ca });
  raw.send(handshakeText());
  const answer = await raw.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [401, 'unauthenticated']);
  assert.deepEqual(await raw.answersUntilClose(), []);
});

test('behind a request that is not answered yet it is opened when it is its turn', async () => {
  using raw = await RawHttps.open({ port, identity: d1 });
  raw.send(requestText('GET', '/api/v1/commands?wait=1') + handshakeText());
  assert.equal((await raw.answer()).status, 204);
  assertOpens(await raw.answer(), sampleKey);
});

for (const origin of ['https://localhost', 'https://127.0.0.1:8443', 'https://console.example']) {
  test(`a page of ${origin} may open one`, async () => {
    using raw = await RawHttps.open({ port, identity: d1 });
    raw.send(handshakeText({ Origin: origin }));
    assertOpens(await raw.answer(), sampleKey);
  });
}

test('the time limits of requests end with the request', async () => {
  using client = await open(d1);
  assert.equal((await client.connect({ clientId: 'long', keepAlive: 0 })).code, 0);
  // What would have ended it as HTTP has ended another: idle, headers and request are 8 s each.
  using idle = await RawHttps.open({ port, identity: d1 });
  idle.send(time);
  assert.equal((await idle.answer()).status, 200);
  using dribbling = await RawHttps.open({ port, identity: d1 });
  dribbling.send('GET /api/v1/time HTTP/1.1\r\n');
  await within(Promise.all([idle.ended, dribbling.ended]), 40_000, 'the end of HTTP connections');
  assert.equal(client.isEnded, false);
  await client.ping();
});

test('who opens one and does not CONNECT is ended, and counts as a connection until then', async () => {
  const opened = await Promise.all(
    Array.from({ length: connectionsPerIdentity }, () => open(silent)),
  );
  using raw = await RawHttps.open({ port, identity: silent });
  raw.send(time);
  assert.equal(problemCode(await raw.answer()), 'quota');
  for (const client of opened) {
    const { closeCode } = await within(client.ended, 40_000, 'the end of one that says nothing');
    assert.equal(closeCode, 1000);
  }
  using later = HttpsDevice.of(gateway, silent);
  assert.equal((await later.request('GET', '/api/v1/time')).status, 200);
});

test('once it is MQTT it is a session and no connection of HTTPS', async () => {
  const sessions: RawMqtt[] = [];
  for (let n = 0; n < sessionsPerIdentity; n += 1) {
    const client = await open(many);
    assert.equal((await client.connect({ clientId: `s${n}` })).code, 0);
    sessions.push(client);
  }
  {
    using one = await open(many);
    assert.equal((await one.connect({ clientId: 'one-too-many' })).code, 0x97);
  }
  const held = await Promise.all(
    Array.from({ length: connectionsPerIdentity }, () => RawHttps.open({ port, identity: many })),
  );
  for (const raw of held) {
    raw.send(time);
    assert.equal((await raw.answer()).status, 200);
  }
  for (const each of [...sessions, ...held]) each[Symbol.dispose]();
  // Workers tell their counts about once a second.
  await until('they are counted as upgrades, and nothing is half open', 20_000, async () => {
    const metrics = await readMetrics(gateway);
    const upgrades = metrics.sum('sallyport_https_upgrades_total');
    return upgrades >= sessionsPerIdentity && metrics.sum('sallyport_half_open') === 0;
  });
});

test('a session is the same over either way, and is taken over from one to the other', async () => {
  using first = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
  assert.equal((await first.connect({ clientId: 'moving' })).code, 0);
  using second = await open(d1);
  assert.equal((await second.connect({ clientId: 'moving' })).code, 0);
  assert.equal((await within(first.ended, 5_000, 'the takeover')).disconnect, 0x8e);
  using third = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
  assert.equal((await third.connect({ clientId: 'moving' })).code, 0);
  const { disconnect, closeCode } = await within(second.ended, 5_000, 'the takeover back');
  assert.deepEqual([disconnect, closeCode], [0x8e, 1000]);
});
