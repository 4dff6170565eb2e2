/** The clients that Debian ships, in both versions of MQTT: what a device's owner tries first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import type { MosquittoVersion } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';

const config = "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }";
const { gateway, port } = await sharedGateway({ workers: 2, config });
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

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

  test(`${version}: QoS 0, 1 and 2`, async () => {
    const reader = { port, identity: bob, version };
    await using subscriber = await MosquittoSub.start(reader, 't/qos', ['-q', '2']);
    for (const qos of [0, 1, 2]) {
      const target = { port, identity: alice, version };
      const { code, output } = await mosquittoPub(target, 't/qos', `${qos}`, ['-q', `${qos}`]);
      assert.equal(code, 0, output);
      assert.equal((await subscriber.message(({ payload }) => payload === `${qos}`)).qos, qos);
    }
  });

  test(`${version}: a session that is taken up again brings what was missed`, async () => {
    const reader = { port, identity: bob, version };
    const kept = ['-c', '-i', `kept-${version}`, '-q', '2'];
    if (version === 'mqttv5') kept.push('-x', '300');
    const first = await MosquittoSub.start(reader, 't/missed', kept);
    await first[Symbol.asyncDispose]();
    for (const qos of ['1', '2']) {
      const target = { port, identity: alice, version };
      assert.equal((await mosquittoPub(target, 't/missed', qos, ['-q', qos])).code, 0);
    }
    await using back = await MosquittoSub.start(reader, 't/missed', kept);
    await back.message(({ payload }) => payload === '2');
    assert.deepEqual(
      back.messages.map(({ payload, qos }) => [payload, qos]),
      [
        ['1', 1],
        ['2', 2],
      ],
    );
  });

  test(`${version}: the will of a client that is killed`, async () => {
    const reader = { port, identity: bob, version };
    await using watching = await MosquittoSub.start(reader, 't/will', ['-q', '2']);
    const will = ['--will-topic', 't/will', '--will-payload', 'gone', '--will-qos', '2'];
    const mortal = await MosquittoSub.start({ port, identity: alice, version }, 't/x', will);
    await mortal.kill();
    const { payload, qos } = await watching.message(() => true);
    assert.deepEqual([payload, qos], ['gone', 2]);
  });
}

test('mqttv5: a shared subscription gives each message to one of its members', async () => {
  const reader = { port, identity: bob };
  await using one = await MosquittoSub.start(reader, '$share/workers/t/shared');
  await using two = await MosquittoSub.start(reader, '$share/workers/t/shared');
  const payloads = ['1', '2', '3', '4', '5', '6'];
  for (const payload of payloads) {
    assert.equal((await mosquittoPub({ port, identity: alice }, 't/shared', payload)).code, 0);
  }
  const got = await until('all of them', 30_000, () => {
    const all = [...one.messages, ...two.messages].map(({ payload }) => payload);
    return all.length >= payloads.length && all.toSorted();
  });
  assert.deepEqual(got, payloads);
});

test('mqttv5: properties go through, and an alias stands for its topic', async () => {
  const format = ['-F', 'MESSAGE %t %q %r %p %C %R %P'];
  await using subscriber = await MosquittoSub.start({ port, identity: bob }, 't/props', format);
  const properties = [
    ['content-type', 'text/plain'],
    ['response-topic', 't/answers'],
    ['user-property', 'z', '1'],
    ['user-property', 'a', '2'],
    ['topic-alias', '1'],
  ].flatMap((property) => ['-D', 'publish', ...property]);
  const { code, output } = await mosquittoPub(
    { port, identity: alice },
    't/props',
    'x',
    properties,
  );
  assert.equal(code, 0, output);
  const message = await subscriber.message(() => true);
  assert.deepEqual([message.topic, message.payload], ['t/props', 'x text/plain t/answers z:1 a:2']);
});

test('mosquitto_pub of MQTT 3.1 is told that its protocol is not spoken', async () => {
  const target = { port, identity: d1, version: 'mqttv31' } as const;
  const { code, output } = await mosquittoPub(target, 'devices/d1/telemetry', reading);
  assert.notEqual(code, 0);
  assert.match(output, /unacceptable protocol version/i);
});
