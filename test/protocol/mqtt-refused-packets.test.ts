/**
 * Packets of a live connection that are refused: what CONNACK did not offer, what is malformed, what is too large. In
 * MQTT 5 the gateway says why; in 3.1.1 it closes. Nothing of it is acknowledged, and no other connection notices.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  packet,
  packetTypes,
  publishPacket,
  pubackPacket,
  subscribePacket,
} from '../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import { text, u16, varint } from '../harness/mqtt-fields.ts';
import { encodeProperties } from '../harness/mqtt-properties.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const { gateway, connect } = await sharedGateway({
  config: 'limits: { connectsPerMinute: 100000, identityRates: { device: [] } }',
});
const d1 = await gateway.device('d1');

const topic = 'devices/d1/diagnostics';
const filter = 'devices/d1/commands/#';

/** PUBLISH by hand: flags, then the rest after its header. */
function publish(flags: number, ...parts: readonly Buffer[]): Buffer {
  return packet(packetTypes.publish, flags, parts);
}

function properties(version: MqttVersion): Buffer {
  return version === 5 ? Buffer.of(0) : Buffer.alloc(0);
}

interface Refused {
  readonly what: string;
  readonly bytes: (version: MqttVersion) => Buffer;
  /** DISCONNECT in MQTT 5. */
  readonly code: number;
  /** 5: only that version has such a thing. */
  readonly only?: 5;
  /** Statements of the standard. */
  readonly proves?: string;
}

const notOffered: readonly Refused[] = [
  {
    what: 'a topic alias above the maximum',
    bytes: (version) =>
      publishPacket({ version, topic, payload: '{}', qos: 1, properties: [['topicAlias', 17]] }),
    code: 0x94,
    only: 5,
  },
  {
    what: 'a topic alias that was never set',
    bytes: (version) =>
      publishPacket({ version, topic: '', payload: '', qos: 1, properties: [['topicAlias', 1]] }),
    code: 0x82,
    only: 5,
  },
  {
    what: 'a topic alias of 0',
    bytes: (version) =>
      publishPacket({ version, topic, payload: '', qos: 0, properties: [['topicAlias', 0]] }),
    code: 0x94,
    only: 5,
  },
  {
    what: 'a subscription identifier of 0',
    bytes: (version) =>
      subscribePacket(version, 1, [{ filter, options: 1 }], [['subscriptionIdentifier', 0]]),
    code: 0x82,
    only: 5,
  },
  {
    what: 'two subscription identifiers',
    bytes: (version) =>
      subscribePacket(
        version,
        1,
        [{ filter, options: 1 }],
        [
          ['subscriptionIdentifier', 1],
          ['subscriptionIdentifier', 2],
        ],
      ),
    code: 0x82,
    only: 5,
  },
  { what: 'AUTH without a reason', bytes: () => Buffer.of(0xf0, 0), code: 0x82, only: 5 },
  {
    what: 'AUTH without a method',
    bytes: () => packet(0x0f, 0, [Buffer.of(0x19, 0)]),
    code: 0x82,
    only: 5,
  },
  ...[0x18, 0x19].map((reason) => ({
    what: `AUTH 0x${reason.toString(16)} of a method that CONNECT did not name`,
    proves: ' [MQTT-4.12.0-6]',
    bytes: () =>
      packet(0x0f, 0, [
        Buffer.of(reason),
        encodeProperties([
          ['authenticationMethod', 'SCRAM-SHA-1'],
          ['authenticationData', Buffer.from('n,,n=d1')],
        ]),
      ]),
    code: 0x82,
    only: 5 as const,
  })),
  {
    what: 'a session expiry on DISCONNECT, after none on CONNECT',
    bytes: () =>
      packet(packetTypes.disconnect, 0, [
        Buffer.of(0),
        encodeProperties([['sessionExpiryInterval', 10]]),
      ]),
    code: 0x82,
    only: 5,
  },
  {
    what: 'more filters in one SUBSCRIBE than a session may have',
    bytes: (version) =>
      subscribePacket(
        version,
        1,
        Array.from({ length: 51 }, () => ({ filter, options: 0 })),
      ),
    code: 0x97,
  },
];

const wrong: readonly Refused[] = [
  {
    what: 'a payload over limits.packetBytes, judged from its header',
    bytes: () => Buffer.concat([Buffer.of(0x32), varint(320 * 1024)]),
    code: 0x95,
  },
  {
    what: '256 MB declared',
    bytes: () => Buffer.concat([Buffer.of(0x30), varint(268_435_455)]),
    code: 0x95,
  },
  {
    what: 'a payload over limits.payloadBytes',
    bytes: (version) =>
      publishPacket({ version, topic, payload: Buffer.alloc(256 * 1024 + 1), qos: 1 }),
    code: 0x95,
  },
  { what: 'packet type 0', bytes: () => Buffer.of(0x00, 0), code: 0x81 },
  { what: 'flags of PINGREQ', bytes: () => Buffer.of(0xc1, 0), code: 0x81 },
  { what: 'CONNACK from a client', bytes: () => Buffer.of(0x20, 2, 0, 0), code: 0x82 },
  { what: 'PINGRESP from a client', bytes: () => Buffer.of(0xd0, 0), code: 0x82 },
  {
    what: 'PUBLISH of QoS 3',
    bytes: (version) => publish(0x06, text(topic), u16(1), properties(version)),
    code: 0x81,
  },
  {
    what: 'a duplicate of QoS 0',
    bytes: (version) => publish(0x08, text(topic), properties(version)),
    code: 0x81,
  },
  {
    what: 'packet identifier 0',
    bytes: (version) => publish(0x02, text(topic), u16(0), properties(version)),
    code: 0x82,
  },
  {
    what: 'an empty topic',
    bytes: (version) => publishPacket({ version, topic: '', payload: '', qos: 0 }),
    code: 0x82,
  },
  ...['+', '#', 'devices/d1/#', 'devices/+/telemetry'].map((name) => ({
    what: `the topic ${name}`,
    bytes: (version: MqttVersion) => publishPacket({ version, topic: name, payload: '{}', qos: 1 }),
    code: 0x90,
  })),
  ...[
    { what: 'NUL', bytes: Buffer.from('devices/d1/\0status') },
    { what: 'invalid UTF-8', bytes: Buffer.concat([Buffer.from('devices/'), Buffer.of(0xff)]) },
    {
      what: 'an overlong /',
      bytes: Buffer.concat([Buffer.from('devices'), Buffer.of(0xc0, 0xaf)]),
    },
    { what: 'a surrogate', bytes: Buffer.of(0xed, 0xa0, 0x80) },
  ].flatMap((name) => [
    {
      what: `a topic with ${name.what}`,
      bytes: (version: MqttVersion) =>
        publishPacket({ version, topic: name.bytes, payload: '{}', qos: 1 }),
      code: 0x81,
    },
    {
      what: `a filter with ${name.what}`,
      bytes: (version: MqttVersion) =>
        subscribePacket(version, 1, [{ filter: name.bytes, options: 0 }]),
      code: 0x81,
    },
  ]),
  {
    what: 'a topic of 513 bytes',
    bytes: (version) =>
      publishPacket({ version, topic: `devices/${'x'.repeat(505)}`, payload: '', qos: 1 }),
    code: 0x90,
  },
  {
    what: 'a topic of 17 levels',
    bytes: (version) => publishPacket({ version, topic: 'x/'.repeat(16), payload: '', qos: 1 }),
    code: 0x90,
  },
  ...['', 'a#', '#/a', 'a/+b', 'devices/d1/commands#'].map((name) => ({
    what: `the filter "${name}"`,
    bytes: (version: MqttVersion) => subscribePacket(version, 1, [{ filter: name, options: 0 }]),
    code: 0x8f,
  })),
  {
    what: 'SUBSCRIBE without a filter',
    bytes: (version) => subscribePacket(version, 1, []),
    code: 0x82,
  },
  {
    what: 'a requested QoS of 3',
    bytes: (version) => subscribePacket(version, 1, [{ filter, options: 3 }]),
    code: 0x82,
  },
  {
    what: 'retain handling 3',
    bytes: (version) => subscribePacket(version, 1, [{ filter, options: 0x31 }]),
    code: 0x82,
    only: 5,
  },
  {
    what: 'reserved subscription options',
    bytes: (version) => subscribePacket(version, 1, [{ filter, options: 0x41 }]),
    code: 0x81,
    only: 5,
  },
  ...[
    '$share/g',
    '$share/g/',
    '$share//x',
    '$share/',
    '$share/+/x',
    '$share/a+/x',
    '$share/#',
    '$share/a#/x',
  ].map((name) => ({
    what: `the shared subscription ${name}`,
    proves: ' [MQTT-4.8.2-1] [MQTT-4.8.2-2]',
    bytes: (version: MqttVersion) => subscribePacket(version, 1, [{ filter: name, options: 1 }]),
    code: 0x8f,
    only: 5 as const,
  })),
  {
    what: 'No Local on a shared subscription',
    proves: ' [MQTT-3.8.3-4]',
    bytes: (version) => subscribePacket(version, 1, [{ filter: '$share/g/x', options: 5 }]),
    code: 0x82,
    only: 5,
  },
  {
    what: 'a subscription identifier on PUBLISH',
    bytes: (version) =>
      publishPacket({
        version,
        topic,
        payload: '',
        qos: 0,
        properties: [['subscriptionIdentifier', 1]],
      }),
    code: 0x82,
    only: 5,
  },
  {
    what: 'a payload format indicator of 2',
    bytes: (version) =>
      publishPacket({
        version,
        topic,
        payload: '',
        qos: 0,
        properties: [['payloadFormatIndicator', 2]],
      }),
    code: 0x82,
    only: 5,
  },
  {
    what: 'a response topic with a wildcard',
    bytes: (version) =>
      publishPacket({
        version,
        topic,
        payload: '',
        qos: 0,
        properties: [['responseTopic', 'devices/#']],
      }),
    code: 0x82,
    only: 5,
  },
  {
    what: '10,000 user properties',
    bytes: (version) =>
      publishPacket({
        version,
        topic,
        payload: '',
        qos: 1,
        properties: Array.from({ length: 10_000 }, () => ['userProperty', ['k', 'v']]),
      }),
    code: 0x97,
    only: 5,
  },
];

const byVersion = { 'MQTT 5': 5, 'MQTT 3.1.1': 4 } as const;

for (const [name, version] of Object.entries(byVersion)) {
  for (const { what, bytes, code, only, proves = '' } of [...notOffered, ...wrong]) {
    if (only !== undefined && only !== version) continue;
    const how = version === 5 ? `DISCONNECT 0x${code.toString(16)}` : 'a close';
    test(`${name}: ${what} is answered by ${how} and no acknowledgement${proves}`, async () => {
      using other = await connect(d1, { clientId: 'bystander', version });
      using client = await connect(d1, { clientId: 'wrong', version });
      const answers: number[] = [];
      client.socket.on('data', (chunk: Buffer) => answers.push(chunk.readUInt8(0) >> 4));
      client.send(bytes(version));
      const { disconnect } = await within(client.ended, 10_000, 'the end of the connection');
      assert.equal(disconnect, version === 5 ? code : undefined);
      assert.deepEqual(answers, version === 5 ? [packetTypes.disconnect] : []);
      await other.ping();
    });
  }

  test(`${name}: acknowledgements of what was never sent change nothing`, async () => {
    using client = await connect(d1, { version });
    for (const packetId of [1, 2, 65_535]) client.send(pubackPacket(packetId));
    await client.ping();
  });

  test(`${name}: PUBREL of an unknown identifier is answered by PUBCOMP`, async () => {
    using client = await connect(d1, { version });
    client.send(packet(6, 2, [u16(9)]));
    const { body } = await client.next(7);
    assert.deepEqual([...body], version === 5 ? [0, 9, 0x92] : [0, 9]);
  });
}

test('MQTT 3.1.1: $share is a topic like any other that begins with $', async () => {
  using client = await connect(d1, { version: 4 });
  assert.deepEqual(await client.subscribe(`$share/group/${filter}`, filter), [0x80, 1]);
});

test('a session has as many subscriptions as it may have', async () => {
  const filters = Array.from({ length: 50 }, (_, n) => `devices/d1/commands/${n}`);
  const [first = '', second = ''] = filters;
  for (const [version, code] of [
    [5, 0x97],
    [4, 0x80],
  ] as const) {
    using client = await connect(d1, { version });
    assert.deepEqual(
      await client.subscribe(...filters),
      filters.map(() => 1),
    );
    // One that is there already may be changed; a new one has no room until one goes.
    assert.deepEqual(await client.subscribe(first, 'devices/d1/commands/new'), [1, code]);
    await client.unsubscribe(second);
    assert.deepEqual(await client.subscribe('devices/d1/commands/new'), [1]);
  }
});
