import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { RecordCipher } from './record-cipher.ts';

const key = Buffer.alloc(32, 7);
const tampered = (error: unknown): boolean =>
  error instanceof SallyportError && error.code === 'tampered';

test('a record opens under its key and context, also for another process', () => {
  const plain = Buffer.from('temperature');
  const record = new RecordCipher(key).seal('m/topic', plain);
  assert.deepEqual(new RecordCipher(key).open('m/topic', record), plain);
  assert.ok(!record.includes(plain));
  assert.deepEqual(
    new RecordCipher(key).open('e', new RecordCipher(key).seal('e', Buffer.alloc(0))),
    Buffer.alloc(0),
  );
});

test('another key, another context, any changed bit and any cut are tampering', () => {
  const cipher = new RecordCipher(key);
  const record = cipher.seal('m/topic', Buffer.from('x'));
  assert.throws(() => new RecordCipher(Buffer.alloc(32, 8)).open('m/topic', record), tampered);
  assert.throws(() => cipher.open('m/other', record), tampered);
  for (let at = 0; at < record.length; at += 1) {
    const other = Buffer.from(record);
    other[at] = (other[at] ?? 0) ^ 1;
    assert.throws(() => cipher.open('m/topic', other), tampered, `byte ${at}`);
    assert.throws(() => cipher.open('m/topic', record.subarray(0, at)), tampered);
  }
});

test('no two records share key and nonce', () => {
  const header = (record: Buffer): string => record.toString('hex', 1, 23);
  const seen = new Set<string>();
  for (let process = 0; process < 20; process += 1) {
    const cipher = new RecordCipher(key);
    for (let i = 0; i < 50; i += 1) seen.add(header(cipher.seal('a', Buffer.from('same'))));
  }
  assert.equal(seen.size, 1_000);
});

test('a key of another length is refused', () => {
  assert.throws(
    () => new RecordCipher(Buffer.alloc(16)),
    (error: unknown) => error instanceof SallyportError && error.code === 'no-key',
  );
});
