import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { RequestReader } from './request-reader.ts';
import type { Reading } from './request-reader.ts';

const limits = { headerBytes: 1_024, headers: 8, ocspRequestBytes: 64 };

function reader(): RequestReader {
  return new RequestReader(() => limits);
}

function read(...chunks: readonly (string | Buffer)[]): Reading {
  const reading = reader();
  let last: Reading = 'more';
  for (const chunk of chunks) {
    reading.add(Buffer.from(chunk));
    last = reading.next();
    if (last === 'continue') continue;
    if (last !== 'more') return last;
  }
  return last;
}

function statusOf(found: Reading): number | 'more' | 'continue' | 'request' {
  if (typeof found === 'string') return found;
  return 'refusal' in found ? found.refusal.status : 'request';
}

const get = 'GET /time?nonce=x HTTP/1.1\r\nHost: a\r\nIf-None-Match: "1"\r\n\r\n';
const post =
  'POST /ocsp HTTP/1.0\r\nContent-Type: application/ocsp-request\r\nContent-Length: 5\r\n\r\n\x30\x03\x00\xff\x0a';

test('a request reads the same wherever its bytes are cut, also one by one', () => {
  for (const text of [get, post]) {
    const whole = Buffer.from(text, 'latin1');
    const expected = read(whole);
    assert.equal(statusOf(expected), 'request');
    for (let at = 1; at < whole.length; at += 1) {
      assert.deepEqual(read(whole.subarray(0, at), whole.subarray(at)), expected, `cut at ${at}`);
    }
    const single = [...whole].map((octet) => Buffer.of(octet));
    assert.deepEqual(read(...single), expected);
  }
});

test('a request says what was asked, with which body, and whether its peer stays', () => {
  assert.deepEqual(read(get), {
    method: 'GET',
    target: '/time?nonce=x',
    ifNoneMatch: '"1"',
    keepsAlive: true,
    body: Buffer.alloc(0),
  });
  const posted = read(Buffer.from(post, 'latin1'));
  assert.ok(typeof posted === 'object' && 'body' in posted);
  assert.equal(posted.body.toString('hex'), '300300ff0a');
  assert.equal(posted.keepsAlive, false);
  const closing = read('GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n');
  assert.ok(typeof closing === 'object' && 'keepsAlive' in closing);
  assert.equal(closing.keepsAlive, false);
});

test('what comes after a request stays for the next one', () => {
  const both = reader();
  both.add(Buffer.from(get + get));
  assert.equal(statusOf(both.next()), 'request');
  assert.equal(both.pending, get.length);
  assert.equal(statusOf(both.next()), 'request');
  assert.equal(both.begun, false);
});

test('a peer that waits to be told to send its body is told once', () => {
  const asking = reader();
  const head =
    'POST /ocsp HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n';
  asking.add(Buffer.from(head));
  assert.equal(asking.next(), 'continue');
  assert.equal(asking.hasHead, true);
  assert.equal(asking.next(), 'more');
  asking.add(Buffer.from('ab'));
  assert.equal(statusOf(asking.next()), 'request');
  assert.equal(statusOf(read(`${head}ab`)), 'request');
});

/** RFC 9112, and what was used to smuggle requests elsewhere. */
const refused: readonly (readonly [what: string, text: string, status: number])[] = [
  ['a bare line feed', 'GET / HTTP/1.1\nHost: a\r\n\r\n', 400],
  ['no version', 'GET /\r\n\r\n', 400],
  ['another version', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 400],
  ['two spaces', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['an absolute target', 'GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['a NUL in the target', 'GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n', 400],
  ['a Host that is none', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['a folded header', 'GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n', 400],
  ['a space before the colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400],
  ['a control character', 'GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n', 400],
  ['a length with a sign', 'POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n', 400],
  ['a length twice', 'POST / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n', 400],
  ['a list of lengths', 'POST / HTTP/1.0\r\nContent-Length: 1,1\r\n\r\n', 400],
  ['chunks', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n', 411],
  [
    'chunks and a length',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n',
    411,
  ],
  ['a POST without a length', 'POST /ocsp HTTP/1.1\r\nHost: a\r\n\r\n', 411],
  ['a body of GET', 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n', 413],
  ['a body that is too large', 'POST / HTTP/1.0\r\nContent-Length: 65\r\n\r\n', 413],
  ['another method', 'DELETE / HTTP/1.1\r\nHost: a\r\n\r\n', 404],
  ['a method of letters without end', `${'A'.repeat(17)} / HTTP/1.1\r\nHost: a\r\n\r\n`, 400],
  ['too many headers', `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(8)}\r\n`, 431],
  ['a head that goes on', `GET /${'a'.repeat(1_100)}`, 431],
  ['the beginning of TLS, at once', '\x16\x03\x01\x02\x00\x01', 400],
  ['an empty line before the request', '\r\n', 400],
  ['a long head that ends', `GET /${'a'.repeat(1_100)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
];

for (const [what, text, status] of refused) {
  test(`${what} is refused with ${status}`, () => {
    assert.equal(statusOf(read(text)), status);
  });
}

test('whatever comes is read, refused or waited for, within its bounds', () => {
  const pieces = fc.array(
    fc.oneof(
      fc.constantFrom('GET ', 'POST ', '/ocsp', ' HTTP/1.1', '\r\n', '\r\n\r\n', 'Host: a', ': '),
      fc.constantFrom('Content-Length: 3', 'Transfer-Encoding: chunked', '\n', 'abc', ' ', '\0'),
      fc.string({ maxLength: 40 }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(pieces, (texts) => {
      const some = reader();
      for (const text of texts) {
        some.add(Buffer.from(text, 'latin1'));
        for (;;) {
          const found = some.next();
          if (typeof found === 'string') break;
          if ('refusal' in found) return;
        }
        assert.ok(some.pending <= limits.headerBytes + limits.ocspRequestBytes + 40);
      }
    }),
    { numRuns: 500 },
  );
});
