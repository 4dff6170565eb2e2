import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { MessageProperties } from '../../common/codec/mqtt/packets.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { Delivery, Message } from './message.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));
const properties: fc.Arbitrary<MessageProperties> = fc.oneof(
  fc.constant(noProperties),
  fc
    .record(
      {
        payloadFormatIndicator: fc.constantFrom<0 | 1>(0, 1),
        messageExpiryInterval: fc.nat(0xffff_ffff),
        contentType: text,
        responseTopic: text,
        correlationData: bytes,
        userProperties: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 4 }),
      },
      { requiredKeys: [], noNullPrototype: true },
    )
    .filter((record) => Object.keys(record).length > 0),
);
const delivery: fc.Arbitrary<Delivery> = fc.record(
  {
    id: fc.option(text, { nil: undefined }),
    picks: fc.array(
      fc.record(
        {
          subscription: text,
          to: text,
          slot: fc.option(fc.nat(0xffff), { nil: undefined }),
          queued: fc.boolean(),
        },
        { noNullPrototype: true },
      ),
      { maxLength: 3 },
    ),
    handedOn: fc.nat(255),
  },
  { noNullPrototype: true },
);
const message: fc.Arbitrary<Message> = fc.record(
  {
    topic: text,
    payload: bytes,
    qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
    retain: fc.boolean(),
    properties,
    publisher: fc.constant(principalName('device', 'd1')),
    publisherSession: text,
    expiresAt: fc.option(fc.nat(2 ** 45), { nil: undefined }),
    delivery: fc.option(delivery, { nil: undefined }),
  },
  { noNullPrototype: true },
);

test('a message comes back as it was', () => {
  fc.assert(
    fc.property(message, (given) => {
      assert.deepEqual(decodeMessage(encodeMessage(given)), given);
    }),
  );
});

test('a message that goes nowhere yet is written as it always was', () => {
  fc.assert(
    fc.property(message, (given) => {
      assert.equal(encodeMessage({ ...given, delivery: undefined })[0], 1);
    }),
  );
});

test('a message that is cut short or of another version is refused, whatever the cut', () => {
  fc.assert(
    fc.property(message, (given) => {
      const whole = encodeMessage(given);
      const head = whole.length - given.payload.length;
      for (let length = 0; length < head; length += 1) {
        assert.throws(
          () => decodeMessage(whole.subarray(0, length)),
          (error: unknown) => error instanceof SallyportError && error.code === 'invalid-frame',
        );
      }
      for (const [at, value] of [
        [0, 3],
        [1, 3],
        [1, 0x10],
        [2, 0x80],
      ] as const) {
        const other = Buffer.from(whole);
        other[at] = value;
        assert.throws(() => decodeMessage(other), SallyportError);
      }
    }),
    { numRuns: 30 },
  );
});

test('any bytes are a message or an invalid frame, and a huge count costs nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (array) => {
      const garbage = Buffer.from(array);
      if (garbage.length > 0) garbage[0] = 1 + ((garbage[0] ?? 0) % 2);
      try {
        decodeMessage(garbage);
      } catch (error) {
        assert.ok(error instanceof SallyportError && error.code === 'invalid-frame');
      }
    }),
  );
});
