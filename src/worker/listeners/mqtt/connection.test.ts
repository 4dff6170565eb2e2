/** A fault in the code of one connection ends that connection; the others of the same listener go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { silentLogger } from '../../../common/base/logger.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Packet, Will } from '../../../common/codec/mqtt/packets.ts';
import { Broker } from '../../broker/broker.ts';
import { aloneCrossing } from '../../broker/fake-crossing.ts';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf, HandClock, subjectOf } from '../../policy/test-support.ts';
import { Intake } from '../../routes/intake.ts';
import { MemorySessionStore } from '../../store/memory-session-store.ts';
import { FakeMailbox } from './fake-mailbox.ts';
import { FakeTransport } from './fake-transport.ts';
import { MqttListener } from './listener.ts';
import type { Identified } from '../identified.ts';

const device = subjectOf('device', 'd1', 'device');
const document = documentOf('routes: { telemetry: { rate: [] } }');
const policy = compilePolicy(document, 1);
const topic = 'devices/d1/status';

const identified: Identified = {
  ok: true,
  name: device.name,
  identity: device.identity,
  certificate: 'internal:1',
  certificateRevoked: false,
  notAfterMs: Number.MAX_SAFE_INTEGER,
  subject: 'CN=d1',
};

type Port = 'identify' | 'claim' | 'policy' | 'fresh' | 'retained' | 'interestSettled' | 'clock';

function setUp(t: TestContext) {
  const faults: unknown[] = [];
  const counted: string[] = [];
  const broken = new Set<Port>();
  let sessions = 0;
  const use = <T>(port: Port, value: T): T => {
    if (broken.has(port)) throw new Error(`a defect in ${port}`);
    return value;
  };
  const hands = new HandClock();
  const broker = new Broker({ crossing: aloneCrossing(), clock: hands });
  const mailbox = new FakeMailbox();
  const retained = {
    put: () => use('retained', Promise.resolve()),
    async *match() {},
    count: () => Promise.resolve(0),
  };
  const spooling = { spool: () => undefined };
  const always = { isRegistered: () => true, hasRoom: () => true, index: { targets: () => [] } };
  const stored = new MemorySessionStore({ clock: hands, limits: () => document.limits });
  const listener = new MqttListener({
    clock: { now: () => hands.now(), monotonic: () => use('clock', hands.monotonic()) },
    logger: { ...silentLogger, error: (fields) => void faults.push(Reflect.get(fields, 'err')) },
    broker,
    retained,
    mailbox,
    sessions: stored,
    intake: new Intake({ broker, retained, mailbox, spooling, sessions: stored, ...always }),
    policy: () => use('policy', policy),
    limits: () => document.limits,
    fresh: () => use('fresh', true),
    identify: () => use('identify', Promise.resolve(identified)),
    identifyNow: () => identified,
    claim: (_, clientId) => {
      use('claim', undefined);
      sessions += 1;
      const release = (): void => {
        sessions -= 1;
      };
      return Promise.resolve({ key: clientId, epoch: sessions, rates: device.rates, release });
    },
    signatures: { signedPublish: () => undefined },
    interestSettled: () => use('interestSettled', Promise.resolve()),
    count: (name) => void counted.push(name),
  });
  t.after(() => {
    broken.clear();
    return listener.drain(0, 0);
  });

  const open = (): FakeTransport => {
    const transport = new FakeTransport();
    listener.accept(transport);
    return transport;
  };
  const live = async (clientId: string, will?: Will): Promise<FakeTransport> => {
    const transport = open();
    transport.onData(connect(clientId, will));
    await settled();
    assert.deepEqual(answers(transport), ['20']);
    transport.written.length = 0;
    return transport;
  };
  return { listener, faults, counted, broken, open, live, sessions: () => sessions };
}

/** Every promise and every write that is under way is done. */
async function settled(): Promise<void> {
  for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** First bytes of the packets written, one packet a write. */
function answers({ written }: FakeTransport): string[] {
  return written.map((bytes) => bytes.toString('hex', 0, 1));
}

function connect(clientId: string, will?: Will): Buffer {
  const packet: Packet = {
    type: 'connect',
    version: 5,
    cleanStart: true,
    keepAlive: 60,
    clientId,
    will,
    userName: undefined,
    password: undefined,
    properties: noProperties,
  };
  return encode(packet, 5);
}

const pingreq = encode({ type: 'pingreq' }, 5);

function publish(retain: boolean, to = topic): Buffer {
  const packet: Packet = {
    type: 'publish',
    topic: to,
    packetId: 1,
    qos: 1,
    dup: false,
    retain,
    payload: Buffer.from('{}'),
    properties: noProperties,
  };
  return encode(packet, 5);
}

const subscribe = encode(
  {
    type: 'subscribe',
    packetId: 1,
    subscriptions: [
      {
        topicFilter: 'devices/d1/commands/#',
        qos: 1,
        noLocal: false,
        retainAsPublished: false,
        retainHandling: 0,
      },
    ],
    properties: noProperties,
  },
  5,
);

for (const port of ['identify', 'policy', 'fresh'] as const) {
  test(`a fault in ${port} during CONNECT ends that connection and leaves no session`, async (t) => {
    const { listener, faults, counted, broken, open, live, sessions } = setUp(t);
    const other = await live('other');
    broken.add(port);
    const hit = open();
    hit.onData(connect('hit'));
    await settled();
    assert.equal(hit.ended, true);
    assert.equal(faults.length, 1);
    assert.match(String(faults[0]), new RegExp(`a defect in ${port}`));
    assert.ok(counted.includes('internal_errors'));
    assert.equal(sessions(), 1);
    assert.equal(listener.connections, 1);
    broken.clear();
    other.onData(pingreq);
    await settled();
    assert.deepEqual(answers(other), ['d0']);
    await live('next');
  });
}

test('a fault while a session is claimed refuses that connection, and no session is left', async (t) => {
  const { broken, open, live, sessions } = setUp(t);
  broken.add('claim');
  const hit = open();
  hit.onData(connect('hit'));
  await settled();
  // A check of the policy that fails is a refusal.
  assert.deepEqual(
    hit.written.map((each) => each.toString('hex')),
    ['2003008900'],
  );
  assert.equal(hit.ended, true);
  assert.equal(sessions(), 0);
  broken.clear();
  await live('next');
});

for (const [what, port, bytes] of [
  ['PUBLISH', 'policy', publish(false, 'devices/d1/diagnostics')],
  ['a retained PUBLISH', 'retained', publish(true)],
  ['SUBSCRIBE', 'policy', subscribe],
  ['SUBSCRIBE', 'interestSettled', subscribe],
] as const) {
  test(`a fault in ${port} during ${what} ends that connection with 0x80, unacknowledged`, async (t) => {
    const { faults, broken, live, sessions } = setUp(t);
    const [hit, other] = [await live('hit'), await live('other')];
    broken.add(port);
    hit.onData(bytes);
    await settled();
    assert.equal(hit.ended, true);
    assert.deepEqual(
      hit.written.map((each) => each.toString('hex')),
      ['e00180'],
    );
    assert.equal(faults.length, 1);
    assert.equal(sessions(), 1);
    broken.clear();
    other.onData(bytes);
    await settled();
    assert.equal(other.ended, false);
    assert.equal(answers(other).length, 1);
  });
}

test('a fault while a will is published is nobody else’s end', async (t) => {
  const { broken, live, sessions } = setUp(t);
  const will: Will = {
    topic,
    payload: Buffer.from('gone'),
    qos: 0,
    retain: true,
    properties: noProperties,
  };
  const [hit, other] = [await live('hit', will), await live('other')];
  broken.add('retained');
  hit.onClose();
  await settled();
  assert.equal(sessions(), 1);
  other.onData(pingreq);
  await settled();
  assert.deepEqual(answers(other), ['d0']);
});

test('a fault in what is written last leaves no session', async (t) => {
  const { live, sessions } = setUp(t);
  const transport = await live('hit');
  transport.fault = new Error('a defect of the stream');
  transport.onData(pingreq);
  assert.throws(() => transport.onClose(), /a defect of the stream/);
  await settled();
  assert.equal(sessions(), 0);
});

test('while a packet waits for its answer nothing more is read, and the order is kept', async (t) => {
  const { live } = setUp(t);
  const transport = await live('c');
  transport.onData(Buffer.concat([subscribe, pingreq, publish(true), pingreq]));
  assert.equal(transport.paused, true);
  await settled();
  assert.equal(transport.paused, false);
  const first = Buffer.concat(transport.written);
  const order: number[] = [];
  for (let at = 0; at < first.length; at += 2 + first.readUInt8(at + 1)) {
    order.push(first.readUInt8(at) >> 4);
  }
  // SUBACK, PINGRESP; the message is being stored, and what comes after it does not wait for that: PINGRESP, PUBACK.
  assert.deepEqual(order, [9, 13, 13, 4]);
});

test('a connection counts as authenticated when its CONNECT was accepted, not before', async (t) => {
  const { open, broken } = setUp(t);
  const transport = open();
  assert.equal(transport.hasAuthenticated, false);
  transport.onData(connect('c'));
  await settled();
  assert.equal(transport.hasAuthenticated, true);
  const stranger = open();
  broken.add('identify');
  stranger.onData(connect('s'));
  await settled();
  assert.equal(stranger.hasAuthenticated, false);
});
