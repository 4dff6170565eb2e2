import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fc } from '../../base/property-test-support.ts';
import { sentPackets } from '../../../../test/protocol/mqtt-codec/arbitrary-packets.ts';
import { fixtureLimits } from '../../../../test/protocol/mqtt-codec/refused-packets.ts';
import { MqttDecoder, type Role } from './decoder.ts';
import { encode } from './encoder.ts';
import type { Packet, ProtocolVersion } from './packets.ts';
import { MqttProtocolError } from './protocol-error.ts';
import { readUtf8 } from './utf8.ts';

const limits = { ...fixtureLimits, connectBytes: 4096 };

function withoutAbsent(packet: Packet): Packet {
  return structuredClone(packet);
}

describe('whatever we encode, we decode', () => {
  test('every packet of either version and side, in pieces of any size', () => {
    fc.assert(
      fc.property(sentPackets, fc.integer({ min: 1, max: 40 }), (sent, step) => {
        const { packet, sender, version } = sent;
        const decoder = new MqttDecoder(sender === 'client' ? 'server' : 'client', limits);
        decoder.version = packet.type === 'connect' ? undefined : version;
        const whole = encode(packet, version);
        const found: Packet[] = [];
        for (let at = 0; at < whole.length; at += step) {
          decoder.push(whole.subarray(at, at + step));
          for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
            found.push(next);
          }
        }
        assert.deepEqual(found.map(withoutAbsent), [withoutAbsent(packet)]);
      }),
      { numRuns: 1500 },
    );
  });
});

describe('whatever arrives', () => {
  const roles = fc.constantFrom<readonly [Role, ProtocolVersion | undefined]>(
    ['server', undefined],
    ['server', 4],
    ['server', 5],
    ['client', 4],
    ['client', 5],
  );
  /** Mostly headers that promise something, so that the bytes get past the first check. */
  const stream = fc
    .array(
      fc.oneof(
        fc.uint8Array({ maxLength: 60 }),
        fc
          .tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 60 }))
          .map(([first, body]) => Uint8Array.from([first, body.length, ...body])),
      ),
      { maxLength: 8 },
    )
    .map((parts) => Buffer.concat(parts));

  test('nothing but MqttProtocolError is thrown, and no more is held than the limit', () => {
    fc.assert(
      fc.property(roles, stream, fc.integer({ min: 1, max: 100 }), ([role, version], all, step) => {
        const decoder = new MqttDecoder(role, { ...limits, packetBytes: 50, connectBytes: 40 });
        decoder.version = version;
        for (let at = 0; at < all.length; at += step) {
          decoder.push(all.subarray(at, at + step));
          try {
            while (decoder.next() !== undefined);
          } catch (thrown) {
            assert.ok(thrown instanceof MqttProtocolError, String(thrown));
            assert.equal(decoder.next(), undefined);
          }
          assert.ok(decoder.bufferedBytes < 50);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('UTF-8', () => {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  test('agrees with the strict decoder of the platform, U+0000 apart', () => {
    const pieces = fc.constantFrom(
      'c080',
      'eda080',
      'efbfbf',
      'efbbbf',
      'f4908080',
      '61',
      'c3a9',
      '80',
      '00',
    );
    const sequence = fc.oneof(
      fc.array(pieces, { maxLength: 4 }).map((parts) => Buffer.from(parts.join(''), 'hex')),
      fc.uint8Array({ maxLength: 6 }).map((value) => Buffer.from(value)),
      fc.string({ unit: 'binary' }).map((value) => Buffer.from(value)),
    );
    fc.assert(
      fc.property(sequence, (value) => {
        const padded = Buffer.concat([Buffer.from([0xff]), value, Buffer.from([0x80])]);
        let expected: string | undefined;
        try {
          expected = decoder.decode(value);
        } catch {
          expected = undefined;
        }
        if (expected === undefined || expected.includes('\0')) {
          assert.throws(() => readUtf8(padded, 1, padded.length - 1), { reasonCode: 0x81 });
        } else {
          assert.equal(readUtf8(padded, 1, padded.length - 1), expected);
        }
      }),
      { numRuns: 1500 },
    );
  });
});
