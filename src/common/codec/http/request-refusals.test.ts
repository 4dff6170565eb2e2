/** What is no request, or might be another one to somebody else: how requests are smuggled, and what costs too much to read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bare, byteByByte, headerBytes, inChunks, line, next, parse } from './test-support.ts';

/** By what is said of them. */
const refused: Readonly<Record<string, readonly string[]>> = {
  'no request line': [
    'GET /\r\n\r\n',
    'GET / \r\n\r\n',
    'GET HTTP/1.1\r\n\r\n',
    'GET  HTTP/1.1\r\n\r\n',
    'GET  / HTTP/1.1\r\n\r\n',
    'GET /  HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1 \r\n\r\n',
    ' GET / HTTP/1.1\r\n\r\n',
    '\r\n GET / HTTP/1.1\r\n\r\n',
    'GET\t/ HTTP/1.1\r\n\r\n',
    'GET /\tHTTP/1.1\r\n\r\n',
    'GET /a\tb HTTP/1.1\r\n\r\n',
    'GET /a b HTTP/1.1\r\n\r\n',
    'GET /\x80 HTTP/1.1\r\n\r\n',
    'GET /\xe4 HTTP/1.1\r\n\r\n',
    'G\xc9T / HTTP/1.1\r\n\r\n',
    'get / HTTP/1.1\r\n\r\n',
    'Get / HTTP/1.1\r\n\r\n',
    'GET1 / HTTP/1.1\r\n\r\n',
    'GET/ HTTP/1.1\r\n\r\n',
    'GET / http/1.1\r\n\r\n',
    'GET / HTTP/1.1a\r\n\r\n',
    'GET / HTTP/11\r\n\r\n',
    'GET / HTTP/1.10\r\n\r\n',
    'GET / HTTP/1.2\r\n\r\n',
    'GET / HTTP/2.1\r\n\r\n',
    'GET / HTTP/3.0\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    'GET / HTTP/01.1\r\n\r\n',
    'GET / HTTP/1,1\r\n\r\n',
    'GET / HTTP/1.\r\n\r\n',
    'GET / HTTP/-1.1\r\n\r\n',
    'GET / HTTPS/1.1\r\n\r\n',
    'GET / XHTTP/1.1\r\n\r\n',
    'GET / ICE/1.0\r\n\r\n',
    'HTTP/1.1 200 OK\r\n\r\n',
    'SSH-2.0-OpenSSH_9.9\r\n',
    '<html>',
    '{"a":1}',
    ': a\r\n\r\n',
    '/ HTTP/1.1\r\n\r\n',
  ],
  'a control character, or half a line end': [
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    '\x16\x03\x01\r\n\r\n',
    '\0',
    '\n',
    '\nGET / HTTP/1.1\r\n\r\n',
    '\rGET / HTTP/1.1\r\n\r\n',
    '\r\r\nGET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\nHost: a\n\n',
    'GET /\0 HTTP/1.1\r\n\r\n',
    'GET /\x7f HTTP/1.1\r\n\r\n',
    'GET\x0b/ HTTP/1.1\r\n\r\n',
    'GET\x0c/ HTTP/1.1\r\n\r\n',
    'GET /\rHTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\0\r\n\r\n',
    'GET / HTTP/1.1\r\r\n\r\n',
    `${line}X: a\n\r\n`,
    `${line}X: a\n${next}`,
    `${line}X: a\r${next}`,
    `${line}X: a\nContent-Length: 5\r\n\r\n`,
    `${line}X: a\rContent-Length: 5\r\n\r\n`,
    `${line}X: a\0b\r\n\r\n`,
    `${line}X: a\x0bb\r\n\r\n`,
    `${line}X: a\x7fb\r\n\r\n`,
    `${line}X: \x1b[0m\r\n\r\n`,
    `${line}X\0: a\r\n\r\n`,
    `${line}X\n: a\r\n\r\n`,
    `${line}X\r: a\r\n\r\n`,
    `${line}Transfer-Encoding: \x0bchunked\r\n\r\n`,
    `${line}Transfer-Encoding:\x0cchunked\r\n\r\n`,
    `${line}Transfer-Encoding: chunked\0\r\n\r\n`,
    `${line}Transfer-Encoding\x0b: chunked\r\n\r\n`,
    `${line}Transfer-Encoding: chunked\n\r\n`,
    `${line}X: a\nTransfer-Encoding: chunked\r\n\r\n`,
    `${line}Transfer-Encoding\n: chunked\r\n\r\n`,
    `${line}Transfer-Encoding:\n chunked\r\n\r\n`,
    `${line}Content-Length: 5\0\r\n\r\n`,
    `${line}Content-Length: 5\r 6\r\n\r\n`,
    `${line}\n\n`,
    `${line}\n\r\n`,
    `${line}\r\r\n\r\n`,
  ],
  'an unknown method': [
    'CONNECT a:443 HTTP/1.1\r\n\r\n',
    'CONNECT / HTTP/1.1\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'BREW / HTTP/1.1\r\n\r\n',
    'GETT / HTTP/1.1\r\n\r\n',
    'GE / HTTP/1.1\r\n\r\n',
    '- / HTTP/1.1\r\n\r\n',
    'DESCRIBE / HTTP/1.1\r\n\r\n',
    'SOURCE / HTTP/1.1\r\n\r\n',
    'VERSION-CONTROL / HTTP/1.1\r\n\r\n',
  ],
  'a header that is none': [
    `${line}X\r\n\r\n`,
    `${line}: a\r\n\r\n`,
    `${line}X : a\r\n\r\n`,
    `${line}X\t: a\r\n\r\n`,
    `${line} X: a\r\n\r\n`,
    `${line}\tX: a\r\n\r\n`,
    `${line}X Y: a\r\n\r\n`,
    `${line}X: a\r\n b\r\n\r\n`,
    `${line}X: a\r\n\tb\r\n\r\n`,
    `${line}X: a\r\n \r\n\r\n`,
    `${line}X\xe4: a\r\n\r\n`,
    `${line}X\xa0: a\r\n\r\n`,
    `${line}\xefX: a\r\n\r\n`,
    `${line}X(: a\r\n\r\n`,
    `${line}X[0]: a\r\n\r\n`,
    `${line}"X": a\r\n\r\n`,
    `${line}X, Y: a\r\n\r\n`,
    `${line}X=a\r\n\r\n`,
    `${line}{X: a\r\n\r\n`,
    `${line}GET / HTTP/1.1\r\n\r\n`,
    `${line}Content-Length : 5\r\n\r\n`,
    `${line}Content-Length\t: 5\r\n\r\n`,
    `${line} Content-Length: 5\r\n\r\n`,
    `${line}X: a\r\n Content-Length: 5\r\n\r\n`,
    `${line}Transfer-Encoding : chunked\r\n\r\n`,
    `${line}Transfer-Encoding\t: chunked\r\n\r\n`,
    `${line} Transfer-Encoding: chunked\r\n\r\n`,
    `${line}Transfer-Encoding:\r\n chunked\r\n\r\n`,
    `${line}Transfer-Encoding: identity\r\n\t, chunked\r\n\r\n`,
    `${line}Transfer-Encoding\x80: chunked\r\n\r\n`,
    `${line}Transfer\xadEncoding: chunked\r\n\r\n`,
  ],
  'a Content-Length that is none': [
    '',
    ' ',
    '+5',
    '-5',
    '-0',
    '0x5',
    '5h',
    'a',
    '5 5',
    '5, 5',
    '5,5',
    '5,',
    ',5',
    '5;',
    '"5"',
    '5.0',
    '5e0',
    '1_0',
    '\xb5',
    '\xa05',
    '5\xa0',
    '1000000000000000',
    '9999999999999999',
    '18446744073709551621',
    '0000000000000005',
  ].map((value) => `${line}Content-Length: ${value}\r\n\r\nhello`),
  'Content-Length twice': [
    `${line}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
    `${line}Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello`,
    `${line}CONTENT-LENGTH: 0\r\nX: a\r\nContent-length: 5\r\n\r\nhello`,
    `${line}Content-Length: 0\r\nContent-Length: \r\n\r\n`,
  ],
  'another Transfer-Encoding than chunked': [
    ...[
      '',
      'identity',
      'gzip',
      'chunked, chunked',
      'chunked,chunked',
      'chunked,',
      ',chunked',
      'chunked;',
      'chunked;a=b',
      'gzip, chunked',
      'chunked, gzip',
      'chunked, identity',
      'identity, chunked',
      'xchunked',
      'chunkedx',
      'chunke',
      'chunk',
      'c hunked',
      'chunked chunked',
      '"chunked"',
      "'chunked'",
      'chun\xadked',
      '\xa0chunked',
      'chunked\xa0',
      '\xefchunked',
      ': chunked',
    ].map((value) => `${line}Transfer-Encoding: ${value}\r\n\r\n0\r\n\r\n`),
    `${line}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${line}Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n`,
    `${line}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${line}Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  'Content-Length and Transfer-Encoding': [
    `${line}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${line}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
    `${line}Transfer-Encoding: chunked\r\nX: a\r\ncontent-length: 0\r\n\r\n0\r\n\r\n`,
    `${line}Transfer-Encoding: x\r\nContent-Length: 5\r\n\r\nhello`,
    'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello',
  ],
  'a chunk size that is none': [
    ' 5\r\nhello',
    '\t5\r\nhello',
    '5 \r\nhello',
    '5\t\r\nhello',
    '5 ;a\r\nhello',
    '0x5\r\nhello',
    'x5\r\nhello',
    '5h\r\nhello',
    '+5\r\nhello',
    '-5\r\nhello',
    '-0\r\n\r\n',
    '5,5\r\nhello',
    '5.\r\nhello',
    '5_0\r\nhello',
    '"5"\r\nhello',
    '5\0\r\nhello',
    '5\xa0\r\nhello',
    ';a\r\nhello',
    '5\n',
    '5\nhello\r\n0\r\n\r\n',
    '\n5\r\nhello',
    '@\r\n',
    'G\r\n',
    '`\r\n',
    'g\r\n',
    ':\r\n',
    '/\r\n',
    '\x15\r\n',
    '\r\nhello',
    '\r\n0\r\n\r\n',
    '5;\r\nhello',
    '5;a;\r\nhello',
    '5; a\r\nhello',
    '5;a \r\nhello',
    '5;a =b\r\nhello',
    '5;a=\r\nhello',
    '5;=b\r\nhello',
    '5;a="b\r\nhello',
    '5;a="b"c\r\nhello',
    '5;a="b\\"\r\nhello',
    '5;"a"\r\nhello',
    '5;\xff\r\nhello',
    '5;\0\r\nhello',
    '5;a\nhello\r\n',
    '5;a\x0bb\r\nhello',
    '5;a="\x7f"\r\nhello',
    '5;a="\n"\r\nhello',
    '0;a\n\r\n',
    '0;a="\r\n\r\n',
  ].map((text) => inChunks + text),
  'a bare CR in a chunk size': [
    '5\rhello',
    '5\r\r\nhello',
    '5;a\r\r\nhello',
    '0\r\r\n\r\n',
    '5\r;\nhello',
  ].map((text) => inChunks + text),
  'a chunk size beyond all measure': [
    '10000000000000\r\n',
    '00000000000005\r\nhello',
    'ffffffffffffffff\r\n',
    '10000000000000005\r\nhello',
  ].map((text) => inChunks + text),
  'a chunk without its end': [
    '5\r\nhelloX\r\n',
    '5\r\nhello0\r\n\r\n',
    '5\r\nhello\n0\r\n\r\n',
    '5\r\nhello\rX',
    '5\r\nhello\r\r\n',
    '4\r\nhello\r\n0\r\n\r\n',
    '6\r\nhello\r\n0\r\n\r\n',
  ].map((text) => inChunks + text),
  'a bare CR in the trailers': ['0\r\nX: a\rb\r\n\r\n', '0\r\n\rX', '0\r\nX: a\r\n\r\r\n'].map(
    (text) => inChunks + text,
  ),
  'a control character in the trailers': [
    '0\r\n\n',
    '0\r\nX: a\n\r\n',
    '0\r\nX: \0\r\n\r\n',
    '0\r\nX: a\x7f\r\n\r\n',
  ].map((text) => inChunks + text),
  'a trailer that is none': [
    '0\r\nX\r\n\r\n',
    '0\r\n: a\r\n\r\n',
    '0\r\nX : a\r\n\r\n',
    '0\r\n X: a\r\n\r\n',
    '0\r\nX: a\r\n b\r\n\r\n',
    '0\r\nX\xe4: a\r\n\r\n',
    `0\r\n${next}`,
    `0\r\nX: a\r\n${next}`,
  ].map((text) => inChunks + text),
  'a trailer that frames a body': [
    '0\r\nContent-Length: 5\r\n\r\nhello',
    '0\r\nX: a\r\ntransfer-encoding:chunked\r\n\r\n',
    '0\r\nHOST: a\r\n\r\n',
    '0\r\nConnection: close\r\n\r\n',
  ].map((text) => inChunks + text),
  'a line that goes on': [
    `5;${'a'.repeat(300)}\r\nhello`,
    `0;${'a'.repeat(300)}\r\n\r\n`,
    `5;${'a'.repeat(255)}\r\nhello`,
    '5'.repeat(300),
    `0\r\n${'X: y\r\n'.repeat(300)}\r\n`,
    `0\r\nX: ${'y'.repeat(headerBytes)}\r\n\r\n`,
  ].map((text) => inChunks + text),
};

/** Which of these is seen first depends on how the bytes come. */
const ofHead: ReadonlySet<string> = new Set([
  'no request line',
  'a control character, or half a line end',
  'a header that is none',
]);

test('what can be read in two ways, or in none, is refused however its bytes come', () => {
  for (const [defect, texts] of Object.entries(refused)) {
    for (const text of texts) {
      for (const pieces of [[text], byteByByte(text), [`\r\n${text}`]]) {
        const { requests, defect: found } = parse(pieces);
        const shown = `${pieces.length} pieces of ${JSON.stringify(text)}`;
        assert.deepEqual(requests, [], shown);
        assert.equal(found?.exceeds, defect === 'a line that goes on' ? 'body' : undefined, shown);
        const isOfHead = ofHead.has(defect) && ofHead.has(found?.defect ?? '');
        if (!isOfHead) assert.equal(found?.defect, defect, shown);
      }
      // The one before it is a request all the same.
      assert.equal(parse([bare + text]).requests.length, 1);
    }
  }
});

test('what cannot become a head is refused with the octet that says so', () => {
  for (const text of [
    '\0',
    '\x16',
    '\n',
    ' ',
    'g',
    '1',
    '\x80',
    '\r\r',
    '\rG',
    'GET\t',
    'GET\r',
    'GET  ',
    'GET /\t',
    'GET /\x7f',
    'GET /\r',
    'GET /  ',
    'GET / h',
    'GET / HTTP/1.1 ',
    'GET / HTTP/1.1\r\r',
    'GET / HTTP/1.1\n',
    'GET / HTTP/1.10',
    'GET / 1.1\r\n',
    'GET / HTTP\r\n',
    'GET /\r',
    'ABCDEFGHIJKLMNOPQRSTU',
    `${line}X: a\n`,
    `${line}X: a\rb`,
    `${line}X: \0`,
  ]) {
    const before = parse([text.slice(0, -1)]);
    const { defect } = parse([text]);
    assert.ok(defect !== undefined, JSON.stringify(text));
    assert.ok(parse(byteByByte(text)).defect !== undefined, JSON.stringify(text));
    assert.equal(before.defect, undefined, `not before ${JSON.stringify(text)}`);
    const behindEmptyLine = parse(['\r', `\n${text}`]);
    assert.ok(behindEmptyLine.defect !== undefined, JSON.stringify(text));
  }
});

test('a head is as long as its bound and no longer, however its bytes come', () => {
  const headOf = (bytes: number) => `${line}X: ${'y'.repeat(bytes - line.length - 3)}\r\n\r\n`;
  const most = headOf(headerBytes);
  const tooMuch = headOf(headerBytes + 1);
  for (const before of ['', '\r\n\r\n', bare]) {
    const counted = before === bare ? 2 : 1;
    for (let at = 1; at < most.length; at += 1) {
      const cut = (text: string) => [before + text.slice(0, at), text.slice(at)];
      assert.equal(parse(cut(most)).requests.length, counted, `cut at ${at}`);
      assert.equal(parse(cut(tooMuch)).defect?.exceeds, 'head', `cut at ${at}`);
    }
    assert.equal(parse([before + most]).requests.length, counted);
    assert.equal(parse(byteByByte(before + most)).requests.length, counted);
    assert.equal(parse([before + tooMuch]).defect?.exceeds, 'head');
    assert.equal(parse(byteByByte(before + tooMuch)).defect?.exceeds, 'head');
  }
  // What is no head is no long one either.
  assert.equal(parse(['x'.repeat(2 * headerBytes)]).defect?.exceeds, undefined);
  // Trailers have the same one, their ends included.
  const trailersOf = (bytes: number) => `${inChunks}0\r\nX: ${'y'.repeat(bytes - 7)}\r\n\r\n`;
  assert.equal(parse([trailersOf(headerBytes)]).requests.length, 1);
  assert.notEqual(parse([trailersOf(headerBytes + 1)]).defect, undefined);
});

test('chunks of next to nothing are refused, and no others, however they come', () => {
  const of = (bytes: number, count: number) =>
    `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`.repeat(count);
  const end = '0\r\n\r\n';
  for (const body of [of(1, 256), of(16, 5_000), of(4_096, 10) + of(1, 2_000), of(1, 272)]) {
    assert.equal(parse([inChunks + body + end]).requests.length, 1, body.slice(0, 10));
    assert.equal(parse(byteByByte(inChunks + body + end)).requests.length, 1);
    // They are counted for each request.
    assert.equal(parse([(inChunks + body + end).repeat(2)]).requests.length, 2);
  }
  // What was in those of the request before is not theirs.
  const after = parse([inChunks + of(60_000, 1) + end + inChunks + of(1, 300) + end]);
  assert.deepEqual([after.requests.length, after.defect?.exceeds], [1, 'body']);
  // However much comes after them.
  for (const body of [of(1, 300), of(15, 5_000), of(1, 300) + of(60_000, 1)]) {
    for (const pieces of [[inChunks + body + end], byteByByte(inChunks + body + end)]) {
      assert.equal(parse(pieces).defect?.exceeds, 'body', `${pieces.length}`);
    }
  }
});
