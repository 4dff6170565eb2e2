/**
 * Who may publish and subscribe where, on the wire: what a role does not allow is refused with its code, never narrowed,
 * never put together from two grants, and access rules and broker see the same topic whatever its characters.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const config = [
  'routes: { telemetry: { rate: [] } }',
  'limits: { connectsPerMinute: 100000, identityRates: { device: [] } }',
  'roles:',
  '  reader: { allow: { subscribe: [ site/+/temperature, site/hall/#, /site/ ] } }',
  '  odd:',
  '    allow:',
  "      publish: [ '/', '//', '/lead', 'trail/', 'a//b', '\u{feff}x', 'site/#', '__proto__/constructor' ]",
  "      subscribe: [ '/', '//', '/lead', 'trail/', 'a//b', '\u{feff}x', '__proto__/constructor' ]",
  '  no-attic:',
  '    allow: { publish: [ site/# ], subscribe: [ site/# ] }',
  '    deny: { publish: [ site/attic/# ], subscribe: [ site/attic/# ] }',
  '  everything:',
  "    allow: { publish: [ '#' ], subscribe: [ '#' ] }",
].join('\n');

const { gateway, connect } = await sharedGateway({ config });
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');
const reader = await gateway.service('reader', 'reader');
const odd = await gateway.service('odd', 'odd');
const noAttic = await gateway.service('no-attic', 'no-attic');
const everything = await gateway.service('everything', 'everything');

/** Nothing but what comes before it has been delivered when this resolves: both go through one worker, in order. */
async function payloadsUntilNow(subscriber: RawMqtt): Promise<readonly string[]> {
  await subscriber.ping();
  return subscriber.messages.map(({ payload }) => payload);
}

const success = 0x00;
const nobody = 0x10;
const forbidden = 0x87;

const devicePublishes: readonly (readonly [topic: string, code: number])[] = [
  ['devices/d1/telemetry', nobody],
  ['devices/d1/status', nobody],
  ['devices/d1/diagnostics', nobody],
  ['devices/d1/command_responses', nobody],
  ['devices/d2/telemetry', forbidden],
  ['devices/d1/commands/reboot', forbidden],
  ['devices/d1', forbidden],
  ['devices/d1/telemetry/x', forbidden],
  ['devices/d1/telemetry/', forbidden],
  ['/devices/d1/telemetry', forbidden],
  ['devices//telemetry', forbidden],
  ['devices/D1/telemetry', forbidden],
  ['devices/d1/Telemetry', forbidden],
  ['devices/d1 /telemetry', forbidden],
  ['devices/d1/telemetry\u{feff}', forbidden],
  ['\u{feff}devices/d1/telemetry', forbidden],
  ['devices/d\u{ff11}/telemetry', forbidden],
  ['devices/${id}/telemetry', forbidden],
  ['devices/./d1/telemetry', forbidden],
  ['devices/d2/../d1/telemetry', forbidden],
  ['telemetry', forbidden],
  ['/', forbidden],
  ['$SYS/broker/uptime', forbidden],
  ['$share/g/devices/d1/telemetry', forbidden],
  ['$devices/d1/telemetry', forbidden],
  ['$', forbidden],
  ['__proto__', forbidden],
  ['devices/__proto__/telemetry', forbidden],
  ['devices/constructor/telemetry', forbidden],
  ['toString', forbidden],
];

for (const [topic, code] of devicePublishes) {
  const what = code === forbidden ? 'must not' : 'may';
  test(`a device ${what} publish to ${JSON.stringify(topic)}`, async () => {
    using five = await connect(d1, { clientId: 'five' });
    assert.equal(await five.publish(topic, '{}'), code);
    await five.ping();
    using four = await connect(d1, { clientId: 'four', version: 4 });
    if (code === forbidden) {
      four.send(publishPacket({ version: 4, topic, payload: '{}', qos: 1 }));
      const answered: number[] = [];
      four.socket.on('data', (chunk: Buffer) => answered.push(...chunk));
      await within(four.ended, 10_000, 'the end of the connection');
      assert.deepEqual(answered, []);
    } else {
      assert.equal(await four.publish(topic, '{}'), success);
    }
  });
}

test('a forbidden publish of QoS 0 reaches nobody, and in 3.1.1 ends the connection', async () => {
  using subscriber = await connect(everything, { clientId: 's' });
  assert.deepEqual(await subscriber.subscribe('#'), [1]);
  using five = await connect(d1, { clientId: 'five' });
  five.publishUnacknowledged('devices/d2/status', '"forbidden 5"');
  assert.equal(await five.publish('devices/d1/status', '"allowed"'), success);
  using four = await connect(d1, { clientId: 'four', version: 4 });
  four.publishUnacknowledged('devices/d2/status', '"forbidden 4"');
  await within(four.ended, 10_000, 'the end of the connection');
  assert.equal(await five.publish('devices/d1/status', '"last"'), success);
  assert.deepEqual(await payloadsUntilNow(subscriber), ['"allowed"', '"last"']);
});

interface Asked {
  readonly as: typeof d1;
  readonly filter: string;
  readonly granted: boolean;
}

const asked: readonly Asked[] = [
  ...[
    'devices/d1/commands/#',
    'devices/d1/commands',
    'devices/d1/commands/+',
    'devices/d1/commands/reboot',
    'devices/d1/commands/+/now/#',
    'devices/d1/commands/',
  ].map((filter) => ({ as: d1, filter, granted: true })),
  ...[
    '#',
    '+',
    '/#',
    '+/#',
    '+/+/#',
    '+/+/+/#',
    'devices/#',
    'devices/+/commands/#',
    'devices/d1/#',
    'devices/d1/+/#',
    'devices/d1/+',
    'devices/d2/commands/#',
    '+/d1/commands/#',
    'devices/d1/telemetry',
    'devices/d1/commands\u{feff}/#',
    'devices/d1/commands /#',
    'Devices/d1/commands/#',
    '/devices/d1/commands/#',
    '$SYS/#',
    '$SYS/broker/clients/total',
    '$/#',
    '$devices/d1/commands/#',
    '$queue/devices/d1/commands/#',
    '__proto__/#',
    'devices/__proto__/commands/#',
    'constructor',
  ].map((filter) => ({ as: d1, filter, granted: false })),
  // Each is allowed in parts by two rules, and by none as a whole.
  { as: be, filter: 'devices/+/+', granted: false },
  { as: be, filter: 'devices/#', granted: false },
  { as: be, filter: 'devices/+/telemetry', granted: true },
  { as: be, filter: 'devices/d1/telemetry', granted: true },
  { as: be, filter: 'devices/+/commands/#', granted: false },
  { as: reader, filter: 'site/+/+', granted: false },
  { as: reader, filter: 'site/#', granted: false },
  { as: reader, filter: 'site/hall/temperature', granted: true },
  { as: reader, filter: 'site/hall/#', granted: true },
  { as: reader, filter: 'site/attic/temperature', granted: true },
  { as: reader, filter: 'site/attic/#', granted: false },
  { as: reader, filter: '/site/', granted: true },
  { as: reader, filter: '/site', granted: false },
  { as: reader, filter: 'site/', granted: false },
  { as: reader, filter: '/site/+', granted: false },
  // A denied part denies the whole: it is not cut out.
  { as: noAttic, filter: 'site/#', granted: false },
  { as: noAttic, filter: 'site/+/temperature', granted: false },
  { as: noAttic, filter: 'site/hall/#', granted: true },
  { as: noAttic, filter: 'site/attic', granted: false },
  { as: everything, filter: '#', granted: true },
  { as: everything, filter: '$SYS/#', granted: false },
  { as: everything, filter: '$SYS/broker/version', granted: false },
  { as: everything, filter: '$anything', granted: false },
];

for (const { as, filter, granted } of asked) {
  test(`${as.id} is ${granted ? 'granted' : 'refused'} ${JSON.stringify(filter)}`, async () => {
    using five = await connect(as, { clientId: 'five' });
    assert.deepEqual(await five.subscribe(filter), [granted ? 1 : forbidden]);
    using four = await connect(as, { clientId: 'four', version: 4 });
    assert.deepEqual(await four.subscribe(filter), [granted ? 1 : 0x80]);
  });
}

test('one SUBSCRIBE is answered filter by filter, and what was refused is not subscribed', async () => {
  using backend = await connect(be, { clientId: 'be' });
  const filters = ['devices/+/telemetry', '#', 'devices/+/status', 'devices/+/commands/#'];
  assert.deepEqual(await backend.subscribe(...filters), [1, forbidden, 1, forbidden]);
  using device = await connect(d1, { clientId: 'd1' });
  assert.equal(await backend.publish('devices/d1/commands/x', '"command"'), success);
  assert.equal(await device.publish('devices/d1/diagnostics', '"diagnostics"'), nobody);
  assert.equal(await device.publish('devices/d1/status', '"status"'), success);
  assert.deepEqual(await payloadsUntilNow(backend), ['"status"']);
});

test('the grants of one identity are not lent to another by its client id', async () => {
  using backend = await connect(be, { clientId: 'shared' });
  using device = await connect(d1, { clientId: 'shared' });
  assert.deepEqual(await backend.subscribe('devices/+/telemetry'), [1]);
  assert.deepEqual(await device.subscribe('devices/+/telemetry'), [forbidden]);
  await backend.ping();
});

test('a wildcard at the beginning does not match topics that begin with $, and nobody may write them', async () => {
  using subscriber = await connect(everything, { clientId: 's' });
  assert.deepEqual(await subscriber.subscribe('#', '+/monitor'), [1, 1]);
  for (const topic of ['$SYS/monitor', '$', '$internal/x', '$share/g/x']) {
    assert.equal(await subscriber.publish(topic, 'x'), forbidden, topic);
  }
  assert.equal(await subscriber.publish('x/monitor', 'seen'), success);
  assert.deepEqual(await payloadsUntilNow(subscriber), ['seen']);
});

/** Each may be published and subscribed to by `odd`, and each is a topic of its own. */
const oddTopics = ['/', '//', '/lead', 'trail/', 'a//b', '\u{feff}x', '__proto__/constructor'];

for (const topic of oddTopics) {
  test(`the topic ${JSON.stringify(topic)} is itself to access rules and broker`, async () => {
    using subscriber = await connect(odd, { clientId: 's' });
    using publisher = await connect(odd, { clientId: 'p' });
    assert.deepEqual(await subscriber.subscribe(topic), [1]);
    for (const each of oddTopics) {
      const code = await publisher.publish(each, JSON.stringify(each));
      assert.equal(code, each === topic ? success : nobody, JSON.stringify(each));
    }
    for (const near of ['lead', 'trail', 'a/b', 'x', 'a///b', '///', '\u{feff}\u{feff}x']) {
      assert.equal(await publisher.publish(near, 'x'), forbidden, JSON.stringify(near));
    }
    assert.deepEqual(await payloadsUntilNow(subscriber), [JSON.stringify(topic)]);
    const [message] = subscriber.messages;
    assert.equal(message?.topic, topic);
  });
}

test('a denied topic is denied inside an allowed one', async () => {
  using service = await connect(noAttic, { clientId: 'n' });
  assert.equal(await service.publish('site/hall/x', '1'), nobody);
  assert.equal(await service.publish('site/attic/x', '1'), forbidden);
  assert.equal(await service.publish('site/attic', '1'), forbidden);
});

test('a subscription that is no longer granted ends its session, and nobody else’s', async () => {
  using wide = await connect(everything, { clientId: 'wide' });
  using narrow = await connect(everything, { clientId: 'narrow' });
  using four = await connect(everything, { clientId: 'four', version: 4 });
  using bystander = await connect(reader, { clientId: 'bystander' });
  for (const client of [wide, four]) assert.deepEqual(await client.subscribe('#'), [1]);
  assert.deepEqual(await narrow.subscribe('site/#'), [1]);
  assert.deepEqual(await bystander.subscribe('site/hall/#'), [1]);
  gateway.configure(config.replace("subscribe: [ '#' ]", 'subscribe: [ site/# ]'));
  await gateway.ok('reload');
  assert.equal((await within(wide.ended, 10_000, 'the end')).disconnect, forbidden);
  assert.equal((await within(four.ended, 10_000, 'the end')).disconnect, undefined);
  using again = await connect(everything, { clientId: 'wide' });
  assert.deepEqual(await again.subscribe('#'), [forbidden]);
  assert.equal(await again.publish('site/hall/x', '1'), success);
  for (const client of [narrow, bystander]) {
    await client.message(({ topic }) => topic === 'site/hall/x');
  }
});
