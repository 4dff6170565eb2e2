/** MQTT 5 §3.1.2.5 and §3.1.3.2: when a will is published, when it is not, and as what. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disconnectPacket, packet } from '../../harness/mqtt-bytes.ts';
import type { WillBytes } from '../../harness/mqtt-bytes.ts';
import { encodeProperties, valuesOf } from '../../harness/mqtt-properties.ts';
import type { Property } from '../../harness/mqtt-properties.ts';
import { bothVersions, wireGateway, wireTypes } from '../../harness/mqtt-wire.ts';
import type { WireClient } from '../../harness/mqtt-wire.ts';
import { runningMs } from '../../harness/waiting.ts';

const { alice, bob, come } = await wireGateway();

const topic = 't/will';

/** Sees what is published from now on: nothing that is retained already. */
const onlyLive = 0x20;

async function watcher(qos = 1): Promise<WireClient> {
  const client = await come(bob);
  await client.subscribe([{ filter: 't/#', options: qos | onlyLive }]);
  return client;
}

/** What was published before this has come to the watcher, or never will. */
async function fence(watching: WireClient): Promise<void> {
  using publisher = await come(bob);
  await publisher.publish({ topic: 't/fence', payload: 'fence' });
  assert.equal((await watching.message()).topic, 't/fence');
}

/** Ends the session of this client id, as a clean start does. */
async function endSession(clientId: string): Promise<void> {
  using client = await come(alice, { clientId, cleanStart: true });
  await client.leave();
}

const delayed = (seconds: number): readonly Property[] => [['willDelayInterval', seconds]];
const expiry = (seconds: number): readonly Property[] => [['sessionExpiryInterval', seconds]];

for (const [name, version] of bothVersions) {
  test(`${name}: a will is kept with its connection and published when that ends without a DISCONNECT [MQTT-3.1.2-7] [MQTT-3.1.2-8]`, async () => {
    using watching = await watcher();
    for (const end of ['close', 'abort', 'protocol error'] as const) {
      const will: WillBytes = { topic, payload: end, qos: 1 };
      using client = await come(alice, { version, clientId: 'mortal', will });
      await client.nothing();
      if (end === 'close') await client.drop();
      else if (end === 'abort') client.socket.destroy();
      else client.send(Buffer.of(0, 0));
      const message = await watching.message();
      assert.deepEqual([message.topic, message.payload, message.qos], [topic, end, 1]);
    }
  });

  test(`${name}: DISCONNECT deletes the will [MQTT-3.1.2-10] [MQTT-3.14.4-3]`, async () => {
    using watching = await watcher();
    using client = await come(alice, {
      version,
      clientId: 'polite',
      will: { topic, payload: 'never' },
    });
    await client.leave();
    await endSession('polite');
    await fence(watching);
  });

  test(`${name}: a will that was published is gone: the next end of the same session publishes nothing [MQTT-3.1.2-10]`, async () => {
    using watching = await watcher();
    const will: WillBytes = { topic, payload: 'once', qos: 1 };
    const kept = {
      version,
      clientId: 'phoenix',
      cleanStart: false,
      properties: version === 5 ? expiry(60) : [],
    };
    using client = await come(alice, { ...kept, will });
    await client.drop();
    assert.equal((await watching.message()).payload, 'once');
    using again = await come(alice, kept);
    await again.drop();
    await endSession('phoenix');
    await fence(watching);
  });

  test(`${name}: Will Retain decides whether it is retained [MQTT-3.1.2-14] [MQTT-3.1.2-15]`, async () => {
    using watching = await watcher();
    for (const retain of [true, false]) {
      const place = `t/will/${version}/${retain}`;
      using client = await come(alice, { version, will: { topic: place, payload: 'w', retain } });
      await client.drop();
      assert.equal((await watching.message()).topic, place);
      using late = await come(bob);
      await late.subscribe([{ filter: place, options: 0 }]);
      if (retain) {
        const kept = await late.message();
        assert.deepEqual([kept.payload, kept.retain], ['w', true]);
      }
      await late.nothing();
    }
  });

  test(`${name}: Will QoS 0, 1 and 2 are those of the message [MQTT-3.1.2-12]`, async () => {
    using watching = await watcher(2);
    for (const qos of [0, 1, 2] as const) {
      using client = await come(alice, { version, will: { topic, payload: `${qos}`, qos } });
      await client.drop();
      const message = await watching.message();
      assert.deepEqual([message.payload, message.qos], [`${qos}`, qos]);
    }
  });
}

test('MQTT 5: DISCONNECT with Will Message publishes it, and so does any other code [MQTT-3.1.2-8]', async () => {
  using watching = await watcher();
  for (const code of [0x04, 0x80, 0x81]) {
    using client = await come(alice, { will: { topic, payload: `${code}` } });
    client.send(disconnectPacket(code));
    assert.equal((await watching.message()).payload, `${code}`);
  }
});

test('MQTT 5: a delayed will waits, and is not sent when its session goes on before the delay is over [MQTT-3.1.3-9] [MQTT-3.1.2-8]', async () => {
  using watching = await watcher();
  const will: WillBytes = { topic, payload: 'too late', properties: delayed(3_600) };
  const options = { clientId: 'returns', properties: expiry(7_200) };
  using client = await come(alice, { ...options, will });
  await client.drop();
  using back = await come(alice, { ...options, cleanStart: false });
  await back.leave();
  await endSession('returns');
  await fence(watching);
});

test('MQTT 5: a delayed will is published when its delay is over [MQTT-3.1.2-8]', async () => {
  using watching = await watcher();
  const will: WillBytes = { topic, payload: 'delayed', properties: delayed(1) };
  using client = await come(alice, { clientId: 'late', properties: expiry(3_600), will });
  // Before the gateway can begin to count.
  const [dropped, began] = [performance.now(), runningMs()];
  await client.drop();
  assert.equal((await watching.message()).payload, 'delayed');
  const waited = performance.now() - dropped;
  assert.ok(waited > 900 && runningMs() - began < 5_000, `${waited} ms`);
});

test('MQTT 5: a delayed will is published at once when its session ends [MQTT-3.1.2-8]', async () => {
  using watching = await watcher();
  const will = (payload: string): WillBytes => ({ topic, payload, properties: delayed(3_600) });
  using short = await come(alice, { clientId: 'short', will: will('expiry 0') });
  await short.drop();
  assert.equal((await watching.message()).payload, 'expiry 0');
  using long = await come(alice, {
    clientId: 'long',
    properties: expiry(7_200),
    will: will('clean start'),
  });
  await long.drop();
  using clean = await come(alice, { clientId: 'long', cleanStart: true });
  assert.equal((await watching.message()).payload, 'clean start');
  using cut = await come(alice, {
    clientId: 'cut',
    properties: expiry(7_200),
    will: will('expiry set to 0'),
  });
  cut.send(packet(wireTypes.disconnect, 0, [Buffer.of(4), encodeProperties(expiry(0))]));
  assert.equal((await watching.message()).payload, 'expiry set to 0');
  await clean.nothing();
});

test('MQTT 5: a will is published with its properties, user properties in their order [MQTT-3.1.3-10]', async () => {
  using watching = await watcher();
  const properties: readonly Property[] = [
    ['payloadFormatIndicator', 1],
    ['contentType', 'text/plain'],
    ['responseTopic', 't/answers'],
    ['correlationData', Buffer.of(0, 255, 1)],
    ['userProperty', ['z', '1']],
    ['userProperty', ['a', '2']],
    ['userProperty', ['z', '3']],
    ['userProperty', ['', '']],
  ];
  using client = await come(alice, {
    will: {
      topic,
      payload: 'x',
      properties: [...delayed(0), ['messageExpiryInterval', 60], ...properties],
    },
  });
  await client.drop();
  const message = await watching.message();
  const isExpiry = ([each]: Property): boolean => each === 'messageExpiryInterval';
  assert.deepEqual(
    message.properties.filter((each) => !isExpiry(each)),
    properties,
  );
  const [left] = valuesOf(message.properties, 'messageExpiryInterval');
  assert.ok(Number(left) >= 58 && Number(left) <= 60, String(left));
  await watching.nothing();
});
