/** Payload Format Indicator, MQTT 5 §3.3.2.3.2: who says that a payload is UTF-8 is held to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import { ack, wireGateway, wireTypes } from '../harness/mqtt-wire.ts';

const { alice, bob, come } = await wireGateway();

/** ATTACKS 16 has the same for JSON: what no text can be. */
const notUtf8 = [
  ['a byte that no text has', Buffer.of(0xff)],
  ['a sequence that is cut off', Buffer.from('\u{1f6aa}').subarray(0, 3)],
  ['an overlong form', Buffer.of(0xc0, 0xaf)],
  ['a surrogate', Buffer.of(0xed, 0xa0, 0x80)],
] as const;

const format = (indicator: 0 | 1) => [['payloadFormatIndicator', indicator]] as const;

for (const [what, payload] of notUtf8) {
  test(`a payload that says that it is UTF-8 and has ${what} is refused with 0x99, and the connection goes on`, async () => {
    using client = await come(alice);
    using watching = await come(bob);
    await watching.subscribe([{ filter: 't/format', options: 0 }]);
    const bytes = (qos: 0 | 1 | 2): Buffer =>
      publishPacket({
        version: 5,
        topic: 't/format',
        payload,
        qos,
        packetId: 7,
        properties: format(1),
      });
    client.send(bytes(0));
    client.send(bytes(1));
    assert.deepEqual(await client.acknowledged(wireTypes.puback), {
      packetId: 7,
      code: 0x99,
      properties: [],
    });
    client.send(bytes(2));
    assert.equal((await client.acknowledged(wireTypes.pubrec)).code, 0x99);
    // MQTT-4.3.3-4: a refused exchange is over, and its identifier is free.
    client.send(ack(wireTypes.pubrel, 7));
    assert.equal((await client.acknowledged(wireTypes.pubcomp)).code, 0x92);
    await watching.nothing();
  });
}

test('UTF-8 that says so arrives, and so does anything that does not [MQTT-3.3.2-4]', async () => {
  using client = await come(alice);
  using watching = await come(bob);
  await watching.subscribe([{ filter: 't/format', options: 0 }]);
  for (const [payload, properties] of [
    [Buffer.from('\u{1f6aa} é'), format(1)],
    [Buffer.alloc(0), format(1)],
    [Buffer.from('\0'), format(1)],
    [Buffer.of(0xff, 0xfe), format(0)],
    [Buffer.of(0xff, 0xfe), []],
  ] as const) {
    await client.publish({ topic: 't/format', payload, properties });
    const message = await watching.message();
    const expected = valuesOf(properties, 'payloadFormatIndicator');
    assert.deepEqual(valuesOf(message.properties, 'payloadFormatIndicator'), expected);
    assert.equal(message.payload, payload.toString('utf8'));
  }
});

test('MQTT 3.1.1 says nothing of its payloads, and none is refused for it', async () => {
  using client = await come(alice, { version: 4 });
  using watching = await come(bob);
  await watching.subscribe([{ filter: 't/format', options: 0 }]);
  await client.publish({ topic: 't/format', payload: Buffer.of(0xff) });
  assert.deepEqual((await watching.message()).properties, []);
});
