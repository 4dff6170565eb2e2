/**
 * Whatever a peer sends where requests are read, cut in pieces anywhere.
 *
 * - however it is cut, the same requests are read, and the same is refused;
 * - a request is text of one line each, framed in one way, and longer than its bound in none;
 * - what is told of it has come, in its order: nothing is longer than the input, and what is left is the input's end.
 */
import assert from 'node:assert/strict';
import { RequestParser } from '../../../src/common/codec/http/request-parser.ts';
import type { RequestText } from '../../../src/common/codec/http/request-parser.ts';
import type { FuzzTarget } from '../fuzz.ts';

const headerBytes = 300;

interface Read {
  /** Those that are complete. */
  readonly requests: readonly { readonly text: RequestText; readonly body: string }[];
  readonly refused: boolean;
}

/** Until a defect, or the end. */
function read(bytes: Buffer, cuts: readonly number[]): Read {
  const parser = new RequestParser(headerBytes);
  const requests: { text: RequestText; body: string }[] = [];
  let text: RequestText | undefined;
  let body = '';
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    const end = Math.max(at, Math.min(bytes.length, cut));
    // The parser writes into what it reads.
    let input = Buffer.from(bytes.subarray(at, end));
    at = end;
    while (input.length > 0) {
      const reading = parser.read(input);
      if ('defect' in reading) {
        assert.notEqual(reading.defect, '');
        return { requests, refused: true };
      }
      const { request, complete, rest } = reading;
      if (request !== undefined) {
        assert.equal(text, undefined, 'two heads');
        checkText(request);
        text = request;
      }
      assert.ok(rest < input.length, 'nothing was read');
      input = input.subarray(input.length - rest);
      assert.deepEqual(input, bytes.subarray(end - rest, end), 'what is left was written into');
      body += reading.body?.toString('latin1') ?? '';
      if (!complete) {
        assert.equal(rest, 0, 'left what belongs to it');
        continue;
      }
      assert.ok(text !== undefined, 'an end without a beginning');
      assert.ok(!parser.inHead);
      if (text.framing !== 'chunked') assert.equal(body.length, text.framing);
      requests.push({ text, body });
      text = undefined;
      body = '';
    }
  }
  return { requests, refused: false };
}

function checkText({ method, target, version, rawHeaders, framing }: RequestText): void {
  assert.match(method, /^[A-Z-]+$/);
  assert.match(target, /^[!-~]+$/);
  assert.match(version, /^\d\.\d$/);
  assert.equal(rawHeaders.length % 2, 0);
  const framings: string[] = [];
  let bytes = `${method} ${target} HTTP/${version}`.length;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    assert.match(name, /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/);
    assert.match(value, /^(?![\t ])[^\0-\x08\x0a-\x1f\x7f]*(?<![\t ])$/);
    bytes += name.length + value.length + '\r\n:'.length;
    if (/^(?:content-length|transfer-encoding)$/i.test(name)) framings.push(value);
  }
  assert.ok(bytes <= headerBytes, 'a longer head than there may be');
  assert.ok(framings.length <= 1, 'framed in two ways');
  const [said = '0'] = framings;
  assert.equal(said.toLowerCase(), typeof framing === 'number' ? said : framing);
  if (typeof framing === 'number') assert.equal(BigInt(said), BigInt(framing));
}

function check(input: Buffer): void {
  // The first octets say where the rest is cut.
  const [first = 0, second = 0] = input;
  const bytes = input.subarray(2);
  const whole = read(bytes, []);
  const sizes = whole.requests.map(({ body }) => body.length);
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= bytes.length);
  assert.deepEqual(read(bytes, [first, first + second]), whole);
  assert.deepEqual(read(bytes, Array.from(bytes.keys())), whole);
}

const plain = 'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A:\tb \r\n\r\nhello';
const chunked =
  'PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: a, close\r\n\r\n' +
  '5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n';
const bare = '\r\nGET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nExpect: a\r\n\r\n';

export const httpRequest: FuzzTarget = {
  seeds: [
    `\x10\x20${plain}`,
    `\x03\x04${bare}${plain}`,
    `\x30\x40${chunked}`,
    `\x11\x22${chunked}${bare}`,
    '\x05\x05GET / HTTP/1.0\r\n\r\nmore',
    `\x01\x02POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\na\r\n'.repeat(260)}0\r\n\r\n`,
    `\x80\xffGET / HTTP/1.1\r\nX: ${'y'.repeat(headerBytes - 19)}\r\n\r\n`,
  ].map((text) => Buffer.from(text, 'latin1')),
  words: [
    '\r\n\r\n',
    '\r\n',
    '\n',
    '\r',
    ' ',
    '0\r\n\r\n',
    'Content-Length: 5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Connection: close\r\n',
    'GET / HTTP/1.1\r\n',
    'ffffffff\r\n',
    '1\r\na\r\n'.repeat(20),
  ].map((text) => Buffer.from(text)),
  maxBytes: 2_000,
  check,
};
