import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tokensOf, trimmed } from './field-text.ts';

test('the tokens of a list are what stands between its commas, in lower case, without white space and empty ones', () => {
  for (const [list, tokens] of [
    ['', []],
    [',keep-alive', []],
    ['Close', ['close']],
    [', \tUpgrade ,,HTTP2-Settings\t', ['upgrade', 'http2-settings']],
    // No white space of HTTP, whatever JavaScript makes of it.
    ['\xa0close,\u000bclose', ['\xa0close', '\u000bclose']],
  ] as const) {
    assert.deepEqual(tokensOf(list), tokens, JSON.stringify(list));
  }
});

test('a part of a text is trimmed within its bounds', () => {
  assert.equal(trimmed('a: \t b c \t'), 'a: \t b c');
  assert.equal(trimmed('a: \t b c \t', 2, 7), 'b');
  assert.equal(trimmed(' \t '), '');
  assert.equal(trimmed('\xa0b\xa0'), '\xa0b\xa0');
});
