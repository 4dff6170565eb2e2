/**
 * The samples of paho.mqtt.c, of its asynchronous library (paho_c_…) and of its synchronous one (paho_cs_…), over
 * mutual TLS and over `wss`, in both versions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pahoPub, PahoSub } from '../harness/paho.ts';
import type { SampleTarget } from '../harness/paho.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const config = [
  "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }",
  'limits: { sessionsPerIdentity: 100, retainedPerIdentity: 100 }',
].join('\n');
const { gateway, port } = await sharedGateway({ config, workers: 2 });
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

type Client = Required<Pick<SampleTarget, 'sample' | 'version' | 'scheme'>>;

const clients: readonly Client[] = (['paho_c', 'paho_cs'] as const).flatMap((sample) =>
  ([5, 4] as const).flatMap((version) =>
    (['ssl', 'wss'] as const).map((scheme) => ({ sample, version, scheme })),
  ),
);

let ids = 0;

/** Samples share one id unless they are told otherwise. */
function id(): string[] {
  ids += 1;
  return ['-i', `sample-${ids}`];
}

function target({ sample, version, scheme }: Client, qos: 0 | 1 | 2): SampleTarget {
  const at = scheme === 'ssl' ? port : gateway.httpsPort;
  return { sample, version, scheme, port: at, identity: alice, qos };
}

async function publish(
  client: Client,
  qos: 0 | 1 | 2,
  topic: string,
  message: string,
  ...extra: readonly string[]
): Promise<void> {
  const { code, output } = await pahoPub(target(client, qos), topic, message, [...id(), ...extra]);
  assert.equal(code, 0, output);
}

/** Of bob's. It does not say when it has subscribed: a retained message does. */
async function subscribed(
  client: Client,
  level: string,
  ...extra: readonly string[]
): Promise<PahoSub> {
  using keeper = await RawMqtt.open({ port, identity: alice });
  await keeper.connect();
  await keeper.publish(`t/${level}/begun`, 'begun', { retain: true });
  const reader = { ...target(client, 2), identity: bob };
  const subscriber = new PahoSub(reader, `t/${level}/#`, ['--verbose', ...id(), ...extra]);
  try {
    await subscriber.line('begun');
    return subscriber;
  } catch (error) {
    await subscriber[Symbol.asyncDispose]();
    throw error;
  }
}

function nameOf({ sample, version, scheme }: Client): string {
  return `${sample} ${version === 5 ? 'MQTT 5' : 'MQTT 3.1.1'} ${scheme}`;
}

for (const client of clients) {
  test(`${nameOf(client)}: QoS 0, 1 and 2, and a large message`, async () => {
    const level = `${client.sample}-${client.version}-${client.scheme}`;
    await using subscriber = await subscribed(client, level);
    for (const qos of [0, 1, 2] as const) {
      const message = `message-${qos}${'x'.repeat(qos === 2 ? 100_000 : 0)}`;
      await publish(client, qos, `t/${level}/${qos}`, message);
      const line = await subscriber.line(message);
      // paho_c_sub begins with a number.
      assert.match(line.slice(0, -message.length), new RegExp(`^(\\d+ )?t/${level}/${qos}\\s$`));
    }
  });
}

for (const client of clients.filter(({ scheme }) => scheme === 'ssl')) {
  test(`${nameOf(client)}: the will of a client that is killed, retained when it says so`, async () => {
    const level = `will-${client.sample}-${client.version}`;
    await using watching = await subscribed(client, level);
    const will = ['--will-topic', `t/${level}/last`, '--will-payload', 'gone', '--will-qos', '2'];
    // The samples take a value for what needs none.
    const mortal = await subscribed(client, `mortal-${level}`, ...will, '--will-retain', 'yes');
    await mortal.kill();
    await watching.line('gone');
    await using later = await subscribed(client, level);
    await later.line('gone');
  });

  test(`${nameOf(client)}: a retained message is kept, and cleared by an empty one`, async () => {
    const level = `kept-${client.sample}-${client.version}`;
    await publish(client, 1, `t/${level}/a`, 'kept', '-r');
    await using first = await subscribed(client, level);
    await first.line('kept');
    await publish(client, 1, `t/${level}/a`, '', '-r');
    await using second = await subscribed(client, level);
    await publish(client, 1, `t/${level}/b`, 'last');
    await second.line('last');
    assert.ok(!second.lines.some((line) => line.endsWith('kept')), second.lines.join('\n'));
  });
}

for (const sample of ['paho_c', 'paho_cs'] as const) {
  test(`${sample} MQTT 5: user properties and the message expiry`, async () => {
    const topic = `t/properties/${sample}`;
    const client = { sample, version: 5, scheme: 'ssl' } as const;
    const properties = ['--user-property', 'site', 'roof', '--message-expiry', '60'];
    await publish(client, 2, topic, 'kept', '-r', ...properties);
    using subscriber = await RawMqtt.open({ port, identity: bob });
    await subscriber.connect();
    await subscriber.subscribe(topic);
    const message = await subscriber.message(() => true);
    const received = new Map(message.properties);
    assert.deepEqual([message.payload, message.retain], ['kept', true]);
    assert.deepEqual(received.get('userProperty'), ['site', 'roof']);
    assert.ok(Number(received.get('messageExpiryInterval')) > 50);
  });
}

const refusals = [
  ['paho_c', 5, 'Subscribe failed, rc Success reason code Not authorized'],
  ['paho_c', 4, 'Subscribe failed, rc Unknown error code 128'],
  ['paho_cs', 5, 'Error 135 subscribing to topic secret/#'],
  ['paho_cs', 4, 'Error 128 subscribing to topic secret/#'],
] as const;

for (const [sample, version, said] of refusals) {
  const client = { sample, version, scheme: 'ssl' } as const;

  test(`${nameOf(client)}: a forbidden subscription is refused`, async () => {
    const reader = { ...target(client, 1), identity: bob };
    await using subscriber = new PahoSub(reader, 'secret/#', id());
    await subscriber.line(said);
    await subscriber.kill();
  });
}
