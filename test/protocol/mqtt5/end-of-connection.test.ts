/** MQTT 5 §3.12 to §3.15, §4.2, §4.12 and §4.13: PINGREQ, DISCONNECT, AUTH, the transport, and what follows an error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectPacket,
  packet,
  packetTypes,
  pingreqPacket,
  publishPacket,
  readConnack,
} from '../../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../../harness/mqtt-bytes.ts';
import { text } from '../../harness/mqtt-fields.ts';
import { encodeProperties, valuesOf } from '../../harness/mqtt-properties.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';

const { alice, bob, come, dial, open } = await wireGateway(['topicAliases: 0']);

function disconnect(code: number, properties?: readonly Property[]): Buffer {
  const list = properties === undefined ? [] : [encodeProperties(properties)];
  return packet(packetTypes.disconnect, 0, [Buffer.of(code), ...list]);
}

function auth(code: number, properties: readonly Property[]): Buffer {
  return packet(wireTypes.auth, 0, [Buffer.of(code), encodeProperties(properties)]);
}

const method = ['authenticationMethod', 'X'] as const;

for (const [name, version] of bothVersions) {
  test(`${name}: each PINGREQ is answered by a PINGRESP [MQTT-3.12.4-1]`, async () => {
    using client = await come(alice, { version });
    client.send(pingreqPacket(), pingreqPacket(), pingreqPacket());
    for (let n = 0; n < 3; n += 1) {
      assert.equal((await client.expect(wireTypes.pingresp)).bytes.toString('hex'), 'd000');
    }
    client.send(packet(packetTypes.pingreq, 0, [Buffer.of(0)]));
    await client.refused(0x81);
  });

  test(`${name}: a malformed packet or a protocol error closes the connection, and nothing behind it is served [MQTT-4.13.1-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2]`, async () => {
    using watching = await come(bob, { version });
    await watching.subscribe([{ filter: 't/#', options: 0 }]);
    const late = publishPacket({ version, topic: 't/late', payload: 'late', qos: 1 });
    const wrongs: readonly (readonly [Buffer, number])[] = [
      [Buffer.of(0x00, 0x00), 0x81],
      [Buffer.of(0xc1, 0x00), 0x81],
      [Buffer.of(0x30, 0xff, 0xff, 0xff, 0xff, 0x01), 0x81],
      [packet(wireTypes.connack, 0, [Buffer.of(0, 0)]), 0x82],
      [packet(wireTypes.suback, 0, [Buffer.of(0, 1, 0)]), 0x82],
      [packet(wireTypes.pingresp, 0, []), 0x82],
      [connectPacket({ version, clientId: 'x' }), 0x82],
    ];
    for (const [bytes, code] of wrongs) {
      using client = await come(alice, { version });
      client.send(bytes, late, pingreqPacket());
      await client.refused(code);
    }
    using publisher = await come(alice, { version });
    await publisher.publish({ topic: 't/fence', payload: 'fence' });
    assert.equal((await watching.message()).payload, 'fence');
  });

  test(`${name}: after DISCONNECT the gateway closes and serves nothing that follows [MQTT-3.14.4-3]`, async () => {
    using watching = await come(bob, { version });
    await watching.subscribe([{ filter: 't/#', options: 0 }]);
    using client = await come(alice, { version, will: { topic: 't/will', payload: 'no' } });
    const late = publishPacket({ version, topic: 't/late', payload: 'late', qos: 1 });
    client.send(packet(packetTypes.disconnect, 0, []), late, pingreqPacket());
    assert.equal(await client.end(), '');
    using publisher = await come(alice, { version });
    await publisher.publish({ topic: 't/fence', payload: 'fence' });
    assert.equal((await watching.message()).payload, 'fence');
  });

  test(`${name}: packets arrive whole however the transport cuts them [MQTT-4.2-1]`, async () => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      using client = await open(alice, { version, maxVersion });
      client.socket.setNoDelay(true);
      const connect = connectPacket({ version, clientId: 'cut' });
      for (const byte of connect) {
        await new Promise<void>((resolve) => {
          client.socket.write(Buffer.of(byte), () => resolve());
        });
      }
      const connack = await client.next(wireTypes.connack);
      assert.equal(readConnack(connack).code, 0);
      const large = Buffer.alloc(100_000, 0x78);
      assert.deepEqual(await client.subscribe('t/large'), [1]);
      client.send(Buffer.concat([pingreqPacket(), publishLarge(version, large)]));
      await client.next(wireTypes.pingresp);
      assert.equal((await client.message(() => true)).payload.length, large.length);
    }
  });
}

function publishLarge(version: MqttVersion, payload: Buffer): Buffer {
  return publishPacket({ version, topic: 't/large', payload, qos: 1 });
}

test('MQTT 5: DISCONNECT has a code that a client may send, and is refused with any other [MQTT-3.14.2-1]', async () => {
  for (const code of [0x01, 0x02, 0x87, 0x8b, 0x8e, 0x9c, 0xff]) {
    using client = await come(alice);
    client.send(disconnect(code));
    await client.refused(0x82);
  }
  for (const code of [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x93, 0x94, 0x95, 0x97, 0x98, 0x99]) {
    using client = await come(alice);
    client.send(disconnect(code));
    assert.equal(await client.end(), '');
  }
});

test('MQTT 5: a DISCONNECT of the gateway has its code and nothing that a server may not send [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4]', async () => {
  const properties = [['sessionExpiryInterval', 60]] as const;
  for (const [bytes, answer] of [
    [Buffer.of(0, 0), 'e00181'],
    [connectPacket({ version: 5, clientId: 'x' }), 'e00182'],
    [packet(3, 0, [text('t/+'), Buffer.of(0)]), 'e00190'],
  ] as const) {
    using client = await come(alice, { clientId: 'code', properties });
    client.send(bytes);
    assert.equal(await client.end(), answer);
  }
});

test('MQTT 5: where no topic alias is offered, every one is invalid [MQTT-3.2.2-18]', async () => {
  using client = await dial(alice);
  const { properties } = await client.connect();
  assert.equal(new Map(properties).get('topicAliasMaximum') ?? 0, 0);
  const alias = [['topicAlias', 1]] as const;
  client.send(client.publishBytes({ topic: 't/x', payload: '', qos: 0, properties: alias }));
  await client.refused(0x94);
});

test('MQTT 5: an expiry on DISCONNECT after none on CONNECT is a protocol error', async () => {
  using client = await come(alice);
  client.send(disconnect(0, [['sessionExpiryInterval', 5]]));
  await client.refused(0x82);
});

test('MQTT 5: an authentication method that is not supported is refused and closed [MQTT-4.12.0-1] [MQTT-4.12.0-4]', async () => {
  for (const each of ['X', 'SCRAM-SHA-256', 'GS2-KRB5', '']) {
    using client = await dial(alice);
    const properties = [
      ['authenticationMethod', each],
      ['authenticationData', Buffer.from('n,,n=alice')],
    ] as const;
    client.send(connectPacket({ version: 5, clientId: 'auth', properties }));
    await client.notLetIn(0x8c);
  }
});

test('MQTT 5: who names no authentication method meets none: no AUTH, no method in CONNACK [MQTT-4.12.0-6]', async () => {
  using client = await dial(alice);
  const { code, properties } = await client.connect();
  assert.equal(code, 0);
  assert.deepEqual(valuesOf(properties, 'authenticationMethod'), []);
  assert.deepEqual(valuesOf(properties, 'authenticationData'), []);
  await client.nothing();
});

test('MQTT 5: AUTH of a client that named no method is a protocol error, as a start and as a re-authentication [MQTT-4.12.0-7] [MQTT-4.12.1-1] [MQTT-4.12.1-2] [MQTT-3.15.2-1]', async () => {
  for (const bytes of [
    packet(wireTypes.auth, 0, []),
    auth(0x00, [method]),
    auth(0x18, [method]),
    auth(0x19, [method]),
    auth(0x01, [method]),
    auth(0x19, []),
  ]) {
    using client = await come(alice);
    client.send(bytes);
    await client.refused(0x82);
  }
});
