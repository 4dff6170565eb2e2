import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ResponseReader } from './https-bytes.ts';
import type { RawAnswer } from './https-bytes.ts';

/** Responses of a stream that arrives in these pieces and then ends. */
function read(pieces: readonly string[], method = 'GET'): RawAnswer[] {
  const reader = new ResponseReader();
  const answers: RawAnswer[] = [];
  const takeAll = (): void => {
    for (let next = reader.take(method); next !== undefined; next = reader.take(method)) {
      answers.push(next);
    }
  };
  for (const piece of pieces) {
    reader.push(Buffer.from(piece, 'latin1'));
    takeAll();
  }
  reader.end();
  takeAll();
  return answers;
}

const pipelined = [
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nA: 1\r\na:2 \r\n\r\n',
  'HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\r\nx\r\n0a\r\n0123456789\r\n0\r\n\r\n',
  'HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n',
  'HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nHTTP',
].join('');

test('responses are the same however the bytes are split', () => {
  const whole = read([pipelined]);
  assert.deepEqual(
    whole.map(({ status, body }) => [status, body.toString()]),
    [
      [100, ''],
      [202, ''],
      [200, '\r\nx0123456789'],
      [204, ''],
      [404, 'HTTP'],
    ],
  );
  assert.equal(whole[1]?.headers.get('a'), '1, 2');
  assert.deepEqual(whole[1].lines.at(-1), ['a', '2']);
  for (let at = 1; at < pipelined.length; at += 1) {
    assert.deepEqual(read([pipelined.slice(0, at), pipelined.slice(at)]), whole, `split at ${at}`);
  }
  assert.deepEqual(read(pipelined.split('')), whole);
});

test('a body without a length ends with the connection, and HEAD has none', () => {
  assert.equal(read(['HTTP/1.1 200 OK\r\n\r\nab', 'c'])[0]?.body.toString(), 'abc');
  assert.equal(read(['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'], 'HEAD')[0]?.status, 200);
});

test('what is not a response by the letter is refused', () => {
  const refused = [
    'HTTP/1.0 200 OK\r\n\r\n',
    'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n\r\n',
    'HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\n A: folded\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na',
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n',
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc',
    'HTTP/1.1 200 OK\r\nContent-Le',
    'garbage\r\n\r\n',
  ];
  for (const text of refused) assert.throws(() => read([text]), Error, JSON.stringify(text));
});
