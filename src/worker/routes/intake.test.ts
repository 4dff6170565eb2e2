import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import { Broker } from '../broker/broker.ts';
import { DurableIndex } from '../broker/durable-index.ts';
import { aloneCrossing } from '../broker/fake-crossing.ts';
import type { Message } from '../broker/message.ts';
import { noIdentifiers } from '../broker/ports.ts';
import type { SubscriptionOptions } from '../broker/ports.ts';
import type { OwnedSession } from '../broker/sessions.ts';
import { MemorySessionStore } from '../store/memory-session-store.ts';
import { Intake } from './intake.ts';

const service = principalName('service', 'be');
const device = principalName('device', 'd1');
const wanted: SubscriptionOptions = {
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  identifiers: noIdentifiers,
};

function messageTo(topic: string, more: Partial<Message> = {}): Message {
  return {
    topic,
    payload: Buffer.from('x'),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: device,
    publisherSession: 'device/d1 d1',
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

function setUp() {
  const clock = { now: () => 1_000, monotonic: () => 1_000 };
  const state = {
    hasRoom: true,
    spool: undefined as Promise<void> | undefined,
    queueError: undefined as Error | undefined,
  };
  /** What was written, in the order of writing, and in which turn. */
  const written: string[] = [];
  let turn = 0;
  const write = (what: string): void => {
    written.push(`${what} ${turn}`);
    queueMicrotask(() => {
      turn += 1;
    });
  };
  const broker = new Broker({ crossing: aloneCrossing(), clock });
  const store = new MemorySessionStore({
    clock,
    limits: () => ({
      sessionsPerIdentity: 10,
      queuedMessages: 100,
      queuedBytes: 10_000,
      whenQueueFull: 'drop-newest',
      sessionExpirySeconds: 1_000,
    }),
    onSessionChanged: (key) => index.reload(key),
  });
  const index = new DurableIndex({ sessions: store, groups: broker.groups });
  const intake = new Intake({
    broker,
    index,
    sessions: {
      newId: () => store.newId(),
      enqueue: (...given) => {
        if (state.queueError !== undefined) throw state.queueError;
        write('queue');
        return store.enqueue(...given);
      },
    },
    retained: {
      put: async () => write('retained'),
      count: async () => 0,
      async *match() {},
    },
    mailbox: {
      put: async () => {
        write('mailbox');
        return 'command';
      },
      list: async () => [],
      acknowledge: async () => false,
      acknowledgeUpTo: async () => 0,
    },
    spooling: {
      spool: () => {
        if (state.spool !== undefined) write('spool');
        return state.spool;
      },
    },
    hasRoom: () => state.hasRoom,
    isRegistered: () => true,
  });
  let epoch = 0;
  const open = (clientId: string): Promise<OwnedSession> => {
    epoch += 1;
    return store.open({
      principal: service,
      clientId,
      epoch,
      cleanStart: false,
      expirySeconds: 100,
      will: undefined,
    });
  };
  return { intake, broker, store, index, open, state, written };
}

const none: ReadonlySet<string> = new Set();

test('with nowhere to store it there is nothing to wait for, and the message is published as it is', async () => {
  const { intake, open, state } = setUp();
  const session = await open('s');
  await session.subscribe(new Map([['other', wanted]]));
  assert.equal(intake.store(messageTo('t')), undefined);
  assert.equal(intake.store(messageTo('other', { qos: 0 })), undefined);
  assert.equal(intake.publish(messageTo('t')), 0);
  state.spool = Promise.resolve();
  const message = messageTo('t');
  const storing = intake.store(message);
  assert.equal(storing?.message, message);
  await storing.done;
});

test('a message is in the queue of a session that is away when its publisher is told', async () => {
  const { intake, open } = setUp();
  const session = await open('s');
  await session.subscribe(new Map([['t/#', { ...wanted, identifiers: [3] }]]));
  const storing = intake.store(messageTo('t/x'));
  await storing?.done;
  const id = storing?.message.delivery?.id;
  assert.ok(id !== undefined);
  const [queued] = await session.queued(none, 10);
  assert.deepEqual([queued?.id, queued?.qos, queued?.identifiers], [id, 1, [3]]);
  assert.equal(queued?.message.topic, 't/x');
  assert.equal(intake.publish(storing?.message ?? messageTo('')), 1, 'a queue is a receiver');
});

test('everything that a message is written to is written in one turn', async () => {
  const { intake, broker, open, state, written } = setUp();
  const session = await open('s');
  await session.subscribe(new Map([['#', wanted]]));
  state.spool = Promise.resolve();
  const storing = intake.store(messageTo('devices/d1/commands/go', { retain: true }));
  assert.deepEqual(written, ['spool 0', 'mailbox 0', 'retained 0', 'queue 0']);
  await storing?.done;
  const ids: unknown[] = [];
  const deliver = ({ delivery }: Message): unknown => ids.push(delivery?.id);
  broker.subscribe({ key: 'service/be live', principal: service, deliver }, '#', wanted);
  assert.equal(await intake.command(device, messageTo('devices/d1/commands/go')), 'command');
  const queued = await session.queued(none, 10);
  assert.equal(queued.length, 2, "an operator's command too");
  assert.deepEqual(ids, [queued[1]?.id]);
});

test('a packet id of QoS 2 is remembered with its message, also when nobody wants it', async () => {
  const { intake, open } = setUp();
  const publisher = await open('p');
  const storing = intake.store(messageTo('t', { qos: 2 }), { session: publisher.id, packetId: 7 });
  await storing?.done;
  assert.equal(storing?.message.delivery?.id, undefined, 'it lies in no queue');
  assert.equal(intake.publish(storing?.message ?? messageTo('')), 0);
  const again = await open('p');
  assert.deepEqual(again.received, [7]);
});

test('what a queue refuses is refused; the spool that fails after it is not a rejection that nobody handles', async () => {
  const { intake, open, state } = setUp();
  const session = await open('s');
  await session.subscribe(new Map([['t', wanted]]));
  const spool = Promise.withResolvers<void>();
  state.spool = spool.promise;
  state.queueError = new SallyportError('io', 'the queue');
  await assert.rejects(async () => intake.store(messageTo('t'))?.done, { code: 'io' });
  spool.reject(new SallyportError('io', 'the spool'));
  // A rejection that nobody handles would fail this test from here.
  await new Promise(setImmediate);
});

test('a nearly full disk refuses what would be queued', async () => {
  const { intake, open, state } = setUp();
  const session = await open('s');
  await session.subscribe(new Map([['t', wanted]]));
  state.hasRoom = false;
  const storing = intake.store(messageTo('t'));
  const unavailable = (error: unknown): boolean =>
    error instanceof SallyportError && error.code === 'unavailable';
  await assert.rejects(storing?.done ?? Promise.resolve(), unavailable);
  assert.deepEqual(await session.queued(none, 10), []);
  assert.equal(intake.store(messageTo('u')), undefined, 'what nobody stores passes');
});

test('of a shared subscription one queue gets the message, when nobody is there to get it', async () => {
  const { intake, broker, open } = setUp();
  const [a, b] = [await open('a'), await open('b')];
  for (const each of [a, b]) await each.subscribe(new Map([['$share/g/t', wanted]]));
  const send = async (): Promise<number> => {
    const storing = intake.store(messageTo('t'));
    await storing?.done;
    return intake.publish(storing?.message ?? messageTo('t'));
  };
  for (let i = 0; i < 4; i += 1) assert.equal(await send(), 1);
  const lengths = async () => [
    (await a.queued(none, 10)).length,
    (await b.queued(none, 10)).length,
  ];
  assert.deepEqual(await lengths(), [2, 2]);
  assert.equal(intake.store(messageTo('t', { qos: 0 })), undefined, 'QoS 0 is for no queue');
  let live = 0;
  const reader = { key: 'service/be live', principal: service, deliver: () => (live += 1) };
  broker.subscribe(reader, '$share/g/t', wanted);
  for (let i = 0; i < 4; i += 1) assert.equal(await send(), 1);
  assert.deepEqual([live, ...(await lengths())], [4, 2, 2]);
});

test('a message that is queued for one is dealt out to the groups of others', async () => {
  const { intake, broker, open } = setUp();
  const session = await open('s');
  await session.subscribe(new Map([['t', wanted]]));
  let live = 0;
  const reader = { key: 'service/be live', principal: service, deliver: () => (live += 1) };
  broker.subscribe(reader, '$share/g/t', wanted);
  const storing = intake.store(messageTo('t'));
  await storing?.done;
  assert.equal(intake.publish(storing?.message ?? messageTo('t')), 2);
  assert.equal(live, 1);
});
