import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { peerBytes, peerFails, peerReading } from '../../../../test/protocol/mqtt-codec/peer.ts';
import { fixtureLimits } from '../../../../test/protocol/mqtt-codec/refused-packets.ts';
import { validPackets } from '../../../../test/protocol/mqtt-codec/valid-packets.ts';
import { bytes } from '../../../../test/protocol/mqtt-codec/notation.ts';
import { MqttDecoder } from './decoder.ts';
import { encode, encodePublish, withPacketId } from './encoder.ts';
import { noProperties, type Packet, type ProtocolVersion, type Publish } from './packets.ts';

const publish: Publish = {
  type: 'publish',
  dup: false,
  qos: 1,
  retain: false,
  topic: 'a/b',
  packetId: 10,
  payload: Buffer.from('hi'),
  properties: noProperties,
};

function refused(packet: Packet, version: ProtocolVersion): void {
  assert.throws(() => encode(packet, version), { name: 'SallyportError', code: 'internal' });
}

describe('a packet becomes the bytes of the standard', () => {
  for (const fixture of validPackets.filter(({ canonical }) => canonical)) {
    test(fixture.name, () => {
      const encoded = encode(fixture.packet, fixture.version);
      assert.equal(encoded.toString('hex'), fixture.bytes.toString('hex'));
    });
  }
});

describe('mqtt-packet and we understand each other', () => {
  for (const fixture of validPackets.filter(({ canonical }) => canonical)) {
    const { packet, version } = fixture;
    const fails = peerFails.get(fixture.name) ?? [];
    const peerReadsOurs = (): void => {
      const { read, expected } = peerReading(encode(packet, version), packet, version);
      assert.partialDeepStrictEqual(read, expected);
    };
    const weReadPeers = (): void => {
      const role = fixture.senders[0] === 'client' ? 'server' : 'client';
      const decoder = new MqttDecoder(role, fixtureLimits);
      decoder.version = packet.type === 'connect' ? undefined : version;
      decoder.push(peerBytes(packet, version));
      assert.deepEqual(structuredClone(decoder.next()), structuredClone(packet));
      assert.equal(decoder.bufferedBytes, 0);
    };
    test(`${fixture.name}: it reads ours`, () => {
      if (fails.includes('reads')) assert.throws(peerReadsOurs);
      else peerReadsOurs();
    });
    test(`${fixture.name}: we read its`, () => {
      if (fails.includes('writes')) assert.throws(weReadPeers);
      else weReadPeers();
    });
  }
});

describe('fan-out', () => {
  test('one encoding serves many receivers, each with its packet identifier', () => {
    const encoded = encodePublish(publish, 5);
    assert.equal(encoded.packetIdOffset, 7);
    const first = withPacketId(encoded, 1);
    const second = withPacketId(encoded, 0xfffe);
    assert.deepEqual(first, bytes("32 0a 0003 'a/b' 0001 00 'hi'"));
    assert.deepEqual(second, bytes("32 0a 0003 'a/b' fffe 00 'hi'"));
    assert.deepEqual(encoded.bytes, bytes("32 0a 0003 'a/b' 0000 00 'hi'"));
  });

  test('the identifier is found behind a long header and a topic beyond ASCII', () => {
    const long = { ...publish, topic: 'é', payload: Buffer.alloc(20_000) };
    const encoded = encodePublish(long, 4);
    assert.deepEqual(
      withPacketId(encoded, 0x1234).subarray(0, 10),
      bytes('32 a6 9c 01 0002 c3a9 1234'),
    );
  });

  test('QoS 0 has no identifier to set', () => {
    const encoded = encodePublish({ ...publish, qos: 0 }, 5);
    assert.equal(encoded.packetIdOffset, 0);
    assert.throws(() => withPacketId(encoded, 1), { code: 'internal' });
  });

  test('an identifier out of range is refused', () => {
    for (const packetId of [0, 65_536, -1, 1.5, Number.NaN]) {
      assert.throws(() => withPacketId(encodePublish(publish, 5), packetId), { code: 'internal' });
    }
  });

  test('properties are left out in 3.1.1', () => {
    const properties = { contentType: 'text' };
    assert.deepEqual(encodePublish({ ...publish, properties }, 4), encodePublish(publish, 4));
  });
});

describe('remaining lengths at the edges of their encoding', () => {
  for (const [remaining, header] of [
    [127, '30 7f'],
    [128, '30 80 01'],
    [16_383, '30 ff 7f'],
    [16_384, '30 80 80 01'],
    [2_097_151, '30 ff ff 7f'],
    [2_097_152, '30 80 80 80 01'],
  ] as const) {
    test(`${remaining} bytes`, () => {
      const payload = Buffer.alloc(remaining - 5, 1);
      const encoded = encode({ ...publish, qos: 0, packetId: 0, payload }, 4);
      const expected = bytes(header);
      assert.deepEqual(encoded.subarray(0, expected.length), expected);
      assert.equal(encoded.length, expected.length + remaining);
      const decoder = new MqttDecoder('server', { ...fixtureLimits, packetBytes: 3_000_000 });
      decoder.version = 4;
      decoder.push(encoded);
      const decoded = decoder.next();
      assert.ok(decoded?.type === 'publish');
      assert.ok(decoded.payload.equals(payload));
    });
  }
});

describe('what MQTT cannot carry is a defect of ours', () => {
  test('strings', () => {
    refused({ ...publish, topic: 'x'.repeat(65_536) }, 5);
    refused({ ...publish, topic: 'é'.repeat(32_768) }, 5);
    refused({ ...publish, topic: 'a\0b' }, 5);
    refused({ ...publish, topic: 'é\0' }, 5);
    refused({ ...publish, topic: 'a\ud800' }, 5);
    assert.equal(encode({ ...publish, topic: 'x'.repeat(65_535) }, 5).length, 65_546);
  });

  test('numbers', () => {
    refused({ ...publish, packetId: 0 }, 5);
    refused({ ...publish, properties: { messageExpiryInterval: 2 ** 32 } }, 5);
    refused({ ...publish, properties: { topicAlias: 65_536 } }, 5);
    refused({ ...publish, properties: { subscriptionIdentifiers: [268_435_456] } }, 5);
    refused({ ...publish, qos: 0, dup: true, packetId: 0 }, 5);
  });

  test('words that 3.1.1 does not have', () => {
    const properties = noProperties;
    refused({ type: 'puback', packetId: 1, reasonCode: 0x87, properties }, 4);
    refused({ type: 'pubrec', packetId: 1, reasonCode: 0x97, properties }, 4);
    refused({ type: 'disconnect', reasonCode: 0x8b, properties }, 4);
    refused({ type: 'auth', reasonCode: 0x18, properties }, 4);
    refused({ type: 'connack', sessionPresent: false, reasonCode: 0x87, properties }, 4);
  });

  test('lists that must not be empty', () => {
    const properties = noProperties;
    refused({ type: 'subscribe', packetId: 1, subscriptions: [], properties }, 4);
    refused({ type: 'unsubscribe', packetId: 1, topicFilters: [], properties }, 4);
    refused({ type: 'suback', packetId: 1, reasonCodes: [], properties }, 4);
    refused({ type: 'unsuback', packetId: 1, reasonCodes: [], properties }, 5);
  });

  test('a CONNECT of another version', () => {
    const { packet } = validPackets.find(({ name }) => name === 'CONNECT, 5.0')!;
    refused(packet, 4);
  });
});

test('in 3.1.1 every refusal of a subscription is 0x80', () => {
  const suback = { type: 'suback', packetId: 1, reasonCodes: [2, 0x87, 0x97] } as const;
  assert.deepEqual(
    encode({ ...suback, properties: noProperties }, 4),
    bytes('90 05 0001 02 80 80'),
  );
});

test('in 3.1.1 an unknown packet identifier is completed without saying why', () => {
  const pubcomp = { type: 'pubcomp', packetId: 1, reasonCode: 0x92 } as const;
  assert.deepEqual(encode({ ...pubcomp, properties: noProperties }, 4), bytes('70 02 0001'));
});

test('a packet is not changed by the next one', () => {
  const first = encode({ type: 'puback', packetId: 1, reasonCode: 0, properties: noProperties }, 5);
  encode({ type: 'puback', packetId: 2, reasonCode: 0, properties: noProperties }, 5);
  assert.deepEqual(first, bytes('40 02 0001'));
});
