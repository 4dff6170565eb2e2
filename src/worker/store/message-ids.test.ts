import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdClock, idPattern, microsOfId } from './message-ids.ts';

test('an id says its time, also where its first digits change, and ids rise', () => {
  // 2^28 µs are what the last seven digits of a time hold.
  const turnOfDigits = 6_570_000 * 2 ** 28;
  let now = 0;
  const clock = new IdClock({ slot: 3, micros: () => now, offset: turnOfDigits });
  let last = '';
  for (const micros of [-2, -1, 0, 0, 1, 2 ** 28 - 1, 2 ** 28, 2 ** 29 + 5]) {
    now = micros;
    const id = clock.next(9);
    assert.match(id, idPattern);
    assert.ok(id > last, `${id} after ${last}`);
    assert.equal(microsOfId(id), turnOfDigits + micros);
    last = id;
  }
});
