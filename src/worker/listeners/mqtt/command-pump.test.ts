import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../../common/base/principal.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import { CommandPump } from './command-pump.ts';
import { FakeMailbox } from './fake-mailbox.ts';

const d1 = principalName('device', 'd1');

function command(payload: string): Message {
  return {
    topic: 'devices/d1/commands/go',
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('service', 'be'),
    publisherSession: 'be',
    delivery: undefined,
    expiresAt: undefined,
  };
}

/** A session of a device that acknowledges when the test says so. */
function session(mailbox: FakeMailbox) {
  const sent: string[] = [];
  const failures: string[] = [];
  const unacknowledged: (() => void)[] = [];
  const waiting: (() => void)[] = [];
  const state = { closed: false, roomy: true, wants: (text: string) => text !== '' };
  const pump = new CommandPump({
    list: () => mailbox.list(),
    acknowledge: (id) => mailbox.acknowledge(d1, id),
    isClosed: () => state.closed,
    get roomy() {
      return state.roomy;
    },
    room: () => new Promise((resolve) => waiting.push(resolve)),
    send: ({ message }, done) => {
      const text = message.payload.toString();
      if (!state.wants(text)) return false;
      sent.push(text);
      unacknowledged.push(done);
      return true;
    },
    failed: (error) => void failures.push(String(error)),
  });
  const giveRoom = (): void => {
    state.roomy = true;
    for (const resolve of waiting.splice(0)) resolve();
  };
  const acknowledge = async (): Promise<void> => {
    unacknowledged.shift()?.();
    await settled();
  };
  const poke = async (): Promise<void> => {
    pump.poke();
    await settled();
  };
  return { pump, poke, sent, failures, state, giveRoom, acknowledge };
}

async function settled(): Promise<void> {
  for (let n = 0; n < 3; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function mailboxWith(...payloads: readonly string[]): Promise<FakeMailbox> {
  const mailbox = new FakeMailbox();
  for (const payload of payloads) await mailbox.put(d1, command(payload));
  return mailbox;
}

test('what waits is given oldest first, once per connection, until it is acknowledged', async () => {
  const mailbox = await mailboxWith('1', '2');
  const first = session(mailbox);
  await first.poke();
  await mailbox.put(d1, command('3'));
  await first.poke();
  await first.poke();
  assert.deepEqual(first.sent, ['1', '2', '3']);
  await first.acknowledge();
  assert.deepEqual(
    mailbox.commands.map(({ message }) => message.payload.toString()),
    ['2', '3'],
  );
  // Another connection, at the same time or later, is given what is not acknowledged.
  const second = session(mailbox);
  await second.poke();
  assert.deepEqual(second.sent, ['2', '3']);
});

test('a poke that comes while it reads makes it read again, however many come', async () => {
  const mailbox = await mailboxWith('1');
  const { pump, sent } = session(mailbox);
  const { promise, resolve } = Promise.withResolvers<void>();
  mailbox.held = promise;
  pump.poke();
  await settled();
  // The answer that is on its way does not have it.
  mailbox.held = undefined;
  await mailbox.put(d1, command('2'));
  for (let n = 0; n < 10; n += 1) pump.poke();
  await settled();
  assert.deepEqual(sent, []);
  assert.equal(mailbox.reads, 1, 'it never runs twice at once');
  resolve();
  await settled();
  assert.deepEqual(sent, ['1', '2']);
  assert.equal(mailbox.reads, 2);
});

test('what the session does not want is left, and given when it does', async () => {
  const { poke, sent, state } = session(await mailboxWith('1', '2', '3'));
  state.wants = (text) => text === '2';
  await poke();
  state.wants = () => true;
  await poke();
  assert.deepEqual(sent, ['2', '1', '3']);
});

test('a slow reader is given more when it has room, of what is then still there', async () => {
  const mailbox = await mailboxWith('1', '2');
  const { pump, poke, sent, state, giveRoom } = session(mailbox);
  state.roomy = false;
  await poke();
  pump.poke();
  await mailbox.acknowledge(d1, '0001');
  giveRoom();
  await settled();
  assert.deepEqual(sent, ['2']);
});

test('a connection that has ended is given nothing', async () => {
  const mailbox = await mailboxWith('1');
  const { poke, sent, state, giveRoom } = session(mailbox);
  state.roomy = false;
  await poke();
  state.closed = true;
  giveRoom();
  await settled();
  await poke();
  assert.deepEqual(sent, []);
});

test('a mailbox that fails is told of, and asked again at the next poke, an acknowledgement included', async () => {
  const mailbox = await mailboxWith('1', '2');
  const { poke, sent, failures, acknowledge } = session(mailbox);
  mailbox.fault = new RangeError('the disk');
  await poke();
  assert.deepEqual([sent, failures], [[], ['RangeError: the disk']]);
  mailbox.fault = undefined;
  await poke();
  assert.deepEqual(sent, ['1', '2']);
  mailbox.fault = new RangeError('again');
  await acknowledge();
  assert.equal(failures.length, 2);
  assert.equal(mailbox.commands.length, 2);
  mailbox.fault = undefined;
  await poke();
  assert.deepEqual(
    mailbox.commands.map(({ message }) => message.payload.toString()),
    ['2'],
  );
  assert.deepEqual(sent, ['1', '2']);
});
