/** What CONNECT takes hold of, and that all of it is let go again when the client is not let in after all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { SallyportError } from '../../../common/base/errors.ts';
import { silentLogger } from '../../../common/base/logger.ts';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connack, Connect, Packet, Will } from '../../../common/codec/mqtt/packets.ts';
import { Broker } from '../../broker/broker.ts';
import { aloneCrossing } from '../../broker/fake-crossing.ts';
import type { Message } from '../../broker/message.ts';
import { noIdentifiers } from '../../broker/ports.ts';
import { sessionKey } from '../../broker/session-key.ts';
import type { SessionStore } from '../../broker/sessions.ts';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf, HandClock, subjectOf } from '../../policy/test-support.ts';
import { Intake } from '../../routes/intake.ts';
import { MemorySessionStore } from '../../store/memory-session-store.ts';
import type { Identified } from '../identified.ts';
import { FakeMailbox } from './fake-mailbox.ts';
import { FakeTransport } from './fake-transport.ts';
import { MqttListener } from './listener.ts';

const device = subjectOf('device', 'd1', 'device');
const document = documentOf('limits: { sessionExpiry: 1h, sessionsPerIdentity: 2 }');
const kept = { sessionExpiryInterval: 60 };
const will: Will = {
  topic: 'devices/d1/status',
  payload: Buffer.from('gone'),
  qos: 1,
  retain: false,
  properties: noProperties,
};

const identified: Identified = {
  ok: true,
  name: device.name,
  identity: device.identity,
  certificate: 'internal:1',
  certificateRevoked: false,
  notAfterMs: Number.MAX_SAFE_INTEGER,
  subject: 'CN=d1',
};

type Method = 'open' | 'find' | 'identifyNow';

function setUp(t: TestContext) {
  const clock = new HandClock();
  const stored = new MemorySessionStore({ clock, limits: () => document.limits });
  const broker = new Broker({ crossing: aloneCrossing(), clock });
  const published: Message[] = [];
  const calls: Method[] = [];
  const counted: string[] = [];
  const logged: object[] = [];
  const faults: unknown[] = [];
  /** What is called instead of the method of that name, before it. */
  const before: { [name in Method]?: () => void } = {};
  const called = (name: Method): void => {
    calls.push(name);
    before[name]?.();
  };
  const state = { claims: 0, epoch: 0, policy: compilePolicy(document, 1) };
  const sessions: Pick<SessionStore, 'open' | 'find' | 'newId' | 'enqueue'> = {
    open: async (wanted) => {
      called('open');
      return stored.open(wanted);
    },
    find: async (key) => {
      called('find');
      return stored.find(key);
    },
    newId: () => stored.newId(),
    enqueue: (...all) => stored.enqueue(...all),
  };
  const mailbox = new FakeMailbox();
  const retained = { put: async () => {}, async *match() {}, count: async () => 0 };
  const always = { isRegistered: () => true, hasRoom: () => true, index: { targets: () => [] } };
  const spooling = { spool: () => undefined };
  const intake = new Intake({ broker, retained, mailbox, spooling, sessions, ...always });
  const listener = new MqttListener({
    clock,
    logger: {
      ...silentLogger,
      info: (fields) => void logged.push(fields),
      error: (fields) => void faults.push(Reflect.get(fields, 'err')),
    },
    broker,
    retained,
    mailbox,
    sessions,
    intake: {
      store: (...all) => intake.store(...all),
      publish: (message) => {
        published.push(message);
        return intake.publish(message);
      },
    },
    policy: () => state.policy,
    limits: () => document.limits,
    fresh: () => true,
    identify: async () => identified,
    identifyNow: () => {
      called('identifyNow');
      return identified;
    },
    claim: async (principal, clientId) => {
      state.claims += 1;
      state.epoch += 1;
      let held = true;
      const release = (): void => {
        assert.ok(held, 'a claim is released once');
        held = false;
        state.claims -= 1;
      };
      const key = sessionKey(principal, clientId);
      return { key, epoch: state.epoch, rates: device.rates, release };
    },
    signatures: { signedPublish: () => undefined },
    interestSettled: async () => {},
    count: (name) => void counted.push(name),
  });
  t.after(() => listener.drain(0, 0));

  const connect = async (more: Partial<Connect> = {}, transport = new FakeTransport()) => {
    listener.accept(transport);
    transport.onData(connectBytes(more));
    await settled();
    return { transport, connack: connackOf(transport, more.version ?? 5) };
  };
  return { stored, published, calls, counted, logged, faults, before, state, broker, connect };
}

function connectBytes(more: Partial<Connect>): Buffer {
  const packet: Connect = {
    type: 'connect',
    version: 5,
    cleanStart: true,
    keepAlive: 60,
    clientId: 'c',
    will: undefined,
    userName: undefined,
    password: undefined,
    properties: noProperties,
    ...more,
  };
  return encode(packet, packet.version);
}

/** Every promise and every write that is under way is done. */
async function settled(): Promise<void> {
  for (let n = 0; n < 8; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

function connackOf({ written }: FakeTransport, version: 4 | 5): Connack | undefined {
  const limits = { packetBytes: 1_000, connectBytes: 1_000, userProperties: 1 };
  const decoder = new MqttDecoder('client', { ...limits, topicBytes: 100, topicLevels: 10 });
  decoder.version = version;
  decoder.push(Buffer.concat(written));
  const packet: Packet | undefined = decoder.next();
  return packet?.type === 'connack' ? packet : undefined;
}

const { name } = device;
const key = sessionKey(name, 'c');

test('a session that leaves nothing behind and finds nothing is never written', async (t) => {
  const { connect, calls, stored } = setUp(t);
  for (const more of [{}, { cleanStart: false }, { version: 4 }] as const) {
    const { transport, connack } = await connect(more);
    assert.equal(connack?.sessionPresent, false);
    assert.equal(await stored.find(key), undefined);
    transport.onClose();
    await settled();
  }
  assert.ok(!calls.includes('open'));
});

test('a session is present when one was kept, and gone after a clean start or when it is not kept any more [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-2] [MQTT-3.2.2-3]', async (t) => {
  const { connect, stored } = setUp(t);
  for (const [more, present, stays] of [
    [{ properties: kept }, false, true],
    [{ cleanStart: false, properties: kept }, true, true],
    [{ properties: kept }, false, true],
    [{ cleanStart: false }, true, false],
    [{ cleanStart: false, properties: kept }, false, true],
    [{}, false, false],
    [{ version: 4, cleanStart: false }, false, true],
    [{ version: 4, cleanStart: false }, true, true],
    [{ cleanStart: false, properties: kept }, true, true],
    [{ version: 4 }, false, false],
  ] as const) {
    const { transport, connack } = await connect(more);
    assert.equal(connack?.sessionPresent, present, JSON.stringify(more));
    transport.onClose();
    await settled();
    assert.equal((await stored.find(key)) !== undefined, stays, JSON.stringify(more));
  }
});

test('the will of a session that a clean start ends is published, once', async (t) => {
  const { connect, published } = setUp(t);
  const delayed = { ...will, properties: { willDelayInterval: 30 } };
  const first = await connect({ will: delayed, properties: kept });
  first.transport.onClose();
  await settled();
  assert.deepEqual(published, []);
  await connect({ properties: kept });
  assert.deepEqual(
    published.map(({ payload }) => String(payload)),
    ['gone'],
  );
});

for (const [code, reason] of [
  ['quota', 0x97],
  ['busy', 0x89],
  ['io', 0x88],
] as const) {
  test(`a store that answers ${code} refuses the client with 0x${reason.toString(16)}, and its claim is let go`, async (t) => {
    const { connect, before, state, faults } = setUp(t);
    for (const method of ['find', 'open'] as const) {
      before[method] = () => {
        throw new SallyportError(code, 'the store says so');
      };
      const properties = method === 'open' ? kept : noProperties;
      const { transport, connack } = await connect({ properties });
      assert.equal(connack?.reasonCode, reason);
      assert.ok(transport.ended);
      assert.equal(state.claims, 0);
      delete before[method];
    }
    assert.deepEqual(faults, []);
  });
}

test('a defect anywhere on the way in ends that connection, says so, and leaves no claim behind', async (t) => {
  const { connect, before, state, faults, stored } = setUp(t);
  for (const method of ['find', 'open', 'identifyNow'] as const) {
    before[method] = () => {
      throw new TypeError('a defect');
    };
    const properties = method === 'find' ? noProperties : kept;
    const { transport } = await connect({ properties });
    assert.ok(transport.ended, method);
    assert.equal(state.claims, 0, method);
    delete before[method];
  }
  assert.equal(faults.length, 3);
  // The last of them had begun a session; it is there for the client that comes again.
  assert.notEqual(await stored.find(key), undefined);
  assert.equal((await connect({ cleanStart: false, properties: kept })).connack?.reasonCode, 0);
});

test('who loses its standing while its session is taken up is refused; its session stays, its will is not published', async (t) => {
  const { connect, before, state, published, stored } = setUp(t);
  const first = await connect({ properties: kept });
  first.transport.onClose();
  await settled();
  before.identifyNow = () => void (device.identity.standing = 'suspended');
  t.after(() => void (device.identity.standing = 'active'));
  const { connack } = await connect({ cleanStart: false, properties: kept, will });
  assert.equal(connack?.reasonCode, 0x8a);
  assert.equal(state.claims, 0);
  assert.deepEqual(published, []);
  assert.notEqual(await stored.find(key), undefined);
});

test('a client that is gone before its session was taken up is let go, and the session stays', async (t) => {
  const { connect, before, state, stored, published } = setUp(t);
  const transport = new FakeTransport();
  before.open = () => transport.onClose();
  const { connack } = await connect({ properties: kept, will }, transport);
  assert.equal(connack, undefined);
  assert.equal(state.claims, 0);
  assert.deepEqual(published, []);
  assert.notEqual(await stored.find(key), undefined);
});

test('what is refused before leaves a stored session as it was: no will, no room for CONNACK', async (t) => {
  const { connect, calls, state, stored } = setUp(t);
  const first = await connect({ properties: kept });
  first.transport.onClose();
  await settled();
  calls.length = 0;
  for (const [more, reason] of [
    [{ will: { ...will, topic: 'devices/d2/status' } }, 0x87],
    [
      { will: { ...will, payload: Buffer.of(255), properties: { payloadFormatIndicator: 1 } } },
      0x99,
    ],
    [{ properties: { maximumPacketSize: 8 } }, 0x95],
  ] as const) {
    const { connack } = await connect(more);
    assert.equal(connack?.reasonCode, reason);
  }
  assert.deepEqual(calls, []);
  assert.equal(state.claims, 0);
  assert.notEqual(await stored.find(key), undefined);
});

test('an inherited subscription that is not granted any more is gone for good, told and counted; the others come back', async (t) => {
  const { connect, stored, broker, counted, logged, state } = setUp(t);
  const options = {
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    identifiers: noIdentifiers,
  } as const;
  const wanted = { principal: name, clientId: 'c', epoch: 0, cleanStart: true, expirySeconds: 60 };
  const owned = await stored.open({ ...wanted, will: undefined });
  const filters = ['devices/d1/commands/#', 'devices/+/commands/#', '$share/g/devices/d2/status'];
  await owned.subscribe(new Map(filters.map((filter) => [filter, options])));
  await owned.leave({ inFlight: [], expirySeconds: 60, will: undefined });
  state.epoch = 10;
  const { connack } = await connect({ cleanStart: false, properties: kept });
  assert.equal(connack?.sessionPresent, true);
  const [granted, ...withdrawn] = filters;
  assert.deepEqual([...((await stored.find(key))?.subscriptions.keys() ?? [])], [granted]);
  assert.equal(broker.subscribers, 1);
  const told = logged.find((fields) => Reflect.get(fields, 'withdrawn') === 2);
  assert.deepEqual(Reflect.get(told ?? {}, 'resources'), withdrawn);
  assert.equal(counted.filter((each) => each === 'mqtt_subscriptions_withdrawn').length, 2);
});
