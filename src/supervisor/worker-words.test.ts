import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWorkerWord } from './worker-words.ts';

function parse(value: unknown) {
  return parseWorkerWord(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
}

test('what a worker has to say is understood', () => {
  for (const type of ['pong', 'up', 'joined', 'ready', 'drained'])
    assert.deepEqual(parse({ type }), { type });
  assert.deepEqual(parse({ type: 'held', opening: 3 }), { type: 'held', opening: 3 });
  assert.equal(parse({ type: 'held', opening: '3' }), undefined);
  const listening = { type: 'listening', listener: 'mqtts', host: '0.0.0.0', port: 8883 };
  assert.deepEqual(parse(listening), listening);
  assert.deepEqual(parse({ type: 'failed', message: 'x'.repeat(900) }), {
    type: 'failed',
    message: 'x'.repeat(500),
  });
});

test('what would throw when it is turned into a text is no text', () => {
  assert.deepEqual(parse({ type: 'failed', message: { toString: 1, valueOf: 1 } }), {
    type: 'failed',
    message: 'no reason given',
  });
  assert.equal(parse({ type: { toString: 1 } }), undefined);
});

test('a listener that is not a worker’s, a host or a port that is none, are nothing', () => {
  const listening = { type: 'listening', listener: 'mqtts', host: 'h', port: 1 };
  for (const wrong of [
    { listener: 'admin' },
    { listener: '__proto__' },
    { host: 5 },
    { host: 'h'.repeat(256) },
    { port: 1e300 },
    { port: 0 },
    { port: 65_536 },
    { port: '1' },
  ]) {
    assert.equal(parse({ ...listening, ...wrong }), undefined, JSON.stringify(wrong));
  }
});

test('anything else is nothing', () => {
  for (const text of ['', '{', 'null', '[]', '1', '{"type":"welcome"}', '{"type":"constructor"}']) {
    assert.equal(parse(text), undefined, text);
  }
});
