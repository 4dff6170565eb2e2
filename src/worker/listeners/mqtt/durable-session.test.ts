/** Sessions that outlive their connection: what waits, what was in flight, who has them, and their end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Connect, Disconnect } from '../../../common/codec/mqtt/packets.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf } from '../../policy/test-support.ts';
import {
  document,
  messageOf,
  publishOf,
  queued,
  responseOf,
  subscribeTo,
  worldOf,
} from '../../session-world.ts';
import type { Client } from '../../session-world.ts';

const filter = 'devices/+/telemetry';
const topic = 'devices/d1/telemetry';
const kept: Partial<Connect> = { properties: { sessionExpiryInterval: 60 } };
const clean: Partial<Connect> = { cleanStart: true };

/** A device that publishes, and a backend with a durable session. */
async function setUp(t: TestContext, qos: 0 | 1 | 2 = 1, options: Partial<Connect> = kept) {
  const { world, worker, other } = worldOf(t);
  const device = await worker.connect('d1', clean);
  await device.heard();
  const reader = await worker.connect('be', options);
  reader.send(subscribeTo(filter, qos));
  assert.deepEqual(await reader.heard(), ['connack', 'suback']);
  let packetId = 0;
  const publish = async (...payloads: string[]): Promise<void> => {
    for (const payload of payloads) {
      packetId += 1;
      device.send(publishOf(topic, payload, qos, packetId));
      const [answer] = await device.heard();
      assert.match(answer ?? '', /^pub(ack|rec) \d+( 0x10)?$/);
      if (qos === 2) device.send(responseOf('pubrel', packetId));
      await device.heard();
    }
  };
  return { world, worker, other, device, reader, publish };
}

async function acknowledge(client: Client, ...packetIds: number[]): Promise<void> {
  client.send(...packetIds.map((packetId) => responseOf('puback', packetId)));
  await client.heard();
}

test('a message is sent live, and out of the queue when it is acknowledged', async (t) => {
  const { world, reader, publish } = await setUp(t);
  await publish('a', 'b');
  assert.deepEqual(await reader.heard(), ['publish 1 a', 'publish 2 b']);
  assert.deepEqual(queued(world), ['a', 'b']);
  await acknowledge(reader, 1);
  assert.deepEqual(queued(world), ['b']);
});

test('what came while the client was away waits for it, in order, with the session it had', async (t) => {
  const { world, reader, publish, other } = await setUp(t);
  reader.vanish();
  await publish('a', 'b');
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a', 'publish 2 b']);
  await acknowledge(again, 1, 2);
  assert.deepEqual(queued(world), []);
  // And its subscriptions are in force.
  world.clock.time = 1;
  const device = await other.connect('d2', clean);
  device.send(publishOf('devices/d2/telemetry', 'c', 1, 1));
  assert.deepEqual(await again.heard(), ['publish 3 c']);
});

test('what comes once a client sends no more is not sent to it, but waits for it', async (t) => {
  const { world, reader, publish, other } = await setUp(t);
  await publish('a');
  reader.finish();
  await publish('b');
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  reader.vanish();
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a dup', 'publish 2 b']);
  await acknowledge(again, 1, 2);
  assert.deepEqual(queued(world), []);
});

test('as much is sent as the client takes; the rest follows when it acknowledges, in order', async (t) => {
  const { reader, publish, other } = await setUp(t);
  reader.vanish();
  await publish('a', 'b', 'c', 'd', 'e');
  const again = await other.connect('be', {
    properties: { sessionExpiryInterval: 60, receiveMaximum: 2 },
  });
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a', 'publish 2 b']);
  await publish('f');
  assert.deepEqual(await again.heard(), []);
  again.send(responseOf('puback', 1));
  assert.deepEqual(await again.heard(), ['publish 3 c']);
  again.send(responseOf('puback', 2), responseOf('puback', 3));
  assert.deepEqual(await again.heard(), ['publish 4 d', 'publish 5 e']);
  again.send(responseOf('puback', 4), responseOf('puback', 5));
  assert.deepEqual(await again.heard(), ['publish 6 f']);
});

test('live messages beyond the receive maximum wait in the queue and keep their order', async (t) => {
  const { reader, publish } = await setUp(t, 1, {
    properties: { sessionExpiryInterval: 60, receiveMaximum: 1 },
  });
  await publish('a', 'b', 'c');
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  reader.send(responseOf('puback', 1));
  assert.deepEqual(await reader.heard(), ['publish 2 b']);
  await publish('d');
  reader.send(responseOf('puback', 2));
  assert.deepEqual(await reader.heard(), ['publish 3 c']);
  reader.send(responseOf('puback', 3));
  assert.deepEqual(await reader.heard(), ['publish 4 d']);
  reader.send(responseOf('puback', 4));
  await publish('e');
  assert.deepEqual(await reader.heard(), ['publish 5 e']);
});

test('a message is not sent twice while its removal from the queue is on its way', async (t) => {
  const { reader, publish, worker } = await setUp(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.held = promise;
  await publish('a');
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  reader.send(responseOf('puback', 1), { type: 'pingreq' });
  assert.deepEqual(await reader.heard(), ['pingresp']);
  await publish('b');
  assert.deepEqual(await reader.heard(), ['publish 2 b']);
  resolve();
  reader.send({ type: 'pingreq' });
  assert.deepEqual(await reader.heard(), ['pingresp']);
});

test('a delivery that comes late, after its message was read from the queue and acknowledged, is none', async (t) => {
  const { reader, worker } = await setUp(t);
  // Another worker has stored it, and its word of it is still on the way.
  const storing = worker.intake.store(messageOf(topic, 'a', 1));
  assert.ok(storing !== undefined);
  await storing.done;
  reader.send({ type: 'pingreq' });
  assert.deepEqual(await reader.heard(), ['pingresp', 'publish 1 a']);
  worker.intake.publish(storing.message);
  assert.deepEqual(await reader.heard(), []);
  await acknowledge(reader, 1);
  worker.intake.publish(storing.message);
  assert.deepEqual(await reader.heard(), []);
});

test('what comes live while the queue is read does not overtake what was in it', async (t) => {
  const { reader, worker, publish } = await setUp(t);
  const storing = worker.intake.store(messageOf(topic, 'a', 1));
  await storing?.done;
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.heldReads = promise;
  reader.send({ type: 'pingreq' });
  await publish('b');
  assert.deepEqual(await reader.heard(), ['pingresp']);
  resolve();
  assert.deepEqual(await reader.heard(), ['publish 1 a', 'publish 2 b']);
  await publish('c');
  assert.deepEqual(await reader.heard(), ['publish 3 c']);
});

test('MQTT-4.4.0-1: what was in flight is sent again first, under its identifier, with DUP', async (t) => {
  const { reader, publish, other, world } = await setUp(t);
  await publish('a', 'b', 'c');
  assert.equal((await reader.heard()).length, 3);
  await acknowledge(reader, 2);
  reader.vanish();
  await publish('d');
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), [
    'connack present',
    'publish 1 a dup',
    'publish 3 c dup',
    'publish 2 d',
  ]);
  await acknowledge(again, 1, 3, 2);
  assert.deepEqual(queued(world), []);
});

test('what was sent before it expired is sent again after; what was not sent is not', async (t) => {
  const { reader, device, other, world } = await setUp(t, 1, {
    properties: { sessionExpiryInterval: 60, receiveMaximum: 1 },
  });
  const properties = { messageExpiryInterval: 5 };
  device.send(publishOf(topic, 'a', 1, 1, { properties }));
  device.send(publishOf(topic, 'b', 1, 2, { properties }));
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  reader.vanish();
  world.clock.time = 6_000;
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a dup']);
  await acknowledge(again, 1);
  assert.deepEqual(queued(world), []);
});

test('fewer are sent again than were in flight when the client takes fewer now', async (t) => {
  const { reader, publish, other } = await setUp(t);
  await publish('a', 'b', 'c');
  await reader.heard();
  reader.vanish();
  const again = await other.connect('be', {
    properties: { sessionExpiryInterval: 60, receiveMaximum: 2 },
  });
  const first = ['connack present', 'publish 1 a dup', 'publish 2 b dup'];
  assert.deepEqual(await again.heard(), first);
  again.send(responseOf('puback', 1));
  assert.deepEqual(await again.heard(), ['publish 3 c dup']);
});

test('QoS 2: stored before PUBLISH, and before PUBREL; out of the queue with PUBCOMP', async (t) => {
  const { world, reader, publish, worker } = await setUp(t, 2);
  const first = Promise.withResolvers<void>();
  worker.held = first.promise;
  await publish('a');
  const inFlight = () => [...world.shared.values()].flatMap((life) => life.inFlight);
  assert.deepEqual(await reader.heard(), []);
  assert.deepEqual(
    inFlight().map(({ packetId, released }) => [packetId, released]),
    [[1, false]],
  );
  first.resolve();
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  const second = Promise.withResolvers<void>();
  worker.held = second.promise;
  reader.send(responseOf('pubrec', 1));
  assert.deepEqual(await reader.heard(), []);
  assert.deepEqual(
    inFlight().map(({ packetId, released }) => [packetId, released]),
    [[1, true]],
  );
  second.resolve();
  assert.deepEqual(await reader.heard(), ['pubrel 1']);
  assert.deepEqual(queued(world), ['a']);
  reader.send(responseOf('pubcomp', 1));
  assert.deepEqual(await reader.heard(), []);
  assert.deepEqual(queued(world), []);
});

for (const [step, qos, expected] of [
  ['PUBREC', 2, 'pubrel 1'],
  ['PUBREL', 0, 'pubcomp 7'],
] as const) {
  test(`QoS 2: ${step} of a client that has closed its side is answered when it is stored`, async (t) => {
    const { reader, publish, worker } = await setUp(t, 2);
    if (qos === 2) await publish('a');
    else reader.send(publishOf('devices/d1/commands/x', '', 2, 7));
    await reader.heard();
    const { promise, resolve } = Promise.withResolvers<void>();
    worker.held = promise;
    reader.send(qos === 2 ? responseOf('pubrec', 1) : responseOf('pubrel', 7));
    reader.finish();
    assert.deepEqual([await reader.heard(), reader.transport.ended], [[], false]);
    resolve();
    assert.deepEqual(await reader.heard(), [expected]);
    assert.equal(reader.transport.ended, true);
  });
}

test('a gateway that goes answers first what is being stored, messages and steps of QoS 2', async (t) => {
  const { reader, worker } = await setUp(t, 0);
  const commands = 'devices/d1/commands/x';
  reader.send(publishOf(commands, '', 2, 7));
  await reader.heard();
  const message = Promise.withResolvers<void>();
  const step = Promise.withResolvers<void>();
  worker.heldPuts.push(message.promise);
  worker.held = step.promise;
  reader.send(publishOf(commands, '', 1, 8, { retain: true }), responseOf('pubrel', 7));
  const drained = worker.listener.drain(0, 60_000);
  assert.deepEqual(await reader.heard(), []);
  message.resolve();
  assert.deepEqual(await reader.heard(), ['puback 8 0x10']);
  step.resolve();
  await drained;
  assert.deepEqual(await reader.heard(), ['pubcomp 7', 'disconnect 0x8b']);
});

test('QoS 2: after a reconnect PUBREL for what was received, PUBLISH for what was not', async (t) => {
  const { reader, publish, other, world } = await setUp(t, 2);
  await publish('a', 'b', 'c');
  assert.deepEqual(await reader.heard(), ['publish 1 a', 'publish 2 b', 'publish 3 c']);
  reader.send(responseOf('pubrec', 3), responseOf('pubrec', 1));
  assert.deepEqual(await reader.heard(), ['pubrel 3', 'pubrel 1']);
  reader.vanish();
  const again = await other.connect('be', kept);
  // MQTT-4.6.0-4: in the order of the PUBRECs.
  assert.deepEqual(await again.heard(), [
    'connack present',
    'pubrel 3',
    'pubrel 1',
    'publish 2 b dup',
  ]);
  again.send(responseOf('pubcomp', 1), responseOf('pubcomp', 3), responseOf('pubrec', 2));
  assert.deepEqual(await again.heard(), ['pubrel 2']);
  again.send(responseOf('pubcomp', 2));
  assert.deepEqual(await again.heard(), []);
  assert.deepEqual(queued(world), []);
});

test('QoS 2: a worker that was killed had stored the identifiers, and its messages keep them', async (t) => {
  const { reader, publish, other, world } = await setUp(t, 2);
  await publish('a', 'b');
  await reader.heard();
  reader.send(responseOf('pubrec', 1));
  await reader.heard();
  // Nobody leaves the session: a later claim takes it from a worker that is not there.
  world.owners.clear();
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'pubrel 1', 'publish 2 b dup']);
});

test('QoS 2: of a message that is gone the client may hold the identifier: it is told to let go of it', async (t) => {
  const { world, reader, publish, other } = await setUp(t, 2);
  world.limits = { ...world.limits, queuedMessages: 1, whenQueueFull: 'drop-oldest' };
  await publish('a');
  assert.deepEqual(await reader.heard(), ['publish 1 a']);
  reader.vanish();
  await publish('b');
  assert.deepEqual(queued(world), ['b']);
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'pubrel 1', 'publish 2 b']);
  again.send(responseOf('pubcomp', 1), responseOf('pubrec', 2));
  assert.deepEqual(await again.heard(), ['pubrel 2']);
});

test('QoS 2: PUBREC with an error ends the exchange; one of nothing is answered with 0x92', async (t) => {
  const { world, reader, publish } = await setUp(t, 2);
  await publish('a');
  await reader.heard();
  reader.send(
    responseOf('pubrec', 1, 0x80),
    responseOf('pubrec', 9),
    responseOf('pubrec', 8, 0x87),
  );
  assert.deepEqual(await reader.heard(), ['pubrel 9 0x92']);
  assert.deepEqual(queued(world), []);
});

test('a takeover: the older connection is told, and the newer one finds what it left', async (t) => {
  const { reader, publish, other } = await setUp(t);
  await publish('a', 'b');
  await reader.heard();
  await acknowledge(reader, 1);
  const again = await other.connect('be', kept);
  assert.deepEqual(await reader.heard(), ['disconnect 0x8e']);
  assert.deepEqual(await again.heard(), ['connack present', 'publish 2 b dup']);
});

test('a takeover waits until the older connection has left its state, also of one that has just gone', async (t) => {
  const { reader, publish, worker, other, world } = await setUp(t);
  await publish('a');
  await reader.heard();
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.held = promise;
  reader.vanish();
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), []);
  assert.equal(world.owners.size, 2);
  resolve();
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a dup']);
});

test('a clean start finds nothing, and nothing is queued any more for what was subscribed', async (t) => {
  const { reader, publish, worker, world } = await setUp(t);
  reader.vanish();
  await publish('a');
  const again = await worker.connect('be', { ...kept, cleanStart: true });
  await publish('b');
  assert.deepEqual(await again.heard(), ['connack']);
  assert.deepEqual(queued(world), []);
});

const disconnect = (reasonCode: number, sessionExpiryInterval?: number): Disconnect => ({
  type: 'disconnect',
  reasonCode,
  properties: sessionExpiryInterval === undefined ? noProperties : { sessionExpiryInterval },
});

test('a session goes on for a client that wants it to end with this connection, and then ends', async (t) => {
  const { reader, publish, worker, world } = await setUp(t);
  reader.vanish();
  await publish('a');
  const again = await worker.connect('be');
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a']);
  await publish('b');
  assert.deepEqual(await again.heard(), ['publish 2 b']);
  again.vanish();
  await again.heard();
  assert.equal(world.shared.size, 0);
});

test('DISCONNECT says anew how long the session is kept; not at all ends it', async (t) => {
  const { reader, worker, world } = await setUp(t);
  reader.send(disconnect(0, 30));
  await reader.heard();
  assert.deepEqual(
    [...world.shared.values()].map((life) => life.expirySeconds),
    [30],
  );
  const again = await worker.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present']);
  again.send(disconnect(0, 0));
  await again.heard();
  assert.equal(world.shared.size, 0);
});

test('DISCONNECT that asks for a session which CONNECT had ruled out is a protocol error', async (t) => {
  const { worker } = worldOf(t);
  const client = await worker.connect('be', clean);
  client.send(disconnect(0, 30));
  assert.deepEqual(await client.heard(), ['connack', 'disconnect 0x82']);
});

test('no longer is granted with DISCONNECT than the gateway keeps a session', async (t) => {
  const { reader, world } = await setUp(t);
  world.limits = { ...world.limits, sessionExpiryMs: 45_000 };
  reader.send(disconnect(0, 4_000));
  await reader.heard();
  assert.deepEqual(
    [...world.shared.values()].map((life) => life.expirySeconds),
    [45],
  );
});

test('3.1.1: a session that is not clean is kept, and a clean one is not', async (t) => {
  const { worker, world } = worldOf(t);
  const first = await worker.connect('be', { version: 4 });
  first.send(subscribeTo(filter, 1));
  assert.deepEqual(await first.heard(), ['connack', 'suback']);
  first.vanish();
  const second = await worker.connect('be', { version: 4 });
  assert.deepEqual(await second.heard(), ['connack present']);
  second.vanish();
  const third = await worker.connect('be', { version: 4, cleanStart: true });
  assert.deepEqual(await third.heard(), ['connack']);
  third.vanish();
  await third.heard();
  assert.equal(world.shared.size, 0);
});

test('a message that is too large for the client is over for it: MQTT-3.1.2-25', async (t) => {
  const { reader, publish, worker, world } = await setUp(t);
  reader.vanish();
  await publish('x'.repeat(200), 'small');
  const properties = { sessionExpiryInterval: 60, maximumPacketSize: 100 };
  const again = await worker.connect('be', { properties });
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 small']);
  assert.deepEqual(queued(world), ['small']);
  assert.ok(world.counted.includes('mqtt_dropped{reason="maximum-packet-size"}'));
});

test('queued messages are judged by the policy of the day on which they are delivered', async (t) => {
  const { reader, publish, worker, world } = await setUp(t);
  reader.vanish();
  await publish('a');
  world.policy = compilePolicy({ ...document, roles: {} }, 2);
  const again = await worker.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present']);
  assert.deepEqual(queued(world), []);
});

test('a subscription that is no longer granted ends the session’s connection and leaves the session', async (t) => {
  const { reader, worker, world, publish } = await setUp(t);
  world.policy = compilePolicy(documentOf('roles: { backend: { allow: { subscribe: [x] } } }'), 2);
  worker.listener.policyChanged(undefined);
  assert.deepEqual(await reader.heard(), ['disconnect 0x87']);
  await publish('a');
  assert.deepEqual(queued(world), []);
  const again = await worker.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present']);
  assert.equal(again.transport.ended, false);
});

test('a revoked identity leaves nothing behind', async (t) => {
  const { reader, worker, world } = await setUp(t);
  reader.identity.standing = 'revoked';
  worker.listener.standingChanged(new Set([reader.transport.identified.name]));
  assert.deepEqual(await reader.heard(), ['disconnect 0x98']);
  assert.equal(world.shared.size, 0);
});

test('a drain leaves sessions as they are, for whoever comes next', async (t) => {
  const { reader, publish, worker, other } = await setUp(t);
  await publish('a');
  await reader.heard();
  await worker.listener.drain(0, 1_000);
  assert.deepEqual(await reader.heard(), ['disconnect 0x8b']);
  const again = await other.connect('be', kept);
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a dup']);
});

test('a CONNECT that is refused after all leaves the session as it was', async (t) => {
  const { reader, publish, worker, world } = await setUp(t);
  await publish('a');
  await reader.heard();
  reader.vanish();
  await publish('b');
  const gone = await worker.connect('be', { ...kept, clientId: 'other' });
  gone.vanish();
  const { identity } = reader;
  const open = worker.connect('be', kept);
  identity.standing = 'active';
  const again = await open;
  assert.deepEqual(await again.heard(), ['connack present', 'publish 1 a dup', 'publish 2 b']);
  assert.equal(world.shared.size, 2);
});
