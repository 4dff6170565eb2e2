import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommonHeaders } from './common-headers.ts';

test('what many requests share is written as any header is, once', () => {
  const common = new CommonHeaders(['X-Device-Id', 'd1', 'Via', '1.1 sallyport']);
  assert.equal(common.text, 'X-Device-Id: d1\r\nVia: 1.1 sallyport\r\n');
  assert.equal(new CommonHeaders([]).text, '');
});

test('what would end a line before its time is refused each time it is asked for', () => {
  for (const lines of [
    ['X-Device-Id', 'd1\r\nX-Client-DN: CN=d2'],
    ['X-Client-DN', 'CN=d1\nX'],
    ['X-Device-Id: d2\r\nX', 'd1'],
    ['X: a', 'b'],
  ]) {
    const common = new CommonHeaders(lines);
    for (let i = 0; i < 2; i += 1) assert.throws(() => common.text, { code: 'malformed' });
  }
});
