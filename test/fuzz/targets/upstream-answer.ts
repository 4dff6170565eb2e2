/**
 * What a server says to a proxied request, cut in pieces anywhere.
 *
 * - however it is cut, the same is read: head, body, where it ends, or that it is no answer;
 * - a head is text of one line each, framed in one way, and longer than its bound in none;
 * - the body is never longer than what came.
 */
import assert from 'node:assert/strict';
import { AnswerParser } from '../../../src/worker/routes/upstream/answer-parser.ts';
import type { FuzzTarget } from '../fuzz.ts';

const headerBytes = 300;
const expectations = ['answer', 'head-only', 'upgrade'] as const;

interface Read {
  readonly head: string;
  readonly body: string;
  readonly end: string;
}

/** Whatever comes after a defect, or after the end, is only counted. */
function read(bytes: Buffer, cuts: readonly number[], kind: number): Read {
  const parser = new AnswerParser(headerBytes);
  parser.expect(expectations[kind % expectations.length] ?? 'answer');
  let head = '';
  const body: Buffer[] = [];
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    const end = Math.max(at, Math.min(bytes.length, cut));
    // The parser writes into what it reads.
    const reading = parser.read(Buffer.from(bytes.subarray(at, end)));
    at = end;
    // What was told before it is nothing that anybody can rely on.
    if ('defect' in reading) return { head: '', body: '', end: reading.defect };
    if (reading.head !== undefined) {
      assert.equal(head, '', 'two heads');
      checkLines(reading.head.headers);
      head = JSON.stringify(reading.head);
    }
    if (reading.body !== undefined) body.push(Buffer.from(reading.body));
    if (reading.complete) {
      const rest = reading.rest + bytes.length - at;
      return { head, body: Buffer.concat(body).toString('hex'), end: `and ${rest} more` };
    }
  }
  const end = parser.close() ? 'at the end' : 'not there';
  return { head, body: Buffer.concat(body).toString('hex'), end };
}

function checkLines(headers: readonly string[]): void {
  assert.equal(headers.length % 2, 0);
  for (const [i, text] of headers.entries()) {
    assert.doesNotMatch(text, /[\0-\x08\x0a-\x1f\x7f]/);
    if (i % 2 === 1) continue;
    assert.match(text, /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/);
    assert.notEqual(text.toLowerCase(), 'transfer-encoding');
    assert.notEqual(text.toLowerCase(), 'connection');
  }
  const lengths = headers.filter(
    (text, i) => i % 2 === 0 && text.toLowerCase() === 'content-length',
  );
  assert.ok(lengths.length <= 1);
}

function check(input: Buffer): void {
  // The first octets say what was asked and where the rest is cut.
  const [kind = 0, first = 0, second = 0] = input;
  const bytes = input.subarray(3);
  const whole = read(bytes, [], kind);
  assert.ok(whole.body.length / 2 <= bytes.length);
  const cuts = [first, first + second];
  const everywhere = Array.from(bytes.keys());
  for (const cutAt of [cuts, everywhere]) {
    const parts = read(bytes, cutAt, kind);
    if (whole.head === '' && whole.end !== 'not there') {
      // Of several defects, another one may be seen first.
      assert.equal(parts.head, '');
    } else {
      assert.deepEqual(parts, whole);
    }
  }
}

const lines = ['HTTP/1.1 200 OK', 'Content-Length: 5', 'Keep-Alive: timeout=5', 'X-A: b'];
const plain = `${lines.join('\r\n')}\r\n\r\nhello`;
const chunked =
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n' +
  'Connection: X-B\r\nX-B: c\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nmore';
const switching =
  'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes';

export const upstreamAnswer: FuzzTarget = {
  seeds: [
    `\x00\x10\x20${plain}`,
    `\x01\x02\x03${plain}`,
    `\x00\x30\x40${chunked}`,
    `\x02\x11\x22${switching}`,
    '\x00\x05\x05HTTP/1.0 200 OK\r\n\r\nuntil the end',
    '\x00\x05\x05HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n',
  ].map((text) => Buffer.from(text, 'latin1')),
  words: [
    '\r\n\r\n',
    '\r\n',
    '0\r\n\r\n',
    'Content-Length: 5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Connection: close\r\n',
    'HTTP/1.1 304 ',
    'ffffffff\r\n',
  ].map((text) => Buffer.from(text)),
  maxBytes: 600,
  check,
};
