/** MQTT 5 §4.7: topic names and topic filters, in both versions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribePacket, unsubscribePacket } from '../../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../../harness/mqtt-bytes.ts';
import { bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';

const { gateway, alice, bob, come } = await wireGateway();
const all = await gateway.service('all', 'all');

/** Which of the topics a subscription to the filter brings. */
async function matched(
  version: MqttVersion,
  filter: string,
  topics: readonly string[],
): Promise<readonly string[]> {
  using subscriber = await come(all, { version });
  using publisher = await come(all, { version });
  const codes = await subscriber.subscribe([
    { filter, options: 0 },
    { filter: 'fence', options: 0 },
  ]);
  assert.deepEqual(codes, [0, 0], filter);
  for (const topic of topics) await publisher.publish({ topic, payload: '' });
  await publisher.publish({ topic: 'fence', payload: '' });
  const got: string[] = [];
  for (;;) {
    const { topic } = await subscriber.message();
    if (topic === 'fence') return got;
    got.push(topic);
  }
}

for (const [name, version] of bothVersions) {
  test(`${name}: # stands for its parent and every level below, and is the whole last level [MQTT-4.7.1-1]`, async () => {
    assert.deepEqual(
      await matched(version, 'sport/#', ['sport', 'sport/a', 'sport/a/b', 'sports']),
      ['sport', 'sport/a', 'sport/a/b'],
    );
    assert.deepEqual(await matched(version, '#', ['a', '/', 'a/b/c']), ['a', '/', 'a/b/c']);
    for (const filter of ['a#', '#a', 'a/#/b', '#/', '##', 'a/b#']) await invalid(version, filter);
  });

  test(`${name}: + stands for exactly one level, at any level, and is the whole of it [MQTT-4.7.1-2]`, async () => {
    const topics = ['a', '/a', 'a/', 'a/b', 'a/b/c', '/'];
    assert.deepEqual(await matched(version, '+', topics), ['a']);
    assert.deepEqual(await matched(version, '+/+', topics), ['/a', 'a/', 'a/b', '/']);
    assert.deepEqual(await matched(version, '/+', topics), ['/a', '/']);
    assert.deepEqual(await matched(version, 'a/+/c', topics), ['a/b/c']);
    assert.deepEqual(await matched(version, '+/b/#', topics), ['a/b', 'a/b/c']);
    for (const filter of ['a+', '+a', 'a/b+', '++', 'a/+b/c']) await invalid(version, filter);
  });

  test(`${name}: nobody publishes to a topic that starts with $, and no wildcard brings one`, async () => {
    // Nobody may publish there; what the gateway would say there itself, it says to no wildcard.
    using subscriber = await come(all, { version });
    const filters = ['#', '+/x', '+/#', '$SYS/#'].map((filter) => ({ filter, options: 0 }));
    const [, , , sys] = await subscriber.subscribe(filters);
    assert.ok(sys === 0 || (sys ?? 0) >= 0x80);
    using publisher = await come(all, { version });
    publisher.send(publisher.publishBytes({ topic: '$SYS/x', payload: '', qos: 1 }));
    if (version === 5) {
      assert.ok((await publisher.acknowledged(wireTypes.puback)).code >= 0x80);
    } else await publisher.refused(0);
    using last = await come(all, { version });
    await last.publish({ topic: 'fence', payload: '' });
    assert.equal((await subscriber.message()).topic, 'fence');
  });

  test(`${name}: an empty filter is invalid [MQTT-4.7.3-1]`, async () => {
    await invalid(version, '');
  });

  test(`${name}: topics and filters are compared as they are: case, spaces, empty levels and forms of a letter [MQTT-4.7.3-4]`, async () => {
    const topics = [
      'a/b',
      'A/b',
      'a/b ',
      ' a/b',
      'a//b',
      '/a/b',
      'a/b/',
      'a/\u{e9}',
      'a/e\u{301}',
      'a/\u{212b}',
      'a/\u{c5}',
      'a/\u{1f6aa}',
      'a/\u{fffd}',
      'a/..',
      'a/%62',
    ];
    for (const filter of topics) assert.deepEqual(await matched(version, filter, topics), [filter]);
  });

  test(`${name}: a topic or a filter of 65,535 bytes is no more than any other that is too long, and none can be longer [MQTT-4.7.3-3]`, async () => {
    const long = 'x'.repeat(65_535);
    for (const [bytes, code] of [
      [subscribePacket(version, 1, [{ filter: long, options: 0 }]), 0x8f],
      [unsubscribePacket(version, 1, [long]), 0x8f],
    ] as const) {
      using client = await come(alice, { version });
      client.send(bytes);
      await client.refused(code);
    }
    using client = await come(bob, { version });
    client.send(client.publishBytes({ topic: long, payload: '', qos: 1 }));
    await client.refused(0x90);
  });
}

async function invalid(version: MqttVersion, filter: string): Promise<void> {
  for (const bytes of [
    subscribePacket(version, 1, [{ filter, options: 0 }]),
    unsubscribePacket(version, 1, [filter]),
  ]) {
    using client = await come(all, { version });
    client.send(bytes);
    await client.refused(0x8f);
  }
}
