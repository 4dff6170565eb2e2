/**
 * The listeners without client certificates: devices that prove with each request, or with CONNECT, who they are, by a
 * signature under a registered key or a JWT of their own.
 */
import assert from 'node:assert/strict';
import { createHash, createHmac, generateKeyPairSync, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { signedJwt } from '../harness/signed-jwt.ts';
import { UpstreamServer } from '../harness/upstream-server.ts';
import { until } from '../harness/waiting.ts';

const endings: (() => unknown)[] = [];
after(async () => {
  for (const end of endings.reverse()) await end();
});
const upstream = await UpstreamServer.of({ after: (end) => void endings.push(end) });
const gateway = await startGateway({
  workers: 2,
  listener: [
    'httpsSigned: { host: 127.0.0.1, port: 0 }',
    'mqttsSigned: { host: 127.0.0.1, port: 0 }',
  ].join('\n  '),
  config: [
    'limits: { signedFailures: 1000, sourceFailures: 100000 }',
    'routes:',
    '  telemetry:',
    '    match: devices/+/telemetry',
    '    rate: []',
    '    authenticate: [ certificate, signature, device-jwt ]',
    '    integrity: { accept: [ hmac ], required: false }',
    '  commands: { match: devices/+/commands/#, authenticate: [ certificate, signature, device-jwt ], integrity: { accept: [ hmac ], required: false } }',
    `  readings: { path: '/readings/', upstream: '${upstream.url}', methods: [ GET, POST ], authenticate: [ signature, device-jwt ], integrity: { accept: [ hmac ], required: false } }`,
    `  closed: { path: '/closed/', upstream: '${upstream.url}' }`,
  ].join('\n'),
});
endings.push(() => gateway[Symbol.asyncDispose]());
await gateway.ok('device', 'register', 'h1', 'h2', 'j1');
const backend = await gateway.service('be', 'backend');
const { ca } = backend;
const hmacKey = await added('h1');

interface Key {
  readonly keyId: string;
  readonly key: string;
}

async function added(id: string, ...options: readonly string[]): Promise<Key> {
  return (await gateway.ok('device', 'key', 'add', id, ...options, '--json')).json() as Key; // docs/openapi says so
}

function portOf(name: 'httpsSigned' | 'mqttsSigned'): number {
  const { [name]: listener } = gateway.run().listeners;
  assert.ok(listener !== undefined, `no ${name} listener`);
  return listener.port;
}

interface Answer {
  readonly status: number;
  readonly code: unknown;
  readonly challenge: string | undefined;
  readonly body: string;
}

function ask(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const sent = request(
    {
      host: '127.0.0.1',
      port: portOf('httpsSigned'),
      method,
      path,
      headers: { 'Content-Type': 'application/json', ...headers },
      ca: readFileSync(ca),
      servername: 'localhost',
      agent: false,
    },
    (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => {
        const isProblem = response.headers['content-type'] === 'application/problem+json';
        const { code } = (isProblem ? JSON.parse(text) : {}) as { code?: unknown };
        const challenge = response.headers['www-authenticate'];
        resolve({ status: response.statusCode ?? 0, code, challenge, body: text });
      });
    },
  );
  sent.on('error', reject);
  sent.end(body);
  return promise;
}

interface Signing {
  readonly method?: string;
  readonly path: string;
  readonly query?: string;
  readonly body?: string;
  readonly seconds?: number;
  readonly nonce?: string;
  readonly key?: Key;
}

/** docs/signatures.md, by hand. */
function signed({
  method = 'POST',
  path,
  query = '',
  body = '',
  seconds = Math.floor(Date.now() / 1_000),
  nonce = randomUUID(),
  key = hmacKey,
}: Signing): Record<string, string> {
  const digest = createHash('sha256').update(body).digest('hex');
  const lines = [method, path, query, String(seconds), nonce, key.keyId, digest];
  const text = ['SALLYPORT-HMAC-SHA256', ...lines].join('\n');
  return {
    'X-IoT-Signature': createHmac('sha256', Buffer.from(key.key, 'hex')).update(text).digest('hex'),
    'X-IoT-Timestamp': String(seconds),
    'X-IoT-Nonce': nonce,
    'X-IoT-Key-Id': key.keyId,
  };
}

const telemetry = '/api/v1/telemetry';
const reading = '{"temperature":22.7}';

test('a signed reading of a device without a certificate arrives at a subscriber', async () => {
  using subscriber = await RawMqtt.open({ port: gateway.mqttsPort, identity: backend });
  assert.equal((await subscriber.connect({})).code, 0);
  await subscriber.subscribeTo([{ filter: 'devices/+/telemetry', options: 0 }]);
  const { status } = await ask(
    'POST',
    telemetry,
    signed({ path: telemetry, body: reading }),
    reading,
  );
  assert.equal(status, 202);
  const { topic, payload } = await subscriber.message(() => true);
  assert.deepEqual([topic, payload], ['devices/h1/telemetry', reading]);
});

test('without a proof nothing is open, and what would be one is said', async () => {
  for (const [method, path] of [
    ['POST', telemetry],
    ['GET', '/api/v1/commands'],
    ['GET', '/api/v1/time'],
    ['GET', '/readings/1'],
    ['GET', '/closed/1'],
    ['GET', '/nothing'],
  ] as const) {
    const { status, code, challenge } = await ask(method, path, {});
    assert.deepEqual([path, status, code], [path, 401, 'unauthenticated']);
    assert.match(challenge ?? '', /^Bearer /);
  }
  assert.equal(upstream.requests.length, 0);
});

const body = reading;
const good: Signing = { path: '/readings/1', query: 'a=1', body };

test('a signed request is forwarded once, as its signer', async () => {
  const headers = signed(good);
  const forged = { 'X-Device-Id': 'h2', 'X-Principal': 'device/h2' };
  const first = await ask('POST', '/readings/1?a=1', { ...headers, ...forged }, body);
  assert.deepEqual([first.status, first.body], [200, 'ok']);
  const [seen] = upstream.requests.slice(-1);
  assert.ok(seen !== undefined);
  assert.deepEqual(seen.headers.get('x-device-id'), ['h1']);
  assert.deepEqual(seen.headers.get('x-principal'), ['device/h1']);
  assert.equal(seen.headers.has('client-cert'), false);
  assert.equal(seen.body.toString(), body);
  const count = upstream.requests.length;
  const replayed = await ask('POST', '/readings/1?a=1', headers, body);
  assert.deepEqual([replayed.status, replayed.code], [401, 'integrity']);
  assert.equal(upstream.requests.length, count);
});

for (const [what, sent] of [
  ['another body', { body: `${body} ` }],
  ['another path', { path: '/readings/2' }],
  ['another query', { query: 'a=2' }],
  ['no query', { query: '' }],
  ['another method', { method: 'GET', body: '' }],
] as const satisfies readonly (readonly [string, Partial<Signing>])[]) {
  test(`tampered: ${what}`, async () => {
    const count = upstream.requests.length;
    const { method = 'POST', path, query, body: tampered } = { ...good, ...sent };
    const target = query === '' || query === undefined ? path : `${path}?${query}`;
    const { status, code } = await ask(method, target, signed(good), tampered);
    assert.deepEqual([status, code], [401, 'integrity']);
    assert.equal(upstream.requests.length, count);
  });
}

for (const [what, header, change] of [
  ['timestamp', 'X-IoT-Timestamp', (seconds: string) => String(Number(seconds) + 30)],
  ['nonce', 'X-IoT-Nonce', () => 'another-nonce-of-16'],
  ['key id', 'X-IoT-Key-Id', () => 'h2.1'],
  ['signature', 'X-IoT-Signature', () => '0'.repeat(64)],
] as const) {
  test(`tampered: another ${what}`, async () => {
    const before = signed(good);
    const headers = { ...before, [header]: change(before[header] ?? '') };
    const { status, code } = await ask('POST', '/readings/1?a=1', headers, body);
    assert.deepEqual([status, code], [401, 'integrity']);
  });
}

test('a time outside of the window is refused, on either side', async () => {
  for (const away of [-120, 120]) {
    const seconds = Math.floor(Date.now() / 1_000) + away;
    const { status, code } = await ask(
      'POST',
      '/readings/1?a=1',
      signed({ ...good, seconds }),
      body,
    );
    assert.deepEqual([status, code], [401, 'integrity']);
  }
});

test('a signature opens what its route opens to signatures, and nothing else', async () => {
  const headers = signed({ method: 'GET', path: '/closed/1' });
  const closed = await ask('GET', '/closed/1', headers);
  assert.deepEqual([closed.status, closed.code], [401, 'unauthenticated']);
  const status = '/api/v1/status';
  const other = await ask('POST', status, signed({ path: status, body: '{}' }), '{}');
  assert.deepEqual([other.status, other.code], [401, 'unauthenticated']);
});

test('commands reach a device that signs its polls; a poll is no good twice', async () => {
  await gateway.ok('command', 'send', 'h1', 'go', '{"n":1}');
  const path = '/api/v1/commands';
  const headers = signed({ method: 'GET', path });
  const { status, body: list } = await ask('GET', path, headers);
  assert.equal(status, 200);
  const [command] = JSON.parse(list) as { id: string }[];
  assert.equal((await ask('GET', path, headers)).code, 'integrity');
  const one = `${path}/${command?.id ?? ''}`;
  assert.equal((await ask('DELETE', one, signed({ method: 'DELETE', path: one }))).status, 204);
});

test('a long poll of a device that is suspended ends within a second', async () => {
  const { keyId, key } = await added('h2');
  const path = '/api/v1/commands';
  const headers = signed({ method: 'GET', path, query: 'wait=50', key: { keyId, key } });
  const answer = ask('GET', `${path}?wait=50`, headers);
  await gateway.log.logged(
    (line) => line.get('principal') === 'device/h2' && line.get('msg') === 'connected',
  );
  await gateway.ok('device', 'suspend', 'h2');
  assert.deepEqual(await answer.then(({ status, code }) => [status, code]), [403, 'standing']);
  const again = await ask('GET', path, signed({ method: 'GET', path, key: { keyId, key } }));
  assert.deepEqual([again.status, again.code], [403, 'standing']);
});

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(gateway.at('j1.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
const { keyId: jwtKeyId } = await added('j1', '--public', gateway.at('j1.pub'));

function deviceJwt(
  claims: Readonly<Record<string, unknown>> = {},
  key: KeyObject = privateKey,
): string {
  const now = Math.floor(Date.now() / 1_000);
  return signedJwt(
    { alg: 'ES256', kid: jwtKeyId },
    { aud: 'localhost', sub: 'j1', iat: now, exp: now + 300, ...claims },
    key,
  );
}

test('a JWT that the device has signed is its bearer token', async () => {
  const headers = { Authorization: `Bearer ${deviceJwt()}` };
  assert.equal((await ask('POST', telemetry, headers, reading)).status, 202);
  assert.equal((await ask('GET', '/readings/7', headers)).status, 200);
  assert.deepEqual(upstream.requests.at(-1)?.headers.get('x-device-id'), ['j1']);
  assert.equal(upstream.requests.at(-1)?.headers.has('authorization'), false);
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const forged = { Authorization: `Bearer ${deviceJwt({}, other)}` };
  const { status, code, challenge } = await ask('POST', telemetry, forged, reading);
  assert.deepEqual([status, code], [401, 'unauthenticated']);
  assert.match(challenge ?? '', /invalid_token/);
});

for (const version of [5, 4] as const) {
  test(`MQTT ${version}: the JWT is the password; what no route opens is closed`, async () => {
    using client = await RawMqtt.open({
      port: portOf('mqttsSigned'),
      ca,
      version,
    });
    const { code } = await client.connect({ userName: 'j1', password: deviceJwt() });
    assert.equal(code, 0);
    // 0x10: nobody has subscribed to it.
    assert.ok([0, 0x10].includes(await client.publish('devices/j1/telemetry', reading)));
    assert.deepEqual(
      await client.subscribeTo([
        { filter: 'devices/j1/commands/#', options: 1 },
        { filter: 'devices/h1/commands/#', options: 1 },
      ]),
      [1, version === 5 ? 0x87 : 0x80],
    );
    await gateway.ok('command', 'send', 'j1', 'go', '{"n":2}');
    const { topic } = await client.message(() => true);
    assert.equal(topic, 'devices/j1/commands/go');
    client.send(
      publishPacket({ version, topic: 'devices/j1/status', payload: 'x', qos: 1, packetId: 9 }),
    );
    await client.ended;
  });
}

test('MQTT: no password, another device, or a JWT that is over lets nobody in', async () => {
  const now = Math.floor(Date.now() / 1_000);
  for (const [userName, password] of [
    [undefined, undefined],
    ['j1', undefined],
    ['j1', ''],
    ['h1', deviceJwt()],
    ['j1', deviceJwt({ iat: now - 600, exp: now - 300 })],
    ['j1', deviceJwt({ aud: 'elsewhere.example' })],
  ] as const) {
    using client = await RawMqtt.open({ port: portOf('mqttsSigned'), ca });
    const { code } = await client.connect({
      ...(userName === undefined ? {} : { userName }),
      ...(password === undefined ? {} : { password }),
    });
    assert.equal(code, 0x86, `${userName} ${password?.slice(0, 10)}`);
  }
});

test('MQTT: a session ends when the key that let it in is removed', async () => {
  const made = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(gateway.at('j1b.pub'), made.publicKey.export({ type: 'spki', format: 'pem' }));
  const { keyId } = await added('j1', '--public', gateway.at('j1b.pub'));
  const now = Math.floor(Date.now() / 1_000);
  const claims = { aud: 'localhost', sub: 'j1', iat: now, exp: now + 300 };
  const jwt = signedJwt({ alg: 'ES256', kid: keyId }, claims, made.privateKey);
  using client = await RawMqtt.open({ port: portOf('mqttsSigned'), ca });
  const { code } = await client.connect({ userName: 'j1', password: jwt });
  assert.equal(code, 0);
  await gateway.ok('device', 'key', 'remove', 'j1', keyId);
  await until('the session is over', 30_000, () => client.isEnded);
});

test('MQTT: a session ends with the time of the key that let it in, however long its JWT is good', async () => {
  const [made, next] = ['j1c', 'j1d'].map((name) => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const file = gateway.at(`${name}.pub`);
    writeFileSync(file, pair.publicKey.export({ type: 'spki', format: 'pem' }));
    return { ...pair, file };
  });
  assert.ok(made !== undefined && next !== undefined);
  const { keyId } = await added('j1', '--public', made.file);
  const now = Math.floor(Date.now() / 1_000);
  const claims = { aud: 'localhost', sub: 'j1', iat: now, exp: now + 300 };
  const jwt = signedJwt({ alg: 'ES256', kid: keyId }, claims, made.privateKey);
  using client = await RawMqtt.open({ port: portOf('mqttsSigned'), ca });
  assert.equal((await client.connect({ userName: 'j1', password: jwt })).code, 0);
  await added('j1', '--public', next.file, '--replace', keyId, '--overlap', '1s');
  await until('the session is over', 60_000, () => client.isEnded);
});
