import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  fixtureLimits,
  refusedPackets,
} from '../../../../test/protocol/mqtt-codec/refused-packets.ts';
import { validPackets } from '../../../../test/protocol/mqtt-codec/valid-packets.ts';
import { bytes } from '../../../../test/protocol/mqtt-codec/notation.ts';
import { MqttDecoder, type DecoderLimits, type Role } from './decoder.ts';
import { noProperties, type Packet, type ProtocolVersion } from './packets.ts';
import { MqttProtocolError } from './protocol-error.ts';

function decoderOf(
  role: Role,
  version: ProtocolVersion | undefined,
  limits: DecoderLimits = fixtureLimits,
): MqttDecoder {
  const decoder = new MqttDecoder(role, limits);
  decoder.version = version;
  return decoder;
}

/** Buffers of a packet are lent: copies what must outlive the next push. */
function owned(packet: Packet): Packet {
  return structuredClone(packet);
}

function pull(decoder: MqttDecoder, chunks: Iterable<Buffer>): Packet[] {
  const packets: Packet[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) {
      packets.push(owned(packet));
    }
  }
  return packets;
}

function* singly(whole: Buffer): Generator<Buffer> {
  for (let at = 0; at < whole.length; at += 1) yield whole.subarray(at, at + 1);
}

function versionBefore(packet: Packet, version: ProtocolVersion): ProtocolVersion | undefined {
  return packet.type === 'connect' ? undefined : version;
}

function refusal(decoder: MqttDecoder, chunks: Iterable<Buffer>): MqttProtocolError {
  try {
    pull(decoder, chunks);
  } catch (thrown) {
    assert.ok(thrown instanceof MqttProtocolError, String(thrown));
    return thrown;
  }
  throw new assert.AssertionError({ message: 'nothing was refused' });
}

const connectBytes = bytes("10 0e 0004 'MQTT' 04 02 003c 0002 'd1'");

describe('a valid packet', () => {
  for (const fixture of validPackets) {
    for (const sender of fixture.senders) {
      const role = sender === 'client' ? 'server' : 'client';
      test(`${fixture.name}, to a ${role}: whole, byte by byte and split anywhere`, () => {
        const start = versionBefore(fixture.packet, fixture.version);
        const expected = [structuredClone(fixture.packet)];
        assert.deepEqual(pull(decoderOf(role, start), [fixture.bytes]), expected);
        assert.deepEqual(pull(decoderOf(role, start), singly(fixture.bytes)), expected);
        for (let at = 1; at < fixture.bytes.length; at += 1) {
          const halves = [fixture.bytes.subarray(0, at), fixture.bytes.subarray(at)];
          assert.deepEqual(pull(decoderOf(role, start), halves), expected, `split at ${at}`);
        }
      });
    }

    test(`${fixture.name}: cut short, it is waited for or refused, never taken`, () => {
      const role = fixture.senders[0] === 'client' ? 'server' : 'client';
      const start = versionBefore(fixture.packet, fixture.version);
      for (let at = 0; at < fixture.bytes.length; at += 1) {
        const decoder = decoderOf(role, start);
        assert.deepEqual(pull(decoder, [fixture.bytes.subarray(0, at)]), []);
        assert.equal(decoder.bufferedBytes, at);
      }
    });
  }
});

describe('a refused packet', () => {
  for (const fixture of refusedPackets) {
    const { version, receiver, reasonCode, statement } = fixture;
    const known = version === undefined ? 'before CONNECT' : `in ${version}`;
    test(`${fixture.name}, by a ${receiver} ${known}: 0x${reasonCode.toString(16)}`, () => {
      const whole = refusal(decoderOf(receiver, version), [fixture.bytes]);
      assert.deepEqual(
        [whole.reasonCode, whole.statement, whole.version, whole.beforeConnect],
        [reasonCode, statement, fixture.errorVersion, version === undefined],
      );
      const slow = refusal(decoderOf(receiver, version), singly(fixture.bytes));
      assert.deepEqual([slow.reasonCode, slow.statement], [reasonCode, statement]);
    });
  }

  test('is an error of the gateway with a code for the policy table', () => {
    const large = refusal(decoderOf('server', 5), [bytes('30 ff ff ff 7f')]);
    assert.equal(large.code, 'too-large');
    assert.equal(refusal(decoderOf('server', 5), [bytes('00')]).code, 'malformed');
  });
});

describe('the order of packets', () => {
  test('CONNECT sets the version that the rest is read by', () => {
    const decoder = decoderOf('server', undefined);
    const rest = bytes("30 07 0003 'a/b' 'hi' c0 00");
    const types = pull(decoder, [Buffer.concat([connectBytes, rest])]).map(({ type }) => type);
    assert.deepEqual(types, ['connect', 'publish', 'pingreq']);
    assert.equal(decoder.version, 4);
  });

  test('packets before the bad one are handed out, then one error, then nothing', () => {
    const decoder = decoderOf('server', 4);
    decoder.push(bytes('c0 00 c0 00 00 00 c0 00'));
    assert.equal(decoder.next()?.type, 'pingreq');
    assert.equal(decoder.next()?.type, 'pingreq');
    assert.throws(() => decoder.next(), MqttProtocolError);
    assert.equal(decoder.next(), undefined);
    decoder.push(bytes('c0 00'));
    assert.equal(decoder.next(), undefined);
    assert.equal(decoder.bufferedBytes, 0);
  });

  test('a connection can stop between two packets and read on later', () => {
    const decoder = decoderOf('server', 4);
    decoder.push(bytes("c0 00 30 05 0001 'a' '12' 30 05"));
    assert.equal(decoder.next()?.type, 'pingreq');
    decoder.push(bytes("0001 'b' '34'"));
    const payloads: string[] = [];
    for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) {
      if (packet.type === 'publish') payloads.push(`${packet.topic}${packet.payload.toString()}`);
    }
    assert.deepEqual(payloads, ['a12', 'b34']);
  });

  test('a client that does not know its version decodes nothing', () => {
    assert.throws(() => decoderOf('client', undefined).push(bytes('d0 00')), { code: 'internal' });
  });
});

describe('limits', () => {
  test('a first byte that is not CONNECT is enough to refuse', () => {
    const error = refusal(decoderOf('server', undefined), [bytes('30')]);
    assert.deepEqual([error.reasonCode, error.beforeConnect], [0x82, true]);
  });

  test('a declared size is judged from the header and nothing of the body is kept', () => {
    const decoder = decoderOf('server', undefined);
    const header = bytes('10 ff ff ff');
    assert.deepEqual(pull(decoder, singly(header)), []);
    assert.equal(decoder.bufferedBytes, 4);
    const error = refusal(decoder, [bytes('7f')]);
    assert.deepEqual(
      [error.reasonCode, error.version, error.beforeConnect],
      [0x95, undefined, true],
    );
    assert.equal(decoder.bufferedBytes, 0);
  });

  test('an oversized CONNECT is answered in its version when the chunk shows it', () => {
    for (const version of [4, 5] as const) {
      const start = Buffer.concat([bytes("10 ff ff ff 7f 0004 'MQTT'"), Buffer.from([version])]);
      assert.equal(refusal(decoderOf('server', undefined), [start]).version, version);
      const split = [start.subarray(0, 3), start.subarray(3)];
      assert.equal(refusal(decoderOf('server', undefined), split).version, version);
    }
  });

  test('each limit lets through exactly what it says', () => {
    const packet = bytes("30 05 0001 'a' '12'");
    const limits = { ...fixtureLimits, packetBytes: 7, connectBytes: 16 };
    assert.equal(pull(decoderOf('server', 4, limits), [packet]).length, 1);
    const lower = { ...limits, packetBytes: 6 };
    assert.equal(refusal(decoderOf('server', 4, lower), [packet]).reasonCode, 0x95);
    assert.equal(pull(decoderOf('server', undefined, limits), [connectBytes]).length, 1);
    const tight = { ...limits, connectBytes: 15 };
    assert.equal(refusal(decoderOf('server', undefined, tight), [connectBytes]).reasonCode, 0x95);
  });

  test('topics and filters at their limits pass', () => {
    const topic = 'x'.repeat(100);
    assert.equal(pull(decoderOf('server', 4), [bytes(`30 66 0064 '${topic}'`)]).length, 1);
    assert.equal(pull(decoderOf('server', 4), [bytes("30 0c 000a '/////////x'")]).length, 1);
    const filter = bytes("82 0f 0001 000a '/////////#' 00");
    assert.equal(pull(decoderOf('server', 4), [filter]).length, 1);
  });

  test('a packet that dribbles in never holds more than it has sent', () => {
    const decoder = decoderOf('server', 4);
    const packet = Buffer.concat([bytes("30 83 80 02 0001 'a'"), Buffer.alloc(32_768, 0x78)]);
    let sent = 0;
    for (const byte of singly(packet.subarray(0, -1))) {
      decoder.push(byte);
      assert.equal(decoder.next(), undefined);
      sent += 1;
      assert.equal(decoder.bufferedBytes, sent);
    }
    decoder.push(packet.subarray(-1));
    const publish = decoder.next();
    assert.ok(publish?.type === 'publish');
    assert.equal(publish.payload.length, 32_768);
    assert.equal(decoder.bufferedBytes, 0);
  });
});

describe('buffers and strings', () => {
  test('a payload is a slice of the chunk when the packet lies whole in it', () => {
    const chunk = bytes("30 05 0001 'a' '12'");
    const decoder = decoderOf('server', 4);
    decoder.push(chunk);
    const publish = decoder.next();
    assert.ok(publish?.type === 'publish');
    assert.equal(publish.payload.buffer, chunk.buffer);
    assert.equal(publish.properties, noProperties);
  });

  test('what can be sent on as it came is at hand, whole, until the next packet', () => {
    const plain = "30 06 0001 'a' 00 '12'";
    const others = [
      "31 06 0001 'a' 00 '12'",
      "32 08 0001 'a' 0007 00 '12'",
      "30 08 0001 'a' 02 01 01 '12'",
      'c0 00',
    ];
    const chunk = bytes([plain, ...others, plain].join(' '));
    for (const pieces of [[chunk], [...singly(chunk)]]) {
      const decoder = decoderOf('server', 5);
      const seen: (string | undefined)[] = [];
      for (const piece of pieces) {
        decoder.push(piece);
        while (decoder.next() !== undefined) seen.push(decoder.sendable?.toString('hex'));
        assert.equal(decoder.sendable, undefined);
      }
      const whole = bytes(plain).toString('hex');
      assert.deepEqual(seen, [whole, undefined, undefined, undefined, undefined, whole]);
    }
  });

  test('an incomplete packet is copied, so that its chunk may be used again', () => {
    const chunk = bytes("30 05 0001 'a' '1'");
    const decoder = decoderOf('server', 4);
    assert.deepEqual(pull(decoder, [chunk]), []);
    chunk.fill(0xff);
    decoder.push(bytes("'2' 30 05 0001 'b' '3'"));
    const first = decoder.next();
    assert.equal(decoder.next(), undefined);
    assert.ok(first?.type === 'publish');
    // The tail of the second packet must not have been put where the first one's payload lies.
    assert.deepEqual([first.topic, first.payload.toString()], ['a', '12']);
  });

  test('a topic is taken from the last one only when it is the same', () => {
    const topics = ['a/b', 'a/b', 'a/c', 'a/', 'a/b', '\u00e9', 'e'];
    const parts = topics.map((topic) => {
      const text = Buffer.from(topic);
      return Buffer.concat([Buffer.from([0x30, 2 + text.length, 0, text.length]), text]);
    });
    const packets = pull(decoderOf('server', 4), [Buffer.concat(parts)]);
    const seen = packets.map((packet) => (packet.type === 'publish' ? packet.topic : undefined));
    assert.deepEqual(seen, topics);
  });

  test('a byte above 0x7F never equals the character of its number', () => {
    const first = bytes('30 04 0002 c3a9');
    const second = bytes('30 03 0001 e9');
    assert.equal(refusal(decoderOf('server', 4), [first, second]).statement, 'MQTT-1.5.4-1');
  });

  test('user properties named like parts of Object stay pairs', () => {
    const names = ['__proto__', 'constructor', 'toString'];
    for (const name of names) {
      const length = (6 + name.length).toString(16).padStart(2, '0');
      const total = (10 + name.length).toString(16).padStart(2, '0');
      const text = `000${name.length.toString(16)} '${name}'`;
      const [publish] = pull(decoderOf('server', 5), [
        bytes(`30 ${total} 0001 'a' ${length} 26 ${text} 0001 'x'`),
      ]);
      assert.ok(publish?.type === 'publish');
      assert.deepEqual(publish.properties, { userProperties: [[name, 'x']] });
    }
    assert.equal(Reflect.get({}, 'x'), undefined);
  });
});
