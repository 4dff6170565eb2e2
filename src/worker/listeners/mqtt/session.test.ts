/** What a session gets while its retained messages are on their way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../common/base/logger.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import { Broker } from '../../broker/broker.ts';
import { aloneCrossing } from '../../broker/fake-crossing.ts';
import type { Message } from '../../broker/message.ts';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf, HandClock, subjectOf } from '../../policy/test-support.ts';
import { FakeTransport } from './fake-transport.ts';
import { Flusher, Outbox } from './outbox.ts';
import type { MqttPeer } from './peer.ts';
import { Session } from './session.ts';

const topic = 'devices/d1/status';
const filter = 'devices/+/status';
const options = { qos: 0, noLocal: false, retainAsPublished: false, identifiers: [] } as const;
const document = documentOf('limits: { outboundBytes: 1MiB }');
const policy = compilePolicy(document, 1);
const noRoles = { ...document, roles: {} };

function message(payload: string, retain: boolean, of: string = topic): Message {
  return {
    topic: of,
    payload: Buffer.from(payload),
    qos: 0,
    retain,
    properties: noProperties,
    publisher: subjectOf('device', 'd1', 'device').name,
    publisherSession: 'd1',
    delivery: undefined,
    expiresAt: undefined,
  };
}

/** A backend that has just subscribed; what is retained comes when the test says so. */
function setUp(maximumPacketSize?: number) {
  const clock = new HandClock();
  const transport = new FakeTransport();
  const outbox = new Outbox(transport, new Flusher(() => {}), document.limits, () => clock.now());
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const state = { policy };
  const unused = (): never => assert.fail('not part of this test');
  const peer: MqttPeer = {
    ports: {
      clock,
      logger: silentLogger,
      broker: new Broker({
        crossing: aloneCrossing(),
        clock,
      }),
      retained: {
        put: unused,
        count: unused,
        async *match() {
          await released;
          yield message('retained', true);
        },
      },
      policy: () => state.policy,
      limits: () => document.limits,
      fresh: () => true,
      identify: unused,
      identifyNow: unused,
      claim: unused,
      signatures: { signedPublish: unused },
      interestSettled: unused,
      underWay: unused,
      mailbox: { put: unused, list: unused, acknowledge: unused, acknowledgeUpTo: unused },
      intake: { store: unused, publish: unused },
      sessions: { open: unused, find: unused, newId: unused, enqueue: unused },
      count: () => {},
    },
    transport,
    outbox,
    session: undefined,
    receivedAliases: undefined,
    version: 5,
    sendable: undefined,
    subject: 'CN=be',
    isClosed: () => false,
    send: unused,
    goLive: unused,
    refuse: unused,
    floods: unused,
    endFor: unused,
    disconnect: unused,
    run: (step) => step(),
    log: () => {},
  };
  const subject = subjectOf('service', 'be', 'backend');
  const session = new Session(peer, {
    subject,
    claim: { key: 'be', epoch: 1, rates: { take: () => true }, release: () => {} },
    clientId: 'be',
    will: undefined,
    maximumPacketSize,
    certificate: 'internal:1',
    notAfterMs: Number.MAX_SAFE_INTEGER,
    owned: undefined,
    expirySeconds: 0,
  });
  session.subscriptions.set(filter, options);
  session.replay([{ filter, options }]);
  /** Payloads in the order in which they were written, once the retained message has had its turn. */
  const written = async (): Promise<string[]> => {
    release();
    for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setImmediate(resolve));
    const text = Buffer.concat(transport.written).toString('latin1');
    return text.match(/retained|live|not/g) ?? [];
  };
  return { session, subject, state, written };
}

test('a live message that is not retained does not stand for the retained one', async () => {
  const { session, written } = setUp();
  session.deliver(message('live', false), options);
  assert.deepEqual(await written(), ['live', 'retained']);
});

test('a live message that was retained stands for the older one', async () => {
  const { session, written } = setUp();
  session.deliver(message('live', true), options);
  assert.deepEqual(await written(), ['live']);
});

test('a live message that the client did not get stands for nothing', async () => {
  const { session, written } = setUp(100);
  session.deliver(message('live'.repeat(50), true), options);
  assert.deepEqual(await written(), ['retained']);
});

const commands = 'devices/d1/commands/reboot';

test('what a filter matches is read topic by topic when the filter is not granted as a whole', async () => {
  const { session, written } = setUp();
  const wide = { qos: 0, noLocal: false, retainAsPublished: false, identifiers: [] } as const;
  session.subscriptions.set('devices/#', wide);
  session.deliver(message('not', false, commands), wide);
  session.deliver(message('live', false), wide);
  session.deliver(message('not', false, commands), wide);
  assert.deepEqual(await written(), ['live', 'retained']);
});

test('two filters may be merged into options of their own: what is read is judged all the same', async () => {
  const { session, written } = setUp();
  const merged = { qos: 1, noLocal: false, retainAsPublished: true, identifiers: [] } as const;
  session.deliver(message('not', false, commands), merged);
  session.deliver(message('live', false), merged);
  assert.deepEqual(await written(), ['live', 'retained']);
});

for (const [change, by] of [
  ['role', ({ subject }) => void (subject.identity.role = 'device')],
  ['standing', ({ subject }) => void (subject.identity.standing = 'suspended')],
  ['policy', ({ state }) => void (state.policy = compilePolicy(noRoles, 2))],
] as const satisfies readonly (readonly [string, (set: ReturnType<typeof setUp>) => void])[]) {
  test(`a change of ${change} ends what is read by a filter that had been granted, with the next message`, async () => {
    const set = setUp();
    set.session.deliver(message('live', false), options);
    by(set);
    set.session.deliver(message('live', false), options);
    assert.deepEqual(await set.written(), ['live']);
  });
}
