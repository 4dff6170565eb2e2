/** What the options of Debian's mosquitto clients can ask of a broker beyond a plain exchange of messages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mosquittoPub, MosquittoSub, runMosquitto } from '../harness/mosquitto.ts';
import type { MosquittoTarget, MosquittoVersion, SubscriberLine } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';

const config = [
  "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }",
  'limits: { sessionsPerIdentity: 100 }',
].join('\n');
const { gateway, port } = await sharedGateway({ config, workers: 2 });
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

const limitMs = 60_000;
const versions: readonly MosquittoVersion[] = ['mqttv5', 'mqttv311'];
const writer: MosquittoTarget = { port, identity: alice };
const reader: MosquittoTarget = { port, identity: bob };

/** The last field is then everything that mosquitto_sub knows of the message. */
const asJson = ['-F', 'MESSAGE %t %q %r %j'];

interface Facts {
  readonly payload: string;
  readonly properties?: Readonly<Record<string, unknown>>;
}

function factsOf(message: SubscriberLine): Facts {
  // The format of its JSON output.
  return JSON.parse(message.payload) as Facts;
}

function property(packet: string, ...value: readonly string[]): string[] {
  return ['-D', packet, ...value];
}

async function publish(topic: string, payload: string, ...extra: string[]): Promise<string> {
  const { code, output } = await mosquittoPub(writer, topic, payload, extra);
  assert.equal(code, 0, output);
  return output;
}

/** Everything that has come once `last` is there. */
async function payloadsUntil(subscriber: MosquittoSub, last: string): Promise<readonly string[]> {
  await subscriber.message(({ payload }) => payload === last);
  return subscriber.messages.map(({ payload }) => payload);
}

for (const version of versions) {
  const here = { ...reader, version };

  test(`${version}: 200 lines of QoS 2 in one connection come once, in order`, async () => {
    await using subscriber = await MosquittoSub.start(here, 't/lines', ['-q', '2']);
    const lines = Array.from({ length: 200 }, (_, n) => `line-${n}`);
    const args = ['-t', 't/lines', '-q', '2', '-l'];
    const target = { ...writer, version };
    const { code, output } = await runMosquitto('mosquitto_pub', target, args, lines.join('\n'));
    assert.equal(code, 0, output);
    assert.deepEqual(await payloadsUntil(subscriber, 'line-199'), lines);
  });

  test(`${version}: a message as large as the gateway takes`, async () => {
    await using subscriber = await MosquittoSub.start(here, 't/large', [
      '-q',
      '2',
      '-F',
      'MESSAGE %t %q %r %l',
    ]);
    const target = { ...writer, version };
    const large = ['-t', 't/large', '-q', '2', '-s'];
    const pub = await runMosquitto('mosquitto_pub', target, large, 'x'.repeat(262_144));
    assert.equal(pub.code, 0, pub.output);
    assert.equal((await subscriber.message(() => true)).payload, '262144');
  });

  test(`${version}: two filters that match one message bring it once, with the higher QoS`, async () => {
    const filters = ['-t', 't/over/+', '-q', '2'];
    await using subscriber = await MosquittoSub.start(here, 't/over/#', filters);
    await publish('t/over/a', 'first', '-q', '2');
    await publish('t/over/a', 'last');
    assert.deepEqual(await payloadsUntil(subscriber, 'last'), ['first', 'last']);
    assert.equal(subscriber.messages[0]?.qos, 2);
  });

  test(`${version}: a filter that is given up brings nothing any more`, async () => {
    const session = ['-c', '-i', `gives-up-${version}`, '-q', '1'];
    const both = await runMosquitto('mosquitto_sub', here, [
      ...session,
      '-E',
      '-t',
      't/up/keep',
      '-t',
      't/up/give',
    ]);
    assert.equal(both.code, 0, both.output);
    const again = [...session, '-U', 't/up/give'];
    await using subscriber = await MosquittoSub.start(here, 't/up/keep', again);
    await subscriber.said(/received UNSUBACK/);
    await publish('t/up/give', 'given up');
    await publish('t/up/keep', 'kept');
    assert.deepEqual(await payloadsUntil(subscriber, 'kept'), ['kept']);
  });

  test(`${version}: a retained message is cleared by an empty one`, async () => {
    const topic = `t/cleared/${version}`;
    await publish(topic, 'old', '-r', '-q', '2');
    await using cleaner = await MosquittoSub.start(here, topic, ['--remove-retained']);
    await cleaner.said(/received PUBACK/);
    await using subscriber = await MosquittoSub.start(here, topic);
    await publish(topic, 'new');
    assert.deepEqual(await payloadsUntil(subscriber, 'new'), ['new']);
  });

  test(`${version}: a will is retained when it says so`, async () => {
    const topic = `t/last-words/${version}`;
    const will = ['--will-topic', topic, '--will-payload', 'gone', '--will-qos', '1'];
    await using watching = await MosquittoSub.start(here, topic);
    const mortal = await MosquittoSub.start({ ...writer, version }, 't/other', [
      ...will,
      '--will-retain',
    ]);
    await mortal.kill();
    assert.equal((await watching.message(() => true)).retain, false);
    await using later = await MosquittoSub.start(here, topic);
    assert.deepEqual(
      [(await later.message(() => true)).payload, later.messages[0]?.retain],
      ['gone', true],
    );
  });

  test(`${version}: a forbidden subscription is refused, an allowed one beside it is not`, async () => {
    await using subscriber = await MosquittoSub.start(here, 't/allowed');
    const refused = await runMosquitto('mosquitto_sub', here, ['-d', '-t', 'secret/#']);
    assert.match(refused.output, version === 'mqttv5' ? /\): 135/ : /\): 128/);
    const mixed = ['-d', '-E', '-t', 'secret/#', '-t', 't/allowed'];
    const { output } = await runMosquitto('mosquitto_sub', here, mixed);
    assert.match(output, version === 'mqttv5' ? /\): 135, 0/ : /\): 128, 0/);
    await publish('t/allowed', 'still');
    await subscriber.message(({ payload }) => payload === 'still');
  });
}

for (const [first, second] of [
  ['mqttv5', 'mqttv311'],
  ['mqttv311', 'mqttv5'],
] as const) {
  test(`a session begun with ${first} is taken up with ${second}`, async () => {
    const session = ['-c', '-i', `from-${first}`, '-q', '2', '-t', `t/from/${first}`];
    const begun = { ...reader, version: first };
    const { code, output } = await runMosquitto('mosquitto_sub', begun, [...session, '-E']);
    assert.equal(code, 0, output);
    await publish(`t/from/${first}`, 'missed', '-q', '2');
    const back = { ...reader, version: second };
    const read = await runMosquitto('mosquitto_sub', back, [...session, '-C', '1', '-F', '%q %p']);
    assert.deepEqual([read.code, read.output], [0, '2 missed\n']);
  });
}

test('all properties of a message go through, user properties in their order', async () => {
  await using subscriber = await MosquittoSub.start(reader, 't/properties', [
    ...asJson,
    ...property('subscribe', 'subscription-identifier', '268435455'),
  ]);
  const sent = [
    ['payload-format-indicator', '1'],
    ['message-expiry-interval', '60'],
    ['content-type', 'application/json'],
    ['response-topic', 't/answers'],
    ['correlation-data', 'c-1'],
    ['user-property', 'z', '1'],
    ['user-property', 'a', '2'],
    ['user-property', 'z', '3'],
  ].flatMap((each) => property('publish', ...each));
  await publish('t/properties', '{}', ...sent);
  const message = await subscriber.message(() => true);
  const { payload, properties = {} } = factsOf(message);
  const { 'message-expiry-interval': left, 'user-properties': _, ...rest } = properties;
  assert.equal(payload, '{}');
  assert.ok(Number(left) > 50 && Number(left) <= 60, String(left));
  assert.deepEqual(rest, {
    'subscription-identifier': 268_435_455,
    'payload-format-indicator': 1,
    'content-type': 'application/json',
    'response-topic': 't/answers',
    'correlation-data': 'c-1',
  });
  // An object of JSON would keep only one of two properties of the same name.
  assert.match(message.payload, /"user-properties":\{"z":"1","a":"2","z":"3"\}/);
});

test('a topic alias stands for its topic from the second message on', async () => {
  await using subscriber = await MosquittoSub.start(reader, 't/alias');
  const aliased = [...property('publish', 'topic-alias', '7'), '--repeat', '3', '-d'];
  const output = await publish('t/alias', 'x', ...aliased);
  assert.equal(output.match(/sending PUBLISH .* '\(null\)'/g)?.length, 2, output);
  await until('three messages', limitMs, () => subscriber.messages.length >= 3);
  assert.ok(subscriber.messages.every(({ topic }) => topic === 't/alias'));
});

test('mosquitto_rr gets the answer to its request', async () => {
  await using service = await MosquittoSub.start(reader, 't/ask', asJson);
  const answered = async (): Promise<void> => {
    const { properties = {} } = factsOf(await service.message(() => true));
    const correlation = property(
      'publish',
      'correlation-data',
      String(properties['correlation-data']),
    );
    await publish(String(properties['response-topic']), 'answer', ...correlation);
  };
  const request = ['-t', 't/ask', '-e', 't/answers/rr', '-m', 'question', '-q', '1', '-W', '50'];
  const correlated = property('publish', 'correlation-data', 'c-2');
  const args = [...request, ...correlated, '-F', '%p %D'];
  const asked = runMosquitto('mosquitto_rr', writer, args);
  const [{ code, output }] = await Promise.all([asked, answered()]);
  assert.deepEqual([code, output], [0, 'answer c-2\n']);
});

test('-R asks for no retained messages, --retain-as-published for the flag as it was sent', async () => {
  await publish('t/kept', 'kept', '-r');
  await using fresh = await MosquittoSub.start(reader, 't/kept', ['-R']);
  await using asPublished = await MosquittoSub.start(reader, 't/kept', ['--retain-as-published']);
  await using plain = await MosquittoSub.start(reader, 't/kept');
  // Retained messages follow the SUBACK; one that is replaced before that is not sent.
  for (const each of [asPublished, plain]) await payloadsUntil(each, 'kept');
  await publish('t/kept', 'update', '-r');
  const flags = async (subscriber: MosquittoSub): Promise<unknown> => {
    await payloadsUntil(subscriber, 'update');
    return subscriber.messages.map(({ payload, retain }) => [payload, retain]);
  };
  assert.deepEqual(await flags(fresh), [['update', false]]);
  // The client would hide a retained message by itself; this says that none was sent.
  assert.equal((await fresh.said(/./)).match(/received PUBLISH/g)?.length, 1);
  assert.deepEqual(await flags(asPublished), [
    ['kept', true],
    ['update', true],
  ]);
  assert.deepEqual(await flags(plain), [
    ['kept', true],
    ['update', false],
  ]);
});

test('a will waits for its delay and carries its properties', async () => {
  await using watching = await MosquittoSub.start(reader, 't/late', asJson);
  const will = ['--will-topic', 't/late', '--will-payload', 'gone', '--will-qos', '1'];
  const properties = [
    ['will-delay-interval', '1'],
    ['content-type', 'text/plain'],
    ['response-topic', 't/answers'],
    ['correlation-data', 'c-3'],
    ['payload-format-indicator', '1'],
    ['message-expiry-interval', '60'],
    ['user-property', 'z', '1'],
    ['user-property', 'a', '2'],
  ].flatMap((each) => property('will', ...each));
  const mortal = await MosquittoSub.start(writer, 't/other', [...will, ...properties, '-x', '300']);
  const before = performance.now();
  await mortal.kill();
  const message = await watching.message(() => true);
  assert.ok(performance.now() - before > 900, 'it came before its delay');
  const { 'message-expiry-interval': left, ...rest } = factsOf(message).properties ?? {};
  assert.ok(Number(left) > 50 && Number(left) <= 60, String(left));
  assert.deepEqual(rest, {
    'content-type': 'text/plain',
    'response-topic': 't/answers',
    'correlation-data': 'c-3',
    'payload-format-indicator': 1,
    'user-properties': { z: '1', a: '2' },
  });
});

test('a DISCONNECT that says so ends the session and all that it held', async () => {
  const session = ['-c', '-x', '300', '-i', 'ends', '-q', '1', '-t', 't/ends'];
  const end = property('disconnect', 'session-expiry-interval', '0');
  const begun = await runMosquitto('mosquitto_sub', reader, [...session, '-E', ...end]);
  assert.equal(begun.code, 0, begun.output);
  await publish('t/ends', 'for nobody');
  await using back = await MosquittoSub.start(reader, 't/ends', session);
  await publish('t/ends', 'last');
  assert.deepEqual(await payloadsUntil(back, 'last'), ['last']);
});

test('a shared subscription whose only member is away keeps its messages', async () => {
  const session = ['-c', '-x', '300', '-i', 'worker', '-q', '2', '-t', '$share/away/t/work'];
  const { code, output } = await runMosquitto('mosquitto_sub', reader, [...session, '-E']);
  assert.equal(code, 0, output);
  for (const payload of ['1', '2', '3']) await publish('t/work', payload, '-q', '2');
  const back = await runMosquitto('mosquitto_sub', reader, [...session, '-C', '3', '-F', '%q %p']);
  assert.deepEqual([back.code, back.output], [0, '2 1\n2 2\n2 3\n']);
});

test('a receive maximum of one brings one message after the other', async () => {
  const one = ['-q', '2', ...property('connect', 'receive-maximum', '1')];
  await using subscriber = await MosquittoSub.start(reader, 't/slow', one);
  const lines = Array.from({ length: 20 }, (_, n) => `${n}`);
  const args = ['-t', 't/slow', '-q', '2', '-l'];
  const { code, output } = await runMosquitto('mosquitto_pub', writer, args, lines.join('\n'));
  assert.equal(code, 0, output);
  assert.deepEqual(await payloadsUntil(subscriber, '19'), lines);
  const told = await subscriber.said(/./);
  const steps = told.match(/received PUBLISH|sending PUBCOMP/g) ?? [];
  assert.ok(steps.length >= 40, told);
  assert.ok(
    steps.every((step, n) => step === (n % 2 === 0 ? 'received PUBLISH' : 'sending PUBCOMP')),
  );
});

test('nothing larger than the maximum packet size is sent', async () => {
  const small = property('connect', 'maximum-packet-size', '200');
  await using subscriber = await MosquittoSub.start(reader, 't/size', small);
  await publish('t/size', 'x'.repeat(500));
  await publish('t/size', 'small');
  assert.deepEqual(await payloadsUntil(subscriber, 'small'), ['small']);
});

test('a client reads in CONNACK how much the gateway takes', async () => {
  const args = ['-d', '-t', 't/large', '-q', '1', '-s'];
  const { output } = await runMosquitto('mosquitto_pub', writer, args, 'x'.repeat(400_000));
  // It says nothing more of what it does not send.
  assert.match(output, /received CONNACK \(0\)\n.*sending DISCONNECT\n$/);
});

test('a client without an id is given one', async () => {
  await using subscriber = await MosquittoSub.start(reader, 't/id');
  assert.match(
    await subscriber.said(/CONNACK/),
    /Client (?!\(null\))\S{8,} received CONNACK \(0\)/,
  );
});

test('who is taken over from is told so', async () => {
  const id = ['-i', 'one-of-two'];
  await using first = await MosquittoSub.start(reader, 't/over', id);
  const second = await MosquittoSub.start(reader, 't/over', id);
  await first.said(/Received DISCONNECT \(142\)/);
  await second.kill();
});

test('a client that offers ALPN is served', async () => {
  await using subscriber = await MosquittoSub.start(reader, 't/alpn', ['--tls-alpn', 'mqtt']);
  await publish('t/alpn', 'x', '--tls-alpn', 'mqtt');
  await subscriber.message(({ payload }) => payload === 'x');
});
