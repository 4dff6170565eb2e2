/** MQTT.js, what most Node programs use: the whole of it over mutual TLS, in both versions. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { connectAsync } from 'mqtt';
import type { IClientOptions, IPublishPacket, MqttClient } from 'mqtt';
import type { Identity } from '../harness/gateway.ts';
import { mqttJsLimitMs as limitMs, mqttJsOptions } from '../harness/mqtt-js.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const { gateway, port } = await sharedGateway({ workers: 2 });
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');

const byVersion = { 'MQTT 5': 5, 'MQTT 3.1.1': 4 } as const;

interface Client extends AsyncDisposable {
  readonly mqtt: MqttClient;
  readonly messages: readonly ReceivedMessage[];
}

interface ReceivedMessage {
  readonly topic: string;
  readonly payload: string;
  readonly packet: IPublishPacket;
}

async function connect(identity: Identity, options: IClientOptions): Promise<Client> {
  const mqtt = await connectAsync('mqtts://localhost', {
    port,
    ...mqttJsOptions(identity),
    clientId: `js-${identity.id}`,
    ...options,
  });
  const messages: ReceivedMessage[] = [];
  mqtt.on('message', (topic, payload, packet) => {
    messages.push({ topic, payload: payload.toString(), packet });
  });
  return {
    mqtt,
    messages,
    [Symbol.asyncDispose]: () => mqtt.endAsync(true),
  };
}

/** The n-th message that has come or comes, from 1. */
function message({ mqtt, messages }: Client, n = 1): Promise<ReceivedMessage> {
  const arrived = async (): Promise<ReceivedMessage> => {
    for (;;) {
      const found = messages[n - 1];
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => mqtt.once('message', () => resolve()));
    }
  };
  return within(arrived(), limitMs, `message ${n}`);
}

for (const [name, protocolVersion] of Object.entries(byVersion)) {
  test(`${name}: telemetry to a service, a command back`, async () => {
    await using backend = await connect(be, { protocolVersion });
    await using device = await connect(d1, { protocolVersion });
    const [granted] = await backend.mqtt.subscribeAsync('devices/+/telemetry', { qos: 1 });
    assert.equal(granted?.qos, 1);
    await device.mqtt.subscribeAsync('devices/d1/commands/#', { qos: 1 });
    await device.mqtt.publishAsync('devices/d1/telemetry', '{"temperature":1}', { qos: 1 });
    const telemetry = await message(backend);
    assert.deepEqual(
      [telemetry.topic, telemetry.payload],
      ['devices/d1/telemetry', '{"temperature":1}'],
    );
    await backend.mqtt.publishAsync('devices/d1/commands/reboot', 'now', { qos: 1 });
    const command = await message(device);
    assert.deepEqual([command.topic, command.payload], ['devices/d1/commands/reboot', 'now']);
    await device.mqtt.unsubscribeAsync('devices/d1/commands/#');
  });

  test(`${name}: the will of a client that vanishes`, async () => {
    await using backend = await connect(be, { protocolVersion });
    await backend.mqtt.subscribeAsync('devices/d2/diagnostics', { qos: 1 });
    const device = await connect(d2, {
      protocolVersion,
      will: {
        topic: 'devices/d2/diagnostics',
        payload: Buffer.from('gone'),
        qos: 1,
        retain: false,
      },
    });
    device.mqtt.stream.destroy();
    assert.equal((await message(backend)).payload, 'gone');
    await device.mqtt.endAsync(true);
  });

  test(`${name}: a forbidden subscription is refused`, async () => {
    await using device = await connect(d1, { protocolVersion });
    await assert.rejects(device.mqtt.subscribeAsync('devices/d2/commands/#', { qos: 1 }));
    await assert.rejects(device.mqtt.subscribeAsync('#', { qos: 0 }));
    await device.mqtt.publishAsync('devices/d1/diagnostics', 'still here', { qos: 1 });
  });

  test(`${name}: without a certificate nobody is let in`, async () => {
    const stranger = connectAsync('mqtts://localhost', {
      port,
      ca: readFileSync(d1.ca),
      clientId: 'stranger',
      protocolVersion,
      reconnectPeriod: 0,
      connectTimeout: limitMs,
    });
    await assert.rejects(within(stranger, limitMs, 'the refusal'), (error: Error) => {
      assert.equal(Reflect.get(error, 'code'), protocolVersion === 5 ? 0x86 : 5);
      return true;
    });
  });
}

test('MQTT 5: properties of a message go through', async () => {
  await using backend = await connect(be, { protocolVersion: 5 });
  await using device = await connect(d1, { protocolVersion: 5 });
  await backend.mqtt.subscribeAsync('devices/d1/diagnostics', { qos: 1 });
  const properties = {
    contentType: 'application/json',
    responseTopic: 'devices/d1/commands/answer',
    correlationData: Buffer.from([1, 2, 3]),
    userProperties: { firmware: '1.2.3', site: ['a', 'b'] },
  };
  await device.mqtt.publishAsync('devices/d1/diagnostics', '{}', { qos: 1, properties });
  const { packet } = await message(backend);
  const received = packet.properties;
  assert.ok(received !== undefined);
  assert.equal(received.contentType, properties.contentType);
  assert.equal(received.responseTopic, properties.responseTopic);
  assert.deepEqual(received.correlationData, properties.correlationData);
  assert.deepEqual({ ...received.userProperties }, properties.userProperties);
});

test('MQTT 5: a forbidden publish is refused with its reason code', async () => {
  await using device = await connect(d1, { protocolVersion: 5 });
  const forbidden = device.mqtt.publishAsync('devices/d2/telemetry', '{}', { qos: 1 });
  await assert.rejects(within(forbidden, limitMs, 'the PUBACK'), (error: Error) => {
    assert.equal(Reflect.get(error, 'code'), 0x87);
    return true;
  });
});

test('MQTT 5: topic aliases are taken as MQTT.js sets them, and set as it takes them', async () => {
  await using backend = await connect(be, {
    protocolVersion: 5,
    properties: { topicAliasMaximum: 4 },
  });
  await using device = await connect(d1, {
    protocolVersion: 5,
    autoUseTopicAlias: true,
    autoAssignTopicAlias: true,
  });
  const sentTopics: string[] = [];
  device.mqtt.on('packetsend', (packet) => {
    if (packet.cmd === 'publish') sentTopics.push(String(packet.topic));
  });
  await backend.mqtt.subscribeAsync(['devices/d1/status', 'devices/d1/diagnostics'], { qos: 1 });
  const topics = ['devices/d1/status', 'devices/d1/diagnostics'];
  const sent = Array.from({ length: 8 }, (_, n) => [topics[n % 2] ?? '', `${n}`] as const);
  for (const [topic, payload] of sent) await device.mqtt.publishAsync(topic, payload, { qos: 1 });
  await message(backend, sent.length);
  assert.deepEqual(
    backend.messages.map(({ topic, payload }) => [topic, payload]),
    sent,
  );
  assert.ok(sentTopics.includes(''), 'MQTT.js used no alias');
  const aliases = backend.messages.map(({ packet }) => packet.properties?.topicAlias);
  assert.deepEqual(aliases, [undefined, undefined, 1, 2, 1, 2, 1, 2]);
});

test('MQTT 5: overlapping subscriptions bring one message with the identifiers of all', async () => {
  await using backend = await connect(be, { protocolVersion: 5 });
  await using device = await connect(d1, { protocolVersion: 5 });
  for (const [filter, subscriptionIdentifier] of [
    ['devices/+/status', 1],
    ['devices/d1/status', 200_000],
    ['$share/group/devices/+/diagnostics', 3],
  ] as const) {
    await backend.mqtt.subscribeAsync(filter, { qos: 1, properties: { subscriptionIdentifier } });
  }
  await device.mqtt.publishAsync('devices/d1/status', 'both', { qos: 1 });
  await device.mqtt.publishAsync('devices/d1/diagnostics', 'shared', { qos: 1 });
  await message(backend, 2);
  const seen = backend.messages.map(({ payload, packet }) => [
    payload,
    [packet.properties?.subscriptionIdentifier].flat().toSorted((a = 0, b = 0) => a - b),
  ]);
  assert.deepEqual(seen, [
    ['both', [1, 200_000]],
    ['shared', [3]],
  ]);
});
