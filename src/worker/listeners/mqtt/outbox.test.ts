import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { encodePublish } from '../../../common/codec/mqtt/encoder.ts';
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Publish, PublishProperties } from '../../../common/codec/mqtt/packets.ts';
import { FakeTransport } from './fake-transport.ts';
import { Flusher, Outbox } from './outbox.ts';
import { SentAliases } from './topic-aliases.ts';

function setUp(limits = { outboundBytes: 1_000, outboundMessages: 4 }) {
  const transport = new FakeTransport();
  const faults: unknown[] = [];
  const hands = { now: 0 };
  const flusher = new Flusher((_, error) => faults.push(error));
  const outbox = new Outbox(transport, flusher, limits, () => hands.now);
  transport.onDrain = () => outbox.pump();
  return { transport, flusher, outbox, faults, hands };
}

function publish(qos: 0 | 1, payload = 'x'): EncodedPublish {
  return encodePublish(
    {
      topic: 't',
      payload: Buffer.from(payload),
      qos,
      retain: false,
      dup: false,
      properties: noProperties,
    },
    4,
  );
}

/** Packet identifiers of QoS 1 messages written so far: header of 2 bytes, topic of 3. */
function packetIds({ written }: FakeTransport): number[] {
  const ids: number[] = [];
  const bytes = Buffer.concat(written);
  for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt8(at + 1)) {
    if (bytes.readUInt8(at) === 0x32) ids.push(bytes.readUInt16BE(at + 5));
  }
  return ids;
}

const tickOver = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what is sent in one turn of the event loop is one write, in order', async () => {
  const { transport, outbox } = setUp();
  for (const text of ['a', 'b', 'c']) outbox.send(Buffer.from(text));
  assert.equal(transport.written.length, 0);
  await tickOver();
  assert.deepEqual(transport.written.map(String), ['abc']);
  assert.equal(outbox.writtenBytes, 3);
});

test('what waits for a slow reader is no slice of what was read from someone else', async () => {
  const { transport, outbox } = setUp();
  const readBuffer = Buffer.alloc(16_384, 'x');
  outbox.sendUnacknowledged({
    bytes: readBuffer.subarray(100, 200),
    packetIdOffset: 0,
    expiryOffset: 0,
    topic: 't',
  });
  await tickOver();
  assert.deepEqual(transport.written.map(String), ['x'.repeat(100)]);
  assert.notEqual(transport.written[0]?.buffer, readBuffer.buffer);
});

test('a connection whose write fails does not keep the others from theirs', async () => {
  const { flusher, transport, outbox, faults } = setUp();
  const other = new FakeTransport();
  const limits = { outboundBytes: 1_000, outboundMessages: 4 };
  const otherOutbox = new Outbox(other, flusher, limits, () => 0);
  transport.fault = new Error('a defect');
  outbox.send(Buffer.from('lost'));
  otherOutbox.send(Buffer.from('sent'));
  await tickOver();
  assert.deepEqual(other.written.map(String), ['sent']);
  assert.equal(faults.length, 1);
});

test('QoS 0 is dropped while more waits than may', async () => {
  const { transport, outbox } = setUp();
  transport.takes = false;
  assert.equal(outbox.sendUnacknowledged(publish(0, 'x'.repeat(2_000))), 'sent');
  await tickOver();
  assert.ok(outbox.full);
  assert.equal(outbox.sendUnacknowledged(publish(0)), 'dropped');
  transport.drain();
  assert.equal(outbox.full, false);
  assert.equal(outbox.sendUnacknowledged(publish(0)), 'sent');
});

test('reading goes on when the peer has taken what was sent, whatever waits for its acknowledgements', async () => {
  const { transport, outbox } = setUp();
  outbox.setReceiveMaximum(1);
  transport.takes = false;
  for (let n = 0; n < 4; n += 1) outbox.sendAcknowledged(publish(1), 1, undefined);
  outbox.send(Buffer.alloc(2_000));
  await tickOver();
  assert.ok(outbox.full);
  let state = 'waits';
  void outbox.taken().then(() => (state = 'reads'));
  await tickOver();
  assert.equal(state, 'waits');
  transport.drain();
  await tickOver();
  assert.equal(state, 'reads');
  assert.equal(outbox.roomy, false, 'its PUBACKs are what makes room');
});

test('what was sent may be taken below the mark at which a stream says so: all goes on then', async () => {
  const { transport, outbox } = setUp();
  outbox.setReceiveMaximum(2);
  let rooms = 0;
  outbox.onRoom = () => void (rooms += 1);
  transport.takes = false;
  outbox.send(Buffer.alloc(2_000));
  await tickOver();
  assert.equal(outbox.sendAcknowledged(publish(1), 1, undefined), 'queued');
  let state = 'waits';
  void outbox.taken().then(() => (state = 'reads'));
  outbox.tick();
  await tickOver();
  assert.deepEqual([state, rooms, packetIds(transport)], ['waits', 0, []]);
  transport.pendingBytes = 0;
  outbox.tick();
  await tickOver();
  assert.deepEqual([state, rooms, transport.written.length], ['reads', 1, 2]);
});

test('QoS 1: as many in flight as the client takes, the next when one is acknowledged', async () => {
  const { transport, outbox } = setUp();
  outbox.setReceiveMaximum(2);
  const outcomes = [1, 2, 3, 4].map(() => outbox.sendAcknowledged(publish(1), 1, undefined));
  assert.deepEqual(outcomes, ['sent', 'sent', 'queued', 'queued']);
  await tickOver();
  assert.deepEqual(packetIds(transport), [1, 2]);
  assert.equal(outbox.acknowledged(2), true);
  assert.equal(outbox.acknowledged(2), false);
  assert.equal(outbox.acknowledged(99), false);
  await tickOver();
  assert.deepEqual(packetIds(transport), [1, 2, 3]);
  // One that comes later does not overtake one that waits.
  assert.equal(outbox.sendAcknowledged(publish(1), 1, undefined), 'queued');
});

test('QoS 1 overflows when as many wait as may, by number and by bytes', () => {
  const byNumber = setUp().outbox;
  byNumber.setReceiveMaximum(1);
  const outcomes = Array.from({ length: 6 }, () =>
    byNumber.sendAcknowledged(publish(1), 1, undefined),
  );
  assert.deepEqual(outcomes, ['sent', 'queued', 'queued', 'queued', 'queued', 'overflow']);
  const byBytes = setUp().outbox;
  byBytes.setReceiveMaximum(1);
  const large = publish(1, 'x'.repeat(600));
  const sizes = [1, 2, 3].map(() => byBytes.sendAcknowledged(large, 1, undefined));
  assert.deepEqual(sizes, ['sent', 'queued', 'overflow']);
});

test('a receive maximum over our own bound does not raise it', () => {
  const { outbox } = setUp();
  outbox.setReceiveMaximum(65_535);
  const outcomes = Array.from({ length: 5 }, () =>
    outbox.sendAcknowledged(publish(1), 1, undefined),
  );
  assert.deepEqual(outcomes, ['sent', 'sent', 'sent', 'sent', 'queued']);
});

test('what expires while it waits is not sent', async () => {
  const { transport, outbox, hands } = setUp();
  outbox.setReceiveMaximum(1);
  outbox.sendAcknowledged(publish(1, 'first'), 1, undefined);
  outbox.sendAcknowledged(publish(1, 'expires'), 1, 1_000);
  outbox.sendAcknowledged(publish(1, 'stays'), 1, 3_000);
  hands.now = 2_000;
  outbox.acknowledged(1);
  await tickOver();
  const bytes = Buffer.concat(transport.written).toString('latin1');
  assert.ok(bytes.includes('first') && bytes.includes('stays'));
  assert.ok(!bytes.includes('expires'));
});

/** Of the PUBLISH packets of MQTT 5 written so far. */
function publishedIn5({ written }: FakeTransport): Publish[] {
  const limits = { packetBytes: 1_000, connectBytes: 1_000, userProperties: 1 };
  const decoder = new MqttDecoder('client', { ...limits, topicBytes: 100, topicLevels: 10 });
  decoder.version = 5;
  decoder.push(Buffer.concat(written));
  const found: Publish[] = [];
  for (let next = decoder.next(); next?.type === 'publish'; next = decoder.next()) found.push(next);
  return found;
}

function publish5(topic: string, properties: PublishProperties = noProperties): EncodedPublish {
  const payload = Buffer.from('x');
  return encodePublish({ topic, payload, qos: 1, retain: false, dup: false, properties }, 5);
}

test('what waits goes out with what is left of its expiry [MQTT-3.3.2-6]', async () => {
  const { transport, outbox, hands } = setUp();
  outbox.setReceiveMaximum(1);
  const properties = { messageExpiryInterval: 10 };
  outbox.sendAcknowledged(publish5('t', properties), 1, 10_000);
  outbox.sendAcknowledged(publish5('t', properties), 1, 10_000);
  hands.now = 3_500;
  outbox.acknowledged(1);
  await tickOver();
  const left = publishedIn5(transport).map((each) => each.properties.messageExpiryInterval);
  assert.deepEqual(left, [10, 7]);
});

test('an alias is set by what goes out: not by what waits, expires or is dropped', async () => {
  const { transport, outbox, hands } = setUp();
  const topic = 'devices/d1/telemetry';
  outbox.aliases = new SentAliases(1, 1_000);
  outbox.setReceiveMaximum(1);
  outbox.sendAcknowledged(publish5(topic), 1, undefined);
  // These wait; the first of them would set the alias.
  outbox.sendAcknowledged(publish5(topic), 1, 1_000);
  outbox.sendAcknowledged(publish5(topic), 1, undefined);
  outbox.sendAcknowledged(publish5(topic), 1, undefined);
  hands.now = 2_000;
  for (const packetId of [1, 2]) outbox.acknowledged(packetId);
  await tickOver();
  transport.takes = false;
  outbox.send(Buffer.alloc(0));
  transport.pendingBytes = 2_000;
  const unacknowledged = encodePublish(
    {
      topic,
      payload: Buffer.from('y'),
      qos: 0,
      retain: false,
      dup: false,
      properties: noProperties,
    },
    5,
  );
  outbox.flush();
  assert.equal(outbox.sendUnacknowledged(unacknowledged), 'dropped');
  transport.drain();
  assert.equal(outbox.sendUnacknowledged(unacknowledged), 'sent');
  await tickOver();
  const seen = publishedIn5(transport).map((each) => [each.topic, each.properties.topicAlias]);
  assert.deepEqual(seen, [
    [topic, undefined],
    [topic, 1],
    ['', 1],
    ['', 1],
  ]);
});

test('what is to be done when a message is acknowledged is done then, once, and never without', () => {
  const { outbox, hands } = setUp();
  outbox.setReceiveMaximum(1);
  const done: string[] = [];
  outbox.sendAcknowledged(publish(1), 1, undefined, () => done.push('first'));
  outbox.sendAcknowledged(publish(1), 1, 1_000, () => done.push('expires'));
  outbox.sendAcknowledged(publish(1), 1, undefined, () => done.push('queued'));
  assert.equal(done.join(), '');
  hands.now = 2_000;
  outbox.acknowledged(1);
  outbox.acknowledged(1);
  assert.equal(done.join(), 'first');
  outbox.acknowledged(2);
  assert.equal(done.join(), 'first,queued');
  outbox.sendAcknowledged(publish(1), 1, undefined, () => done.push('in flight at the end'));
  outbox.close();
  assert.equal(done.join(), 'first,queued');
});

test('packet identifiers go from 1 to 65,535 and round, past those in flight [MQTT-2.2.1-4]', async () => {
  const { transport, outbox } = setUp({ outboundBytes: 1_000_000, outboundMessages: 4 });
  assert.equal(outbox.sendAcknowledged(publish(1), 1, undefined), 'sent');
  for (let id = 2; id <= 65_535; id += 1) {
    outbox.sendAcknowledged(publish(1), 1, undefined);
    outbox.acknowledged(id);
  }
  await tickOver();
  transport.written.length = 0;
  outbox.sendAcknowledged(publish(1), 1, undefined);
  await tickOver();
  // 1 was never acknowledged.
  assert.deepEqual(packetIds(transport), [2]);
});

test('room: resolves when less than half is used, and when the connection is gone', async () => {
  const { transport, outbox } = setUp();
  await outbox.room();
  transport.takes = false;
  outbox.sendUnacknowledged(publish(0, 'x'.repeat(900)));
  await tickOver();
  let roomy = false;
  const waiting = outbox.room().then(() => {
    roomy = true;
  });
  await tickOver();
  assert.equal(roomy, false);
  transport.drain();
  await waiting;
  transport.takes = false;
  outbox.sendUnacknowledged(publish(0, 'x'.repeat(900)));
  await tickOver();
  const gone = outbox.room();
  outbox.close();
  await gone;
  await outbox.room();
});

test('close: what was sent goes out, what waits does not', async () => {
  const { transport, outbox } = setUp();
  outbox.setReceiveMaximum(1);
  outbox.sendAcknowledged(publish(1, 'in flight'), 1, undefined);
  outbox.sendAcknowledged(publish(1, 'waiting'), 1, undefined);
  outbox.send(Buffer.from('bye'));
  outbox.close();
  await tickOver();
  const bytes = Buffer.concat(transport.written).toString('latin1');
  assert.ok(bytes.includes('in flight') && bytes.endsWith('bye'));
  assert.ok(!bytes.includes('waiting'));
});
