/** What a session gets while its retained messages are on their way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../common/base/logger.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import { Broker } from '../../broker/broker.ts';
import type { Message } from '../../broker/message.ts';
import { compilePolicy } from '../../policy/compile.ts';
import { documentOf, HandClock, subjectOf } from '../../policy/test-support.ts';
import { FakeTransport } from './fake-transport.ts';
import { Flusher, Outbox } from './outbox.ts';
import type { MqttPeer } from './peer.ts';
import { Session } from './session.ts';

const topic = 'devices/d1/status';
const filter = 'devices/+/status';
const options = { qos: 0, noLocal: false, retainAsPublished: false } as const;
const document = documentOf('limits: { outboundBytes: 1MiB }');
const policy = compilePolicy(document, 1);

function message(payload: string, retain: boolean): Message {
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 0,
    retain,
    properties: noProperties,
    publisher: subjectOf('device', 'd1', 'device').name,
    publisherSession: 'd1',
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
  const unused = (): never => assert.fail('not part of this test');
  const peer: MqttPeer = {
    ports: {
      clock,
      logger: silentLogger,
      broker: new Broker({
        crossing: {
          onMessage: () => {},
          addInterest: () => {},
          dropInterest: () => {},
          wanting: () => [],
          send: () => {},
        },
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
      policy: () => policy,
      limits: () => document.limits,
      fresh: () => true,
      identify: unused,
      identifyNow: unused,
      claim: unused,
      interestSettled: unused,
      willUnderWay: unused,
      count: () => {},
    },
    transport,
    outbox,
    version: 5,
    subject: 'CN=be',
    isClosed: () => false,
    send: unused,
    goLive: unused,
    refuse: unused,
    endFor: unused,
    disconnect: unused,
    run: (step) => step(),
    log: () => {},
  };
  const session = new Session(peer, {
    subject: subjectOf('service', 'be', 'backend'),
    claim: { key: 'be', rates: { take: () => true }, release: () => {} },
    clientId: 'be',
    will: undefined,
    maximumPacketSize,
    certificate: 'internal:1',
    notAfterMs: Number.MAX_SAFE_INTEGER,
    sessionExpiryInterval: 0,
  });
  session.subscriptions.set(filter, options);
  session.replays.add([{ filter, options }]);
  /** Payloads in the order in which they were written, once the retained message has had its turn. */
  const written = async (): Promise<string[]> => {
    release();
    for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setImmediate(resolve));
    const text = Buffer.concat(transport.written).toString('latin1');
    return text.match(/retained|live/g) ?? [];
  };
  return { session, written };
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
