import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes } from '../../../../../test/protocol/mqtt-codec/notation.ts';
import {
  encodePublish,
  withMessageExpiry,
  withSubscriptionIdentifiers,
  withTopicAlias,
} from '../encoder.ts';
import { noProperties } from '../packets.ts';

const publish = {
  dup: false,
  qos: 1,
  retain: true,
  topic: 'a/b',
  payload: Buffer.from('hi'),
  properties: noProperties,
} as const;

test('an alias is set beside the topic, and stands for it', () => {
  const encoded = encodePublish(publish, 5);
  assert.deepEqual(
    withTopicAlias(encoded, 0x0102, true, 9),
    bytes("33 0d 0003 'a/b' 0009 03 23 0102 'hi'"),
  );
  assert.deepEqual(withTopicAlias(encoded, 1, false, 9), bytes("33 0a 0000 0009 03 23 0001 'hi'"));
});

test('QoS 0 has no packet identifier, with an alias as without', () => {
  const encoded = encodePublish({ ...publish, qos: 0, retain: false }, 5);
  assert.deepEqual(withTopicAlias(encoded, 1, false, 0), bytes("30 08 0000 03 23 0001 'hi'"));
});

test('an alias out of range, and a packet identifier of 0, are defects of ours', () => {
  const encoded = encodePublish(publish, 5);
  for (const [alias, packetId] of [
    [0, 1],
    [65_536, 1],
    [1, 0],
  ] as const) {
    assert.throws(() => withTopicAlias(encoded, alias, true, packetId), { code: 'internal' });
  }
});

test('identifiers go before the properties that are there, an alias before both', () => {
  const encoded = encodePublish({ ...publish, properties: { contentType: 'c' } }, 5);
  const identified = withSubscriptionIdentifiers(encoded, [1, 200]);
  assert.deepEqual(
    withTopicAlias(identified, 1, false, 2),
    bytes("33 13 0000 0002 0c 23 0001 0b 01 0b c8 01 03 0001 'c' 'hi'"),
  );
});

test('lengths grow by a byte where they have to', () => {
  // 126 bytes of properties and 127 after the header become 129 and 131.
  const properties = { contentType: 'x'.repeat(123) };
  const encoded = encodePublish(
    { ...publish, topic: '', qos: 0, payload: Buffer.alloc(0), properties },
    5,
  );
  assert.deepEqual(encoded.bytes.subarray(0, 8), bytes('31 81 01 0000 7e 03 00'));
  const patched = withTopicAlias(encoded, 1, true, 0);
  assert.deepEqual(patched.subarray(0, 12), bytes('31 85 01 0000 81 01 23 0001 03 00'));
});

test('what is left of the expiry takes the place of what there was, wherever it stands, and never more', () => {
  for (const [before, more] of [
    ['', {}],
    ['01 01', { payloadFormatIndicator: 1 }],
  ] as const) {
    const properties = { ...more, messageExpiryInterval: 300, contentType: 'c' };
    const encoded = encodePublish({ ...publish, properties }, 5);
    for (const shared of [encoded, withSubscriptionIdentifiers(encoded, [200, 3])]) {
      const copy = Buffer.from(shared.bytes);
      const aged = withMessageExpiry(shared, 258);
      assert.ok(aged.bytes.includes(bytes(`${before} 02 00000102 03 0001 'c'`)));
      assert.equal(aged.bytes.length, shared.bytes.length);
      assert.equal(aged.packetIdOffset, shared.packetIdOffset);
      assert.equal(withMessageExpiry(shared, 301), shared);
      assert.ok(withMessageExpiry(shared, -1).bytes.includes(bytes('02 00000000 03')));
      assert.deepEqual(shared.bytes, copy);
    }
  }
});

test('what has no expiry has none after a wait, and 3.1.1 has no such thing', () => {
  const properties = { messageExpiryInterval: 300 };
  for (const encoded of [
    encodePublish({ ...publish, properties: { contentType: 'c' } }, 5),
    encodePublish(publish, 5),
    encodePublish({ ...publish, properties }, 4),
  ]) {
    assert.equal(withMessageExpiry(encoded, 1), encoded);
  }
});
