import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { errorCodeOf } from '../../common/base/errors.ts';
import { neverExpires } from '../broker/sessions.ts';
import {
  decodeEntry,
  decodeInFlight,
  encodeEntry,
  encodeInFlight,
  queuedKey,
  queueRange,
} from './queue-entries.ts';
import { decodeLife, decodeSession, encodeSession } from './session-record.ts';

const hex = (digits: number) =>
  fc
    .array(fc.nat(15), { minLength: digits, maxLength: digits })
    .map((values) => values.map((value) => value.toString(16)).join(''));
const id = hex(24);
const bytes = fc.uint8Array({ maxLength: 40 }).map((some) => Buffer.from(some));
const identifiers = fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 3 });
/** Objects like those that are read. */
const objectOf = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(model, { noNullPrototype: true });
const option = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

const life = objectOf({
  id,
  expirySeconds: fc.integer({ min: 0, max: neverExpires }),
  owner: option(objectOf({ slot: fc.nat(0xffff), token: hex(16) })),
  endedAt: option(fc.nat()),
  will: option(objectOf({ delaySeconds: fc.nat(neverExpires), sealed: bytes })),
  hasQueue: fc.boolean(),
});
const options = objectOf({
  qos: fc.constantFrom(0, 1, 2),
  noLocal: fc.boolean(),
  retainAsPublished: fc.boolean(),
  identifiers,
});
const subscriptions = fc
  .array(fc.tuple(fc.string({ maxLength: 20, unit: 'grapheme' }), options))
  .map((some) => new Map(some));
const entry = objectOf({
  qos: fc.constantFrom(1, 2),
  retain: fc.boolean(),
  expiresAt: option(fc.nat()),
  identifiers,
});
const inFlight = fc.array(
  objectOf({
    packetId: fc.integer({ min: 1, max: 65_535 }),
    id,
    qos: fc.constantFrom(1, 2),
    released: fc.boolean(),
  }),
  { maxLength: 5 },
);

test('records come back as they were', () => {
  fc.assert(
    fc.property(life, subscriptions, (some, wanted) => {
      const record = encodeSession(some, wanted);
      assert.deepEqual(decodeLife(record), some);
      const { life: read, subscriptions: found } = decodeSession(record);
      assert.deepEqual(read, some);
      assert.deepEqual([...found], [...wanted]);
    }),
  );
  fc.assert(
    fc.property(entry, bytes, inFlight, (head, sealed, flying) => {
      assert.deepEqual(decodeEntry(encodeEntry(head, sealed)), { head, sealed });
      assert.deepEqual(decodeInFlight(encodeInFlight(flying)), flying);
    }),
  );
});

test('what is damaged or cut short is told from what is whole, and nothing is read beyond it', () => {
  const told = (read: () => unknown): void => {
    try {
      read();
    } catch (error) {
      assert.match(errorCodeOf(error), /^(?:tampered|io)$/);
    }
  };
  fc.assert(
    fc.property(life, subscriptions, fc.nat(), fc.nat(255), (some, wanted, at, value) => {
      const record = encodeSession(some, wanted);
      told(() => decodeSession(record.subarray(0, at % record.length)));
      record[at % record.length] = value;
      told(() => decodeSession(record));
    }),
  );
  fc.assert(
    fc.property(entry, bytes, inFlight, fc.nat(), (head, sealed, flying, at) => {
      const whole = encodeEntry(head, sealed);
      told(() => decodeEntry(whole.subarray(0, at % whole.length)));
      const value = encodeInFlight(flying);
      told(() => decodeInFlight(value.subarray(0, at % (value.length + 1))));
    }),
  );
  for (const version of [0, 2, 255]) {
    const record = encodeSession(
      {
        id: '0'.repeat(24),
        expirySeconds: 1,
        owner: undefined,
        endedAt: undefined,
        will: undefined,
        hasQueue: true,
      },
      new Map(),
    );
    record[0] = version;
    assert.throws(() => decodeLife(record), { code: 'io' });
  }
});

test('keys of a queue are in the order of the ids, and only those of its session are in its range', () => {
  fc.assert(
    fc.property(id, id, id, id, (session, other, a, b) => {
      const order = Math.sign(Buffer.compare(queuedKey(session, a), queuedKey(session, b)));
      assert.equal(order, Number(a > b) - Number(a < b));
      const { start, end } = queueRange(session);
      const inside = (key: Buffer): boolean =>
        Buffer.compare(start, key) <= 0 && Buffer.compare(key, end) < 0;
      assert.ok(inside(queuedKey(session, a)));
      assert.equal(inside(queuedKey(other, a)), other === session);
      const after = queueRange(session, a).start;
      assert.equal(Buffer.compare(after, queuedKey(session, b)) <= 0, a < b);
    }),
  );
  for (const wrong of ['', 'abc', 'x'.repeat(24), '0'.repeat(25), '0'.repeat(48)]) {
    assert.throws(() => queuedKey(wrong, '0'.repeat(24)), { code: 'usage' });
    assert.throws(() => queuedKey('0'.repeat(24), wrong), { code: 'usage' });
  }
});
