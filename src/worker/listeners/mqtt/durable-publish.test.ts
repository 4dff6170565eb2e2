/** Messages that have to be stored before they are acknowledged: order, bounds, refusals, and connections that end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { SallyportError } from '../../../common/base/errors.ts';
import { silentLogger } from '../../../common/base/logger.ts';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Packet, ProtocolVersion, Will } from '../../../common/codec/mqtt/packets.ts';
import { Broker } from '../../broker/broker.ts';
import { aloneCrossing } from '../../broker/fake-crossing.ts';
import type { Message } from '../../broker/message.ts';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf, HandClock, subjectOf } from '../../policy/test-support.ts';
import type { Identified } from '../identified.ts';
import { MemorySessionStore } from '../../store/memory-session-store.ts';
import { FakeMailbox } from './fake-mailbox.ts';
import { FakeTransport } from './fake-transport.ts';
import { MqttListener } from './listener.ts';

const device = subjectOf('device', 'd1', 'device');
const document = documentOf(
  'routes: { telemetry: { rate: [] } }\nlimits: { receiveMaximum: 4, outboundBytes: 64KiB }',
);
const policy = compilePolicy(document, 1);
const telemetry = 'devices/d1/telemetry';
const status = 'devices/d1/status';

const identified: Identified = {
  ok: true,
  name: device.name,
  identity: device.identity,
  certificate: 'internal:1',
  certificateRevoked: false,
  notAfterMs: Number.MAX_SAFE_INTEGER,
  subject: 'CN=d1',
};

interface Storing {
  readonly message: Message;
  resolve(): void;
  reject(error: unknown): void;
}

/** A listener whose store answers when the test says so, for messages whose payload begins with "store". */
function setUp(t: TestContext) {
  const clock = new HandClock();
  const storing: Storing[] = [];
  const published: string[] = [];
  const state = { refusesAtOnce: undefined as Error | undefined, released: 0 };
  const unused = (): never => assert.fail('not part of this test');
  const listener = new MqttListener({
    clock,
    logger: silentLogger,
    broker: new Broker({
      crossing: aloneCrossing(),
      clock,
    }),
    retained: { put: unused, count: unused, match: unused },
    mailbox: new FakeMailbox(),
    sessions: new MemorySessionStore({ clock, limits: () => document.limits }),
    intake: {
      store: (message) => {
        if (state.refusesAtOnce !== undefined) throw state.refusesAtOnce;
        if (!message.payload.toString().startsWith('store')) return undefined;
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        storing.push({ message, resolve, reject });
        return { message, done: promise };
      },
      publish: (message) => {
        published.push(message.payload.toString().slice(0, 10));
        return 0;
      },
    },
    policy: () => policy,
    limits: () => document.limits,
    fresh: () => true,
    identify: () => Promise.resolve(identified),
    identifyNow: () => identified,
    claim: (_, clientId) =>
      Promise.resolve({
        key: clientId,
        epoch: 1,
        rates: device.rates,
        release: () => {
          state.released += 1;
        },
      }),
    signatures: { signedPublish: () => undefined },
    interestSettled: () => Promise.resolve(),
    count: () => {},
  });
  t.after(async () => {
    for (const each of storing) each.resolve();
    await listener.drain(0, 1_000);
  });
  const live = async (version: ProtocolVersion = 5, will?: Will): Promise<Client> => {
    const transport = new FakeTransport();
    listener.accept(transport);
    const client = new Client(transport, version);
    client.send({
      type: 'connect',
      version,
      cleanStart: true,
      keepAlive: 60,
      clientId: 'c',
      will,
      userName: undefined,
      password: undefined,
      properties: noProperties,
    });
    await settled();
    assert.deepEqual(client.answers(), ['connack 0']);
    return client;
  };
  /** The store answers for the n-th message that it was given. */
  const at = (n: number): Storing => storing[n] ?? assert.fail(`nothing was stored as ${n}`);
  return { listener, storing, published, state, live, at };
}

class Client {
  readonly transport: FakeTransport;
  readonly #version: ProtocolVersion;
  #packetId = 0;
  readonly #decoder: MqttDecoder;

  constructor(transport: FakeTransport, version: ProtocolVersion) {
    this.transport = transport;
    this.#version = version;
    this.#decoder = new MqttDecoder('client', document.limits);
    this.#decoder.version = version;
  }

  send(...packets: readonly Packet[]): void {
    this.transport.onData(Buffer.concat(packets.map((packet) => encode(packet, this.#version))));
  }

  /** The n-th message has the packet identifier n; QoS 0 does not count. */
  publish(payload: string, more: { topic?: string; retain?: boolean; qos?: 0 | 1 } = {}): Packet {
    const { topic = telemetry, retain = false, qos = 1 } = more;
    if (qos > 0) this.#packetId += 1;
    const packetId = qos === 0 ? 0 : this.#packetId;
    const properties = noProperties;
    const bytes = Buffer.from(payload);
    return {
      type: 'publish',
      topic,
      packetId,
      qos,
      dup: false,
      retain,
      payload: bytes,
      properties,
    };
  }

  /** What has been written since the last call. */
  answers(): string[] {
    this.#decoder.push(Buffer.concat(this.transport.written.splice(0)));
    const found: string[] = [];
    for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) {
      if (packet.type === 'puback') found.push(`puback ${packet.packetId} ${packet.reasonCode}`);
      else if ('reasonCode' in packet) found.push(`${packet.type} ${packet.reasonCode}`);
      else found.push(packet.type);
    }
    return found;
  }
}

async function settled(): Promise<void> {
  for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

test('messages are published and acknowledged in their order, whichever is stored first', async (t) => {
  const { live, at, published } = setUp(t);
  const client = await live();
  client.send(client.publish('store 1'), client.publish('store 2'), client.publish('plain 3'), {
    type: 'pingreq',
  });
  await settled();
  assert.deepEqual(client.answers(), ['pingresp'], 'the connection is not held up');
  at(1).resolve();
  await settled();
  assert.deepEqual([client.answers(), published], [[], []]);
  at(0).resolve();
  await settled();
  // 16: no matching subscribers. What was stored has reached somebody.
  assert.deepEqual(client.answers(), ['puback 1 0', 'puback 2 0', 'puback 3 16']);
  assert.deepEqual(published, ['store 1', 'store 2', 'plain 3']);
  client.send(client.publish('plain 4'));
  await settled();
  assert.deepEqual(client.answers(), ['puback 4 16']);
});

test('what waits to be stored, or behind what does, keeps no read buffer', async (t) => {
  const { live, at, published } = setUp(t);
  const client = await live();
  const packets = [client.publish('store 1'), client.publish('plain 2', { qos: 0 })];
  const chunk = Buffer.concat(packets.map((packet) => encode(packet, 5)));
  client.transport.onData(chunk);
  await settled();
  chunk.fill(0);
  at(0).resolve();
  await settled();
  assert.deepEqual(published, ['store 1', 'plain 2']);
});

test('QoS 0 keeps its place and is answered by nothing', async (t) => {
  const { live, at, published } = setUp(t);
  const client = await live();
  client.send(client.publish('store 0', { qos: 0 }), client.publish('plain 1'));
  client.send(client.publish('plain 0', { qos: 0 }));
  await settled();
  assert.deepEqual(published, []);
  at(0).resolve();
  await settled();
  assert.deepEqual(published, ['store 0', 'plain 1', 'plain 0']);
  assert.deepEqual(client.answers(), ['puback 1 16']);
});

for (const [code, reason] of [
  ['quota', 0x97],
  ['unavailable', 0x83],
  ['io', 0x83],
] as const) {
  test(`what cannot be stored for ${code} is refused in its turn, and the next is taken`, async (t) => {
    const { live, at, published, state } = setUp(t);
    const client = await live();
    client.send(client.publish('store 1'), client.publish('store 2'), client.publish('store 3'));
    state.refusesAtOnce = new SallyportError(code, 'full');
    client.send(client.publish('store 4'));
    at(1).reject(new SallyportError(code, 'full'));
    at(2).resolve();
    await settled();
    assert.deepEqual(client.answers(), []);
    at(0).resolve();
    await settled();
    assert.deepEqual(client.answers(), [
      'puback 1 0',
      `puback 2 ${reason}`,
      'puback 3 0',
      `puback 4 ${reason}`,
    ]);
    assert.deepEqual(published, ['store 1', 'store 3']);
    client.send(client.publish('store 5'));
    await settled();
    assert.deepEqual(client.answers(), [`puback 5 ${reason}`]);
  });
}

test('3.1.1 is closed for what cannot be stored; what came after it is stored and published all the same', async (t) => {
  const { live, at, published } = setUp(t);
  const client = await live(4);
  client.send(client.publish('store 1'), client.publish('store 2'), client.publish('store 3'));
  at(0).resolve();
  at(1).reject(new SallyportError('unavailable', 'full'));
  await settled();
  assert.deepEqual(client.answers(), ['puback 1 0']);
  assert.equal(client.transport.ended, true);
  at(2).resolve();
  await settled();
  assert.deepEqual(published, ['store 1', 'store 3']);
  assert.deepEqual(client.answers(), []);
});

test('a refusal by the policy comes after the answers to what was sent before', async (t) => {
  const { live, at } = setUp(t);
  const client = await live();
  client.send(
    client.publish('store 1'),
    client.publish('x', { topic: 'devices/d2/telemetry' }),
    client.publish('plain 3'),
  );
  await settled();
  assert.deepEqual(client.answers(), []);
  at(0).resolve();
  await settled();
  assert.deepEqual(client.answers(), ['puback 1 0', 'puback 2 135', 'puback 3 16']);
});

test('a client of MQTT 5 that sends more than its receive maximum is ended with 0x93', async (t) => {
  const { live, at, published } = setUp(t);
  const client = await live();
  for (let n = 1; n <= 4; n += 1) client.send(client.publish(`store ${n}`));
  at(0).resolve();
  await settled();
  assert.deepEqual(client.answers(), ['puback 1 0']);
  client.send(client.publish('store 5'));
  await settled();
  assert.equal(client.transport.ended, false);
  client.send(client.publish('store 6'));
  await settled();
  assert.deepEqual(client.answers(), [`disconnect ${0x93}`]);
  for (let n = 1; n <= 4; n += 1) at(n).resolve();
  await settled();
  assert.deepEqual(published, ['store 1', 'store 2', 'store 3', 'store 4', 'store 5']);
});

for (const [what, version, qos, payload, most] of [
  ['3.1.1: too many', 4, 1, 'store', 5],
  ['QoS 0: too many', 5, 0, 'store', 5],
  ['QoS 0: too many bytes', 5, 0, `store${'x'.repeat(40_000)}`, 2],
] as const) {
  test(`${what} that wait pause the reading, until half of them are stored`, async (t) => {
    const { live, at, storing } = setUp(t);
    const client = await live(version);
    client.send(...Array.from({ length: 8 }, () => client.publish(payload, { qos })));
    await settled();
    assert.equal(client.transport.paused, true);
    assert.equal(storing.length, most);
    const half = most === 2 ? 2 : 3;
    for (let n = 0; n < half; n += 1) at(n).resolve();
    await settled();
    assert.ok(storing.length > most);
    for (let n = half; n < 8; n += 1) {
      at(n).resolve();
      await settled();
    }
    assert.equal(client.transport.paused, false);
    assert.equal(client.answers().length, qos === 0 ? 0 : 8);
  });
}

test('retained messages of one topic are stored one after the other', async (t) => {
  const { live, at, storing } = setUp(t);
  const client = await live();
  client.send(
    client.publish('store 1', { topic: status, retain: true }),
    client.publish('store 2'),
    client.publish('store 3', { topic: status, retain: true }),
    client.publish('store 4'),
  );
  await settled();
  assert.equal(storing.length, 2);
  at(0).resolve();
  at(1).resolve();
  await settled();
  assert.equal(storing.length, 4);
  at(2).resolve();
  at(3).resolve();
  await settled();
  // A message that is only retained has reached no subscriber.
  assert.deepEqual(client.answers(), ['puback 1 16', 'puback 2 0', 'puback 3 16', 'puback 4 0']);
});

test('what a connection that ended had sent is published, then its will; then its session is free', async (t) => {
  const { live, at, published, state, storing } = setUp(t);
  const payload = Buffer.from('store will');
  const will: Will = { topic: status, payload, qos: 1, retain: true, properties: noProperties };
  const client = await live(5, will);
  client.send(client.publish('store 1'), client.publish('plain 2'));
  client.transport.onClose();
  await settled();
  assert.deepEqual([published, state.released, storing.length], [[], 0, 1]);
  at(0).resolve();
  await settled();
  assert.deepEqual([published, state.released, storing.length], [['store 1', 'plain 2'], 0, 2]);
  at(1).resolve();
  await settled();
  assert.deepEqual([published, state.released], [['store 1', 'plain 2', 'store will'], 1]);
  assert.deepEqual(client.answers(), []);
});

test('a will that cannot be stored is not published', async (t) => {
  const { live, published, state } = setUp(t);
  const payload = Buffer.from('store will');
  const will: Will = { topic: status, payload, qos: 1, retain: true, properties: noProperties };
  const client = await live(5, will);
  state.refusesAtOnce = new SallyportError('unavailable', 'full');
  client.transport.onClose();
  await settled();
  assert.deepEqual(published, []);
});

test('3.1.1: what follows a message that is refused at once is not stored before it', async (t) => {
  const { storing, state, live, at } = setUp(t);
  const first = await live(4);
  first.send(first.publish('store 0'));
  state.refusesAtOnce = new SallyportError('unavailable', 'spool is full');
  first.send(first.publish('store 1'));
  // There is room again: the client does not know, and will send both once more.
  state.refusesAtOnce = undefined;
  first.send(first.publish('store 2'));
  await settled();
  at(0).resolve();
  await settled();
  assert.deepEqual(
    storing.map(({ message }) => message.payload.toString()),
    ['store 0'],
  );
  assert.equal(first.transport.ended, true);
});

test('a fault in the store ends the connection that met it', async (t) => {
  const { live, at, published } = setUp(t);
  const client = await live();
  client.send(client.publish('store 1'), client.publish('store 2'));
  at(0).reject(new TypeError('a defect'));
  await settled();
  assert.deepEqual(client.answers(), ['disconnect 128']);
  at(1).resolve();
  await settled();
  assert.deepEqual(published, ['store 2']);
});

test('drain: what was accepted is acknowledged before the DISCONNECT, and nothing more is read', async (t) => {
  const { listener, live, at, storing } = setUp(t);
  const client = await live();
  const idle = await live();
  client.send(client.publish('store 1'));
  let drained = false;
  const draining = listener.drain(0, 10_000).then(() => {
    drained = true;
  });
  client.send(client.publish('store 2'));
  await settled();
  assert.deepEqual(idle.answers(), [`disconnect ${0x8b}`]);
  assert.deepEqual([client.answers(), drained, storing.length], [[], false, 1]);
  at(0).resolve();
  await draining;
  assert.deepEqual(client.answers(), ['puback 1 0', `disconnect ${0x8b}`]);
});

test('drain: a store that does not answer is waited for so long and no longer', async (t) => {
  const { listener, live } = setUp(t);
  const client = await live();
  client.send(client.publish('store 1'));
  await listener.drain(0, 20);
  await settled();
  assert.deepEqual(client.answers(), [`disconnect ${0x8b}`]);
});
