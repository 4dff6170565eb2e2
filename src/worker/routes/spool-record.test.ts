import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { RecordCipher } from '../store/record-cipher.ts';
import { encodeRecord, SpoolRecords } from './spool-record.ts';
import { telemetry } from './test-support.ts';

const id = '0123456789abcdef01234567';
const other = '0123456789abcdef01234568';
const cipher = new RecordCipher(randomBytes(32));
const records = new SpoolRecords(cipher, 'a/backend');
const message = telemetry('d1', 'secret reading', { contentType: 'text/plain' });
const waiting = { id, acceptedAt: 1_700_000_000_000.5, message };
const sealed = (): Buffer => records.seal(id, encodeRecord(message, waiting.acceptedAt));
const entry = (value: Buffer, of = id) => ({ id: of, partition: 0x67, value });

test('a record comes back as it was, and its payload does not lie on disk', () => {
  const value = sealed();
  assert.equal(value.includes('secret'), false);
  assert.equal(value.includes('devices/d1'), false);
  assert.deepEqual(records.open(entry(value)), waiting);
});

test('a record opens in its own spool and under its own id only', () => {
  const tampered = (error: unknown) => error instanceof SallyportError && error.code === 'tampered';
  const value = sealed();
  assert.throws(() => records.open(entry(value, other)), tampered);
  assert.throws(() => new SpoolRecords(cipher, 'b/backend').open(entry(value)), tampered);
  assert.throws(
    () => new SpoolRecords(new RecordCipher(randomBytes(32)), 'a/backend').open(entry(value)),
    tampered,
  );
  for (let at = 0; at < value.length; at += 7) {
    const changed = Buffer.from(value);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.throws(() => records.open(entry(changed)), tampered);
  }
});

test('a dead letter tells why, and waits again as it was', () => {
  const refusal = { refusedAt: 1_800_000_000_000, reason: 'answered 422' };
  const value = records.refused(waiting, refusal);
  assert.equal(value.includes('secret'), false);
  assert.deepEqual(records.describe(entry(value)), {
    id,
    publisher: 'device/d1',
    topic: 'devices/d1/telemetry',
    acceptedAt: waiting.acceptedAt,
    ...refusal,
    bytes: 14,
  });
  const restored = records.restored(entry(value));
  assert.ok(restored);
  assert.deepEqual(records.open(entry(restored)), waiting);
  assert.equal(records.restored(entry(value, other)), undefined);
});

test('what cannot be read is kept, and waits again when it can be', () => {
  const value = records.unreadable(sealed());
  const stranger = new SpoolRecords(new RecordCipher(randomBytes(32)), 'a/backend');
  assert.equal(stranger.restored(entry(value)), undefined);
  const told = stranger.describe(entry(value));
  assert.deepEqual(
    [told.publisher, told.reason],
    ['service/unknown', 'the stored record cannot be read'],
  );
  const restored = records.restored(entry(value));
  assert.ok(restored);
  assert.deepEqual(records.open(entry(restored)), waiting);
});

test('a reason is cut, and a damaged dead letter does not break the list', () => {
  const value = records.refused(waiting, { refusedAt: 1, reason: 'x'.repeat(70_000) });
  assert.equal(records.describe(entry(value)).reason.length, 200);
  for (const damaged of [Buffer.alloc(0), Buffer.of(1), Buffer.of(9, 9), value.subarray(0, 50)]) {
    assert.equal(records.describe(entry(damaged)).reason, 'the stored record cannot be read');
    assert.equal(records.restored(entry(damaged)), undefined);
  }
});
