import assert from 'node:assert/strict';
import { test } from 'node:test';
import { intervalOfRate } from './message-rate.ts';

test('a rate is messages per time, and the time may have a number', () => {
  assert.equal(intervalOfRate('1/5s'), 5_000);
  assert.equal(intervalOfRate('2/s'), 500);
  assert.equal(intervalOfRate('10/m'), 6_000);
  assert.equal(intervalOfRate('3/2h'), 2_400_000);
  assert.equal(intervalOfRate('100/s'), 10);
  assert.equal(intervalOfRate('1/24h'), 86_400_000);
});

test('what is no rate, or one that no device has, is refused', () => {
  for (const text of [
    '',
    '5',
    '5s',
    '/s',
    '0/s',
    '1/0s',
    '-1/s',
    '1.5/s',
    '1/s ',
    '1/d',
    '1/5',
    '1//s',
    '101/s',
    '1/25h',
    '9999999/s',
  ]) {
    assert.equal(intervalOfRate(text), undefined, text);
  }
});
