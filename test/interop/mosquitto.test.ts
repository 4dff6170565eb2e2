/** The clients that Debian ships, in both versions of MQTT: what a device's owner tries first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import type { MosquittoVersion } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const { gateway, port } = await sharedGateway({ workers: 2 });
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');

const versions: readonly MosquittoVersion[] = ['mqttv5', 'mqttv311'];
const reading = '{"temperature":22.5}';

for (const publishing of versions) {
  for (const subscribing of versions) {
    test(`telemetry from mosquitto_pub ${publishing} to mosquitto_sub ${subscribing}`, async () => {
      await using subscriber = await MosquittoSub.start(
        { port, identity: be, version: subscribing },
        'devices/+/telemetry',
      );
      const published = await mosquittoPub(
        { port, identity: d1, version: publishing },
        'devices/d1/telemetry',
        reading,
      );
      assert.equal(published.code, 0, published.output);
      const message = await subscriber.message(({ payload }) => payload === reading);
      assert.deepEqual(
        [message.topic, message.qos, message.retain],
        ['devices/d1/telemetry', 1, false],
      );
    });
  }
}

for (const version of versions) {
  test(`${version}: a command from a service to a device, and to no other one`, async () => {
    await using first = await MosquittoSub.start(
      { port, identity: d1, version },
      'devices/d1/commands/#',
    );
    await using second = await MosquittoSub.start(
      { port, identity: d2, version },
      'devices/d2/commands/#',
    );
    const backend = { port, identity: be, version };
    assert.equal((await mosquittoPub(backend, 'devices/d1/commands/a', '1')).code, 0);
    assert.equal((await mosquittoPub(backend, 'devices/d2/commands/b', '2')).code, 0);
    await first.message(({ topic }) => topic === 'devices/d1/commands/a');
    await second.message(({ topic }) => topic === 'devices/d2/commands/b');
    assert.equal(first.messages.length + second.messages.length, 2);
  });

  test(`${version}: a retained message is there for a subscriber that comes later`, async () => {
    const status = { port, identity: d1, version };
    const topic = 'devices/d1/status';
    assert.equal((await mosquittoPub(status, topic, version, ['-r'])).code, 0);
    await using subscriber = await MosquittoSub.start({ port, identity: be, version }, topic);
    const message = await subscriber.message(() => true);
    assert.deepEqual([message.payload, message.retain], [version, true]);
  });

  test(`${version}: a publish outside the ACL is refused`, async () => {
    const { output } = await mosquittoPub(
      { port, identity: d1, version },
      'devices/d2/telemetry',
      reading,
    );
    // mosquitto_pub ends with 0 all the same in MQTT 5; in 3.1.1 it sees its connection end.
    assert.match(output, version === 'mqttv5' ? /not authorized/i : /connection|lost|closed/i);
  });

  test(`${version}: QoS 2 is not half done`, async () => {
    const target = { port, identity: d1, version };
    const { code, output } = await mosquittoPub(target, 'devices/d1/status', '{}', ['-q', '2']);
    // In MQTT 5 it has read CONNACK and does not even send it.
    if (version === 'mqttv5') assert.match(output, /QoS not supported/i);
    else assert.notEqual(code, 0, output);
  });
}

test('mosquitto_pub of MQTT 3.1 is told that its protocol is not spoken', async () => {
  const target = { port, identity: d1, version: 'mqttv31' } as const;
  const { code, output } = await mosquittoPub(target, 'devices/d1/telemetry', reading);
  assert.notEqual(code, 0);
  assert.match(output, /unacceptable protocol version/i);
});
