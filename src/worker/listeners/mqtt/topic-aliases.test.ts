import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { encodePublish } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Publish, PublishProperties, QoS } from '../../../common/codec/mqtt/packets.ts';
import { ReceivedAliases, SentAliases } from './topic-aliases.ts';

function publish(topic: string, properties: PublishProperties = noProperties, qos: QoS = 0) {
  const payload = Buffer.from(topic.slice(0, 1));
  return {
    type: 'publish',
    dup: false,
    qos,
    retain: false,
    topic,
    packetId: qos,
    payload,
    properties,
  } as const satisfies Publish;
}

/** The other end of the connection, which knows what it was told. */
class Reader {
  readonly #decoder = new MqttDecoder('client', {
    packetBytes: 1_000_000,
    connectBytes: 1_000,
    userProperties: 10,
    topicBytes: 65_535,
    topicLevels: 100,
  });
  readonly aliases = new Map<number, string>();

  constructor() {
    this.#decoder.version = 5;
  }

  /** The packet, with the topic that it stands for. */
  read(bytes: Buffer): { readonly packet: Publish; readonly topic: string } {
    this.#decoder.push(bytes);
    const packet = this.#decoder.next();
    assert.equal(packet?.type, 'publish');
    const alias = packet.properties.topicAlias;
    if (alias === undefined) return { packet, topic: packet.topic };
    if (packet.topic !== '') this.aliases.set(alias, packet.topic);
    const topic = this.aliases.get(alias);
    assert.ok(topic !== undefined, `alias ${alias} was never set`);
    return { packet, topic };
  }
}

const anySize = Number.POSITIVE_INFINITY;
const topic = 'devices/d1/telemetry';

/** Bytes of the topic as they are on the wire, one for each message; 0 where an alias stands for it. */
function sent(aliases: SentAliases, topics: readonly string[]): number[] {
  const reader = new Reader();
  return topics.map((each) => {
    const { packet, topic: meant } = reader.read(
      aliases.encode(encodePublish(publish(each), 5), 0),
    );
    assert.equal(meant, each);
    return packet.topic.length;
  });
}

describe('from the client', () => {
  test('an alias stands for the topic that it was set with, until it is set anew', () => {
    const aliases = new ReceivedAliases(2);
    const expanded = (name: string, alias: number): string => {
      const packet = aliases.expand(publish(name, { topicAlias: alias }));
      assert.ok(typeof packet === 'object');
      return packet.topic;
    };
    assert.equal(expanded('a', 1), 'a');
    assert.equal(expanded('b', 2), 'b');
    assert.equal(expanded('', 1), 'a');
    assert.equal(expanded('c', 1), 'c');
    assert.equal(expanded('', 1), 'c');
    assert.equal(expanded('', 2), 'b');
  });

  test('what it expands to is what it would have been without an alias', () => {
    const aliases = new ReceivedAliases(1);
    const properties = { contentType: 'text', userProperties: [['a', 'b']] } as const;
    aliases.expand(publish(topic, { topicAlias: 1 }));
    const bare = { ...publish(''), payload: Buffer.from('d') };
    assert.deepEqual(
      aliases.expand({ ...bare, properties: { ...properties, topicAlias: 1 } }),
      publish(topic, properties),
    );
    const plain = aliases.expand({ ...bare, properties: { topicAlias: 1 } });
    assert.ok(typeof plain === 'object');
    assert.equal(plain.properties, noProperties);
  });

  test('0, more than was offered and what was never set are told apart', () => {
    const aliases = new ReceivedAliases(2);
    assert.equal(aliases.expand(publish('a', { topicAlias: 3 })), 0x94);
    assert.equal(aliases.expand(publish('a', { topicAlias: 0 })), 0x94);
    assert.equal(aliases.expand(publish('', { topicAlias: 2 })), 0x82);
    assert.equal(new ReceivedAliases(0).expand(publish('a', { topicAlias: 1 })), 0x94);
  });
});

describe('to the client', () => {
  test('the second message of a topic sets its alias, those after it do without the topic', () => {
    const full = topic.length;
    assert.deepEqual(sent(new SentAliases(16, anySize), [topic, topic, topic, topic]), [
      full,
      full,
      0,
      0,
    ]);
  });

  test('a topic that is hardly longer than an alias keeps its name', () => {
    assert.deepEqual(sent(new SentAliases(16, anySize), Array(4).fill('t/four')), [6, 6, 6, 6]);
  });

  test('an alias that would make its packet larger than the client takes is not set', () => {
    const { length } = encodePublish(publish(topic), 5).bytes;
    for (const [room, last] of [
      [4, topic.length],
      [5, 0],
    ] as const) {
      const topics = [topic, topic, topic];
      assert.equal(sent(new SentAliases(1, length + room), topics).at(-1), last, `${room}`);
    }
  });

  test('topics in turn, however many more than there are aliases, do not drive each other out', () => {
    for (const [most, topicsInTurn] of [
      [1, 2],
      [1, 4],
      [1, 16],
      [4, 5],
      [4, 16],
      [16, 32],
    ] as const) {
      const topics = Array.from({ length: topicsInTurn }, (_, n) => `devices/d${n}/telemetry`);
      const rounds = Array.from({ length: 40 }, () => topics).flat();
      const bytes = sent(new SentAliases(most, anySize), rounds);
      const aliased = bytes.filter((each) => each === 0).length;
      assert.equal(aliased, most * 38, `${topicsInTurn} topics, ${most} aliases`);
    }
  });

  test('a reader of more topics than are remembered pays nothing for aliases', () => {
    const topics = Array.from({ length: 1_000 }, (_, n) => `devices/d${n}/telemetry`);
    const aliases = new SentAliases(16, anySize);
    for (const each of [...topics, ...topics, ...topics]) {
      const encoded = encodePublish(publish(each), 5);
      assert.equal(aliases.encode(encoded, 0), encoded.bytes);
    }
  });

  test('an alias that nobody uses any more is given to a topic that is in use', () => {
    const aliases = new SentAliases(1, anySize);
    assert.equal(sent(aliases, Array(3).fill('devices/d1/telemetry')).at(-1), 0);
    assert.equal(sent(aliases, Array(20).fill('devices/d2/telemetry')).at(-1), 0);
  });

  test('whatever is sent, the client reads what was meant, with no alias beyond its maximum', () => {
    const topics = fc.constantFrom(
      ...Array.from({ length: 8 }, (_, n) => `devices/d${n}/telemetry`),
      'x',
      'devices/\u{1f6aa}/status',
    );
    const message = fc.record({
      topic: topics,
      qos: fc.constantFrom<QoS[]>(0, 1, 2),
      payload: fc.uint8Array({ maxLength: 300 }),
      userProperties: fc.array(fc.tuple(fc.string(), fc.constant('é')), { maxLength: 4 }),
    });
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 30, max: 400 }),
        (messages, most, largest) => {
          const aliases = new SentAliases(most, largest);
          const reader = new Reader();
          for (const each of messages) {
            const properties: PublishProperties = {
              contentType: 'text',
              userProperties: each.userProperties.map(([name, value]) => [
                name.replaceAll('\0', '').toWellFormed(),
                value,
              ]),
            };
            const packet = { ...publish(each.topic, properties, each.qos) };
            const encoded = encodePublish({ ...packet, payload: Buffer.from(each.payload) }, 5);
            const before = Buffer.from(encoded.bytes);
            const bytes = aliases.encode(encoded, each.qos === 0 ? 0 : 0xfffe);
            assert.deepEqual(encoded.bytes, before);
            if (before.length <= largest) assert.ok(bytes.length <= largest);
            const read = reader.read(bytes);
            assert.equal(read.topic, each.topic);
            assert.equal(read.packet.packetId, each.qos === 0 ? 0 : 0xfffe);
            assert.deepEqual(read.packet.payload, Buffer.from(each.payload));
            const { topicAlias = 1, ...others } = read.packet.properties;
            assert.ok(topicAlias >= 1 && topicAlias <= most);
            assert.deepEqual(
              others,
              properties.userProperties?.length === 0 ? { contentType: 'text' } : properties,
            );
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
