import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDuration } from './duration.ts';
import { formatRates } from './rates.ts';
import { formatFields, formatTable, formatTime } from './table.ts';

test('columns are as wide as their widest cell, without trailing blanks', () => {
  assert.equal(
    formatTable(
      ['ID', 'ROLE'],
      [
        ['d1', ''],
        ['device-2', 'device'],
      ],
    ),
    'ID        ROLE\nd1\ndevice-2  device\n',
  );
  assert.equal(
    formatFields([
      ['a', '1'],
      ['long', ''],
    ]),
    'a     1\nlong\n',
  );
});

test('what would drive a terminal is shown instead', () => {
  assert.equal(formatTable(['A'], [['\u001b[2J\u202ex\n']]), 'A\n\\u{1b}[2J\\u{202e}x\\u{a}\n');
});

test('times are UTC to the second', () => {
  assert.equal(formatTime(Date.UTC(2026, 10, 1, 12)), '2026-11-01 12:00:00Z');
  assert.equal(formatTime(undefined), '-');
});

test('durations have a unit', () => {
  assert.equal(parseDuration('90s'), 90_000);
  assert.equal(parseDuration('7d'), 604_800_000);
  for (const bad of ['', '1', '0s', '1w', '-1h', '1h30m', '1e3s', '9999999s']) {
    assert.throws(() => parseDuration(bad), { code: 'usage' }, bad);
  }
});

test('rates read as in the configuration', () => {
  assert.equal(
    formatRates([
      { limit: 5, perMs: 1000, burst: 10 },
      { limit: 1000, perMs: 86_400_000, burst: 0 },
    ]),
    '5/s burst 10, 1000/day burst 0',
  );
  assert.equal(formatRates([]), 'no limit');
});
