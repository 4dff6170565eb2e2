/**
 * What a subscription carries and what becomes of it: identifiers, shared subscriptions and who may have them, and those
 * that a session brings back to a policy which no longer grants them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unsubscribePacket } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import type { Property } from '../harness/mqtt-properties.ts';
import { ack, bothVersions, WireClient, wireTypes } from '../harness/mqtt-wire.ts';
import type { WireMessage, WireOptions } from '../harness/mqtt-wire.ts';
import type { Identity } from '../harness/gateway.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const open = "  open: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } }";
const config = [
  'limits: { sessionsPerIdentity: 1000 }',
  'roles:',
  open,
  "  narrow: { allow: { subscribe: [ 't/hall/#', 't/+/temperature' ] } }",
].join('\n');

const { gateway, port } = await sharedGateway({ config });
const alice = await gateway.service('alice', 'open');
const bob = await gateway.service('bob', 'open');
const narrow = await gateway.service('narrow', 'narrow');

async function come(identity: Identity, options: WireOptions = {}): Promise<WireClient> {
  const client = await WireClient.open(port, identity, options.version ?? 5);
  assert.equal((await client.connect(options)).code, 0);
  return client;
}

/** In ascending order: they have none of their own. */
function identifiersOf({ properties }: WireMessage): number[] {
  return valuesOf(properties, 'subscriptionIdentifier')
    .map(Number)
    .toSorted((a, b) => a - b);
}

const id = (value: number): readonly Property[] => [['subscriptionIdentifier', value]];

async function publish(topic: string, payload = 'x', retain = false): Promise<void> {
  using publisher = await come(alice);
  await publisher.publish({ topic, payload, retain });
}

async function unsubscribe(client: WireClient, ...filters: string[]): Promise<readonly number[]> {
  client.send(unsubscribePacket(client.version, 9, filters));
  const { body } = await client.expect(wireTypes.unsuback);
  assert.equal(body.readUInt16BE(0), 9);
  return [...body.subarray(client.version === 5 ? 3 : 2)];
}

test('a message carries the identifier of its subscription, the smallest and the largest [MQTT-3.3.4-3]', async () => {
  using client = await come(bob);
  for (const [filter, identifier] of [
    ['t/id/1', 1],
    ['t/id/2', 127],
    ['t/id/3', 128],
    ['t/id/4', 268_435_455],
  ] as const) {
    assert.deepEqual(await client.subscribe([{ filter, options: 0 }], id(identifier)), [0]);
    await publish(filter);
    assert.deepEqual(identifiersOf(await client.message()), [identifier]);
  }
});

test('one identifier is that of all filters of its SUBSCRIBE, and of no other', async () => {
  using client = await come(bob);
  const two = [
    { filter: 't/two/a', options: 0 },
    { filter: 't/two/b', options: 1 },
  ];
  assert.deepEqual(await client.subscribe(two, id(5)), [0, 1]);
  assert.deepEqual(await client.subscribe([{ filter: 't/two/c', options: 0 }]), [0]);
  for (const [topic, expected] of [
    ['t/two/a', [5]],
    ['t/two/b', [5]],
    ['t/two/c', []],
  ] as const) {
    await publish(topic);
    assert.deepEqual(identifiersOf(await client.message()), expected, topic);
  }
});

test('overlapping subscriptions: one message with the identifiers of all, the same one as often as it was given [MQTT-3.3.4-2] [MQTT-3.3.4-4]', async () => {
  using client = await come(bob);
  await client.subscribe([{ filter: 't/over/+', options: 0 }], id(1));
  await client.subscribe([{ filter: 't/over/#', options: 2 }], id(2));
  await client.subscribe([{ filter: 't/#', options: 1 }]);
  await client.subscribe([{ filter: 't/over/x', options: 0 }], id(1));
  await publish('t/over/x');
  const message = await client.message();
  assert.deepEqual(identifiersOf(message), [1, 1, 2]);
  assert.equal(message.qos, 1);
  client.send(ack(wireTypes.puback, message.packetId ?? 0));
  await publish('t/over');
  const other = await client.message();
  assert.deepEqual(identifiersOf(other), [2]);
  await client.nothing();
});

test('a subscription that is made again has its new identifier, or none [MQTT-3.8.4-3]', async () => {
  using client = await come(bob);
  for (const [properties, expected] of [
    [id(1), [1]],
    [id(2), [2]],
    [[], []],
  ] as const) {
    await client.subscribe([{ filter: 't/again', options: 0 }], properties);
    await publish('t/again');
    assert.deepEqual(identifiersOf(await client.message()), expected);
  }
});

test('a retained message comes with the identifier of the subscription that asked for it', async () => {
  await publish('t/retained/id', 'kept', true);
  using client = await come(bob);
  await client.subscribe([{ filter: 't/retained/+', options: 0 }], id(1));
  await client.message();
  await client.subscribe([{ filter: 't/retained/#', options: 0 }], id(2));
  const message = await client.message();
  assert.deepEqual([identifiersOf(message), message.retain], [[2], true]);
});

test('subscribers with identifiers of their own, and without, share one message', async () => {
  using first = await come(bob);
  using second = await come(bob);
  using none = await come(bob);
  using four = await come(bob, { version: 4 });
  await first.subscribe([{ filter: 't/many', options: 0 }], id(1));
  await second.subscribe([{ filter: 't/many', options: 0 }], id(2));
  for (const client of [none, four]) await client.subscribe([{ filter: 't/many', options: 0 }]);
  for (const payload of ['a', 'b']) {
    await publish('t/many', payload);
    for (const [client, expected] of [
      [first, [1]],
      [none, []],
      [second, [2]],
      [four, []],
    ] as const) {
      const message = await client.message();
      assert.deepEqual([message.payload, identifiersOf(message)], [payload, expected]);
    }
  }
});

test('the policy judges the filter behind $share, as a whole: what is wider than the grant is refused', async () => {
  using client = await come(narrow);
  for (const [filter, code] of [
    ['t/hall/#', 0],
    ['t/hall/x', 0],
    ['t/+/temperature', 0],
    ['t/#', 0x87],
    ['t/+/+', 0x87],
    ['#', 0x87],
    ['$share/g/t/hall/x', 0x87],
    ['$SYS/#', 0x87],
  ] as const) {
    const subscription = `$share/group/${filter}`;
    assert.deepEqual(
      await client.subscribe([{ filter: subscription, options: 0 }]),
      [code],
      filter,
    );
  }
  await publish('t/kitchen/humidity');
  await publish('t/hall/x');
  assert.equal((await client.message()).topic, 't/hall/x');
  await client.nothing();
});

test('a shared subscription is one of its own beside the same filter unshared, and brings no retained messages', async () => {
  await publish('t/shared/kept', 'kept', true);
  using client = await come(bob);
  for (const options of [0x00, 0x10, 0x20]) {
    assert.deepEqual(
      await client.subscribe([{ filter: '$share/g/t/shared/#', options }], id(1)),
      [0],
    );
  }
  await client.nothing();
  assert.deepEqual(await client.subscribe([{ filter: 't/shared/#', options: 0 }], id(2)), [0]);
  const retained = await client.message();
  assert.deepEqual([retained.payload, identifiersOf(retained)], ['kept', [2]]);
  await publish('t/shared/live');
  assert.deepEqual(identifiersOf(await client.message()), [1, 2]);
  assert.deepEqual(await unsubscribe(client, '$share/g/t/shared/#'), [0]);
  await publish('t/shared/live');
  assert.deepEqual(identifiersOf(await client.message()), [2]);
  await client.nothing();
});

test('each message of a shared subscription goes to one of its members', async () => {
  using first = await come(bob);
  using second = await come(alice);
  for (const client of [first, second]) {
    assert.deepEqual(await client.subscribe([{ filter: '$share/g/t/one-of', options: 0 }]), [0]);
  }
  const sent = Array.from({ length: 20 }, (_, n) => `${n}`);
  for (const payload of sent) await publish('t/one-of', payload);
  const received: string[] = [];
  for (const client of [first, second]) {
    client.send(Buffer.of(0xc0, 0));
    for (let next = await client.next(); next.type !== wireTypes.pingresp;) {
      received.push(next.body.toString('utf8', 2 + 't/one-of'.length + 1));
      next = await client.next();
    }
  }
  assert.deepEqual(
    received.toSorted((a, b) => Number(a) - Number(b)),
    sent,
  );
});

for (const [name, version] of bothVersions) {
  const codes = (...five: number[]): number[] => (version === 5 ? five : []);

  test(`${name}: UNSUBSCRIBE says of each filter whether there was one, letter by letter [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]`, async () => {
    using client = await come(bob, { version });
    const filters = ['t/u/a', 't/u/+', 't/u/#'];
    assert.deepEqual(
      await client.subscribe(filters.map((filter) => ({ filter, options: 0 }))),
      [0, 0, 0],
    );
    assert.deepEqual(
      await unsubscribe(client, 't/u/b', 't/u/+', 't/U/a', 't/u/#', 't/u/#', '#'),
      codes(0x11, 0, 0x11, 0, 0x11, 0x11),
    );
    await publish('t/u/other');
    await publish('t/u/a');
    assert.equal((await client.message()).topic, 't/u/a');
    await client.nothing();
  });

  test(`${name}: subscriptions of QoS 2 are granted, and each filter has a code of its own [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]`, async () => {
    using client = await come(bob, { version });
    const refused = version === 5 ? 0x87 : 0x80;
    const filters = ['t/q/0', 'not/mine', 't/q/1', 't/q/2', '$SYS/x'];
    assert.deepEqual(
      await client.subscribe(
        filters.map((filter, n) => ({ filter, options: [0, 1, 1, 2, 2][n] ?? 0 })),
      ),
      [0, refused, 1, 2, refused],
    );
  });
}

const kept: readonly Property[] = [['sessionExpiryInterval', 60]];

test('a session that comes back brings its subscriptions, with their options and identifiers [MQTT-3.1.2-5]', async () => {
  using client = await come(bob, { clientId: 'comes-back', properties: kept });
  await client.subscribe([{ filter: 't/back/a', options: 1 }], id(3));
  await client.subscribe([{ filter: '$share/back/t/back/b', options: 1 }], id(4));
  await client.subscribe([{ filter: 't/back/c', options: 1 }]);
  await unsubscribe(client, 't/back/c');
  await client.leave();
  using again = await WireClient.open(port, bob, 5);
  const options = { clientId: 'comes-back', cleanStart: false, properties: kept };
  assert.equal((await again.connect(options)).sessionPresent, true);
  for (const topic of ['t/back/a', 't/back/b', 't/back/c']) await publish(topic);
  const seen = [await again.message(), await again.message()];
  assert.deepEqual(
    seen.map((message) => [message.topic, message.qos, identifiersOf(message)]),
    [
      ['t/back/a', 1, [3]],
      ['t/back/b', 1, [4]],
    ],
  );
  assert.deepEqual(
    await unsubscribe(again, 't/back/a', '$share/back/t/back/b', 't/back/c'),
    [0, 0, 0x11],
  );
});

test('what a message carries waits in the queue with it: properties, their order, identifiers, what is left of its expiry [MQTT-3.3.2-6] [MQTT-3.3.2-17] [MQTT-3.3.2-18]', async () => {
  const options = { clientId: 'carries', cleanStart: false, properties: kept };
  using client = await come(bob, options);
  await client.subscribe([{ filter: 't/carries/+', options: 1 }], id(3));
  await client.subscribe([{ filter: 't/carries/#', options: 1 }], id(4));
  await client.leave();
  const properties: readonly Property[] = [
    ['payloadFormatIndicator', 1],
    ['contentType', 'text/plain; charset=utf-8'],
    ['responseTopic', 't/answers/\u{1f6aa}'],
    ['correlationData', Buffer.from([0, 255])],
    ['userProperty', ['z', '1']],
    ['userProperty', ['a', '2']],
    ['userProperty', ['z', '']],
    ['userProperty', ['__proto__', 'x']],
  ];
  using publisher = await come(alice);
  const publication = { topic: 't/carries/x', payload: '\u{1f6aa}' };
  await publisher.publish({
    ...publication,
    properties: [...properties, ['messageExpiryInterval', 100]],
  });
  using again = await come(bob, options);
  const message = await again.message();
  const own = ['subscriptionIdentifier', 'messageExpiryInterval'];
  assert.deepEqual(
    message.properties.filter(([name]) => !own.includes(name)),
    properties,
  );
  assert.deepEqual(identifiersOf(message), [3, 4]);
  const left = Number(valuesOf(message.properties, 'messageExpiryInterval')[0]);
  assert.ok(left > 80 && left <= 100, `${left}`);
  assert.equal(message.payload, publication.payload);
});

test('a subscription that is no longer granted does not come back with its session, nor what is queued for it; the others do', async () => {
  const options = { clientId: 'inherits', cleanStart: false, properties: kept };
  using client = await come(bob, options);
  const filters = ['t/hall/x', '$share/g/t/cellar/x', 't/cellar/#', '$share/g/t/hall/y'];
  assert.deepEqual(
    await client.subscribe(filters.map((filter) => ({ filter, options: 1 }))),
    [1, 1, 1, 1],
  );
  await client.leave();
  // Queued while it was granted.
  for (const topic of ['t/cellar/queued', 't/hall/x']) await publish(topic);
  gateway.configure(
    config.replace(open, open.replace("subscribe: [ 't/#' ]", "subscribe: [ 't/hall/#' ]")),
  );
  await gateway.ok('reload');
  using again = await WireClient.open(port, bob, 5);
  assert.equal((await again.connect(options)).sessionPresent, true);
  for (const topic of ['t/cellar/x', 't/hall/x', 't/hall/y']) await publish(topic);
  for (const topic of ['t/hall/x', 't/hall/x', 't/hall/y']) {
    const message = await again.message();
    assert.equal(message.topic, topic);
    again.send(ack(wireTypes.puback, message.packetId ?? 0));
  }
  await again.nothing();
  const line = await gateway.log.logged((each) => each.get('withdrawn') === 2);
  assert.equal(line.get('principal'), 'service/bob');
  assert.deepEqual(line.get('resources'), ['$share/g/t/cellar/x', 't/cellar/#']);
  await again.leave();
  // It was not only hidden: with the old policy it is gone all the same.
  gateway.configure(config);
  await gateway.ok('reload');
  using third = await come(bob, options);
  await publish('t/cellar/x');
  await third.nothing();
  assert.deepEqual(await unsubscribe(third, ...filters), [0, 0x11, 0x11, 0]);
});
