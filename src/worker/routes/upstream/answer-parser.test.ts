import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { AnswerParser } from './answer-parser.ts';
import type { Expected, ParsedHead } from './answer-head.ts';

const headerBytes = 1_024;

interface Outcome {
  readonly head: ParsedHead | undefined;
  readonly body: string;
  readonly complete: boolean;
  /** Bytes after the answer. */
  readonly rest: number;
  readonly defect: string | undefined;
}

/** Reads the pieces as one answer; what comes after it is counted. */
function parse(pieces: readonly (string | Buffer)[], expected: Expected = 'answer'): Outcome {
  const parser = new AnswerParser(headerBytes);
  parser.expect(expected);
  let head: ParsedHead | undefined;
  let body = '';
  let rest = 0;
  let complete = false;
  for (const piece of pieces) {
    // A copy: the parser writes into what it reads.
    const input = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece);
    if (complete) {
      rest += input.length;
      continue;
    }
    const reading = parser.read(input);
    if ('defect' in reading)
      return { head, body, complete: false, rest: 0, defect: reading.defect };
    assert.ok(head === undefined || reading.head === undefined, 'one head');
    head ??= reading.head;
    body += reading.body?.toString('latin1') ?? '';
    ({ complete, rest } = reading);
  }
  return { head, body, complete, rest, defect: undefined };
}

function byteByByte(text: string): string[] {
  return text.split('');
}

const simple = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b c \t\r\n\r\nhello';
const chunked =
  'HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 \r\ntransfer-encoding: Chunked\r\n\r\n' +
  '5;a="b"\r\nhello\r\n00000\r\nX-Trailer: 1\r\n\r\n';

test('an answer is the same however its bytes come', () => {
  for (const text of [simple, chunked]) {
    const whole = parse([text]);
    assert.equal(whole.body, 'hello');
    assert.equal(whole.complete, true);
    assert.deepEqual(parse(byteByByte(text)), whole);
    for (let at = 1; at < text.length; at += 1) {
      assert.deepEqual(parse([text.slice(0, at), text.slice(at)]), whole, `split at ${at}`);
      assert.equal(parse([text.slice(0, at)]).complete, false);
    }
    assert.equal(parse([text, 'more']).rest, 4);
    assert.equal(parse([`${text}more`]).rest, 4);
  }
  assert.deepEqual(parse([simple]).head?.headers, ['Content-Length', '5', 'X-A', 'b c']);
});

test('what can be read in two ways, or in none, is refused however its bytes come', () => {
  const status = 'HTTP/1.1 200 OK\r\n';
  const inChunks = `${status}Transfer-Encoding: chunked\r\n\r\n`;
  for (const text of [
    'HTTP/1.1 2000 OK\r\n\r\n',
    'HTTP/1.1 20 OK\r\n\r\n',
    'HTTP/1.1 099 OK\r\n\r\n',
    'HTTP/1.1 600 OK\r\n\r\n',
    'HTTP/1.1  200 OK\r\n\r\n',
    'HTTP/1.1\t200 OK\r\n\r\n',
    'HTTP/1.1 200 O\0K\r\n\r\n',
    'HTTP/1.2 200 OK\r\n\r\n',
    'HTTP/2.0 200 OK\r\n\r\n',
    'http/1.1 200 OK\r\n\r\n',
    ' HTTP/1.1 200 OK\r\n\r\n',
    '\r\nHTTP/1.1 200 OK\r\n\r\n',
    'ICY 200 OK\r\n\r\n',
    '<html>',
    '\u0016\u0003\u0001',
    `${status}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    `${status}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n`,
    `${status}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`,
    `${status}Content-Length: 5\r\ncontent-length: 6\r\n\r\n`,
    `${status}Content-Length: 5, 5\r\n\r\n`,
    `${status}Content-Length: +5\r\n\r\n`,
    `${status}Content-Length: -5\r\n\r\n`,
    `${status}Content-Length: 0x5\r\n\r\n`,
    `${status}Content-Length: 5 5\r\n\r\n`,
    `${status}Content-Length:\r\n\r\n`,
    `${status}Content-Length: 9999999999999999\r\n\r\n`,
    `${status}Transfer-Encoding: chunked, chunked\r\n\r\n`,
    `${status}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    `${status}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    `${status}Transfer-Encoding: identity\r\n\r\n`,
    `${status}Transfer-Encoding: \u000bchunked\r\n\r\n`,
    `${status}Transfer-Encoding:\r\n\r\n`,
    'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    `${status}Content-Length : 5\r\n\r\n`,
    `${status} Content-Length: 5\r\n\r\n`,
    `${status}X-A: b\r\n c\r\n\r\n`,
    `${status}X-A: b\nContent-Length: 5\r\n\r\n`,
    `${status}X-A: b\rContent-Length: 5\r\n\r\n`,
    `${status}X-A: b\0\r\n\r\n`,
    `${status}X\u00e9: b\r\n\r\n`,
    `${status}: b\r\n\r\n`,
    `${status}no colon\r\n\r\n`,
    'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'HTTP/1.1 100 \r\n\r\n'.repeat(9),
    `${status}${'X: y\r\n'.repeat(129)}\r\n`,
    `${status}X: ${'y'.repeat(headerBytes)}\r\n\r\n`,
    `${inChunks}5\nhello`,
    `${inChunks}5\rhello`,
    `${inChunks}0x5\r\nhello`,
    `${inChunks} 5\r\nhello`,
    `${inChunks}5 \r\nhello`,
    `${inChunks}+5\r\nhello`,
    `${inChunks}-5\r\nhello`,
    `${inChunks}\r\nhello`,
    `${inChunks};a\r\nhello`,
    `${inChunks}5;\0\r\nhello`,
    `${inChunks}5;${'a'.repeat(300)}\r\nhello`,
    `${inChunks}10000000000000\r\n`,
    `${inChunks}5\r\nhelloX\r\n`,
    `${inChunks}5\r\nhello\n0\r\n\r\n`,
    `${inChunks}5\r\nhello\rX`,
    `${inChunks}0\r\nX: y\n\r\n`,
    `${inChunks}0\r\nX: y\rz\r\n\r\n`,
    `${inChunks}0\r\nX: \0\r\n\r\n`,
    `${inChunks}0\r\n${'X: y\r\n'.repeat(300)}\r\n`,
  ]) {
    assert.ok(parse([text]).defect !== undefined, JSON.stringify(text));
    assert.ok(parse(byteByByte(text)).defect !== undefined, `byte by byte ${JSON.stringify(text)}`);
  }
});

test('a head without end is refused before it is kept', () => {
  const parser = new AnswerParser(headerBytes);
  parser.expect('answer');
  assert.ok(!('defect' in parser.read(Buffer.from(`HTTP/1.1 200 OK\r\nX: `))));
  let fed = 0;
  while (!('defect' in parser.read(Buffer.alloc(100, 'a')))) fed += 100;
  assert.ok(fed <= headerBytes, `${fed}`);
});

test('how an answer is framed follows what was asked and what the status says', () => {
  const bodyOf = (text: string, expected?: Expected) => {
    const { body, complete, rest, head, defect } = parse([text], expected);
    assert.equal(defect, undefined, text);
    return [body, complete, rest, head?.keepAlive];
  };
  const length = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab';
  assert.deepEqual(bodyOf(length), ['ab', true, 0, true]);
  assert.deepEqual(bodyOf(length, 'head-only'), ['', true, 2, false]);
  assert.deepEqual(bodyOf('HTTP/1.1 304 \r\nContent-Length: 2\r\n\r\nab'), ['', true, 2, true]);
  assert.deepEqual(bodyOf('HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n'), ['', true, 0, true]);
  // It may send the body that it must not have.
  assert.deepEqual(bodyOf('HTTP/1.1 204 \r\nContent-Length: 2\r\n\r\n'), ['', true, 0, false]);
  assert.deepEqual(bodyOf('HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n'), [
    '',
    true,
    0,
    false,
  ]);
  assert.deepEqual(bodyOf('HTTP/1.1 200 OK\r\n\r\nab'), ['ab', false, 0, false]);
  assert.deepEqual(
    bodyOf('HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nab'),
    ['ab', true, 0, false],
  );
  assert.deepEqual(
    bodyOf('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nab'),
    ['ab', true, 0, false],
  );
  assert.equal(parse(['HTTP/1.1 204 \r\nContent-Length: 2\r\n\r\n']).head?.headers.length, 0);
});

test('only an answer without a length ends with its connection', () => {
  const closes = (text: string): boolean => {
    const parser = new AnswerParser(headerBytes);
    parser.expect('answer');
    parser.read(Buffer.from(text));
    return parser.close();
  };
  assert.equal(closes('HTTP/1.1 200 OK\r\n\r\nab'), true);
  assert.equal(closes('HTTP/1.1 200 OK\r\n'), false);
  assert.equal(closes('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab'), false);
  assert.equal(closes('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n'), false);
  assert.equal(closes('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n'), false);
});

test('a switch is one to WebSocket, and only when it was asked for', () => {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: WebSocket', 'Connection: upgrade'];
  const { head, complete, rest } = parse(
    [`${lines.join('\r\n')}\r\nX-A: b\r\n\r\nframes`],
    'upgrade',
  );
  assert.deepEqual([head?.status, head?.headers, complete, rest], [101, ['X-A', 'b'], true, 6]);
  for (const wrong of [
    [lines[0], lines[1]],
    [lines[0], lines[2]],
    [lines[0], 'Upgrade: h2c', lines[2]],
    [lines[0], 'Upgrade: websocket, h2c', lines[2]],
    [...lines, 'Content-Length: 0'],
    [...lines, 'Transfer-Encoding: chunked'],
  ]) {
    const text = `${wrong.join('\r\n')}\r\n\r\n`;
    assert.ok(parse([text], 'upgrade').defect !== undefined, text);
  }
});

test('what the server keeps a connection for is read, and nothing else', () => {
  const keeps = (line: string) =>
    parse([`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${line}\r\n\r\n`]).head?.keepAliveMs;
  assert.equal(keeps('Keep-Alive: timeout=5, max=100'), 5_000);
  assert.equal(keeps('Keep-Alive: max=100,Timeout=5'), 5_000);
  for (const line of ['Keep-Alive: 5', 'Keep-Alive: timeout=-1', 'Keep-Alive: timeout=99999999']) {
    assert.equal(keeps(line), undefined, line);
  }
});

/** A header as a server may write it. */
const header = fc
  .tuple(
    fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/),
    fc.stringMatching(/^(?:[!-~](?:[ -~]{0,20}[!-~])?)?$/),
  )
  .filter(
    ([name]) =>
      name.length !== 2 &&
      !/^(?:content-|transfer-|connection|keep-|upgrade|trailer|proxy-)/i.test(name),
  );

test('whatever a server says in good order is told as it was said, however its bytes come', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 200, max: 599 }).filter((status) => status !== 204 && status !== 304),
      fc.array(header, { maxLength: 10 }),
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { maxLength: 8 }),
      fc.boolean(),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
      (status, headers, pieces, inChunks, cuts) => {
        const body = Buffer.concat(pieces);
        const framing = inChunks ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`;
        const lines = [`HTTP/1.1 ${status} Why`, ...headers.map((h) => h.join(': ')), framing];
        const chunks = pieces.flatMap((piece) => [
          Buffer.from(`${piece.length.toString(16)}\r\n`),
          piece,
          Buffer.from('\r\n'),
        ]);
        const text = Buffer.concat([
          Buffer.from(`${lines.join('\r\n')}\r\n\r\n`),
          ...(inChunks ? [...chunks, Buffer.from('0\r\n\r\n')] : [body]),
        ]);
        const parts: Buffer[] = [];
        for (let at = 0, i = 0; at < text.length; i += 1) {
          const size = cuts[i % cuts.length] ?? 1;
          parts.push(text.subarray(at, at + size));
          at += size;
        }
        for (const read of [parse([text]), parse(parts)]) {
          assert.equal(read.defect, undefined);
          assert.equal(read.complete, true);
          assert.equal(read.rest, 0);
          assert.equal(read.head?.status, status);
          assert.equal(read.body, body.toString('latin1'));
          const expected = inChunks
            ? headers.flat()
            : [...headers.flat(), 'Content-Length', `${body.length}`];
          assert.deepEqual(read.head.headers, expected);
          assert.equal(read.head.bodyBytes, inChunks ? undefined : body.length);
        }
      },
    ),
  );
});
