/** MQTT.js over `wss` with a client certificate, in both versions: what a Node program behind an HTTPS-only firewall does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { connect as openClient, connectAsync } from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
import type { Identity } from '../harness/gateway.ts';
import { mqttJsLimitMs as limitMs, mqttJsOptions } from '../harness/mqtt-js.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const { gateway } = await sharedGateway({
  workers: 2,
  config: 'routes: { telemetry: { rate: [] } }',
});
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');

interface Client extends AsyncDisposable {
  readonly mqtt: MqttClient;
  /** `topic payload`. */
  readonly messages: readonly string[];
}

async function connect(identity: Identity, options: IClientOptions): Promise<Client> {
  const mqtt = await connectAsync(`wss://localhost:${gateway.httpsPort}/mqtt`, {
    ...mqttJsOptions(identity),
    clientId: `js-${identity.id}`,
    ...options,
  });
  const messages: string[] = [];
  mqtt.on('message', (topic, payload) => void messages.push(`${topic} ${payload.toString()}`));
  return { mqtt, messages, [Symbol.asyncDispose]: () => mqtt.endAsync(true) };
}

function arrived({ messages }: Client, wanted: string): Promise<true> {
  return until(`a message ${wanted.slice(0, 80)}`, limitMs, () => messages.includes(wanted));
}

const versions = Object.entries({ 'MQTT 5': 5, 'MQTT 3.1.1': 4 } as const);

for (const [name, protocolVersion] of versions) {
  test(`${name}: telemetry to a service, a command back`, async () => {
    await using backend = await connect(be, { protocolVersion });
    await using device = await connect(d1, { protocolVersion });
    const [granted] = await backend.mqtt.subscribeAsync('devices/+/telemetry', { qos: 1 });
    assert.equal(granted?.qos, 1);
    await device.mqtt.subscribeAsync('devices/d1/commands/#', { qos: 1 });
    await device.mqtt.publishAsync('devices/d1/telemetry', '{"temperature":1}', { qos: 1 });
    await arrived(backend, 'devices/d1/telemetry {"temperature":1}');
    await backend.mqtt.publishAsync('devices/d1/commands/reboot', 'now', { qos: 1 });
    await arrived(device, 'devices/d1/commands/reboot now');
  });

  test(`${name}: large messages, and many small ones at once`, async () => {
    await using backend = await connect(be, { protocolVersion });
    await using device = await connect(d1, { protocolVersion });
    await backend.mqtt.subscribeAsync('devices/d1/telemetry', { qos: 1 });
    const large = JSON.stringify('x'.repeat(200_000));
    await device.mqtt.publishAsync('devices/d1/telemetry', large, { qos: 1 });
    await arrived(backend, `devices/d1/telemetry ${large}`);
    const small = Array.from({ length: 60 }, (_, n) => `{"n":${n}}`);
    await Promise.all(
      small.map((payload) => device.mqtt.publishAsync('devices/d1/telemetry', payload, { qos: 1 })),
    );
    await arrived(backend, 'devices/d1/telemetry {"n":59}');
    const got = backend.messages.slice(1).map((message) => message.split(' ')[1]);
    assert.deepEqual(got, small);
  });

  test(`${name}: the will of a client that vanishes`, async () => {
    await using backend = await connect(be, { protocolVersion });
    await backend.mqtt.subscribeAsync('devices/d2/diagnostics', { qos: 1 });
    const topic = 'devices/d2/diagnostics';
    const will = { topic, payload: Buffer.from('gone'), qos: 1, retain: false } as const;
    const device = await connect(d2, { protocolVersion, will });
    device.mqtt.stream.destroy();
    await arrived(backend, `${topic} gone`);
    await device.mqtt.endAsync(true);
  });

  test(`${name}: without a certificate nobody is let in`, async () => {
    const stranger = openClient(`wss://localhost:${gateway.httpsPort}/mqtt`, {
      ca: readFileSync(d1.ca),
      clientId: 'stranger',
      protocolVersion,
      reconnectPeriod: 0,
      connectTimeout: limitMs,
    });
    const errors: string[] = [];
    stranger.stream.on('error', (error: Error) => void errors.push(error.message));
    const closed = new Promise<void>((resolve) => stranger.once('close', () => resolve()));
    await within(closed, limitMs, 'the refusal');
    assert.equal(stranger.connected, false);
    assert.match(errors.join(), /401/);
    await stranger.endAsync(true);
  });
}

// Together: each waits for two pings.
suite('it stays connected, ping after ping, and leaves in order', { concurrency: true }, () => {
  for (const [name, protocolVersion] of versions) {
    test(name, async () => {
      // Half of it is how late a ping, or its answer, may be.
      const terms = { keepalive: 12, clientId: `pings-${protocolVersion}` };
      const device = await connect(d1, { protocolVersion, ...terms });
      let pings = 0;
      device.mqtt.on('packetreceive', ({ cmd }) => {
        if (cmd === 'pingresp') pings += 1;
      });
      await until('two PINGRESP', limitMs, () => pings >= 2);
      assert.equal(device.mqtt.connected, true);
      await within(device.mqtt.endAsync(), limitMs, 'the end');
    });
  }
});
