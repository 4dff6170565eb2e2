import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../../common/base/principal.ts';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { withPacketId } from '../../../common/codec/mqtt/encoder.ts';
import type { Publish } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import { encodedFor, passOn } from './fan-out.ts';

function message(more: Partial<Message> = {}): Message {
  return {
    topic: 'devices/d1/telemetry',
    payload: Buffer.from('{}'),
    qos: 1,
    retain: true,
    properties: { contentType: 'text/plain', messageExpiryInterval: 10 },
    publisher: principalName('device', 'd1'),
    publisherSession: 'device/d1\ns',
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

function decoded(bytes: Buffer, version: 4 | 5): Publish {
  const decoder = new MqttDecoder('client', {
    packetBytes: 1_000,
    connectBytes: 1_000,
    userProperties: 10,
    topicBytes: 100,
    topicLevels: 10,
  });
  decoder.version = version;
  decoder.push(bytes);
  const packet = decoder.next();
  assert.equal(packet?.type, 'publish');
  return packet;
}

test('a message is encoded once for all who want it in the same way', () => {
  const one = message();
  const first = encodedFor(one, 5, 0, false, 0);
  assert.equal(encodedFor(one, 5, 0, false, 0), first);
  const others = [
    encodedFor(one, 4, 0, false, 0),
    encodedFor(one, 5, 1, false, 0),
    encodedFor(one, 5, 0, true, 0),
  ];
  for (const other of others) assert.notDeepEqual(other.bytes, first.bytes);
  assert.equal(encodedFor(one, 5, 0, false, 0), first);
});

test('the next message is not taken for the one before', () => {
  const [one, two] = [message(), message({ payload: Buffer.from('[]') })];
  encodedFor(one, 5, 0, false, 0);
  assert.equal(decoded(encodedFor(two, 5, 0, false, 0).bytes, 5).payload.toString(), '[]');
  assert.equal(decoded(encodedFor(one, 5, 0, false, 0).bytes, 5).payload.toString(), '{}');
});

test('QoS and retain are those of the delivery, not those of the message', () => {
  const packet = decoded(encodedFor(message(), 5, 0, false, 0).bytes, 5);
  assert.deepEqual([packet.qos, packet.retain, packet.dup], [0, false, false]);
});

test('3.1.1 gets the message without its properties', () => {
  const packet = decoded(encodedFor(message(), 4, 0, true, 0).bytes, 4);
  assert.deepEqual([packet.topic, packet.payload.toString()], ['devices/d1/telemetry', '{}']);
  assert.deepEqual(packet.properties, {});
});

test('the expiry interval is what is left, in whole seconds, and never more than was said', () => {
  for (const [now, left] of [
    [0, 10],
    [1, 10],
    [1_000, 9],
    [9_500, 1],
    [10_000, 0],
    [20_000, 0],
    // A clock that was put back.
    [-60_000, 10],
  ] as const) {
    const { properties } = decoded(
      encodedFor(message({ expiresAt: 10_000 }), 5, 0, false, now).bytes,
      5,
    );
    assert.equal(properties.messageExpiryInterval, left, `at ${now}`);
  }
});

test('a message that is passed on leaves as it came, in its own version, and not in the place of another', () => {
  const [one, two] = [message({ qos: 0, retain: false }), message({ payload: Buffer.from('[]') })];
  const came = encodedFor(one, 5, 0, false, 0).bytes;
  passOn(one, 5, came);
  assert.equal(encodedFor(one, 5, 0, false, 0).bytes, came);
  assert.deepEqual(decoded(encodedFor(one, 4, 0, false, 0).bytes, 4).properties, {});
  assert.equal(decoded(encodedFor(one, 5, 0, true, 0).bytes, 5).retain, true);
  assert.equal(decoded(encodedFor(two, 5, 0, false, 0).bytes, 5).payload.toString(), '[]');
});

test('what is left of the expiry is that of the delivery, not that of the one before', () => {
  const one = message({ expiresAt: 10_000 });
  for (const [now, left] of [
    [0, 10],
    [4_000, 6],
    [0, 10],
  ] as const) {
    const { properties } = decoded(encodedFor(one, 5, 0, false, now).bytes, 5);
    assert.equal(properties.messageExpiryInterval, left, `at ${now}`);
  }
});

test('subscription identifiers are those of the receiver, in the encoding that all share', () => {
  const one = message({ properties: { contentType: 'text/plain', userProperties: [['a', 'b']] } });
  const plain = encodedFor(one, 5, 1, false, 0);
  const before = Buffer.from(plain.bytes);
  for (const identifiers of [[1], [268_435_455, 1], [1, 1], [127, 128, 16_384]]) {
    const encoded = encodedFor(one, 5, 1, false, 0, identifiers);
    const packet = decoded(withPacketId(encoded, 7), 5);
    assert.deepEqual(packet.properties, {
      ...one.properties,
      subscriptionIdentifiers: identifiers,
    });
    assert.deepEqual(
      [packet.topic, packet.packetId, packet.payload.toString()],
      [one.topic, 7, '{}'],
    );
    assert.equal(encodedFor(one, 5, 1, false, 0, [...identifiers]), encoded);
  }
  assert.equal(encodedFor(one, 5, 1, false, 0), plain);
  assert.deepEqual(plain.bytes, before);
});

test('identifiers of one message are not given to the next, nor to another QoS or version', () => {
  const [one, two] = [message(), message({ payload: Buffer.from('[]') })];
  encodedFor(one, 5, 0, false, 0, [3]);
  const next = decoded(encodedFor(two, 5, 0, false, 0, [3]).bytes, 5);
  assert.deepEqual([next.payload.toString(), next.properties.subscriptionIdentifiers], ['[]', [3]]);
  const retained = decoded(encodedFor(two, 5, 0, true, 0, [3]).bytes, 5);
  assert.deepEqual([retained.retain, retained.properties.subscriptionIdentifiers], [true, [3]]);
  assert.deepEqual(decoded(encodedFor(two, 4, 0, true, 0, [3]).bytes, 4).properties, {});
});

test('a message that is passed on gets identifiers without a change of what came', () => {
  const one = message({ qos: 0, retain: false, properties: {} });
  const came = Buffer.from(encodedFor(one, 5, 0, false, 0).bytes);
  const copy = Buffer.from(came);
  const again = { ...one };
  passOn(again, 5, came);
  const packet = decoded(encodedFor(again, 5, 0, false, 0, [9]).bytes, 5);
  assert.deepEqual(packet.properties, { subscriptionIdentifiers: [9] });
  assert.deepEqual(came, copy);
});
