import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestParser } from './request-parser.ts';
import type { RequestText } from './request-parser.ts';
import { bare, byteByByte, headerBytes, inChunks, line, next, parse } from './test-support.ts';

/** Of the one request that there is. */
function parseOne(text: string): RequestText {
  const { requests, defect } = parse([text]);
  assert.equal(defect, undefined, JSON.stringify(text));
  assert.equal(requests.length, 1, JSON.stringify(text));
  return requests[0]?.text ?? assert.fail();
}

const plain = `${line}Host: a\r\nContent-Length: 5\r\nX-A:  b c \t\r\n\r\nhello`;
const chunked = `${line}transfer-encoding: Chunked\r\nX-A:\r\n\r\n5;a="b"\r\nhello\r\n001\r\n!\r\n00\r\nX-T: 1\r\n\r\n`;
test('requests are the same however their bytes come', () => {
  const all = `\r\n\r\n${plain}${bare}\r\n${chunked}${bare}`;
  for (const text of [plain, chunked, bare, all]) {
    const whole = parse([text]);
    assert.deepEqual([whole.defect, whole.begun], [undefined, undefined]);
    assert.equal(whole.requests.length, text === all ? 4 : 1);
    assert.deepEqual(parse(byteByByte(text)), whole);
    for (let at = 1; at < text.length; at += 1) {
      assert.deepEqual(parse([text.slice(0, at), text.slice(at)]), whole, `split at ${at}`);
      assert.ok(parse([text.slice(0, at)]).requests.length < whole.requests.length, `cut at ${at}`);
    }
  }
  assert.deepEqual(
    parse([all]).requests.map(({ text, body }) => [text.method, text.target, body]),
    [
      ['POST', '/a', 'hello'],
      ['GET', '/?b', ''],
      ['POST', '/a', 'hello!'],
      ['GET', '/?b', ''],
    ],
  );
});

test('what comes after a request is counted, and left as it is', () => {
  for (const text of [plain, chunked, bare]) {
    const parser = new RequestParser(headerBytes);
    const input = Buffer.from(`${text}more`, 'latin1');
    const reading = parser.read(input);
    assert.ok('rest' in reading);
    assert.deepEqual([reading.complete, reading.rest], [true, 4]);
    assert.equal(input.toString('latin1', input.length - 4), 'more');
    // Also with a beginning that has come before.
    const later = new RequestParser(headerBytes);
    later.read(Buffer.from(text.slice(0, 10), 'latin1'));
    const second = later.read(Buffer.from(`${text.slice(10)}more`, 'latin1'));
    assert.ok('rest' in second);
    assert.deepEqual([second.complete, second.rest], [true, 4]);
  }
});

test('a line too many before a request is none, and neither is half of it', () => {
  const parser = new RequestParser(headerBytes);
  for (const text of ['\r', '\n', '\r\n', '\r\n\r', '\n\r\n\r', '\n']) {
    const reading = parser.read(Buffer.from(text));
    assert.deepEqual(reading, { request: undefined, body: undefined, complete: false, rest: 0 });
    // Whoever sends one now and then would seem to begin a request each time.
    assert.equal(parser.inHead, false, JSON.stringify(text));
  }
  parser.read(Buffer.from('\r'));
  parser.read(Buffer.from('\nG'));
  assert.equal(parser.inHead, true);
  const reading = parser.read(Buffer.from(bare.slice(1)));
  assert.ok('request' in reading && reading.request?.method === 'GET' && reading.complete);
  assert.equal(parser.inHead, false);
  assert.equal(parse(['\r\n'.repeat(5_000), bare]).requests.length, 1, 'of no head');
});

test('a head without end is refused before it is kept, and what is kept is a copy', () => {
  for (const beginning of ['GET /', `${line}X: `, `${line}X: a\r\n`]) {
    const parser = new RequestParser(headerBytes);
    let fed = beginning.length;
    assert.ok(!('defect' in parser.read(Buffer.from(beginning))));
    for (;;) {
      const reading = parser.read(Buffer.alloc(1, 'a'));
      if ('defect' in reading) break;
      fed += 1;
    }
    // And as much as the end of a head may have come without its last octet.
    assert.ok(fed <= headerBytes + 3, `${fed}`);
  }
  const parser = new RequestParser(headerBytes);
  const all = Buffer.from(bare + bare.slice(0, -3));
  const first = parser.read(all);
  assert.ok('rest' in first);
  parser.read(all.subarray(all.length - first.rest));
  // As if the next bytes were read into the same memory.
  all.fill('x');
  const second = parser.read(Buffer.from(bare.slice(-3)));
  assert.ok('request' in second && second.complete);
  assert.equal(second.request?.target, '/?b');
});

test('what is in good order is read as it was said', () => {
  const headersOf = (lines: string) => parseOne(`${line}${lines}\r\n\r\n`).rawHeaders;
  assert.deepEqual(headersOf('X-A:\r\nx-B: \t \r\nC:d'), ['X-A', '', 'x-B', '', 'C', 'd']);
  assert.deepEqual(headersOf('A: \t b \t c\t '), ['A', 'b \t c']);
  assert.deepEqual(headersOf('A: \xe4\xff\x80'), ['A', '\xe4\xff\x80']);
  assert.deepEqual(
    headersOf('A: \xa0b\xa0'),
    ['A', '\xa0b\xa0'],
    'of white space, what RFC 9110 has',
  );
  assert.deepEqual(headersOf('A: b: c'), ['A', 'b: c']);
  assert.deepEqual(headersOf("!#$%&'*+-.^_`|~09azAZ: b"), ["!#$%&'*+-.^_`|~09azAZ", 'b']);
  assert.deepEqual(headersOf('A: b\r\na: b\r\nA: c'), ['A', 'b', 'a', 'b', 'A', 'c']);
  assert.deepEqual(parseOne(`${line}\r\n`).rawHeaders, []);
  // The caller's to judge: `readHead` takes paths and HTTP/1.1 only.
  for (const target of ['/', '*', 'a:443', 'http://a/b', '/a%00?b#c', '//', '/"<>\\^`{|}']) {
    const text = parseOne(`OPTIONS ${target} HTTP/1.1\r\n\r\n`);
    assert.deepEqual([text.method, text.target, text.version], ['OPTIONS', target, '1.1']);
  }
  for (const version of ['1.0', '0.9', '2.0']) {
    assert.equal(parseOne(`GET / HTTP/${version}\r\n\r\n`).version, version);
  }
  for (const method of ['GET', 'HEAD', 'DELETE', 'M-SEARCH', 'QUERY', 'UNSUBSCRIBE', 'PURGE']) {
    assert.equal(parseOne(`${method} / HTTP/1.1\r\n\r\n`).method, method);
  }
});

test('how a request is framed is what it says, whatever it asks for', () => {
  const framed = (lines: string, body: string, method = 'POST') => {
    const head = `${method} / HTTP/1.1\r\n${lines}\r\n`;
    const { requests, defect } = parse([`${head}${body}${next}`]);
    assert.equal(defect, undefined, lines);
    assert.equal(requests[1]?.text.target, '/next', lines);
    return [requests[0]?.text.framing, requests[0]?.body];
  };
  assert.deepEqual(framed('', ''), [0, '']);
  assert.deepEqual(framed('Content-Length: 0\r\n', ''), [0, '']);
  assert.deepEqual(framed('Content-Length: 000\r\n', ''), [0, '']);
  assert.deepEqual(framed('Content-Length:2\r\n', 'ab'), [2, 'ab']);
  assert.deepEqual(framed('cONTENT-lENGTH:\t 002 \t\r\n', 'ab'), [2, 'ab']);
  assert.deepEqual(framed('Content-Length: 000000000000002\r\n', 'ab'), [2, 'ab']);
  for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']) {
    assert.deepEqual(framed('Content-Length: 2\r\n', 'ab', method), [2, 'ab']);
    assert.deepEqual(framed('Transfer-Encoding: chunked\r\n', '1\r\na\r\n0\r\n\r\n', method), [
      'chunked',
      'a',
    ]);
  }
  assert.deepEqual(framed('Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 2\r\n', 'ab'), [
    2,
    'ab',
  ]);
  for (const value of ['chunked', 'Chunked', 'CHUNKED', ' \tchunked\t ']) {
    const body =
      '000a;a;b="c;\\"\t\xff";d=e\r\n0123456789\r\nA\r\n0123456789\r\n0;a\r\nX-A:\tb \xff\r\nC:\r\n\r\n';
    const [framing, read] = framed(`TRANSFER-ENCODING:${value}\r\n`, body);
    assert.deepEqual([framing, read], ['chunked', '01234567890123456789'], value);
  }
  const longest = `1;${'a'.repeat(254)}\r\nb\r\n0\r\n\r\n`;
  assert.deepEqual(framed('Transfer-Encoding: chunked\r\n', longest), ['chunked', 'b']);
  // An older one has no chunks: whatever it means by them, it is the last, and `readHead` refuses it.
  for (const version of ['1.0', '0.9', '2.0']) {
    const text = `POST / HTTP/${version}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
    assert.equal(parseOne(text).isLast, true);
  }
  // No length, and no coding, however it looks.
  for (const name of [
    'Content_Length',
    'ContentLength',
    'Content-Length-',
    'X-Content-Length',
    'Content-Lengtn',
  ]) {
    assert.deepEqual(framed(`${name}: 2\r\n`, ''), [0, '']);
  }
  for (const name of ['Transfer_Encoding', 'TE', 'Transfer-Encodings', 'Transfer-Encodine']) {
    assert.deepEqual(framed(`${name}: chunked\r\n`, ''), [0, '']);
  }
});

test('a length of as many digits as are counted exactly is one', () => {
  const { begun } = parse([`${line}Content-Length: 999999999999999\r\n\r\n`]);
  assert.equal(begun?.framing, 999_999_999_999_999);
  assert.equal(parse([`${inChunks}fffffffffffff\r\n`]).begun?.framing, 'chunked');
});

test('which request is the last is what the peer has said', () => {
  const isLast = (lines: string, version = '1.1') =>
    parseOne(`GET / HTTP/${version}\r\n${lines}\r\n`).isLast;
  for (const value of [
    'close',
    'Close',
    'a, close',
    'close,a',
    ',close',
    'a,\tCLOSE\t,b',
    'keep-alive, close',
  ]) {
    assert.equal(isLast(`Connection: ${value}\r\n`), true, value);
    assert.equal(isLast(`Connection: keep-alive\r\nX: y\r\nCONNECTION: ${value}\r\n`), true, value);
    assert.equal(isLast(`connection: ${value}\r\nConnection: keep-alive\r\n`), true, value);
  }
  for (const value of [
    '',
    'keep-alive',
    'Keep-Alive',
    'closed',
    'a close',
    '"close"',
    'clos',
    '\xa0close',
  ]) {
    assert.equal(isLast(`Connection: ${value}\r\n`), false, value);
  }
  assert.equal(isLast('Proxy-Connection: close\r\n'), false);
  for (const version of ['1.0', '0.9', '2.0']) {
    assert.equal(isLast('Connection: keep-alive\r\n', version), true, version);
  }
});

test('another protocol is asked for by both of its lines', () => {
  const isUpgrade = (...lines: readonly string[]) =>
    parseOne(`${['GET / HTTP/1.1', ...lines].join('\r\n')}\r\n\r\n`).isUpgrade;
  assert.equal(isUpgrade('Connection: Upgrade', 'Upgrade: websocket'), true);
  assert.equal(isUpgrade('UPGRADE: a', 'Connection: keep-alive', 'connection: a,upgrade'), true);
  assert.equal(isUpgrade('Connection: Upgrade'), false);
  assert.equal(isUpgrade('Upgrade: websocket'), false);
  assert.equal(isUpgrade('Connection: keep-alive', 'Upgrade: websocket'), false);
  assert.equal(isUpgrade('Connection: upgrades', 'Upgrade: websocket'), false);
  assert.equal(isUpgrade('Connection: \xa0upgrade', 'Upgrade: websocket'), false);
  assert.equal(isUpgrade('Connection: Upgrade', 'X-Upgrade: websocket'), false);
});

test('headers are found by their names, and what is expected too', () => {
  const text = parseOne(
    `${line}X-A: b\r\nx-a:\r\nX-AB: c\r\nX-a: d, e\r\nExpect: 100-continue\r\n\r\n`,
  );
  assert.deepEqual(text.values('x-a'), ['b', '', 'd, e']);
  assert.equal(text.value('x-a'), 'b, , d, e');
  assert.equal(text.value('x-ab'), 'c');
  assert.deepEqual([text.values('x'), text.value('x')], [[], undefined]);
  // A value is no name.
  assert.equal(text.value('c'), undefined);
  assert.equal(text.expect, '100-continue');
  assert.equal(bareOf('EXPECT: a\r\nexpect: b\r\n').expect, 'a, b');
  assert.equal(bareOf('Expect:\r\n').expect, '');
  assert.equal(bareOf('Except: a\r\n').expect, undefined);
});

function bareOf(lines: string): RequestText {
  return parseOne(`GET / HTTP/1.1\r\n${lines}\r\n`);
}
