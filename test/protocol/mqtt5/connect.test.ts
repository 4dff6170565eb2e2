/** MQTT 5 §3.1 and §3.2, CONNECT and CONNACK: their form, and what is done about it. Sessions and wills have files of their own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connectPacket,
  packet,
  packetTypes,
  pingreqPacket,
  publishPacket,
  readConnack,
  subscribePacket,
  unsubscribePacket,
} from '../../harness/mqtt-bytes.ts';
import type { ConnectBytes, MqttVersion } from '../../harness/mqtt-bytes.ts';
import { text, u16 } from '../../harness/mqtt-fields.ts';
import { encodeProperties, valuesOf } from '../../harness/mqtt-properties.ts';
import { ack, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';
import { runningMs, within } from '../../harness/waiting.ts';

const { alice, bob, dial, come, open } = await wireGateway();

/** CONNECT by hand: everything behind the keep alive is the caller's. */
function handmade(version: number, flags: number, ...payload: readonly Buffer[]): Buffer {
  return named('MQTT', version, flags, ...payload);
}

function named(
  protocol: string,
  version: number,
  flags: number,
  ...payload: readonly Buffer[]
): Buffer {
  const list = version === 5 ? [Buffer.of(0)] : [];
  const head = [text(protocol), Buffer.of(version, flags), u16(60), ...list];
  return packet(packetTypes.connect, 0, [...head, ...payload]);
}

const id = text('by-hand');
const flagsOf = {
  reserved: 1,
  clean: 2,
  will: 4,
  willQos1: 8,
  willQos2: 16,
  willQos3: 24,
  retain: 32,
  password: 64,
  user: 128,
} as const;

async function notLetIn(version: MqttVersion, code: number, ...bytes: Buffer[]): Promise<void> {
  using client = await dial(alice, version);
  client.send(...bytes);
  await client.notLetIn(code);
}

const { clean, will, willQos1, willQos2, willQos3, retain, password, user } = flagsOf;

test('whatever comes before CONNECT ends the connection [MQTT-3.1.0-1] [MQTT-3.14.0-1]', async () => {
  for (const bytes of [
    publishPacket({ version: 5, topic: 't/x', payload: '', qos: 0 }),
    publishPacket({ version: 5, topic: 't/x', payload: '', qos: 1 }),
    ack(wireTypes.puback, 1),
    ack(wireTypes.pubrel, 1),
    subscribePacket(5, 1, [{ filter: 't/x', options: 0 }]),
    unsubscribePacket(5, 1, ['t/x']),
    pingreqPacket(),
    packet(packetTypes.disconnect, 0, []),
    packet(wireTypes.auth, 0, []),
  ]) {
    // A CONNACK with its code, never a DISCONNECT, and nothing is served behind it.
    await notLetIn(5, 0x82, bytes, connectPacket({ version: 5, clientId: 'late' }));
  }
});

test('a protocol name that is not MQTT is refused with 0x84 and closed [MQTT-3.1.2-1]', async () => {
  for (const name of ['mqtt', 'MQTt', 'MQT', 'MQTTT', '', 'AMQP', 'MQTT\u{feff}']) {
    await notLetIn(5, 0x84, named(name, 5, clean, id));
  }
});

test('a protocol version that is neither 5 nor 4 is refused with 0x84 and closed [MQTT-3.1.2-2]', async () => {
  for (const version of [6, 7, 0x84, 255]) {
    await notLetIn(5, 0x84, named('MQTT', version, clean, id));
  }
  // Older ones understand the answer of 3.1.1: unacceptable protocol version.
  for (const bytes of [named('MQIsdp', 3, clean, id), named('MQTT', 3, clean, id)]) {
    using old = await dial(alice, 4);
    old.send(bytes);
    assert.equal(await old.end(), '20020001');
  }
});

for (const [name, version] of bothVersions) {
  /** The start of a will: its property list is there in MQTT 5 only. */
  const none = Buffer.alloc(version - 4);
  const malformed = (...bytes: Buffer[]): Promise<void> => notLetIn(version, 0x81, ...bytes);

  test(`${name}: a second CONNECT is a protocol error [MQTT-3.1.0-2] [MQTT-3.2.0-2]`, async () => {
    using client = await come(alice, { version, clientId: 'twice' });
    client.send(connectPacket({ version, clientId: 'twice' }));
    await client.refused(0x82);
  });

  test(`${name}: the reserved connect flag is malformed [MQTT-3.1.2-3] [MQTT-3.1.4-1]`, async () => {
    await malformed(handmade(version, clean | flagsOf.reserved, id));
  });

  test(`${name}: a will has its fields, a CONNECT without a will has none of them [MQTT-3.1.2-9] [MQTT-3.1.4-1]`, async () => {
    await malformed(handmade(version, clean | will, id));
    await malformed(handmade(version, clean | will, id, none, text('t/will')));
    await malformed(handmade(version, clean, id, none, text('t/will'), text('x')));
    if (version === 5) {
      await malformed(handmade(version, clean | will, id, text('t/will'), text('x')));
    }
    using right = await dial(alice, version);
    right.send(handmade(version, clean | will, id, none, text('t/will'), text('x')));
    assert.equal(readConnack(await right.expect(wireTypes.connack)).code, 0);
    await right.leave();
  });

  test(`${name}: Will QoS and Will Retain without a will, and Will QoS 3, are malformed [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]`, async () => {
    for (const flags of [willQos1, willQos2, willQos3, retain]) {
      await malformed(handmade(version, clean | flags, id));
    }
    await malformed(handmade(version, clean | will | willQos3, id, none, text('t/w'), text('x')));
  });

  test(`${name}: user name and password are there when their flags say so, and only then [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19]`, async () => {
    await malformed(handmade(version, clean, id, text('alice')));
    await malformed(handmade(version, clean | user, id));
    await malformed(handmade(version, clean | user, id, text('alice'), text('secret')));
    await malformed(handmade(version, clean | user | password, id, text('alice')));
    await malformed(handmade(version, clean | password, id));
    using right = await dial(alice, version);
    right.send(handmade(version, clean | user | password, id, text('alice'), text('secret')));
    assert.equal(readConnack(await right.expect(wireTypes.connack)).code, 0);
  });

  test(`${name}: the fields are read as client id, will properties, will topic, will payload, user name, password [MQTT-3.1.3-1] [MQTT-3.1.3-3]`, async () => {
    using watching = await come(bob, { version });
    await watching.subscribe([{ filter: 't/order', options: 1 }]);
    const list = version === 5 ? [encodeProperties([['contentType', 'text/plain']])] : [];
    using client = await dial(alice, version);
    client.send(
      handmade(
        version,
        clean | will | user | password,
        text('ordered'),
        ...list,
        text('t/order'),
        text('last words'),
        text('user'),
        text('secret'),
      ),
    );
    assert.equal(readConnack(await client.expect(wireTypes.connack)).code, 0);
    await client.drop();
    const { topic, payload, properties } = await watching.message();
    assert.deepEqual([topic, payload], ['t/order', 'last words']);
    assert.deepEqual(properties, version === 5 ? [['contentType', 'text/plain']] : []);
    await malformed(handmade(version, clean));
  });

  test(`${name}: client ids of 1 to 23 letters and digits are allowed [MQTT-3.1.3-5]`, async () => {
    const characters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    const whole = [characters.slice(0, 23), characters.slice(23, 46), characters.slice(46)];
    for (const clientId of [...characters.split(''), ...whole, 'x'.repeat(23)]) {
      using client = await come(alice, { version, clientId });
      await client.leave();
    }
  });

  test(`${name}: a client id that is not allowed is refused with 0x85 and closed [MQTT-3.1.3-8] [MQTT-3.2.2-7]`, async () => {
    for (const clientId of ['a/b', '#', '+', 'a b', '$share']) {
      await notLetIn(version, 0x85, connectPacket({ version, clientId }));
    }
  });

  test(`${name}: what follows a CONNECT that is refused is never processed [MQTT-3.1.4-6] [MQTT-3.1.4-2] [MQTT-4.13.2-1]`, async () => {
    using watching = await come(bob, { version });
    await watching.subscribe([{ filter: 't/#', options: 1 }]);
    const publish = publishPacket({ version, topic: 't/late', payload: 'x', qos: 1 });
    const forbiddenWill = { topic: 'not/mine', payload: 'x' };
    const connects: readonly (readonly [Partial<ConnectBytes>, number])[] = [
      [{ clientId: 'a/b' }, 0x85],
      [{ clientId: 'late', will: forbiddenWill }, 0x87],
    ];
    for (const [connect, code] of connects) {
      const bytes = connectPacket({ clientId: 'late', ...connect, version });
      await notLetIn(version, code, bytes, publish);
    }
    using publisher = await come(alice, { version });
    await publisher.publish({ topic: 't/fence', payload: 'fence' });
    assert.equal((await watching.message()).topic, 't/fence');
  });

  test(`${name}: a client whose id is taken over hears why, and is closed [MQTT-3.1.4-3]`, async () => {
    using first = await come(alice, { version, clientId: 'taken' });
    using second = await come(alice, { version, clientId: 'taken' });
    await first.refused(0x8e);
    await second.nothing();
  });

  test(`${name}: packets sent behind CONNECT are answered behind its one CONNACK [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2]`, async () => {
    using client = await dial(alice, version);
    client.send(
      connectPacket({ version, clientId: 'eager' }),
      pingreqPacket(),
      subscribePacket(version, 3, [{ filter: 't/eager', options: 0 }]),
      client.publishBytes({ topic: 't/eager', payload: 'x', qos: 0 }),
    );
    assert.equal(readConnack(await client.expect(wireTypes.connack)).code, 0);
    await client.expect(wireTypes.pingresp);
    await client.expect(wireTypes.suback);
    await client.message();
    await client.nothing();
  });

  test(`${name}: a client that is silent for one and a half times its keep alive is closed [MQTT-3.1.2-22] [MQTT-3.2.2-22]`, async () => {
    using pinging = await come(alice, { version, keepAlive: 2 });
    using watching = await come(bob, { version });
    await watching.subscribe([{ filter: 't/silent', options: 0 }]);
    using silent = await open(alice, { version });
    const [start, began] = [performance.now(), runningMs()];
    const { properties } = await silent.connect({
      keepAlive: 1,
      clientId: 'silent',
      will: { topic: 't/silent', payload: 'x' },
    });
    assert.deepEqual(valuesOf(properties, 'serverKeepAlive'), []);
    const pings = setInterval(() => pinging.send(pingreqPacket()), 500);
    const { at, disconnect } = await within(silent.ended, 10_000, 'the end').finally(() =>
      clearInterval(pings),
    );
    assert.equal(disconnect, version === 5 ? 0x8d : undefined);
    const tookMs = performance.now() - start;
    assert.ok(tookMs > 1_400 && at - began < 4_000, `after ${tookMs} ms`);
    // As if the network had failed: its will is published.
    await watching.message();
    pinging.send(pingreqPacket());
    await pinging.expect(wireTypes.pingresp);
  });

  test(`${name}: CONNACK of a clean start says that no session is there, success, and no reserved flag [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.1.4-5]`, async () => {
    using client = await dial(alice, version);
    client.send(connectPacket({ version, clientId: 'first' }));
    const { body } = await client.expect(wireTypes.connack);
    assert.deepEqual([...body.subarray(0, 2)], [0, 0]);
  });
}

test('MQTT 5: a client without an id is given one, unlike any other, and served under it [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]', async () => {
  const ids = new Set<string>();
  for (let n = 0; n < 5; n += 1) {
    using client = await dial(alice);
    const { code, properties } = await client.connect({ clientId: '' });
    assert.equal(code, 0);
    const [assigned] = valuesOf(properties, 'assignedClientIdentifier');
    assert.ok(typeof assigned === 'string' && assigned !== '' && !ids.has(assigned));
    ids.add(assigned);
    // It is the id of this session: whoever brings it takes the session over.
    using other = await come(alice, { clientId: assigned });
    await client.refused(0x8e);
    await other.nothing();
  }
  using named_ = await dial(alice);
  const { properties } = await named_.connect({ clientId: 'own-name' });
  assert.deepEqual(valuesOf(properties, 'assignedClientIdentifier'), []);
});

test('MQTT 3.1.1: a client without an id is served as one of its own [MQTT-3.1.3-6]', async () => {
  using first = await come(alice, { version: 4, clientId: '' });
  using second = await come(alice, { version: 4, clientId: '' });
  await first.nothing();
  await second.nothing();
});

test('MQTT 5: a refusal has a code of CONNACK, no session present and no property that could be too long [MQTT-3.2.2-6] [MQTT-3.2.2-8] [MQTT-3.2.2-19] [MQTT-3.2.2-20]', async () => {
  // The session is there, and is not spoken of.
  using kept = await come(alice, {
    clientId: 'kept',
    properties: [['sessionExpiryInterval', 60]],
  });
  await kept.leave();
  const refusals: readonly (readonly [Partial<ConnectBytes>, number])[] = [
    [{ will: { topic: 'not/mine', payload: '' } }, 0x87],
    [{ will: { topic: 't/+', payload: '' } }, 0x90],
    [{ userName: 'a b' }, 0x86],
    [{ properties: [['authenticationMethod', 'X']] }, 0x8c],
    [{ properties: [['receiveMaximum', 0]] }, 0x82],
  ];
  for (const [connect, code] of refusals) {
    const bytes = connectPacket({
      version: 5,
      clientId: 'kept',
      cleanStart: false,
      ...connect,
      properties: [['maximumPacketSize', 5], ...(connect.properties ?? [])],
    });
    await notLetIn(5, code, bytes);
  }
});

test('MQTT 5: Response Information is given to nobody who did not ask for it [MQTT-3.1.2-28]', async () => {
  for (const properties of [[], [['requestResponseInformation', 0]]] as const) {
    using client = await dial(alice);
    const said = (await client.connect({ properties })).properties;
    assert.deepEqual(valuesOf(said, 'responseInformation'), []);
  }
});

test('MQTT 5: a client that wants no problem information gets none on what answers it [MQTT-3.1.2-29]', async () => {
  using client = await come(alice, { properties: [['requestProblemInformation', 0]] });
  client.send(client.publishBytes({ topic: 'not/mine', payload: '', qos: 1 }));
  const puback = await client.acknowledged(wireTypes.puback);
  client.send(client.publishBytes({ topic: 'not/mine', payload: '', qos: 2 }));
  const pubrec = await client.acknowledged(wireTypes.pubrec);
  client.send(ack(wireTypes.pubrel, 9));
  const pubcomp = await client.acknowledged(wireTypes.pubcomp);
  assert.deepEqual([puback.code, pubrec.code, pubcomp.code], [0x87, 0x87, 0x92]);
  for (const { properties } of [puback, pubrec, pubcomp]) assert.deepEqual(properties, []);
  client.send(subscribePacket(5, 1, [{ filter: 'not/mine', options: 0 }]));
  assert.equal((await client.expect(wireTypes.suback)).bytes.toString('hex'), '900400010087');
  client.send(unsubscribePacket(5, 2, ['not/mine']));
  assert.equal((await client.expect(wireTypes.unsuback)).bytes.toString('hex'), 'b00400020011');
});
