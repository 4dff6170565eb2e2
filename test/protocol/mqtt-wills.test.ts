/**
 * Wills: judged when they are set and again when they are published; published when a connection ends without a
 * DISCONNECT of 0x00, and never on behalf of somebody who may not do so any more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectPacket, disconnectPacket, packetTypes } from '../harness/mqtt-bytes.ts';
import type { ConnectBytes, WillBytes } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const routes = [
  'routes:',
  '  telemetry: { rate: [] }',
  '  status: { match: devices/+/status, rate: { limit: 1/day, burst: 1 } }',
  '  short: { match: devices/+/short, payloadBytes: 4B, schema: number.json }',
];
const roles = [
  'roles:',
  '  device:',
  "    allow: { publish: [ 'devices/${id}/#' ], subscribe: [ 'devices/${id}/commands/#' ] }",
  "  watcher: { allow: { publish: [ '#' ], subscribe: [ '#' ] } }",
];
const closed = [
  ...roles.slice(0, 3),
  "    deny: { publish: [ 'devices/+/closing' ] }",
  ...roles.slice(3),
];

const { gateway, connect, open } = await sharedGateway({
  config: [...routes, ...roles].join('\n'),
  files: { 'number.json': JSON.stringify({ type: 'number' }) },
});
const be = await gateway.service('be', 'watcher');
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);

async function watcher(): Promise<RawMqtt> {
  const client = await connect(be, { clientId: 'watcher' });
  assert.deepEqual(await client.subscribe('#'), [1]);
  return client;
}

/** One worker and one order: what the gateway had to publish before this, the watcher has when it resolves. */
async function seenUntilNow(client: RawMqtt): Promise<readonly string[]> {
  assert.equal(await client.publish('fence', 'fence'), 0);
  await client.message(({ topic }) => topic === 'fence');
  return client.messages.filter(({ topic }) => topic !== 'fence').map(({ payload }) => payload);
}

/** Logged after the session's will was handed on for its last check. */
async function sessionOver(clientId: string, since: number): Promise<void> {
  await gateway.log.logged(
    (line) => line.get('msg') === 'session ended' && line.get('client_id') === clientId,
    since,
  );
}

const topic = 'devices/d1/last';
const byVersion = { 'MQTT 5': 5, 'MQTT 3.1.1': 4 } as const;

interface End {
  readonly how: string;
  readonly end: (client: RawMqtt) => void | Promise<void>;
  readonly published: boolean;
  readonly only?: 4 | 5;
}

const ends: readonly End[] = [
  { how: 'a normal DISCONNECT', end: (c) => c.send(disconnectPacket()), published: false },
  {
    how: 'DISCONNECT 0x00',
    end: (c) => c.send(disconnectPacket(0)),
    published: false,
    only: 5,
  },
  { how: 'DISCONNECT 0x04', end: (c) => c.send(disconnectPacket(4)), published: true, only: 5 },
  { how: 'DISCONNECT 0x80', end: (c) => c.send(disconnectPacket(0x80)), published: true, only: 5 },
  { how: 'a close without a word', end: (c) => void c.socket.end(), published: true },
  { how: 'a reset', end: (c) => c[Symbol.dispose](), published: true },
  { how: 'a malformed packet', end: (c) => c.send(Buffer.of(0, 0)), published: true },
  { how: 'a second CONNECT', end: (c) => c.send(Buffer.of(0x10, 0)), published: true },
  {
    how: 'a takeover',
    end: async () => {
      const next = await connect(d1, { clientId: 'owner' });
      await next.close();
    },
    published: true,
  },
];

for (const [name, version] of Object.entries(byVersion)) {
  for (const { how, end, published, only } of ends) {
    if (only !== undefined && only !== version) continue;
    test(`${name}: after ${how} the will is ${published ? '' : 'not '}published`, async () => {
      using watching = await watcher();
      const since = gateway.log.end;
      const will: WillBytes = { topic, payload: '"gone"', qos: 1 };
      using client = await connect(d1, { clientId: 'owner', version, will });
      await end(client);
      await sessionOver('owner', since);
      if (published) await watching.message(({ payload }) => payload === '"gone"');
      assert.deepEqual(await seenUntilNow(watching), published ? ['"gone"'] : []);
    });
  }
}

test('a will keeps its properties, QoS and retain flag; its delay is no longer than its session', async () => {
  using watching = await watcher();
  using client = await connect(d1, {
    clientId: 'owner',
    will: {
      topic,
      payload: 'bytes',
      qos: 1,
      retain: true,
      properties: [
        ['willDelayInterval', 3_600],
        ['payloadFormatIndicator', 1],
        ['messageExpiryInterval', 100],
        ['contentType', 'text/plain'],
        ['responseTopic', 'devices/d1/answers'],
        ['correlationData', Buffer.of(1, 0, 255)],
        ['userProperty', ['b', '1']],
        ['userProperty', ['a', '2']],
        ['userProperty', ['b', '3']],
      ],
    },
  });
  client[Symbol.dispose]();
  const message = await watching.message(({ payload }) => payload === 'bytes');
  assert.equal(message.qos, 1);
  assert.deepEqual(message.properties, [
    ['payloadFormatIndicator', 1],
    ['messageExpiryInterval', valuesOf(message.properties, 'messageExpiryInterval')[0]],
    ['contentType', 'text/plain'],
    ['responseTopic', 'devices/d1/answers'],
    ['correlationData', Buffer.of(1, 0, 255)],
    ['userProperty', ['b', '1']],
    ['userProperty', ['a', '2']],
    ['userProperty', ['b', '3']],
  ]);
  // Counted from the end of the connection: §3.1.3.2.4.
  const expiry = Number(valuesOf(message.properties, 'messageExpiryInterval')[0]);
  assert.ok(expiry > 90 && expiry <= 100, `${expiry}`);
  using later = await watcher();
  const retained = await later.message(({ payload }) => payload === 'bytes');
  assert.equal(retained.retain, true);
  await later.publish(topic, '', { retain: true });
});

interface Forbidden {
  readonly what: string;
  readonly will: WillBytes;
  readonly v5: number;
  readonly v4: number;
}

const forbiddenWills: readonly Forbidden[] = [
  ...[
    'devices/d2/last',
    'devices',
    'fence',
    '/devices/d1/last',
    '$SYS/last',
    '$share/g/devices/d1/last',
    '__proto__',
  ].map((each) => ({
    what: `on ${each}`,
    will: { topic: each, payload: '"forbidden"' },
    v5: 0x87,
    v4: 5,
  })),
  {
    what: 'with a payload over the limit of its route',
    will: { topic: 'devices/d1/short', payload: '12345' },
    v5: 0x95,
    v4: 5,
  },
  {
    what: 'with a payload against the schema of its route',
    will: { topic: 'devices/d1/short', payload: '"x"' },
    v5: 0x99,
    v4: 5,
  },
];

for (const [name, version] of Object.entries(byVersion)) {
  for (const { what, will, v5, v4 } of forbiddenWills) {
    const code = version === 5 ? v5 : v4;
    test(`${name}: a will ${what} is refused with CONNACK 0x${code.toString(16)}`, async () => {
      using watching = await watcher();
      using client = await open(d1, { version });
      client.send(connectPacket({ version, clientId: 'owner', will }));
      const { body } = await client.next(packetTypes.connack);
      assert.equal(body.readUInt8(1), code);
      await within(client.ended, 10_000, 'the end of the connection');
      assert.deepEqual(await seenUntilNow(watching), []);
    });
  }
}

test('a refused will leaves no session behind and ends none', async () => {
  const options: Partial<ConnectBytes> = { clientId: 'owner' };
  using client = await open(d1);
  const refused = await client.connect({
    ...options,
    will: { topic: 'devices/d2/x', payload: '' },
  });
  assert.equal(refused.code, 0x87);
  await within(client.ended, 10_000, 'the end of the connection');
  for (let n = 0; n < 6; n += 1) {
    using again = await open(d1);
    const { code } = await again.connect({
      clientId: `c${n}`,
      will: { topic: 'devices/d2/x', payload: '' },
    });
    assert.equal(code, 0x87, 'refused sessions count against limits.sessionsPerIdentity');
  }
  using accepted = await connect(d1, options);
  await accepted.ping();
});

test('the rate of a will is charged when it is set', async () => {
  const limited = await gateway.device('limited');
  const will = { topic: 'devices/limited/status', payload: '{}' };
  for (const code of [0, 0, 0x9f]) {
    using client = await open(limited);
    assert.equal((await client.connect({ clientId: 'c', will })).code, code);
    if (code === 0) await client.close();
  }
  using four = await open(limited, { version: 4 });
  assert.equal((await four.connect({ clientId: 'c', will })).code, 3);
});

test('a will that becomes forbidden is never published, whatever the order of reload and end', async () => {
  using watching = await watcher();
  const will = { topic: 'devices/d1/closing', payload: '"must not"' };
  using client = await connect(d1, { clientId: 'owner', will });
  gateway.configure([...routes, ...closed].join('\n'));
  await gateway.ok('reload');
  const since = gateway.log.end;
  client[Symbol.dispose]();
  await gateway.log.logged(
    (line) => line.get('action') === 'will' && line.get('code') === 'forbidden',
    since,
  );
  assert.deepEqual(await seenUntilNow(watching), []);
  using again = await open(d1);
  assert.equal((await again.connect({ clientId: 'owner', will })).code, 0x87);
  gateway.configure([...routes, ...roles].join('\n'));
  await gateway.ok('reload');
  assert.deepEqual(await seenUntilNow(watching), []);
});

for (const action of ['suspend', 'quarantine', 'revoke']) {
  test(`the will of a device that is cut off by ${action} is not published`, async () => {
    const id = `cut-${action}`;
    const device = await gateway.device(id);
    using watching = await watcher();
    const will = {
      topic: `devices/${id}/last`,
      payload: '"must not"',
      qos: 1,
      retain: true,
    } as const;
    using five = await connect(device, { clientId: 'five', will });
    using four = await connect(device, { clientId: 'four', will, version: 4 });
    const since = gateway.log.end;
    await gateway.ok('device', action, id);
    await Promise.all([five.ended, four.ended]);
    for (const clientId of ['five', 'four']) await sessionOver(clientId, since);
    const refused = (): number =>
      gateway.log.lines(
        (line) => line.get('action') === 'will' && line.get('resource') === will.topic,
        since,
      ).length;
    assert.deepEqual(await seenUntilNow(watching), []);
    await until('both refusals in the log', 30_000, () => refused() >= 2);
    assert.equal(refused(), 2);
    using later = await watcher();
    assert.deepEqual(await seenUntilNow(later), []);
  });
}

test('two identities under one client id have a will each', async () => {
  using watching = await watcher();
  using first = await connect(d1, { clientId: 'same', will: { topic, payload: '"d1"' } });
  using second = await connect(d2, {
    clientId: 'same',
    will: { topic: 'devices/d2/last', payload: '"d2"' },
  });
  first[Symbol.dispose]();
  await watching.message(({ payload }) => payload === '"d1"');
  await second.ping();
  assert.deepEqual(await seenUntilNow(watching), ['"d1"']);
});
