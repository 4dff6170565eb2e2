/** What else MQTT.js can ask of a broker in MQTT 5, over mutual TLS and over `wss`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectAsync } from 'mqtt';
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

const urls = {
  mqtts: `mqtts://localhost:${port}`,
  wss: `wss://localhost:${gateway.httpsPort}/mqtt`,
} as const;

interface Client extends AsyncDisposable {
  readonly mqtt: MqttClient;
  readonly messages: readonly IPublishPacket[];
}

async function connect(
  url: string,
  identity: Identity,
  options: IClientOptions = {},
): Promise<Client> {
  const mqtt = await connectAsync(url, {
    protocolVersion: 5,
    ...mqttJsOptions(identity),
    clientId: '',
    ...options,
  });
  const messages: IPublishPacket[] = [];
  mqtt.on('message', (_topic, _payload, packet) => void messages.push(packet));
  return { mqtt, messages, [Symbol.asyncDispose]: () => mqtt.endAsync(true) };
}

/** The payloads of everything that has come when `last` has. */
async function payloadsUntil({ messages }: Client, last: string): Promise<readonly string[]> {
  const payloads = (): string[] => messages.map(({ payload }) => payload.toString());
  await until(`"${last}"`, limitMs, () => payloads().includes(last));
  return payloads();
}

const packetIdentifierNotFound = 0x92;

for (const [scheme, url] of Object.entries(urls)) {
  test(`${scheme}: no local, retain as published and retain handling`, async () => {
    const topic = `t/options/${scheme}`;
    await using other = await connect(url, alice);
    await other.mqtt.publishAsync(topic, 'kept', { qos: 1, retain: true });
    await using client = await connect(url, bob);
    await client.mqtt.subscribeAsync(topic, { qos: 1, nl: true, rap: true });
    await payloadsUntil(client, 'kept');
    await client.mqtt.publishAsync(topic, 'own', { qos: 1, retain: true });
    await client.mqtt.subscribeAsync(topic, { qos: 1, rh: 1 });
    await client.mqtt.subscribeAsync(topic, { qos: 1, rh: 2, rap: true });
    await other.mqtt.publishAsync(topic, 'update', { qos: 1, retain: true });
    assert.deepEqual(await payloadsUntil(client, 'update'), ['kept', 'update']);
    assert.ok(client.messages.every(({ retain }) => retain));
    await client.mqtt.unsubscribeAsync(topic);
    await client.mqtt.subscribeAsync(`${topic}/end`, { qos: 1 });
    await other.mqtt.publishAsync(topic, 'given up', { qos: 1 });
    await other.mqtt.publishAsync(`${topic}/end`, 'end', { qos: 1 });
    assert.deepEqual(await payloadsUntil(client, 'end'), ['kept', 'update', 'end']);
  });

  test(`${scheme}: what is in flight when the network fails comes exactly once`, async () => {
    const topic = `t/cut/${scheme}`;
    const lasting = (clientId: string): IClientOptions => ({
      clientId: `${clientId}-${scheme}`,
      clean: false,
      reconnectPeriod: 100,
      properties: { sessionExpiryInterval: 300 },
    });
    await using publisher = await connect(url, alice, lasting('sends'));
    await using subscriber = await connect(url, bob, lasting('receives'));
    await subscriber.mqtt.subscribeAsync(topic, { qos: 2 });
    const payloads = Array.from({ length: 60 }, (_, n) => `${n}`);
    const published = payloads.map((each) =>
      publisher.mqtt.publishAsync(topic, each, { qos: 2 }).catch(alreadyComplete),
    );
    for (const { mqtt } of [subscriber, publisher]) {
      const back = new Promise<IConnackPacket>((resolve) => mqtt.once('connect', resolve));
      mqtt.stream.destroy();
      assert.equal((await within(back, limitMs, 'the next CONNACK')).sessionPresent, true);
    }
    await within(Promise.all(published), limitMs, 'every PUBCOMP');
    await publisher.mqtt.publishAsync(topic, 'last', { qos: 2 });
    const got = (await payloadsUntil(subscriber, 'last')).filter((payload) => payload !== 'last');
    assert.deepEqual(
      got.toSorted((a, b) => Number(a) - Number(b)),
      payloads,
    );
  });

  test(`${scheme}: no more and nothing larger than the client takes`, async () => {
    const topic = `t/bounds/${scheme}`;
    await using publisher = await connect(url, alice);
    const properties = { receiveMaximum: 1, maximumPacketSize: 200 };
    await using subscriber = await connect(url, bob, { properties });
    let open = 0;
    let most = 0;
    subscriber.mqtt.on('packetreceive', ({ cmd }) => {
      if (cmd === 'publish') most = Math.max(most, (open += 1));
    });
    subscriber.mqtt.on('packetsend', ({ cmd }) => {
      if (cmd === 'pubcomp') open -= 1;
    });
    await subscriber.mqtt.subscribeAsync(topic, { qos: 2 });
    const payloads = Array.from({ length: 20 }, (_, n) => `${n}`);
    for (const payload of [...payloads, 'x'.repeat(500), 'last']) {
      await publisher.mqtt.publishAsync(topic, payload, { qos: 2 });
    }
    assert.deepEqual(await payloadsUntil(subscriber, 'last'), [...payloads, 'last']);
    assert.equal(most, 1);
  });

  test(`${scheme}: a will with its properties at a DISCONNECT that asks for it`, async () => {
    const topic = `t/will/${scheme}`;
    await using watching = await connect(url, bob);
    await watching.mqtt.subscribeAsync(topic, { qos: 2 });
    const properties = { contentType: 'text/plain', messageExpiryInterval: 60 };
    const will = {
      topic,
      payload: Buffer.from('left'),
      qos: 2,
      retain: false,
      properties,
    } as const;
    const leaving = await connect(url, alice, { will });
    await leaving.mqtt.endAsync(false, { reasonCode: 4 });
    await payloadsUntil(watching, 'left');
    const [message] = watching.messages;
    assert.equal(message?.properties?.contentType, 'text/plain');
    assert.ok(Number(message.properties.messageExpiryInterval) > 50);
  });

  test(`${scheme}: a DISCONNECT that says so ends the session`, async () => {
    const options: IClientOptions = {
      clientId: `ends-${scheme}`,
      clean: false,
      properties: { sessionExpiryInterval: 300 },
    };
    const first = await connect(url, bob, options);
    await first.mqtt.subscribeAsync(`t/ends/${scheme}`, { qos: 1 });
    await first.mqtt.endAsync(false, { properties: { sessionExpiryInterval: 0 } });
    await using other = await connect(url, alice);
    await other.mqtt.publishAsync(`t/ends/${scheme}`, 'for nobody', { qos: 1 });
    await using back = await connect(url, bob, options);
    await back.mqtt.subscribeAsync(`t/ends/${scheme}`, { qos: 1 });
    await other.mqtt.publishAsync(`t/ends/${scheme}`, 'last', { qos: 1 });
    assert.deepEqual(await payloadsUntil(back, 'last'), ['last']);
  });

  test(`${scheme}: who is taken over from is told so`, async () => {
    const first = await connect(url, bob, { clientId: `one-of-two-${scheme}` });
    const told = new Promise<number | undefined>((resolve) => {
      first.mqtt.once('disconnect', ({ reasonCode }) => resolve(reasonCode));
    });
    await using _second = await connect(url, bob, { clientId: `one-of-two-${scheme}` });
    assert.equal(await within(told, limitMs, 'DISCONNECT'), 0x8e);
    await first.mqtt.endAsync(true);
  });
}

/** When the network took the PUBCOMP with it, the next PUBREL finds nothing: no error in recovery (MQTT 5 §3.7.2.1). */
function alreadyComplete(error: unknown): undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== packetIdentifierNotFound) throw error;
}
