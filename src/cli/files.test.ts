import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SallyportError } from '../common/base/errors.ts';
import { readSmallBytes } from './files.ts';

test('a file is read to its end, and no further than its limit', () => {
  const whole = readFileSync(import.meta.filename);
  assert.deepEqual(readSmallBytes(import.meta.filename, whole.length), whole);
  // The second says that it has no bytes at all, as pipes and devices do.
  for (const [path, limit] of [
    [import.meta.filename, whole.length - 1],
    ['/proc/self/status', 10],
  ] as const) {
    assert.throws(
      () => readSmallBytes(path, limit),
      (thrown) => thrown instanceof SallyportError && thrown.code === 'too-large',
      path,
    );
  }
});
