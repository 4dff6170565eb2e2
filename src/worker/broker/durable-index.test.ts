import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { matches } from '../../common/base/topic-filter.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import { DurableIndex } from './durable-index.ts';
import type { Message } from './message.ts';
import type { SubscriptionOptions } from './ports.ts';
import { sessionKey } from './session-key.ts';
import type { QueueTarget, StoredSession } from './sessions.ts';
import { SharedGroups } from './shared-groups.ts';

const service = principalName('service', 'be');
const device = principalName('device', 'd1');

class Records {
  readonly stored = new Map<string, StoredSession>();
  /** Answers are held back until they are let go. */
  readonly held: (() => void)[] = [];
  holding = false;
  failing: SallyportError | undefined;
  scans = 0;

  put(
    principal: PrincipalName,
    clientId: string,
    wanted: Readonly<Record<string, Partial<SubscriptionOptions>>>,
    id = '1',
  ): string {
    const key = sessionKey(principal, clientId);
    const subscriptions = new Map(
      Object.entries(wanted).map(([filter, more]) => [filter, options(1, more)]),
    );
    this.stored.set(key, { id, key, principal, subscriptions });
    return key;
  }

  async find(key: string): Promise<StoredSession | undefined> {
    const found = this.stored.get(key);
    await this.#held();
    return found;
  }

  async *all(): AsyncIterable<StoredSession> {
    this.scans += 1;
    for (const stored of this.stored.values().toArray()) {
      await this.#held();
      yield stored;
    }
  }

  async #held(): Promise<void> {
    if (this.failing !== undefined) throw this.failing;
    if (this.holding) await new Promise<void>((resolve) => this.held.push(resolve));
  }
}

function options(qos: QoS, more: Partial<SubscriptionOptions> = {}): SubscriptionOptions {
  return { qos, noLocal: false, retainAsPublished: false, identifiers: [], ...more };
}

function messageTo(topic: string, more: Partial<Message> = {}): Message {
  return {
    topic,
    payload: Buffer.from('x'),
    qos: 2,
    retain: false,
    properties: noProperties,
    publisher: principalName('device', 'p'),
    publisherSession: 'device/p p',
    delivery: undefined,
    expiresAt: undefined,
    ...more,
  };
}

function setUp() {
  const records = new Records();
  const groups = new SharedGroups(0, () => 0);
  return { records, groups, index: new DurableIndex({ sessions: records, groups }) };
}

const keysOf = (targets: readonly QueueTarget[]): string[] =>
  targets.map(({ key }) => key).toSorted();

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
}

test('a message is queued for those who want it, once each, as their filters say together', async () => {
  const { records, index } = setUp();
  const a = records.put(service, 'a', {
    't/#': { identifiers: [1] },
    't/x': { qos: 2, identifiers: [2], retainAsPublished: true },
  });
  const b = records.put(service, 'b', { '+/x': {}, u: {} }, '9');
  assert.equal(index.loaded, false);
  await index.rescan();
  assert.equal(index.loaded, true);
  const targets = index.targets(messageTo('t/x', { retain: true }));
  assert.deepEqual(
    targets.toSorted((x, y) => (x.key < y.key ? -1 : 1)),
    [
      { session: '1', key: a, principal: service, qos: 2, retain: true, identifiers: [1, 2] },
      { session: '9', key: b, principal: service, qos: 1, retain: false, identifiers: [] },
    ],
  );
  assert.equal(index.targets(messageTo('t/x', { qos: 1 }))[0]?.qos, 1);
  assert.deepEqual(index.targets(messageTo('t/x', { qos: 0 })), []);
  assert.deepEqual(index.targets(messageTo('nobody')), []);
  assert.equal(index.targets(messageTo('t/x'))[0]?.retain, false);
});

test('QoS 0 is queued for nobody, but lends its identifiers', async () => {
  const { records, index } = setUp();
  records.put(service, 'a', { t: { qos: 0 }, 'u/#': { qos: 0 } });
  const b = records.put(service, 'b', { t: { qos: 0, identifiers: [4] }, '+': { qos: 1 } });
  await index.rescan();
  assert.equal(index.size, 1);
  const targets = index.targets(messageTo('t'));
  assert.deepEqual(keysOf(targets), [b]);
  assert.deepEqual(targets[0]?.identifiers, [4]);
});

test('no local: a session does not get what it has published itself', async () => {
  const { records, index } = setUp();
  const own = records.put(service, 'a', { 't/#': { noLocal: true } });
  const other = records.put(service, 'b', { 't/#': { noLocal: true } });
  await index.rescan();
  assert.deepEqual(keysOf(index.targets(messageTo('t/x', { publisherSession: own }))), [other]);
  records.put(service, 'a', { 't/#': { noLocal: true }, 't/x': {} });
  await index.reload(own);
  assert.deepEqual(keysOf(index.targets(messageTo('t/x', { publisherSession: own }))), [
    own,
    other,
  ]);
});

test("a device's own commands are in its mailbox, and in no queue of its sessions", async () => {
  const { records, index } = setUp();
  const own = [
    'devices/d1/commands/#',
    'devices/d1/commands/+/x',
    '$share/g/devices/d1/commands/#',
  ];
  records.put(device, 'a', Object.fromEntries(own.map((filter) => [filter, {}])));
  await index.rescan();
  assert.equal(index.size, 0, 'nor do they cost anything');
  const wide = records.put(device, 'b', { 'devices/#': {} });
  const other = records.put(service, 'c', { 'devices/d1/commands/#': {} });
  await index.rescan();
  assert.deepEqual(keysOf(index.targets(messageTo('devices/d1/commands/go'))), [other]);
  assert.deepEqual(keysOf(index.targets(messageTo('devices/d2/commands/go'))), [wide]);
  assert.deepEqual(keysOf(index.targets(messageTo('devices/d1/other'))), [wide]);
});

test('a session that has changed is read again: filters, options, a new life, its end', async () => {
  const { records, index } = setUp();
  const key = records.put(service, 'a', { t: {}, u: {} });
  await index.reload(key);
  records.put(service, 'a', { u: { qos: 2 }, v: {} }, '2');
  await index.reload(key);
  assert.deepEqual(index.targets(messageTo('t')), []);
  assert.deepEqual(
    index.targets(messageTo('u')).map(({ session, qos }) => [session, qos]),
    [['2', 2]],
  );
  assert.deepEqual(keysOf(index.targets(messageTo('v'))), [key]);
  records.stored.delete(key);
  await index.reload(key);
  assert.equal(index.size, 0);
  assert.deepEqual(index.targets(messageTo('u')), []);
});

test('of two changes of one session the later one stays, however long the first is read', async () => {
  const { records, index } = setUp();
  const key = records.put(service, 'a', { old: {} });
  records.holding = true;
  const first = index.reload(key);
  records.put(service, 'a', { new: {} });
  const second = index.reload(key);
  await turns();
  assert.equal(records.held.length, 1, 'the second is read when the first is done');
  for (let i = 0; i < 2; i += 1) {
    for (const go of records.held.splice(0)) go();
    await turns();
  }
  await Promise.all([first, second]);
  assert.deepEqual(index.targets(messageTo('old')), []);
  assert.deepEqual(keysOf(index.targets(messageTo('new'))), [key]);
});

test('what is read by itself while all are read is newer, and what has gone meanwhile goes', async () => {
  const { records, index } = setUp();
  const a = records.put(service, 'a', { old: {} });
  records.put(service, 'b', { b: {} });
  await index.rescan();
  records.holding = true;
  const scan = index.rescan();
  await turns();
  records.holding = false;
  records.put(service, 'a', { new: {} });
  const c = records.put(service, 'c', { c: {} });
  await index.reload(a);
  await index.reload(c);
  for (const go of records.held.splice(0)) go();
  await scan;
  assert.deepEqual(index.targets(messageTo('old')), []);
  assert.deepEqual(keysOf(index.targets(messageTo('new'))), [a]);
  assert.deepEqual(keysOf(index.targets(messageTo('c'))), [c], 'it came after the scan had begun');
  records.stored.clear();
  await index.rescan();
  assert.equal(index.size, 0);
});

test('whoever asks while all are read gets what is read after he asked, one reading for all of them', async () => {
  const { records, index } = setUp();
  records.put(service, 'a', { t: {} });
  records.holding = true;
  const first = index.rescan();
  await turns();
  const later = records.put(service, 'b', { t: {} });
  records.holding = false;
  const others = Promise.all([index.rescan(), index.rescan(), index.rescan()]);
  for (const go of records.held.splice(0)) go();
  await first;
  await others;
  assert.equal(records.scans, 2);
  assert.ok(keysOf(index.targets(messageTo('t'))).includes(later));
});

test('it has loaded when what it was told before has been read, too', async () => {
  const { records, index } = setUp();
  const key = records.put(service, 'a', { old: {} });
  records.holding = true;
  const told = index.reload(key);
  records.holding = false;
  const loading = index.rescan();
  await turns();
  assert.equal(index.loaded, false);
  for (const go of records.held.splice(0)) go();
  await Promise.all([told, loading]);
  assert.equal(index.loaded, true);
});

test('a store that fails is told, and what is known stays', async () => {
  const { records, index } = setUp();
  const key = records.put(service, 'a', { t: {} });
  await index.rescan();
  const failing = new SallyportError('io', 'the disk');
  records.failing = failing;
  await assert.rejects(index.reload(key), failing);
  await assert.rejects(index.rescan(), failing);
  assert.deepEqual(keysOf(index.targets(messageTo('t'))), [key]);
  records.failing = undefined;
  records.stored.clear();
  await index.reload(key);
  assert.deepEqual(index.targets(messageTo('t')), []);
});

test('members of shared subscriptions go to the groups, and are queued for when they are picked', async () => {
  const { records, groups, index } = setUp();
  const key = records.put(service, 'a', { '$share/g/t/#': { identifiers: [5] } });
  await index.rescan();
  const message = messageTo('t/x');
  assert.deepEqual(index.targets(message), []);
  assert.equal(groups.mayQueue('t/x'), true);
  const picks = groups.pick(message, true);
  assert.deepEqual(index.targets(message, picks), [
    { session: '1', key, principal: service, qos: 1, retain: false, identifiers: [5] },
  ]);
  records.put(service, 'a', { '$share/g/t/#': { identifiers: [5] }, 't/x': { qos: 2 } });
  await index.reload(key);
  assert.equal(index.targets(message, picks).length, 1, 'once, for both subscriptions');
  assert.equal(index.targets(message, picks)[0]?.qos, 2);
  records.stored.clear();
  await index.reload(key);
  assert.equal(groups.size, 0);
});

const filters = ['a/b', 'a/+', 'a/#', '#', 'b', '+/b'];
const session = fc.record({
  at: fc.nat(3),
  id: fc.constantFrom('1', '2'),
  wanted: fc.dictionary(
    fc.constantFrom(...filters),
    fc.record({ qos: fc.constantFrom<QoS>(0, 1, 2), noLocal: fc.boolean() }),
  ),
});

test('whatever changes, a message is queued for whom a plain list of sessions says', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(session, { maxLength: 20, size: 'max' }), async (changes) => {
      const { records, index } = setUp();
      for (const { at, id, wanted } of changes) {
        const key = records.put(service, `${at}`, wanted, id);
        if (Object.keys(wanted).length === 0) records.stored.delete(key);
        await (at === 3 ? index.rescan() : index.reload(key));
      }
      for (const topic of ['a/b', 'a', 'b', 'c']) {
        const message = messageTo(topic, { publisherSession: sessionKey(service, '0') });
        const expected = [...records.stored.values()].flatMap(({ id, key, subscriptions }) => {
          const found = [...subscriptions].filter(
            ([filter, { noLocal }]) =>
              matches(filter, topic) && !(noLocal && key === message.publisherSession),
          );
          const qos = Math.max(0, ...found.map(([, wanted]) => wanted.qos));
          return qos === 0 ? [] : [`${key} ${id} ${qos}`];
        });
        const targets = index.targets(message);
        assert.deepEqual(
          targets.map(({ key, session: life, qos }) => `${key} ${life} ${qos}`).toSorted(),
          expected.toSorted(),
        );
      }
    }),
    { numRuns: 60 },
  );
});
