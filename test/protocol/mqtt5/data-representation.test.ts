/** MQTT 5, chapters 1 and 2: texts, lengths, flags, packet identifiers and property lists, in every packet that has them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectPacket,
  packet,
  packetTypes,
  pingreqPacket,
  subscribePacket,
  unsubscribePacket,
} from '../../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../../harness/mqtt-bytes.ts';
import { text, u16, varint } from '../../harness/mqtt-fields.ts';
import { encodeProperties } from '../../harness/mqtt-properties.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { ack, bothVersions, padded, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';

const { alice, bob, dial, come } = await wireGateway();

interface TextField {
  readonly where: string;
  readonly bytes: (version: MqttVersion, text: Buffer) => Buffer;
  readonly only?: 5;
}

function inConnect(property: (value: Buffer) => Property): TextField['bytes'] {
  return (_, value) =>
    connectPacket({ version: 5, clientId: 'texts', properties: [property(value)] });
}

const connectTexts: readonly TextField[] = [
  { where: 'client id', bytes: (version, clientId) => connectPacket({ version, clientId }) },
  {
    where: 'user name',
    bytes: (version, userName) => connectPacket({ version, clientId: 'texts', userName }),
  },
  {
    where: 'will topic',
    bytes: (version, topic) =>
      connectPacket({ version, clientId: 'texts', will: { topic, payload: '' } }),
  },
  {
    where: 'content type of a will',
    only: 5,
    bytes: (version, contentType) =>
      connectPacket({
        version,
        clientId: 'texts',
        will: {
          topic: 't/x',
          payload: '',
          properties: [['contentType', contentType]],
        },
      }),
  },
  {
    where: 'authentication method',
    only: 5,
    bytes: inConnect((value) => ['authenticationMethod', value]),
  },
];

const pairTexts: readonly TextField[] = [
  {
    where: 'name of a user property of CONNECT',
    bytes: inConnect((name) => ['userProperty', [name, 'v']]),
  },
  {
    where: 'value of a user property of CONNECT',
    bytes: inConnect((value) => ['userProperty', ['n', value]]),
  },
];

function inPublish(property: (value: Buffer) => Property): TextField['bytes'] {
  return (_, value) =>
    packet(wireTypes.publish, 0, [text('t/x'), encodeProperties([property(value)])]);
}

const laterTexts: readonly TextField[] = [
  {
    where: 'topic',
    bytes: (version, topic) =>
      packet(wireTypes.publish, 0, [text(topic), Buffer.alloc(version - 4)]),
  },
  {
    where: 'filter of SUBSCRIBE',
    bytes: (version, filter) => subscribePacket(version, 1, [{ filter, options: 0 }]),
  },
  {
    where: 'filter of UNSUBSCRIBE',
    bytes: (version, filter) =>
      packet(wireTypes.unsubscribe, 2, [u16(1), Buffer.alloc(version - 4), text(filter)]),
  },
  { where: 'response topic', only: 5, bytes: inPublish((value) => ['responseTopic', value]) },
  { where: 'content type', only: 5, bytes: inPublish((value) => ['contentType', value]) },
  {
    where: 'reason string',
    only: 5,
    bytes: (_, value) => ack(wireTypes.puback, 1, 0, [['reasonString', value]]),
  },
  {
    where: 'user property of a PUBREL',
    only: 5,
    bytes: (_, value) => ack(wireTypes.pubrel, 1, 0, [['userProperty', ['n', value]]]),
  },
];

const latePairs: readonly TextField[] = [
  { where: 'name of a user property', bytes: inPublish((name) => ['userProperty', [name, 'v']]) },
  {
    where: 'value of a user property',
    bytes: inPublish((value) => ['userProperty', ['n', value]]),
  },
];

const illFormed: readonly (readonly [what: string, bytes: Buffer])[] = [
  ['a byte that starts nothing', Buffer.of(0x61, 0xff)],
  ['a sequence that breaks off', Buffer.of(0x61, 0xe2, 0x82)],
  ['an overlong form', Buffer.of(0x61, 0xc0, 0xaf)],
  ['a surrogate', Buffer.of(0x61, 0xed, 0xa0, 0x80)],
  ['more than U+10FFFF', Buffer.of(0xf4, 0x90, 0x80, 0x80)],
];
const nul: typeof illFormed = [['U+0000', Buffer.of(0x61, 0, 0x62)]];

async function refusedInConnect(version: MqttVersion, bytes: Buffer): Promise<void> {
  using client = await dial(alice, version);
  client.send(bytes);
  await client.notLetIn(0x81);
}

async function refusedLater(version: MqttVersion, bytes: Buffer): Promise<void> {
  using client = await come(alice, { version, clientId: 'texts' });
  client.send(bytes);
  await client.refused(0x81);
}

for (const [name, version] of bothVersions) {
  const has = ({ only }: TextField): boolean => only === undefined || only === version;

  test(`${name}: a text of ill-formed UTF-8 is malformed wherever it is [MQTT-1.5.4-1] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.3.2-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19] [MQTT-3.8.3-1] [MQTT-3.10.3-1]`, async () => {
    for (const [, wrong] of illFormed) {
      for (const field of connectTexts.filter(has)) {
        await refusedInConnect(version, field.bytes(version, wrong));
      }
      for (const field of laterTexts.filter(has)) {
        await refusedLater(version, field.bytes(version, wrong));
      }
    }
  });

  test(`${name}: a text with U+0000 is malformed wherever it is [MQTT-1.5.4-2] [MQTT-4.7.3-2]`, async () => {
    for (const [, wrong] of nul) {
      for (const field of connectTexts.filter(has)) {
        await refusedInConnect(version, field.bytes(version, wrong));
      }
      for (const field of laterTexts.filter(has)) {
        await refusedLater(version, field.bytes(version, wrong));
      }
    }
  });

  test(`${name}: U+FEFF is a character like any other and is never taken away [MQTT-1.5.4-3]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    const topic = 't/\u{feff}x\u{feff}';
    await subscriber.subscribe([
      { filter: topic, options: 0 },
      { filter: 't/x', options: 0 },
    ]);
    await publisher.publish({ topic: 't/x', payload: 'plain' });
    await publisher.publish({ topic, payload: '\u{feff}marked' });
    assert.equal((await subscriber.message()).payload, 'plain');
    const marked = await subscriber.expect(wireTypes.publish);
    const payload = Buffer.from('\u{feff}marked');
    const list = Buffer.alloc(version - 4);
    assert.deepEqual(marked.bytes, packet(3, 0, [text(Buffer.from(topic)), list, payload]));
    await subscriber.nothing();
  });

  test(`${name}: a remaining length of more bytes than it needs is malformed [MQTT-1.5.5-1]`, async () => {
    for (const bytes of [
      pingreqPacket(),
      subscribePacket(version, 1, [{ filter: 't/x', options: 0 }]),
      ack(wireTypes.puback, 1),
    ]) {
      await refusedLater(version, padded(bytes));
    }
    // Judged before the version is known, and so answered as MQTT 5 would.
    await refusedInConnect(5, padded(connectPacket({ version, clientId: 'padded' })));
  });

  test(`${name}: packets of 0 to 16,385 bytes come with the shortest length there is [MQTT-1.5.5-1]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/length', options: 0 }]);
    // Topic and property list take 10 or 11 bytes: both sides of 128 and of 16,384.
    for (const size of [0, 116, 117, 118, 119, 16_372, 16_373, 16_374, 16_375]) {
      await publisher.publish({ topic: 't/length', payload: Buffer.alloc(size) });
      const { bytes, body } = await subscriber.expect(wireTypes.publish);
      assert.equal(body.length, 10 + size + version - 4);
      assert.deepEqual(bytes.subarray(1, bytes.length - body.length), varint(body.length));
    }
  });

  test(`${name}: reserved flags of a fixed header are malformed, packet by packet [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]`, async () => {
    const right = new Map([
      [ack(wireTypes.puback, 1), 0],
      [ack(wireTypes.pubrec, 1), 0],
      [ack(wireTypes.pubrel, 1), 2],
      [ack(wireTypes.pubcomp, 1), 0],
      [subscribePacket(version, 1, [{ filter: 't/x', options: 0 }]), 2],
      [unsubscribePacket(version, 1, ['t/x']), 2],
      [pingreqPacket(), 0],
      [packet(packetTypes.disconnect, 0, []), 0],
    ]);
    for (const [bytes, flags] of right) {
      for (const wrong of [0, 1, 2, 3, 6, 8, 15]) {
        if (wrong === flags) continue;
        const first = (bytes.readUInt8(0) & 0xf0) | wrong;
        await refusedLater(version, Buffer.concat([Buffer.of(first), bytes.subarray(1)]));
      }
    }
    for (const flags of [1, 2, 4, 8]) {
      const connect = connectPacket({ version, clientId: 'flags' });
      connect.writeUInt8(0x10 | flags, 0);
      await refusedInConnect(5, connect);
    }
  });

  test(`${name}: a PUBLISH of QoS 0 has no packet identifier [MQTT-2.2.1-2]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/zero', options: 1 }]);
    // Two bytes that would be taken for an identifier are the payload's.
    publisher.send(publisher.publishBytes({ topic: 't/zero', payload: Buffer.of(0, 9), qos: 0 }));
    const { bytes } = await subscriber.expect(wireTypes.publish);
    const list = Buffer.alloc(version - 4);
    assert.deepEqual(bytes, packet(3, 0, [text('t/zero'), list, Buffer.of(0, 9)]));
    await publisher.nothing();
  });

  test(`${name}: packet identifier 0 is refused in PUBLISH, SUBSCRIBE and UNSUBSCRIBE [MQTT-2.2.1-3]`, async () => {
    for (const bytes of [
      packet(3, 2, [text('t/x'), u16(0), Buffer.alloc(version - 4)]),
      packet(3, 4, [text('t/x'), u16(0), Buffer.alloc(version - 4)]),
      subscribePacket(version, 0, [{ filter: 't/x', options: 0 }]),
      unsubscribePacket(version, 0, ['t/x']),
    ]) {
      using client = await come(alice, { version });
      client.send(bytes);
      await client.refused(0x82);
    }
  });

  test(`${name}: what is in flight to a client has identifiers that are not 0 and not the same [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]`, async () => {
    using subscriber = await come(alice, { version });
    using publisher = await come(bob, { version });
    await subscriber.subscribe([{ filter: 't/ids', options: 2 }]);
    const used = new Set<number>();
    for (let n = 0; n < 40; n += 1) {
      await publisher.publish({ topic: 't/ids', payload: `${n}`, qos: n % 2 === 0 ? 1 : 2 });
      const { packetId, qos } = await subscriber.message();
      assert.equal(qos, n % 2 === 0 ? 1 : 2);
      assert.ok(packetId !== undefined && packetId > 0 && !used.has(packetId), `${packetId}`);
      used.add(packetId);
      // Some are given back, and only those may be used again.
      if (n % 4 === 0) {
        subscriber.send(ack(wireTypes.puback, packetId));
        await subscriber.nothing();
        used.delete(packetId);
      }
    }
  });

  test(`${name}: acknowledgements bear the identifier of what they answer [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]`, async () => {
    using client = await come(alice, { version });
    for (const packetId of [1, 2, 255, 256, 513, 0x7fff, 0xfffe, 0xffff]) {
      const publish = { topic: 't/nobody', payload: '', packetId };
      client.send(client.publishBytes({ ...publish, qos: 1 }));
      assert.equal((await client.acknowledged(wireTypes.puback)).packetId, packetId);
      client.send(client.publishBytes({ ...publish, qos: 2 }));
      assert.equal((await client.acknowledged(wireTypes.pubrec)).packetId, packetId);
      client.send(ack(wireTypes.pubrel, packetId));
      assert.equal((await client.acknowledged(wireTypes.pubcomp)).packetId, packetId);
      client.send(subscribePacket(version, packetId, [{ filter: 't/x', options: 0 }]));
      assert.equal((await client.expect(wireTypes.suback)).body.readUInt16BE(0), packetId);
      client.send(unsubscribePacket(version, packetId, ['t/y']));
      assert.equal((await client.expect(wireTypes.unsuback)).body.readUInt16BE(0), packetId);
    }
  });
}

test('MQTT 5: both texts of a user property follow the rules of texts [MQTT-1.5.7-1]', async () => {
  for (const [, wrong] of [...illFormed, ...nul]) {
    for (const field of pairTexts) await refusedInConnect(5, field.bytes(5, wrong));
    for (const field of latePairs) await refusedLater(5, field.bytes(5, wrong));
  }
});

test('MQTT 5: a property length or a subscription identifier of more bytes than it needs is malformed [MQTT-1.5.5-1]', async () => {
  await refusedLater(5, packet(3, 0, [text('t/x'), Buffer.of(0x80, 0)]));
  const identifier = Buffer.of(3, 0x0b, 0x81, 0);
  await refusedLater(5, packet(8, 2, [u16(1), identifier, text('t/x'), Buffer.of(0)]));
  await refusedLater(5, packet(8, 2, [u16(1), Buffer.of(0x80, 0), text('t/x'), Buffer.of(0)]));
});

test('MQTT 5: a packet without properties says so with a length of 0, from either side [MQTT-2.2.2-1]', async () => {
  using subscriber = await come(alice);
  subscriber.send(subscribePacket(5, 7, [{ filter: 't/bare', options: 0 }]));
  assert.equal((await subscriber.expect(wireTypes.suback)).bytes.toString('hex'), '900400070000');
  subscriber.send(subscriber.publishBytes({ topic: 't/bare', payload: '', qos: 0 }));
  assert.equal((await subscriber.expect(3)).bytes.toString('hex'), '300900' + '06742f6261726500');
  subscriber.send(unsubscribePacket(5, 8, ['t/bare']));
  assert.equal((await subscriber.expect(wireTypes.unsuback)).bytes.toString('hex'), 'b00400080000');
  // Left out, the next field is read as the list and does not fit.
  await refusedLater(5, packet(8, 2, [u16(1), text('t/x'), Buffer.of(0)]));
  await refusedLater(5, packet(3, 0, [text('t/x')]));
});

test('MQTT 5: reserved flags of AUTH are malformed [MQTT-2.1.3-1] [MQTT-3.15.1-1]', async () => {
  for (const flags of [1, 2, 4, 8, 15]) {
    await refusedLater(5, packet(wireTypes.auth, flags, []));
  }
});
