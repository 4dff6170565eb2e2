/** MQTT.js over mutual TLS, in both versions: every QoS, retained messages, sessions that go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect as openClient } from 'mqtt';
import type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import type { Identity } from '../harness/gateway.ts';
import { mqttJsLimitMs as limitMs, mqttJsOptions } from '../harness/mqtt-js.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const config = [
  "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }",
  'limits: { sessionsPerIdentity: 100 }',
].join('\n');
const { gateway, port } = await sharedGateway({ config, workers: 2 });
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

const byVersion = { 'MQTT 5': 5, 'MQTT 3.1.1': 4 } as const;

interface Client extends AsyncDisposable {
  readonly mqtt: MqttClient;
  readonly present: boolean;
  readonly messages: readonly IPublishPacket[];
}

async function come(identity: Identity, options: IClientOptions): Promise<Client> {
  const mqtt = openClient('mqtts://localhost', {
    port,
    ...mqttJsOptions(identity),
    clientId: '',
    ...options,
  });
  // Heard of from the start: what a session has waiting comes right behind CONNACK.
  const messages: IPublishPacket[] = [];
  mqtt.on('message', (_topic, _payload, packet) => void messages.push(packet));
  const connected = new Promise<IConnackPacket>((resolve, reject) => {
    mqtt.once('connect', resolve);
    mqtt.once('error', reject);
  });
  const { sessionPresent } = await within(connected, limitMs, 'CONNACK');
  return {
    mqtt,
    present: sessionPresent,
    messages,
    [Symbol.asyncDispose]: () => mqtt.endAsync(true),
  };
}

async function received({ messages }: Client, count: number) {
  await until(`${count} messages`, limitMs, () => messages.length >= count);
  return messages.map(({ payload, qos, retain }) => [payload.toString(), qos, retain] as const);
}

for (const [name, protocolVersion] of Object.entries(byVersion)) {
  test(`${name}: QoS 0, 1 and 2, from one to the other`, async () => {
    await using publisher = await come(alice, { protocolVersion });
    await using subscriber = await come(bob, { protocolVersion });
    const [granted] = await subscriber.mqtt.subscribeAsync('t/qos', { qos: 2 });
    assert.equal(granted?.qos, 2);
    for (const qos of [0, 1, 2] as const) {
      await publisher.mqtt.publishAsync('t/qos', `${qos}`, { qos });
    }
    assert.deepEqual(await received(subscriber, 3), [
      ['0', 0, false],
      ['1', 1, false],
      ['2', 2, false],
    ]);
  });

  test(`${name}: a retained message for who subscribes later`, async () => {
    await using publisher = await come(alice, { protocolVersion });
    const topic = `t/kept/${protocolVersion}`;
    await publisher.mqtt.publishAsync(topic, 'x', { qos: 2, retain: true });
    await using subscriber = await come(bob, { protocolVersion });
    await subscriber.mqtt.subscribeAsync(topic, { qos: 2 });
    assert.deepEqual(await received(subscriber, 1), [['x', 2, true]]);
  });

  test(`${name}: a session that is taken up again brings what was missed`, async () => {
    const options: IClientOptions = {
      protocolVersion,
      clientId: `returns-${protocolVersion}`,
      clean: false,
      ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 300 } } : {}),
    };
    const first = await come(bob, options);
    assert.equal(first.present, false);
    await first.mqtt.subscribeAsync('t/missed', { qos: 2 });
    await first.mqtt.endAsync();
    await using publisher = await come(alice, { protocolVersion });
    for (const qos of [1, 2] as const) {
      await publisher.mqtt.publishAsync('t/missed', `${qos}`, { qos });
    }
    await using back = await come(bob, options);
    assert.equal(back.present, true);
    assert.deepEqual(await received(back, 2), [
      ['1', 1, false],
      ['2', 2, false],
    ]);
  });
}

/** Seconds: as long as who returns may take to come back on a busy machine. */
const willDelayInterval = 12;

test('MQTT 5: the will of a client that vanishes waits for its delay, unless its session goes on', async () => {
  await using watching = await come(bob, { protocolVersion: 5 });
  await watching.mqtt.subscribeAsync('t/will/#', { qos: 1 });
  const mortal = (clientId: string): Promise<Client> =>
    come(alice, {
      protocolVersion: 5,
      clientId,
      clean: false,
      properties: { sessionExpiryInterval: 300 },
      will: {
        topic: `t/will/${clientId}`,
        payload: Buffer.from(clientId),
        qos: 1,
        retain: false,
        properties: { willDelayInterval },
      },
    });
  await using returns = await mortal('returns');
  returns.mqtt.stream.destroy();
  await using again = await mortal('returns');
  await using gone = await mortal('gone');
  gone.mqtt.stream.destroy();
  assert.deepEqual(await received(watching, 1), [['gone', 1, false]]);
  await again.mqtt.endAsync();
});
