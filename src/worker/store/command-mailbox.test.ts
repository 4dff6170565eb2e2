import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { errorCodeOf } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { MailboxLimits } from '../broker/commands.ts';
import type { Message } from '../broker/message.ts';
import { encodeMessage } from '../broker/message-codec.ts';
import { CommandMailboxes } from './command-mailbox.ts';
import { MemoryStore } from './memory-store.ts';
import type { Condition, Write } from './ports.ts';
import { RecordCipher } from './record-cipher.ts';

const day = 24 * 3_600_000;
const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');

/** A store that tells what is committed, and may be made to lose. */
class WatchedStore extends MemoryStore {
  commits = 0;
  broken = false;
  conflicts = 0;

  override commit(conditions: readonly Condition[], writes: readonly Write[]): Promise<boolean> {
    this.commits += 1;
    if (this.broken) return Promise.reject(new TypeError('the disk'));
    if (this.conflicts > 0) {
      this.conflicts -= 1;
      return Promise.resolve(false);
    }
    const keys = writes.map(({ key }) => key);
    assert.equal(new Set(keys).size, keys.length, `one write of a key: ${keys.join(' ')}`);
    return super.commit(conditions, writes);
  }
}

function setUp(
  limits = { commandsPerDevice: 3, commandBytesPerDevice: 10_000, commandTtlMs: 1_000 },
) {
  const hands = { now: 1_700_000_000_000 };
  const clock = { now: () => hands.now, monotonic: () => hands.now };
  const store = new WatchedStore(clock);
  const errors: string[] = [];
  const open = (): CommandMailboxes =>
    new CommandMailboxes({
      store,
      cipher: new RecordCipher(Buffer.alloc(32, 1)),
      durability: () => 'flushed',
      limits: () => limits,
      clock,
      logger: { ...silentLogger, error: (_, text) => void errors.push(text) },
    });
  return { hands, store, limits, open, mailbox: open(), errors };
}

function command(payload: string, more: Partial<Message> = {}): Message {
  return {
    topic: 'devices/d1/commands/go',
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('service', 'be'),
    publisherSession: 'service/be be',
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

async function payloads(mailbox: CommandMailboxes, device = d1): Promise<string[]> {
  return (await mailbox.list(device)).map(({ message }) => message.payload.toString());
}

const refusedWith = (code: string) => (error: unknown) => errorCodeOf(error) === code;

async function keysOf(store: MemoryStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.scan('')) keys.push(key);
  return keys;
}

test('a command is there for every worker as it was published, until it is acknowledged', async () => {
  const { mailbox, open, hands } = setUp();
  const sent = command('{"on":true}', {
    properties: { contentType: 'application/json', userProperties: [['__proto__', 'x']] },
    expiresAt: hands.now + 500,
  });
  const id = await mailbox.put(d1, sent);
  assert.match(id, /^[0-9A-Za-z-]{1,64}$/);
  assert.deepEqual(await open().list(d1), [{ id, at: hands.now, message: sent }]);
  assert.deepEqual(await open().list(d2), []);
  assert.equal(await open().acknowledge(d2, id), false);
  assert.equal(await open().acknowledge(d1, id), true);
  assert.deepEqual(await mailbox.list(d1), []);
  assert.equal(await mailbox.acknowledge(d1, id), false);
});

test('names rise in the order of acceptance, over workers, a clock set back and a mailbox that was empty', async () => {
  const { mailbox, open, hands } = setUp();
  const ids = [await mailbox.put(d1, command('1')), await open().put(d1, command('2'))];
  hands.now -= day;
  ids.push(await mailbox.put(d1, command('3')));
  for (const id of ids) await mailbox.acknowledge(d1, id);
  await mailbox.sweep();
  ids.push(await open().put(d1, command('4')));
  assert.deepEqual(ids, [...new Set(ids)].toSorted());
});

test('what one worker is given in one turn is one commit, in its order', async () => {
  const { mailbox, store } = setUp({
    commandsPerDevice: 100,
    commandBytesPerDevice: 100_000,
    commandTtlMs: day,
  });
  const sent = Array.from({ length: 50 }, (_, n) => `${n}`);
  const ids = await Promise.all(sent.map((payload) => mailbox.put(d1, command(payload))));
  assert.equal(store.commits, 1);
  assert.deepEqual(ids, ids.toSorted());
  assert.deepEqual(await payloads(mailbox), sent);
  await Promise.all(ids.map((id) => mailbox.acknowledge(d1, id)));
  assert.equal(store.commits, 2);
});

test('a full mailbox refuses, by number and by bytes, and changes nothing; an acknowledgement makes room', async () => {
  const { mailbox, limits } = setUp();
  const [first] = await Promise.all(['1', '2', '3'].map((text) => mailbox.put(d1, command(text))));
  await assert.rejects(mailbox.put(d1, command('4')), refusedWith('quota'));
  await mailbox.put(d2, command('of another device'));
  assert.deepEqual(await payloads(mailbox), ['1', '2', '3']);
  await mailbox.acknowledge(d1, first ?? '');
  await mailbox.put(d1, command('4'));
  limits.commandsPerDevice = 10;
  limits.commandBytesPerDevice = 1_000;
  await assert.rejects(mailbox.put(d1, command('x'.repeat(900))), refusedWith('quota'));
  await mailbox.put(d1, command('5'));
  assert.deepEqual(await payloads(mailbox), ['2', '3', '4', '5']);
});

test('of several at once those are taken that fit', async () => {
  const { mailbox } = setUp();
  const outcomes = await Promise.allSettled(
    ['1', '2', 'x'.repeat(20_000), '3', '4'].map((text) => mailbox.put(d1, command(text))),
  );
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'rejected'],
  );
  assert.deepEqual(await payloads(mailbox), ['1', '2', '3']);
});

test('an expired command is not given, and gives its quota back', async () => {
  const { mailbox, hands } = setUp();
  await mailbox.put(d1, command('by its own expiry', { expiresAt: hands.now + 10 }));
  await mailbox.put(d1, command('by the limit'));
  await mailbox.put(d1, command('outlives the limit', { expiresAt: hands.now + 5_000 }));
  hands.now += 10;
  assert.deepEqual(await payloads(mailbox), ['by the limit', 'outlives the limit']);
  await mailbox.put(d1, command('takes its place', { expiresAt: hands.now + 5_000 }));
  hands.now += 990;
  assert.deepEqual(await payloads(mailbox), ['outlives the limit', 'takes its place']);
  const expired = await mailbox.put(d1, command('now', { expiresAt: hands.now }));
  assert.equal(await mailbox.acknowledge(d1, expired), false);
  assert.equal((await mailbox.list(d1)).length, 2);
});

test('a sweep leaves nothing of what has expired, and forgets a device that gets no commands', async () => {
  const { mailbox, hands, store } = setUp();
  const acknowledged = await mailbox.put(d1, command('1'));
  await mailbox.put(d1, command('2'));
  await mailbox.put(d2, command('3', { expiresAt: hands.now + 2_000 }));
  await mailbox.acknowledge(d1, acknowledged);
  assert.equal(await mailbox.sweep(), 0);
  hands.now += 1_000;
  assert.equal(await mailbox.sweep(), 1);
  assert.equal((await keysOf(store)).filter((key) => key.startsWith('c')).length, 1);
  assert.deepEqual(await payloads(mailbox, d2), ['3']);
  hands.now += 1_000;
  assert.equal(await mailbox.sweep(), 1);
  assert.equal((await keysOf(store)).filter((key) => key.startsWith('c')).length, 0);
  hands.now += 31 * day;
  assert.equal(await mailbox.sweep(), 2);
  assert.deepEqual(await keysOf(store), []);
});

test('everything up to a name is acknowledged at once, that name itself there or not', async () => {
  const { mailbox } = setUp();
  const ids = await Promise.all(['1', '2', '3'].map((text) => mailbox.put(d1, command(text))));
  const [, second] = ids;
  assert.ok(second !== undefined);
  await mailbox.acknowledge(d1, second);
  assert.equal(await mailbox.acknowledgeUpTo(d1, second), 1);
  assert.deepEqual(await payloads(mailbox), ['3']);
  for (const strange of ['', 'zzz', '9', `${'9'.repeat(17)}`, '\u{0}'.repeat(16)]) {
    assert.equal(await mailbox.acknowledgeUpTo(d1, strange), 0);
    assert.equal(await mailbox.acknowledge(d1, strange), false);
  }
  assert.deepEqual(await payloads(mailbox), ['3']);
});

test('an acknowledgement makes room for what was asked for right after it, in the same commit', async () => {
  const { mailbox, store } = setUp({
    commandsPerDevice: 3,
    commandBytesPerDevice: 1_000,
    commandTtlMs: day,
  });
  const large = command('x'.repeat(800));
  for (const take of ['acknowledge', 'acknowledgeUpTo'] as const) {
    const id = await mailbox.put(d1, large);
    await assert.rejects(mailbox.put(d1, large), refusedWith('quota'));
    const commits = store.commits;
    const [, next] = await Promise.all([mailbox[take](d1, id), mailbox.put(d1, large)]);
    assert.equal(store.commits, commits + 1);
    await mailbox.acknowledge(d1, next);
  }
});

test('a pointer that leads nowhere is met once', async () => {
  const { mailbox, store } = setUp();
  const key = `x00000000000001:${d1}`;
  await store.commit([], [{ key, value: Buffer.from(d1) }]);
  assert.equal(await mailbox.sweep(), 1);
  assert.deepEqual(await keysOf(store), []);
  await mailbox.put(d1, command('1'));
  await store.commit([], [{ key, value: Buffer.from(d1) }]);
  assert.equal(await mailbox.sweep(), 1);
  assert.deepEqual(await payloads(mailbox), ['1']);
  assert.equal(await mailbox.sweep(), 0);
});

test('what is stored is sealed; a record that was damaged or moved does not pass, the others are given', async () => {
  const { mailbox, store, errors } = setUp();
  const id = await mailbox.put(d1, command('secret words'));
  await mailbox.put(d1, command('fine'));
  const key = `c${d1} ${id}`;
  const entry = await store.get(key);
  assert.ok(entry !== undefined && !entry.value.includes('secret'));
  const other = await mailbox.put(d2, command('of d2'));
  await store.commit([], [{ key: `c${d2} ${other}`, value: entry.value }]);
  assert.deepEqual(await mailbox.list(d2), []);
  entry.value[entry.value.length - 1]! ^= 1;
  await store.commit([], [{ key, value: entry.value }]);
  assert.deepEqual(await payloads(mailbox), ['fine']);
  assert.equal(errors.length, 2);
  assert.equal(await mailbox.acknowledge(d1, id), true);
});

test('a list of an unknown version is not overwritten', async () => {
  const { mailbox, store } = setUp();
  await mailbox.put(d1, command('1'));
  const entry = await store.get(`l${d1}`);
  assert.ok(entry !== undefined);
  entry.value[0] = 2;
  await store.commit([], [{ key: `l${d1}`, value: entry.value }]);
  await assert.rejects(mailbox.put(d1, command('2')), refusedWith('io'));
  await assert.rejects(mailbox.list(d1), refusedWith('io'));
});

test('another writer is waited for, not for ever; a disk that fails is told to whoever waits', async () => {
  const { mailbox, store } = setUp();
  store.conflicts = 3;
  await mailbox.put(d1, command('1'));
  store.conflicts = 1_000;
  await assert.rejects(mailbox.put(d1, command('2')), refusedWith('unavailable'));
  store.conflicts = 0;
  store.broken = true;
  const both = await Promise.allSettled([
    mailbox.put(d1, command('2')),
    mailbox.put(d1, command('3')),
  ]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  store.broken = false;
  await mailbox.put(d1, command('4'));
  assert.deepEqual(await payloads(mailbox), ['1', '4']);
});

test('as many wait for one mailbox as may, and no more', async () => {
  const { mailbox } = setUp();
  const outcomes = await Promise.allSettled(
    Array.from({ length: 1_001 }, () => mailbox.put(d1, command('x'))),
  );
  const last = outcomes[outcomes.length - 1];
  assert.ok(last?.status === 'rejected' && errorCodeOf(last.reason) === 'unavailable');
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 3);
});

test('workers that write to one mailbox at the same time lose nothing and keep the books right', async () => {
  const { open, store } = setUp({
    commandsPerDevice: 25,
    commandBytesPerDevice: 1_000_000,
    commandTtlMs: day,
  });
  const workers = Array.from({ length: 4 }, open);
  const rounds = await Promise.all(
    workers.map(async (worker, w) => {
      const ids: string[] = [];
      for (let n = 0; n < 10; n += 1) {
        const id = await worker.put(d1, command(`${w}-${n}`));
        // The other half is acknowledged by another worker.
        if (n % 2 === 0) await workers[(w + 1) % 4]!.acknowledge(d1, id);
        else ids.push(id);
      }
      return ids;
    }),
  );
  const left = (await open().list(d1)).map(({ id }) => id);
  assert.deepEqual(left, rounds.flat().toSorted());
  assert.equal(new Set(left).size, 20);
  assert.equal((await keysOf(store)).filter((key) => key.startsWith('c')).length, 20);
  assert.equal((await keysOf(store)).filter((key) => key.startsWith('x')).length, 1);
});

/** What the mailboxes are, without a store. */
class Model {
  readonly #limits: MailboxLimits;
  #held: { readonly device: PrincipalName; id: string; bytes: number; expiresAt: number }[] = [];

  constructor(limits: MailboxLimits) {
    this.#limits = limits;
  }

  of(device: PrincipalName) {
    return this.#held.filter((each) => each.device === device);
  }

  expire(now: number): void {
    this.#held = this.#held.filter(({ expiresAt }) => expiresAt > now);
  }

  fits(device: PrincipalName, bytes: number): boolean {
    const held = this.of(device);
    const sum = held.reduce((total, each) => total + each.bytes, bytes);
    const { commandsPerDevice, commandBytesPerDevice } = this.#limits;
    return held.length < commandsPerDevice && sum <= commandBytesPerDevice;
  }

  add(device: PrincipalName, id: string, bytes: number, expiresAt: number): void {
    this.#held.push({ device, id, bytes, expiresAt });
  }

  /** @returns how many. */
  remove(device: PrincipalName, goes: (id: string) => boolean): number {
    const before = this.#held.length;
    this.#held = this.#held.filter((each) => each.device !== device || !goes(each.id));
    return before - this.#held.length;
  }
}

test('any sequence keeps what a plain list keeps', async () => {
  const device = fc.constantFrom(d1, d2);
  const put = fc.record({
    does: fc.constant('put' as const),
    device,
    payloadBytes: fc.constantFrom(1, 300, 700),
    lives: fc.option(fc.constantFrom(0, 5, 50, 5_000), { nil: undefined }),
  });
  const acknowledge = fc.record({
    does: fc.constantFrom('acknowledge' as const, 'acknowledge up to' as const),
    device,
    which: fc.nat(4),
  });
  const wait = fc.record({ does: fc.constant('wait' as const), ms: fc.constantFrom(5, 1_000) });
  const sweep = fc.record({ does: fc.constant('sweep' as const) });
  const step = fc.oneof(
    { weight: 3, arbitrary: put },
    { weight: 2, arbitrary: acknowledge },
    { weight: 1, arbitrary: fc.oneof(wait, sweep) },
  );
  const limits = { commandsPerDevice: 3, commandBytesPerDevice: 1_300, commandTtlMs: 1_000 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { mailbox, open, hands, store } = setUp(limits);
      const model = new Model(limits);
      const given: string[] = [];

      const apply = async (each: (typeof steps)[number]): Promise<void> => {
        if (each.does === 'wait') hands.now += each.ms;
        model.expire(hands.now);
        if (each.does === 'wait') return;
        if (each.does === 'sweep') {
          await mailbox.sweep();
          return;
        }
        if (each.does === 'put') {
          const expiresAt = each.lives === undefined ? undefined : hands.now + each.lives;
          const message = command('x'.repeat(each.payloadBytes), { expiresAt });
          const { length } = encodeMessage(message);
          if (!model.fits(each.device, length)) {
            await assert.rejects(mailbox.put(each.device, message), refusedWith('quota'));
            return;
          }
          const id = await mailbox.put(each.device, message);
          if (each.device === d1) given.push(id);
          model.add(each.device, id, length, expiresAt ?? hands.now + limits.commandTtlMs);
          model.expire(hands.now);
          return;
        }
        const id = model.of(each.device)[each.which]?.id ?? '0000000000000001';
        if (each.does === 'acknowledge') {
          const removed = model.remove(each.device, (other) => other === id);
          assert.equal(await mailbox.acknowledge(each.device, id), removed === 1);
        } else {
          const removed = model.remove(each.device, (other) => other <= id);
          assert.equal(await mailbox.acknowledgeUpTo(each.device, id), removed);
        }
      };

      for (const each of steps) {
        await apply(each);
        for (const name of [d1, d2]) {
          const ids = (await open().list(name)).map(({ id }) => id);
          assert.deepEqual(
            ids,
            model.of(name).map(({ id }) => id),
          );
        }
      }
      assert.deepEqual(given, [...new Set(given)].toSorted(), 'the names of a device rise');
      hands.now += 5_000;
      await mailbox.sweep();
      assert.equal((await keysOf(store)).filter((key) => key.startsWith('c')).length, 0);
      hands.now += 31 * day;
      await mailbox.sweep();
      assert.deepEqual(await keysOf(store), []);
    }),
    { numRuns: 60 },
  );
});
