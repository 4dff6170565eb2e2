/** MQTT 5 §3.1.2.4, §4.1, §4.4 and §4.5: what a session keeps while its client is away, and what it is given back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet, packetTypes, subscribePacket } from '../../harness/mqtt-bytes.ts';
import type { MqttVersion, WillBytes } from '../../harness/mqtt-bytes.ts';
import { encodeProperties } from '../../harness/mqtt-properties.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { ack, again, bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';
import type { WireClient, WireOptions } from '../../harness/mqtt-wire.ts';

// Two workers, so that a client comes back to the one that has its session as often as to the other.
const { alice, bob, come, dial } = await wireGateway([], { workers: 2 });

const { puback, pubrec, pubrel, pubcomp } = wireTypes;
const expiry = (seconds: number): readonly Property[] => [['sessionExpiryInterval', seconds]];

/** A CONNECT that goes on with the session of this client id, and lets it be kept. */
function kept(version: MqttVersion, clientId: string): WireOptions {
  return {
    version,
    clientId,
    cleanStart: false,
    ...(version === 5 ? { properties: expiry(3_600) } : {}),
  };
}

/** Comes with these options. @returns the client, and whether a session was present. */
async function arrive(options: WireOptions): Promise<{ client: WireClient; present: boolean }> {
  const client = await dial(bob, options.version);
  const { code, sessionPresent } = await client.connect(options);
  assert.equal(code, 0);
  return { client, present: sessionPresent };
}

async function sendAway(client: WireClient, how: 'leave' | 'drop'): Promise<void> {
  if (how === 'leave') await client.leave();
  else await client.drop();
}

for (const [name, version] of bothVersions) {
  test(`${name}: subscriptions and messages of QoS 1 and 2 are kept for a client that is away, and no session is one [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-4.5.0-1] [MQTT-3.1.3-2]`, async () => {
    using publisher = await come(alice, { version });
    for (const how of ['leave', 'drop'] as const) {
      const options = kept(version, `away-${version}-${how}`);
      const topic = `t/away/${version}/${how}`;
      const first = await arrive(options);
      assert.equal(first.present, false, 'there was none');
      await first.client.subscribe([{ filter: topic, options: 2 }]);
      await sendAway(first.client, how);
      await publisher.publish({ topic, payload: '1' });
      await publisher.publish({ topic, payload: '2', qos: 2 });
      await publisher.publish({ topic: `${topic}/other`, payload: 'nobody asked for' });
      const other = await arrive(kept(version, `another-${version}-${how}`));
      assert.equal(other.present, false, 'another client id, another session');
      await other.client.nothing();
      const back = await arrive(options);
      assert.equal(back.present, true);
      for (const [payload, qos] of [
        ['1', 1],
        ['2', 2],
      ] as const) {
        const message = await back.client.message();
        assert.deepEqual([message.payload, message.qos, message.dup], [payload, qos, false]);
      }
      // The subscription lives on without a SUBSCRIBE.
      await publisher.publish({ topic, payload: '3' });
      assert.equal((await back.client.message()).payload, '3');
      await back.client.drop();
      await other.client.drop();
    }
  });

  test(`${name}: a clean start forgets the session, there and for later [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]`, async () => {
    using publisher = await come(alice, { version });
    const options = kept(version, `clean-${version}`);
    const first = await arrive(options);
    await first.client.subscribe([{ filter: 't/clean', options: 1 }]);
    await first.client.drop();
    await publisher.publish({ topic: 't/clean', payload: 'waits' });
    const clean = await arrive({ ...options, cleanStart: true });
    assert.equal(clean.present, false);
    await clean.client.nothing();
    await publisher.publish({ topic: 't/clean', payload: 'nobody subscribed' });
    await clean.client.nothing();
    await clean.client.drop();
    const later = await arrive(options);
    // In 3.1.1 a clean session leaves nothing; in MQTT 5 it is a new session that is kept.
    assert.equal(later.present, version === 5);
    await later.client.nothing();
    await later.client.drop();
  });

  test(`${name}: what comes behind a SUBSCRIBE counts, also when the client closes at once`, async () => {
    const topic = `t/behind/${version}`;
    using watching = await come(alice, { version });
    await watching.subscribe([{ filter: topic, options: 1 }]);
    for (let n = 0; n < 10; n += 1) {
      const clientId = `behind-${version}-${n}`;
      const will: WillBytes = { topic, payload: 'never', qos: 1 };
      const options = { ...kept(version, clientId), will };
      const { client } = await arrive(options);
      // The other worker has to hear of the filter before its SUBACK.
      client.send(
        subscribePacket(version, 1, [{ filter: `t/own/${clientId}`, options: 1 }]),
        client.publishBytes({ topic, payload: `${n}`, qos: 0 }),
        packet(
          packetTypes.disconnect,
          0,
          version === 5 ? [Buffer.of(0), encodeProperties(expiry(0))] : [],
        ),
      );
      await client.drop();
      assert.equal((await watching.message()).payload, `${n}`);
      const after = await arrive(kept(version, clientId));
      assert.equal(after.present, version === 4, 'DISCONNECT has ended it');
      await after.client.drop();
    }
    await watching.nothing();
  });

  test(`${name}: what was not acknowledged is sent again with its identifier and DUP, in its order, before anything new [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5]`, async () => {
    using publisher = await come(alice, { version });
    const options = kept(version, `again-${version}`);
    const first = await arrive(options);
    await first.client.subscribe([{ filter: 't/flight', options: 2 }]);
    const ids: number[] = [];
    for (const [payload, qos] of [
      ['one', 1],
      ['two', 2],
      ['done', 1],
      ['released', 2],
    ] as const) {
      await publisher.publish({ topic: 't/flight', payload, qos });
      ids.push((await first.client.message()).packetId ?? 0);
    }
    const [one, two, done, released] = ids;
    assert.ok(one && two && done && released);
    first.client.send(ack(puback, done), ack(pubrec, released));
    assert.equal((await first.client.acknowledged(pubrel)).packetId, released);
    await first.client.drop();
    await publisher.publish({ topic: 't/flight', payload: 'new' });

    const back = await arrive(options);
    const resent: (readonly [number, number | undefined, boolean?, string?])[] = [];
    for (let n = 0; n < 3; n += 1) {
      const next = await back.client.next();
      if (next.type === pubrel) resent.push([pubrel, next.body.readUInt16BE(0)]);
      else {
        const at = 2 + next.body.readUInt16BE(0);
        const payload = next.body.subarray(at + 2 + version - 4).toString();
        resent.push([next.type, next.body.readUInt16BE(at), (next.flags & 8) !== 0, payload]);
      }
    }
    assert.deepEqual(
      resent.filter(([type]) => type === wireTypes.publish),
      [
        [wireTypes.publish, one, true, 'one'],
        [wireTypes.publish, two, true, 'two'],
      ],
    );
    assert.deepEqual(
      resent.filter(([type]) => type === pubrel),
      [[pubrel, released]],
    );
    const fresh = await back.client.message();
    assert.deepEqual([fresh.payload, fresh.dup], ['new', false]);
    assert.ok(!ids.slice(0, 2).includes(fresh.packetId ?? 0) && fresh.packetId !== released);
    back.client.send(ack(puback, one), ack(pubrec, two), ack(pubcomp, released));
    assert.equal((await back.client.acknowledged(pubrel)).packetId, two);
    back.client.send(ack(pubcomp, two), ack(puback, fresh.packetId ?? 0));
    await back.client.nothing();
    await back.client.drop();
    // Everything is done, and nothing comes again.
    const last = await arrive(options);
    assert.equal(last.present, true);
    await last.client.nothing();
    await last.client.drop();
  });

  test(`${name}: a QoS 2 message that was received is not delivered twice over two connections [MQTT-4.3.3-10] [MQTT-4.1.0-1]`, async () => {
    using watching = await come(alice, { version });
    await watching.subscribe([{ filter: 't/twice', options: 0 }]);
    const options = kept(version, `twice-${version}`);
    const first = await arrive(options);
    const publish = first.client.publishBytes({
      topic: 't/twice',
      payload: 'once',
      qos: 2,
      packetId: 11,
    });
    first.client.send(publish);
    assert.equal((await first.client.acknowledged(pubrec)).packetId, 11);
    await first.client.drop();
    const back = await arrive(options);
    assert.equal(back.present, true);
    back.client.send(again(publish));
    assert.equal((await back.client.acknowledged(pubrec)).packetId, 11);
    back.client.send(ack(pubrel, 11));
    assert.deepEqual(await back.client.acknowledged(pubcomp), {
      packetId: 11,
      code: 0,
      properties: [],
    });
    assert.equal((await watching.message()).payload, 'once');
    await back.client.publish({ topic: 't/twice', payload: 'fence' });
    assert.equal((await watching.message()).payload, 'fence');
    await back.client.drop();
  });

  test(`${name}: a session is kept while its connection lasts, through a takeover too [MQTT-4.1.0-1] [MQTT-3.1.4-3] [MQTT-3.1.2-5]`, async () => {
    using publisher = await come(alice, { version });
    const options = kept(version, `over-${version}`);
    const first = await arrive(options);
    await first.client.subscribe([{ filter: 't/over', options: 1 }]);
    await publisher.publish({ topic: 't/over', payload: 'in flight' });
    const { packetId } = await first.client.message();
    const second = await arrive(options);
    await first.client.refused(0x8e);
    assert.equal(second.present, true);
    const resent = await second.client.message();
    assert.deepEqual([resent.packetId, resent.dup, resent.payload], [packetId, true, 'in flight']);
    await second.client.drop();
  });
}

test('MQTT 5: a session ends with its connection when its expiry is 0 or not given [MQTT-4.1.0-2]', async () => {
  using publisher = await come(alice);
  for (const properties of [[], expiry(0)]) {
    const options = { clientId: 'short-lived', cleanStart: false, properties } as const;
    const first = await arrive(options);
    assert.equal(first.present, false);
    await first.client.subscribe([{ filter: 't/short', options: 1 }]);
    await first.client.drop();
    await publisher.publish({ topic: 't/short', payload: 'lost' });
    const back = await arrive(options);
    assert.equal(back.present, false);
    await back.client.nothing();
    await back.client.drop();
  }
});

test('MQTT 5: a session ends when its expiry has passed since its connection did, and not before [MQTT-4.1.0-1] [MQTT-4.1.0-2]', async () => {
  const options = { clientId: 'expires', cleanStart: false, properties: expiry(1) } as const;
  const first = await arrive(options);
  // It does not expire while it is connected.
  await passes(1_300);
  const second = await arrive({ ...options, properties: expiry(60) });
  assert.equal(second.present, true);
  await second.client.drop();
  const soon = await arrive(options);
  assert.equal(soon.present, true);
  await soon.client.drop();
  // A second, and what a busy machine needs to begin to count it.
  await passes(3_000);
  const late = await arrive(options);
  assert.equal(late.present, false);
  await late.client.drop();
  await first.client.drop();
});

/** Expiry has no event to wait for: it is what happens when nothing does. */
function passes(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test('MQTT 5: DISCONNECT may change the expiry of the session [MQTT-4.1.0-2] [MQTT-3.1.2-23]', async () => {
  for (const [first, last, present] of [
    [3_600, 0, false],
    [1, 3_600, true],
  ] as const) {
    const options = { clientId: 'changes', cleanStart: false, properties: expiry(first) };
    const { client } = await arrive(options);
    client.send(packet(wireTypes.disconnect, 0, [Buffer.of(0), encodeProperties(expiry(last))]));
    assert.equal(await client.end(), '');
    if (present) await passes(1_300);
    const back = await arrive({ ...options, cleanStart: false });
    assert.equal(back.present, present);
    await back.client.drop();
  }
});

test('MQTT 3.1.1: a session with Clean Session 1 ends with its connection [MQTT-4.1.0-2]', async () => {
  using publisher = await come(alice, { version: 4 });
  const options = { version: 4, clientId: 'clean-session' } as const;
  const first = await arrive({ ...options, cleanStart: true });
  await first.client.subscribe([{ filter: 't/cs', options: 1 }]);
  await first.client.drop();
  await publisher.publish({ topic: 't/cs', payload: 'lost' });
  const back = await arrive({ ...options, cleanStart: false });
  assert.equal(back.present, false);
  await back.client.nothing();
  await back.client.drop();
});

test('MQTT 5: CONNACK comes before what the session has waiting [MQTT-3.2.0-1]', async () => {
  using publisher = await come(alice);
  const options = kept(5, 'first-connack');
  const first = await arrive(options);
  await first.client.subscribe([{ filter: 't/waiting', options: 1 }]);
  await first.client.drop();
  for (let n = 0; n < 20; n += 1) await publisher.publish({ topic: 't/waiting', payload: `${n}` });
  // `arrive` takes the first packet for CONNACK.
  const back = await arrive(options);
  for (let n = 0; n < 20; n += 1) assert.equal((await back.client.message()).payload, `${n}`);
  await back.client.drop();
});

test('MQTT 5: an expired message is not kept for a client that is away [MQTT-3.3.2-5] [MQTT-3.3.2-6]', async () => {
  using publisher = await come(alice);
  const options = kept(5, 'expired');
  const first = await arrive(options);
  await first.client.subscribe([{ filter: 't/expired', options: 1 }]);
  await first.client.drop();
  const publish = { topic: 't/expired', payload: 'x' };
  const began = performance.now();
  await publisher.publish({ ...publish, properties: [['messageExpiryInterval', 1]] });
  await publisher.publish({ ...publish, properties: [['messageExpiryInterval', 100]] });
  await passes(2_100);
  const back = await arrive(options);
  const { properties } = await back.client.message();
  const left = Number(new Map(properties).get('messageExpiryInterval'));
  const least = 100 - Math.ceil((performance.now() - began) / 1_000);
  assert.ok(left >= least && left <= 98, `${left}`);
  await back.client.nothing();
  await back.client.drop();
});
