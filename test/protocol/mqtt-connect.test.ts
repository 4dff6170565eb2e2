/**
 * CONNECT in both versions: what is offered, what is refused and with which bytes. A refusal is a CONNACK with its code
 * and nothing else: no reason string, no version, no word that tells a stranger what it is talking to.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectPacket,
  disconnectPacket,
  packet,
  packetTypes,
  pingreqPacket,
} from '../harness/mqtt-bytes.ts';
import type { ConnectBytes, MqttVersion } from '../harness/mqtt-bytes.ts';
import { text, u16, varint } from '../harness/mqtt-fields.ts';
import { encodeProperties } from '../harness/mqtt-properties.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const { gateway, connect, open } = await sharedGateway({
  config: 'limits: { connectsPerMinute: 100000 }',
});
const d1 = await gateway.device('d1');

/** Everything that the gateway says until it has closed the connection. */
async function allBytes(client: RawMqtt, send: Buffer): Promise<string> {
  const chunks: Buffer[] = [];
  client.socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  client.send(send);
  await within(client.ended, 10_000, 'the end of the connection');
  return Buffer.concat(chunks).toString('hex');
}

/** CONNACK: 0x20, remaining length, no session present, the code; in MQTT 5 no properties. */
function connack(version: MqttVersion, code: number): string {
  const body = version === 5 ? [0x20, 3, 0, code, 0] : [0x20, 2, 0, code];
  return Buffer.from(body).toString('hex');
}

const byVersion = { 'MQTT 5': 5, 'MQTT 3.1.1': 4 } as const;
const longest = 65_535;
const lots = 'x'.repeat(longest);

test('MQTT 5: CONNACK says what is offered and nothing else', async () => {
  using client = await open(d1);
  const answer = await client.connect({ clientId: 'offer', keepAlive: 60 });
  assert.equal(answer.code, 0);
  assert.equal(answer.sessionPresent, false);
  assert.deepEqual(answer.properties, [
    ['receiveMaximum', 64],
    ['maximumPacketSize', 320 * 1024],
    ['topicAliasMaximum', 16],
  ]);
});

const week = 7 * 24 * 3_600;

test('MQTT 5: CONNACK names the client id, the keep alive and the session expiry that it decided', async () => {
  using client = await open(d1);
  const { properties } = await client.connect({
    clientId: '',
    keepAlive: 0,
    properties: [['sessionExpiryInterval', 0xff_ff_ff_ff]],
  });
  const said = new Map(properties);
  assert.match(String(said.get('assignedClientIdentifier')), /^auto-[0-9a-f-]{36}$/);
  const keepAlive = Number(said.get('serverKeepAlive'));
  assert.ok(keepAlive >= 480 && keepAlive <= 600, `${keepAlive}`);
  assert.equal(said.get('sessionExpiryInterval'), week);
  using other = await open(d1);
  const again = new Map((await other.connect({ clientId: '' })).properties);
  assert.notEqual(again.get('assignedClientIdentifier'), said.get('assignedClientIdentifier'));
});

test('MQTT 5: a session expiry within the limit is granted without a word, a longer one is cut', async () => {
  for (const [asked, said] of [
    [1, undefined],
    [week, undefined],
    [week + 1, week],
  ] as const) {
    using client = await open(d1);
    const properties = [['sessionExpiryInterval', asked]] as const;
    const answer = await client.connect({ clientId: 'expiry', properties });
    assert.equal(new Map(answer.properties).get('sessionExpiryInterval'), said, `${asked} s`);
    // It leaves nothing behind.
    client.send(disconnectPacket(0));
    await within(client.ended, 10_000, 'the end');
    using last = await connect(d1, { clientId: 'expiry' });
    await last.ping();
  }
});

test('MQTT 5: a keep alive over the longest is shortened, for no two clients alike; one below it is not mentioned', async () => {
  const given = new Set<number>();
  for (const keepAlive of [0, 601, 65_535, 0, 0, 0]) {
    using client = await open(d1);
    const { properties } = await client.connect({ keepAlive });
    const said = Number(new Map(properties).get('serverKeepAlive'));
    assert.ok(said >= 480 && said <= 600, `keep alive ${keepAlive}: ${said}`);
    given.add(said);
  }
  assert.ok(given.size > 1);
  for (const keepAlive of [600, 1]) {
    using client = await open(d1);
    const { properties } = await client.connect({ keepAlive });
    assert.equal(new Map(properties).get('serverKeepAlive'), undefined);
  }
});

test('MQTT 5: a device that asks is told the part of the topic space that is its own to read', async () => {
  for (const [asks, said] of [
    [1, 'devices/d1/commands'],
    [0, undefined],
  ] as const) {
    using client = await open(d1);
    const { properties } = await client.connect({
      properties: [['requestResponseInformation', asks]],
    });
    assert.equal(new Map(properties).get('responseInformation'), said);
  }
  const backend = await gateway.service('asks', 'backend');
  using service = await open(backend);
  const { properties } = await service.connect({
    properties: [['requestResponseInformation', 1]],
  });
  assert.equal(new Map(properties).get('responseInformation'), undefined);
});

test('MQTT 5: a device asks a backend, and is answered where it was told to expect it', async () => {
  const backend = await gateway.service('answers', 'backend');
  using service = await connect(backend, { clientId: 'answers' });
  assert.deepEqual(await service.subscribe('devices/+/status'), [1]);
  using device = await open(d1);
  const { properties } = await device.connect({
    clientId: 'asks',
    properties: [['requestResponseInformation', 1]],
  });
  const responseTopic = `${String(new Map(properties).get('responseInformation'))}/answers`;
  assert.deepEqual(await device.subscribe(responseTopic), [1]);
  const correlationData = Buffer.from([7, 0, 255]);
  const request = [
    ['responseTopic', responseTopic],
    ['correlationData', correlationData],
  ] as const;
  assert.equal(await device.publish('devices/d1/status', '{}', { properties: request }), 0);
  const asked = await service.message(({ topic }) => topic === 'devices/d1/status');
  assert.deepEqual(asked.properties, request);
  const answer = { properties: [['correlationData', correlationData]] } as const;
  assert.equal(await service.publish(responseTopic, '"answer"', answer), 0);
  const answered = await device.message(({ topic }) => topic === responseTopic);
  assert.deepEqual([answered.payload, answered.properties], ['"answer"', answer.properties]);
});

test('MQTT 3.1.1: CONNACK has two bytes, and no session is present', async () => {
  using client = await open(d1, { version: 4 });
  client.send(connectPacket({ version: 4, clientId: 'plain' }));
  const { body } = await client.next(packetTypes.connack);
  assert.deepEqual([...body], [0, 0]);
});

interface Refusal {
  readonly what: string;
  readonly connect: Partial<ConnectBytes>;
  /** The code in MQTT 5 and in 3.1.1; undefined: the version has no such thing. */
  readonly v5: number | undefined;
  readonly v4: number | undefined;
}

const nul = Buffer.of(0x61, 0, 0x62);
const notUtf8 = Buffer.of(0xc3, 0x28);
const surrogate = Buffer.of(0xed, 0xa0, 0x80);
const will = { topic: 'devices/d1/status', payload: '{}' } as const;

/** Client ids that are no name, whoever sends them: ATTACKS 2. */
const badNames: readonly (readonly [what: string, name: string])[] = [
  ['+', '+'],
  ['#', '#'],
  ['a level of wildcards', 'a/+/#'],
  ['two levels', 'a/b'],
  ['$share', '$share/g/x'],
  ['$SYS', '$SYS'],
  ['a space', 'a b'],
  ['a newline', 'a\nb'],
  ['U+FEFF', '\u{feff}a'],
  ['a look-alike letter', 'd\u{430}'],
  ['129 characters', 'x'.repeat(129)],
];

const malformedNames: readonly (readonly [what: string, name: Buffer])[] = [
  ['NUL', nul],
  ['invalid UTF-8', notUtf8],
  ['a surrogate', surrogate],
];

const refusals: readonly Refusal[] = [
  ...badNames.map(([what, clientId]) => ({
    what: `client id: ${what}`,
    connect: { clientId },
    v5: 0x85,
    v4: 2,
  })),
  ...malformedNames.map(([what, clientId]) => ({
    what: `client id: ${what}`,
    connect: { clientId },
    v5: 0x81,
    v4: 5,
  })),
  ...badNames.map(([what, userName]) => ({
    what: `user name: ${what}`,
    connect: { userName },
    v5: 0x86,
    v4: 5,
  })),
  ...malformedNames.map(([what, userName]) => ({
    what: `user name: ${what}`,
    connect: { userName },
    v5: 0x81,
    v4: 5,
  })),
  { what: 'client id: 65,535 bytes', connect: { clientId: lots }, v5: 0x95, v4: 5 },
  { what: 'user name: 65,535 bytes', connect: { userName: lots }, v5: 0x95, v4: 5 },
  {
    what: 'a session to be kept, under no client id',
    connect: { clientId: '', cleanStart: false },
    v5: undefined,
    v4: 2,
  },
  {
    what: 'a will on a topic with a wildcard',
    connect: { will: { ...will, topic: 'devices/d1/+' } },
    v5: 0x90,
    v4: 5,
  },
  {
    what: 'a will on the empty topic',
    connect: { will: { ...will, topic: '' } },
    v5: 0x90,
    v4: 5,
  },
  {
    what: 'a will that is not the UTF-8 that it says it is',
    connect: {
      will: { ...will, payload: notUtf8, properties: [['payloadFormatIndicator', 1]] },
    },
    v5: 0x99,
    v4: undefined,
  },
  {
    what: 'authentication data without a method',
    connect: { properties: [['authenticationData', Buffer.from('n,,n=d1')]] },
    v5: 0x82,
    v4: undefined,
  },
  {
    what: 'an authentication method',
    connect: {
      properties: [
        ['authenticationMethod', 'SCRAM-SHA-1'],
        ['authenticationData', Buffer.from('n,,n=d1')],
      ],
    },
    v5: 0x8c,
    v4: undefined,
  },
  {
    what: 'a receive maximum of 0',
    connect: { properties: [['receiveMaximum', 0]] },
    v5: 0x82,
    v4: undefined,
  },
  {
    what: 'a maximum packet size of 0',
    connect: { properties: [['maximumPacketSize', 0]] },
    v5: 0x82,
    v4: undefined,
  },
  {
    what: '10,000 user properties',
    connect: { properties: Array.from({ length: 10_000 }, () => ['userProperty', ['', '']]) },
    v5: 0x97,
    v4: undefined,
  },
  {
    what: '33 user properties of a will',
    connect: {
      will: {
        ...will,
        properties: Array.from({ length: 33 }, () => ['userProperty', ['k', 'v']]),
      },
    },
    v5: 0x97,
    v4: undefined,
  },
];

for (const [name, version] of Object.entries(byVersion)) {
  for (const { what, connect: changed, v5, v4 } of refusals) {
    const code = version === 5 ? v5 : v4;
    if (code === undefined) continue;
    test(`${name}: refused with 0x${code.toString(16)}: ${what}`, async () => {
      using client = await open(d1, { version });
      const bytes = connectPacket({ clientId: 'refused', ...changed, version });
      assert.equal(await allBytes(client, bytes), connack(version, code));
    });
  }
}

const welcome: readonly (readonly [what: string, connect: Partial<ConnectBytes>])[] = [
  ['an empty client id', { clientId: '' }],
  ['a client id of 128 characters', { clientId: 'y'.repeat(128) }],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'].map(
    (clientId) => [`the client id ${clientId}`, { clientId }] as const,
  ),
  ['a will of QoS 2', { will: { ...will, qos: 2 } }],
  ['a retained will', { will: { ...will, qos: 1, retain: true } }],
  ['a session to be kept', { clientId: 'keeps', cleanStart: false }],
  ['an empty user name', { userName: '' }],
  ['a user name with a password', { userName: 'd1', password: 'secret' }],
  ['constructor as user name', { userName: 'constructor', password: 'x' }],
];

for (const [name, version] of Object.entries(byVersion)) {
  for (const [what, connected] of welcome) {
    test(`${name}: normal service: ${what}`, async () => {
      using client = await connect(d1, { ...connected, version });
      assert.deepEqual(await client.subscribe('devices/d1/commands/#'), [1]);
      await client.ping();
    });
  }
}

test('MQTT 5: user properties named like members of every object are only names', async () => {
  const names = ['__proto__', 'constructor', 'toString', 'prototype', ''];
  using client = await connect(d1, {
    properties: names.map((name) => ['userProperty', [name, 'polluted']]),
  });
  await client.ping();
});

test('a user name or password is no proof: d1 that calls itself d2 is d1', async () => {
  using client = await connect(d1, { clientId: 'd2', userName: 'd2', password: 'd2' });
  assert.equal(await client.publish('devices/d2/diagnostics', '{}'), 0x87);
  assert.deepEqual(await client.subscribe('devices/d2/commands/#'), [0x87]);
});

/** CONNECT by hand, for what `connectPacket` cannot say. */
function handmade(
  protocol: string,
  level: number,
  flags: number,
  ...rest: readonly Buffer[]
): Buffer {
  const head = [text(protocol), Buffer.of(level, flags), u16(60)];
  return packet(packetTypes.connect, 0, [...head, ...rest]);
}

const id = text('d1');
const none = encodeProperties([]);

interface Wrong {
  readonly what: string;
  readonly bytes: Buffer;
  readonly answer: string;
}

const wrongStarts: readonly Wrong[] = [
  { what: 'protocol level 6', bytes: handmade('MQTT', 6, 2, none, id), answer: connack(5, 0x84) },
  {
    what: 'protocol level 255',
    bytes: handmade('MQTT', 255, 2, none, id),
    answer: connack(5, 0x84),
  },
  { what: 'protocol level 3', bytes: handmade('MQTT', 3, 2, id), answer: connack(4, 1) },
  { what: 'MQTT 3.1', bytes: handmade('MQIsdp', 3, 2, id), answer: connack(4, 1) },
  { what: 'a bridge of mosquitto', bytes: handmade('MQTT', 0x84, 2, id), answer: connack(5, 0x84) },
  { what: 'another protocol', bytes: handmade('AMQP', 5, 2, none, id), answer: connack(5, 0x84) },
  { what: 'mqtt in small letters', bytes: handmade('mqtt', 4, 2, id), answer: connack(5, 0x84) },
  { what: 'the reserved flag', bytes: handmade('MQTT', 5, 3, none, id), answer: connack(5, 0x81) },
  {
    what: 'a will of QoS 3',
    bytes: handmade('MQTT', 5, 0x1e, none, id, none, text('devices/d1/status'), text('')),
    answer: connack(5, 0x81),
  },
  {
    what: 'will flags without a will',
    bytes: handmade('MQTT', 4, 0x2a, id),
    answer: connack(4, 5),
  },
  {
    what: 'a password without a user name, in 3.1.1',
    bytes: handmade('MQTT', 4, 0x42, id, text('x')),
    answer: connack(4, 5),
  },
  {
    what: 'an unknown property',
    bytes: handmade('MQTT', 5, 2, Buffer.of(2, 0x7f, 0), id),
    answer: connack(5, 0x81),
  },
  {
    what: 'a property that is there twice',
    bytes: handmade('MQTT', 5, 2, Buffer.of(6, 0x21, 0, 9, 0x21, 0, 9), id),
    answer: connack(5, 0x82),
  },
  {
    what: 'bytes after the last field',
    bytes: handmade('MQTT', 5, 2, none, id, Buffer.of(0)),
    answer: connack(5, 0x81),
  },
  {
    what: 'a client id that ends after its packet',
    bytes: handmade('MQTT', 5, 2, none, u16(9)),
    answer: connack(5, 0x81),
  },
  { what: 'PINGREQ first', bytes: pingreqPacket(), answer: connack(5, 0x82) },
  { what: 'AUTH first', bytes: Buffer.of(0xf0, 0), answer: connack(5, 0x82) },
  { what: 'CONNACK first', bytes: Buffer.of(0x20, 2, 0, 0), answer: connack(5, 0x82) },
  {
    what: '256 MB declared',
    bytes: Buffer.concat([Buffer.of(0x10), varint(268_435_455)]),
    answer: connack(5, 0x95),
  },
  {
    what: '256 MB declared by MQTT 3.1.1',
    bytes: Buffer.concat([Buffer.of(0x10), varint(268_435_455), text('MQTT'), Buffer.of(4)]),
    answer: connack(4, 5),
  },
  {
    what: 'a length of five bytes',
    bytes: Buffer.of(0x10, 255, 255, 255, 255, 1),
    answer: connack(5, 0x81),
  },
  { what: 'a length that is too long', bytes: Buffer.of(0x10, 0x80, 0), answer: connack(5, 0x81) },
  { what: 'HTTP', bytes: Buffer.from('GET / HTTP/1.1\r\n\r\n'), answer: connack(5, 0x82) },
];

for (const { what, bytes, answer } of wrongStarts) {
  test(`a connection that begins with ${what} gets ${answer} and is closed`, async () => {
    using client = await open(d1);
    assert.equal(await allBytes(client, bytes), answer);
  });
}

test('a stranger without a certificate gets its code and not a byte more', async () => {
  for (const version of [5, 4] as const) {
    using client = await open(undefined, { version, ca: d1.ca });
    const bytes = connectPacket({ clientId: 'stranger', version });
    const answer = await allBytes(client, bytes);
    assert.equal(answer, connack(version, version === 5 ? 0x86 : 5));
  }
});

test('what a stranger sends is judged before it is told that it is one', async () => {
  using client = await open(undefined, { ca: d1.ca });
  const bytes = Buffer.concat([Buffer.of(0x10), varint(268_435_455)]);
  assert.equal(await allBytes(client, bytes), connack(5, 0x95));
});

for (const [name, version] of Object.entries(byVersion)) {
  test(`${name}: CONNECT may come byte by byte`, async () => {
    using client = await open(d1, { version });
    client.socket.setNoDelay(true);
    const bytes = connectPacket({ version, clientId: 'slow', userName: 'd1', password: 'x', will });
    for (const byte of bytes) {
      await new Promise<void>((resolve, reject) => {
        client.socket.write(Buffer.of(byte), (error) => (error ? reject(error) : resolve()));
      });
    }
    const { body } = await client.next(packetTypes.connack);
    assert.equal(body.readUInt8(1), 0);
    await client.close();
  });

  test(`${name}: a second CONNECT ends the connection`, async () => {
    using client = await connect(d1, { version, clientId: 'twice' });
    client.send(connectPacket({ version, clientId: 'twice' }));
    const { disconnect } = await within(client.ended, 10_000, 'the end');
    assert.equal(disconnect, version === 5 ? 0x82 : undefined);
  });

  test(`${name}: packets sent with CONNECT, without waiting for CONNACK, are served in order`, async () => {
    using client = await open(d1, { version });
    client.send(
      Buffer.concat([
        connectPacket({ version, clientId: 'eager' }),
        pingreqPacket(),
        pingreqPacket(),
      ]),
    );
    assert.equal((await client.next(packetTypes.connack)).body.readUInt8(1), 0);
    await client.next(packetTypes.pingresp);
    await client.next(packetTypes.pingresp);
  });
}

test('MQTT 5: a client without room for CONNACK is refused, and never sent more than it takes', async () => {
  for (const [maximumPacketSize, answer] of [
    [1, ''],
    [4, ''],
    [5, connack(5, 0x95)],
    [15, connack(5, 0x95)],
  ] as const) {
    using client = await open(d1);
    const bytes = connectPacket({
      version: 5,
      clientId: 'narrow',
      will,
      properties: [['maximumPacketSize', maximumPacketSize]],
    });
    assert.equal(await allBytes(client, bytes), answer, `${maximumPacketSize}`);
  }
  using client = await connect(d1, { clientId: 'narrow', properties: [['maximumPacketSize', 16]] });
  await client.ping();
});
