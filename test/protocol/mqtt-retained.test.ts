/**
 * Retained messages: once acknowledged, every later subscriber on every worker gets them, until they are replaced,
 * deleted or expired. Two workers share one store.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { packetTypes, publishPacket, readPuback } from '../harness/mqtt-bytes.ts';
import type { MqttVersion, ReceivedMessage } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const mostMessages = 60;
const config = [
  'roles:',
  "  keeper: { allow: { publish: [ 'k/#', 'fence' ], subscribe: [ 'k/#', 'fence' ] } }",
  'limits:',
  `  retainedPerIdentity: ${mostMessages}`,
  '  retainedBytesPerIdentity: 64KiB',
  'routes: { telemetry: { rate: [] } }',
].join('\n');

const { gateway, connect } = await sharedGateway({ config, workers: 2 });
const { workers } = gateway.run();
const keeper = await gateway.service('keeper', 'keeper');
const other = await gateway.service('other', 'keeper');
const d1 = await gateway.device('d1');
const be = await gateway.service('be', 'backend');

const stored = new Set([0, 0x10]);
const quotaExceeded = 0x97;

/** Subscription options: QoS 1, and how retained messages are wanted (§3.8.3.1). */
const retainAsPublished = 0x08;
const onlyIfNew = 0x10;
const never = 0x20;

async function keep(topic: string, payload: string | Buffer, expiry?: number): Promise<void> {
  using client = await connect(keeper, { clientId: '' });
  const code = await client.publish(topic, payload, {
    retain: true,
    ...(expiry === undefined ? {} : { properties: [['messageExpiryInterval', expiry]] }),
  });
  assert.ok(stored.has(code), `0x${code.toString(16)}`);
}

await keep('fence', 'fence');

/** What this subscription brings at once: the retained messages of one SUBSCRIBE come in the order of its filters. */
async function brought(
  client: RawMqtt,
  filter: string,
  options = 1,
): Promise<readonly ReceivedMessage[]> {
  const before = client.messages.length;
  const codes = await client.subscribeTo([
    { filter, options },
    { filter: 'fence', options: 1 },
  ]);
  assert.deepEqual(codes, [1, 1]);
  await client.message((message) => isFence(message) && client.messages.indexOf(message) >= before);
  await client.unsubscribe('fence');
  return client.messages.slice(before).filter((message) => !isFence(message));
}

function isFence({ topic }: ReceivedMessage): boolean {
  return topic === 'fence';
}

async function retainedNow(filter: string, version: MqttVersion = 5) {
  using client = await connect(keeper, { clientId: '', version });
  return await brought(client, filter);
}

test('a retained message reaches later subscribers on every worker, in both versions, marked as such', async () => {
  using publisher = await connect(d1, { clientId: 'd1' });
  assert.equal(await publisher.publish('devices/d1/status', 'on', { retain: true }), 0x10);
  for (const version of [5, 4] as const) {
    const found = await onEachWorker(gateway, workers, async () => {
      const client = await connect(be, { clientId: '', version });
      assert.deepEqual(await client.subscribe('devices/+/status'), [1]);
      const message = await client.message(() => true);
      const { topic, payload, qos, retain } = message;
      assert.deepEqual(
        { topic, payload, qos, retain },
        { topic: 'devices/d1/status', payload: 'on', qos: 1, retain: true },
      );
      return { client };
    });
    for (const { client } of found.values()) client[Symbol.dispose]();
  }
});

test('a message of QoS 0 is retained too, and is delivered with QoS 0', async () => {
  using publisher = await connect(keeper, { clientId: '' });
  publisher.send(
    publishPacket({ version: 5, topic: 'k/zero', payload: '0', qos: 0, retain: true }),
  );
  // Packets are handled in order: what is acknowledged later was stored later.
  assert.ok(stored.has(await publisher.publish('k/one', '1')));
  const [message, ...more] = await retainedNow('k/zero');
  assert.deepEqual([message?.payload, message?.qos, message?.retain], ['0', 0, true]);
  assert.equal(more.length, 0);
});

test('what was acknowledged is there for a subscriber of the other worker at once', async () => {
  const publishers = await onEachWorker(gateway, workers, async () => ({
    client: await connect(keeper, { clientId: '' }),
  }));
  const subscribers = await onEachWorker(gateway, workers, async () => ({
    client: await connect(other, { clientId: '' }),
  }));
  let n = 0;
  for (const { client: publisher } of publishers.values()) {
    for (const { client: subscriber } of subscribers.values()) {
      for (let times = 0; times < 5; times += 1) {
        n += 1;
        await publisher.publish('k/race', `${n}`, { retain: true });
        const messages = await brought(subscriber, 'k/race');
        // It may come as a live one, too, when it was sent to this worker for the subscription of the round before.
        assert.deepEqual(
          messages.filter(({ retain }) => retain).map(({ payload }) => payload),
          [`${n}`],
        );
        assert.ok(messages.every(({ payload }) => payload === `${n}`));
        await subscriber.unsubscribe('k/race');
      }
    }
  }
  for (const { client } of [...publishers.values(), ...subscribers.values()]) {
    client[Symbol.dispose]();
  }
});

test('the last one of a topic counts; topics do not mix', async () => {
  for (const payload of ['1', '2', '3']) await keep('k/last', payload);
  await keep('k/last/below', 'below');
  const messages = await retainedNow('k/last');
  assert.deepEqual(
    messages.map(({ payload }) => payload),
    ['3'],
  );
  const both = await retainedNow('k/last/#');
  assert.deepEqual(both.map(({ payload }) => payload).toSorted(), ['3', 'below']);
  assert.deepEqual(
    (await retainedNow('k/+/below')).map(({ payload }) => payload),
    ['below'],
  );
});

test('retain handling: 0 always, 1 only for a new subscription, 2 never', async () => {
  await keep('k/handling', 'x');
  using client = await connect(keeper, { clientId: '' });
  const filter = 'k/handling';
  const count = async (options: number): Promise<number> =>
    (await brought(client, filter, options)).length;
  assert.equal(await count(1 | onlyIfNew), 1, '1, new');
  assert.equal(await count(1 | onlyIfNew), 0, '1, known');
  assert.equal(await count(1), 1, '0, known');
  assert.equal(await count(1 | never), 0, '2, known');
  await client.unsubscribe(filter);
  assert.equal(await count(1 | never), 0, '2, new');
  await client.unsubscribe(filter);
  assert.equal(await count(1 | onlyIfNew), 1, '1, new again');
});

test('MQTT 3.1.1: every SUBSCRIBE brings them again', async () => {
  await keep('k/again', 'x');
  using client = await connect(keeper, { clientId: '', version: 4 });
  assert.equal((await brought(client, 'k/again')).length, 1);
  assert.equal((await brought(client, 'k/again')).length, 1);
});

test('retain as published: without it the flag says that the message is older than the subscription', async () => {
  using publisher = await connect(keeper, { clientId: '' });
  using plain = await connect(other, { clientId: 'plain' });
  using asPublished = await connect(other, { clientId: 'published' });
  using four = await connect(other, { clientId: 'four', version: 4 });
  assert.deepEqual(await plain.subscribeTo([{ filter: 'k/live', options: 1 }]), [1]);
  assert.deepEqual(
    await asPublished.subscribeTo([{ filter: 'k/live', options: 1 | retainAsPublished }]),
    [1],
  );
  assert.deepEqual(await four.subscribe('k/live'), [1]);
  assert.equal(await publisher.publish('k/live', 'kept', { retain: true }), 0);
  assert.equal(await publisher.publish('k/live', 'not kept'), 0);
  for (const [client, flags] of [
    [plain, [false, false]],
    [asPublished, [true, false]],
    [four, [false, false]],
  ] as const) {
    await client.message(({ payload }) => payload === 'not kept');
    assert.deepEqual(
      client.messages.map(({ payload, retain }) => [payload, retain]),
      [
        ['kept', flags[0]],
        ['not kept', flags[1]],
      ],
    );
  }
  const later = await retainedNow('k/live');
  assert.deepEqual(
    later.map(({ payload, retain }) => [payload, retain]),
    [['kept', true]],
  );
});

test('an empty payload deletes, and live subscribers hear of it', async () => {
  await keep('k/gone', 'x');
  using live = await connect(other, { clientId: 'live' });
  assert.equal((await brought(live, 'k/gone')).length, 1);
  await keep('k/gone', '');
  await live.message(({ topic, payload }) => topic === 'k/gone' && payload === '');
  assert.deepEqual(await retainedNow('k/gone'), []);
  // To delete what is not there is no error.
  await keep('k/gone', '');
});

test('properties are kept with the message, in their order', async () => {
  using publisher = await connect(keeper, { clientId: '' });
  const properties = [
    ['payloadFormatIndicator', 1],
    ['contentType', 'application/json'],
    ['responseTopic', 'k/answers'],
    ['correlationData', Buffer.of(0, 1, 255)],
    ['userProperty', ['b', '1']],
    ['userProperty', ['__proto__', '2']],
    ['userProperty', ['b', '']],
  ] as const;
  await publisher.publish('k/properties', '{}', { retain: true, properties });
  const [message] = await retainedNow('k/properties');
  assert.deepEqual(message?.properties, properties);
  const [four] = await retainedNow('k/properties', 4);
  assert.equal(four?.payload, '{}');
});

test('what has expired is not delivered; what has not says how long it has left', async () => {
  await keep('k/short', 'x', 1);
  await keep('k/long', 'x', 100);
  const left = async (topic: string): Promise<number | undefined> => {
    const [message] = await retainedNow(topic);
    if (message === undefined) return undefined;
    return Number(valuesOf(message.properties, 'messageExpiryInterval')[0]);
  };
  const first = await left('k/long');
  assert.ok(first !== undefined && first > 90 && first <= 100, `${first}`);
  await until(
    'the short one has expired',
    10_000,
    async () => (await left('k/short')) === undefined,
  );
  const second = await left('k/long');
  assert.ok(second !== undefined && second < 100 && second > 80, `${second}`);
});

test('what was refused is not retained', async () => {
  using device = await connect(d1, { clientId: 'd1' });
  assert.equal(await device.publish('devices/d2/status', 'forged', { retain: true }), 0x87);
  assert.equal(await device.publish('$SYS/x', 'forged', { retain: true }), 0x87);
  using backend = await connect(be, { clientId: 'be' });
  await device.publish('devices/d1/status', 'real', { retain: true });
  // In the order of the filters: a forged one would come first.
  assert.deepEqual(await backend.subscribe('devices/d2/status', 'devices/d1/status'), [1, 1]);
  assert.equal((await backend.message(() => true)).payload, 'real');
});

test('a device cannot delete what another has retained', async () => {
  using device = await connect(d1, { clientId: 'd1' });
  await device.publish('devices/d1/status', 'mine', { retain: true });
  const d2 = await gateway.device('d2');
  using intruder = await connect(d2, { clientId: 'd1' });
  assert.equal(await intruder.publish('devices/d1/status', '', { retain: true }), 0x87);
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe('devices/d1/status'), [1]);
  assert.equal((await backend.message(() => true)).payload, 'mine');
});

test('an identity has its quota of messages; deleting one makes room, on whichever worker', async () => {
  const service = await gateway.service('hoarder', 'keeper');
  using client = await connect(service, { clientId: 'c' });
  const packets = Array.from({ length: mostMessages + 2 }, (_, n) =>
    publishPacket({
      version: 5,
      topic: `k/hoard/${n}`,
      payload: 'x',
      qos: 1,
      packetId: n + 1,
      retain: true,
    }),
  );
  client.send(Buffer.concat(packets));
  const codes: number[] = [];
  for (const _ of packets) codes.push(readPuback(await client.next(packetTypes.puback)).code);
  assert.deepEqual(
    codes.map((code) => (stored.has(code) ? 0 : code)),
    [...Array.from({ length: mostMessages }, () => 0), quotaExceeded, quotaExceeded],
  );
  // A message that is not retained needs no room, and one that is there may be replaced.
  assert.ok(stored.has(await client.publish('k/hoard/x', 'x')));
  assert.ok(stored.has(await client.publish('k/hoard/0', 'y', { retain: true })));
  const found = await onEachWorker(gateway, workers, async () => {
    const each = await connect(service, { clientId: '' });
    assert.equal(await each.publish('k/hoard/more', 'x', { retain: true }), quotaExceeded);
    return { client: each };
  });
  for (const each of found.values()) each.client[Symbol.dispose]();
  await client.publish('k/hoard/1', '', { retain: true });
  assert.ok(stored.has(await client.publish('k/hoard/more', 'x', { retain: true })));
  // Another identity has its own quota.
  await keep('k/mine', 'x');
});

test('an identity has its quota of bytes, and 3.1.1 is closed instead of told', async () => {
  const service = await gateway.service('heavy', 'keeper');
  using client = await connect(service, { clientId: 'c' });
  const half = 'x'.repeat(30 * 1024);
  assert.ok(stored.has(await client.publish('k/heavy/1', half, { retain: true })));
  assert.ok(stored.has(await client.publish('k/heavy/2', half, { retain: true })));
  assert.equal(await client.publish('k/heavy/3', half, { retain: true }), quotaExceeded);
  using four = await connect(service, { clientId: 'four', version: 4 });
  const answers: Buffer[] = [];
  four.socket.on('data', (chunk: Buffer) => answers.push(chunk));
  four.send(publishPacket({ version: 4, topic: 'k/heavy/3', payload: half, qos: 1, retain: true }));
  await within(four.ended, 10_000, 'the end of the connection');
  assert.deepEqual(answers, []);
  assert.deepEqual(await retainedNow('k/heavy/3'), []);
});

test('a slow reader gets all that is retained, at its own speed', async () => {
  const service = await gateway.service('archive', 'keeper');
  using publisher = await connect(service, { clientId: 'p' });
  const wanted = Array.from({ length: mostMessages }, (_, n) => `k/archive/${n}`);
  for (const topic of wanted) await publisher.publish(topic, topic, { retain: true });
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity: keeper });
  await client.connect({ clientId: 'slow', properties: [['receiveMaximum', 1]] });
  assert.deepEqual(await client.subscribe('k/archive/#'), [1]);
  await client.message(() => client.messages.length === wanted.length);
  assert.deepEqual(client.messages.map(({ payload }) => payload).toSorted(), wanted.toSorted());
});

test('retained messages are there after the gateway was stopped and started', async () => {
  using folder = temporaryFolder();
  const properties = [['contentType', 'text/plain']] as const;
  let identity;
  {
    await using first = await startGateway({ folder, config });
    identity = await first.service('keeper', 'keeper');
    using client = await RawMqtt.open({ port: first.mqttsPort, identity });
    await client.connect();
    for (const topic of ['k/kept', 'k/deleted', 'k/brief']) {
      const code = await client.publish(topic, topic, { retain: true, properties });
      assert.ok(stored.has(code));
    }
    await client.publish('k/deleted', '', { retain: true });
    await first.stop();
  }
  await using second = await startGateway({ folder, config, workers: 2 });
  using client = await RawMqtt.open({ port: second.mqttsPort, identity });
  await client.connect();
  assert.deepEqual(await client.subscribe('k/#'), [1]);
  await client.message(() => client.messages.length === 2);
  await client.publish('k/fence', 'fence');
  await client.message(({ topic }) => topic === 'k/fence');
  assert.deepEqual(
    client.messages.map((message) => [message.topic, message.retain]),
    [
      ['k/brief', true],
      ['k/kept', true],
      ['k/fence', false],
    ],
  );
  assert.deepEqual(client.messages[0]?.properties, properties);
  await second.stop();
});
