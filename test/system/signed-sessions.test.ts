/**
 * MQTT sessions of one device that proves who it is now by its certificate and now by a JWT of its own: what one kind of proof
 * has left behind is open to the other as far as the routes say so, and to nobody else.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import type { ConnectBytes, MqttVersion } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { signedJwt } from '../harness/signed-jwt.ts';
import { within } from '../harness/waiting.ts';

const listener = 'mqttsSigned: { host: 127.0.0.1, port: 0 }';
const reads = ['commands/#', 'telemetry', 'diagnostics'].map((name) => `'devices/\${id}/${name}'`);
const writes = ['telemetry', 'diagnostics', 'command_responses'].map(
  (name) => `'devices/\${id}/${name}'`,
);

function config(ofTelemetry: string): string {
  return [
    'limits: { signedFailures: 100000, sourceFailures: 100000 }',
    `roles: { device: { allow: { publish: [ ${writes.join(', ')} ], subscribe: [ ${reads.join(', ')} ] } } }`,
    'routes:',
    `  telemetry: { match: devices/+/telemetry, authenticate: ${ofTelemetry}, rate: { limit: 1000/s, burst: 1000 } }`,
    "  commands: { match: 'devices/+/commands/#', authenticate: [ certificate, device-jwt ] }",
    '  answers: { match: devices/+/command_responses, authenticate: [ device-jwt ], rate: { limit: 1/s, burst: 1 } }',
  ].join('\n');
}

const gateway = await startGateway({
  workers: 2,
  listener,
  config: config('[ certificate, device-jwt ]'),
});
after(() => gateway[Symbol.asyncDispose]());
const [c1] = await gateway.devices('c1', 'c2');
assert.ok(c1 !== undefined);
const { ca } = c1;
const keys = { c1: await keyOf('c1'), c2: await keyOf('c2') };

async function keyOf(id: string): Promise<(claims?: object, kid?: string) => string> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(gateway.at(`${id}.pub`), publicKey.export({ type: 'spki', format: 'pem' }));
  const shown = await gateway.ok(
    'device',
    'key',
    'add',
    id,
    '--public',
    gateway.at(`${id}.pub`),
    '--json',
  );
  const { keyId } = shown.json() as { keyId: string }; // docs/openapi says so
  return (claims = {}, kid = keyId) => {
    const now = Math.floor(Date.now() / 1_000);
    const said = { aud: 'localhost', sub: id, iat: now, exp: now + 300, ...claims };
    return signedJwt({ alg: 'ES256', kid }, said, privateKey);
  };
}

type Connecting = Partial<Omit<ConnectBytes, 'version'>>;

const lasting = { cleanStart: false, properties: [['sessionExpiryInterval', 600]] } as const;

async function byCertificate(connect: Connecting): Promise<RawMqtt> {
  const client = await RawMqtt.open({ port: gateway.mqttsPort, identity: c1 });
  assert.equal((await client.connect(connect)).code, 0);
  return client;
}

async function withJwt(
  id: 'c1' | 'c2',
  connect: Connecting = {},
  version: MqttVersion = 5,
): Promise<{ readonly client: RawMqtt; readonly code: number; readonly present: boolean }> {
  const { mqttsSigned } = gateway.run().listeners;
  assert.ok(mqttsSigned !== undefined);
  const client = await RawMqtt.open({ port: mqttsSigned.port, ca, version });
  const said = { userName: id, password: keys[id](), ...connect };
  const { code, sessionPresent: present } = await client.connect(said);
  return { client, code, present };
}

const telemetry = 'devices/c1/telemetry';
const diagnostics = 'devices/c1/diagnostics';

test('a durable session that is taken up by another kind of proof gives what is open to that', async () => {
  const connect = { ...lasting, clientId: 'both' };
  using first = await byCertificate(connect);
  assert.deepEqual(await first.subscribe(telemetry, diagnostics), [1, 1]);
  await first.close();
  using publisher = await byCertificate({ clientId: 'publisher' });
  await publisher.publish(diagnostics, 'queued secret');
  await publisher.publish(telemetry, 'queued');
  const { client, code, present } = await withJwt('c1', connect);
  using second = client;
  assert.deepEqual([code, present], [0, true]);
  await second.message(({ payload }) => payload === 'queued');
  await publisher.publish(diagnostics, 'live secret');
  await publisher.publish(telemetry, 'live');
  await second.message(({ payload }) => payload === 'live');
  assert.deepEqual(
    second.messages.map(({ payload }) => payload),
    ['queued', 'live'],
  );
});

test('a session is taken over by its own device alone, whatever the listener', async () => {
  using mine = await byCertificate({ clientId: 'mine' });
  const { client: stranger, code } = await withJwt('c2', { clientId: 'mine', cleanStart: false });
  using other = stranger;
  assert.equal(code, 0);
  await other.ping();
  await mine.ping();
  const { client, code: again } = await withJwt('c1', { clientId: 'mine' });
  using _own = client;
  assert.equal(again, 0);
  assert.equal((await within(mine.ended, 10_000, 'the takeover')).disconnect, 0x8e);
  await other.ping();
});

test('a will goes where its owner could publish by the same proof, and nowhere else', async () => {
  const will = { topic: diagnostics, payload: 'last words', qos: 1 } as const;
  const refused = await withJwt('c1', { clientId: 'w', will });
  using _refused = refused.client;
  assert.equal(refused.code, 0x86);
  using reader = await byCertificate({ clientId: 'reader' });
  await reader.subscribe(telemetry);
  const taken = await withJwt('c1', { clientId: 'w', will: { ...will, topic: telemetry } });
  assert.equal(taken.code, 0);
  taken.client[Symbol.dispose]();
  await reader.message(({ payload }) => payload === 'last words');
});

test('what no route opens to a JWT is closed under every spelling of it', async () => {
  const { client } = await withJwt('c1');
  using mine = client;
  const filters = [
    diagnostics,
    `$share/g/${diagnostics}`,
    'devices/c1/#',
    'devices/+/telemetry',
    '#',
    '$SYS/#',
  ];
  assert.deepEqual(await mine.subscribe(...filters, telemetry), [...filters.map(() => 0x87), 1]);
});

test('names that mean something to the language, or nothing to anybody, let nobody in', async () => {
  for (const [userName, password] of [
    ['__proto__', keys.c1({}, '__proto__.x')],
    ['constructor', keys.c1({}, 'constructor.constructor')],
    ['c1', keys.c1({ sub: 'c2' })],
    ['c2', keys.c1()],
    ['device/c1', keys.c1()],
    ['c1', `${keys.c1()}.`],
    ['c1', `${keys.c1()}\0`],
    ['c1', keys.c2({ sub: 'c1' })],
    ['c1', keys.c1({ cnf: { 'x5t#S256': 'A'.repeat(43) } })],
    ['c1', 'x'.repeat(60_000)],
  ] as const) {
    const { client, code } = await withJwt('c1', { userName, password });
    using _ = client;
    assert.equal(code, 0x86, `${userName} ${password.slice(0, 12)}`);
  }
});

test('MQTT 3.1.1: who is too fast is held back by the same proof that let it in', async () => {
  const { client, code } = await withJwt('c1', { clientId: 'old' }, 4);
  using old = client;
  assert.equal(code, 0);
  for (let n = 0; n < 3; n += 1)
    assert.equal(await old.publish('devices/c1/command_responses', 'x'), 0);
});

test('a session ends with what its routes open to it', async () => {
  const { client, code } = await withJwt('c1', { clientId: 'ends' });
  using ends = client;
  assert.equal(code, 0);
  await ends.subscribe(telemetry);
  const will = { topic: telemetry, payload: 'the last will', qos: 1 } as const;
  const left = await withJwt('c1', { clientId: 'left', will });
  assert.equal(left.code, 0);
  using reader = await byCertificate({ clientId: 'reader' });
  await reader.subscribe(telemetry);
  const other = await withJwt('c2', { clientId: 'stays' });
  using stays = other.client;
  gateway.configure(config('[ certificate ]'), listener);
  await gateway.ok('reload');
  await within(ends.ended, 10_000, 'the end of the session');
  await stays.ping();
  stays.send(
    publishPacket({ version: 5, topic: 'devices/c2/telemetry', payload: 'x', qos: 1, packetId: 1 }),
  );
  await within(stays.ended, 10_000, 'the end of who publishes all the same');
  left.client[Symbol.dispose]();
  await gateway.log.logged(
    (line) => line.get('action') === 'will' && line.get('code') === 'unauthenticated',
  );
  await reader.publish(telemetry, 'after it');
  await reader.message(({ payload }) => payload === 'after it');
  assert.ok(!reader.messages.some(({ payload }) => payload === 'the last will'));
});
