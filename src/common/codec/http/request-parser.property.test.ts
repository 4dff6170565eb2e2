/**
 * Requests of any content, and against llhttp, the parser of node:http: it is another implementation of the same RFC, and what
 * the two read differently is what others will read differently, too.
 */
import assert from 'node:assert/strict';
import { createServer, METHODS } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { fc } from '../../base/property-test-support.ts';
import { RequestParser } from './request-parser.ts';

const headerBytes = 2_048;

interface Request {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

interface Reading {
  /** Those that are complete. */
  readonly requests: readonly Request[];
  readonly isLast: boolean;
  readonly defect: string | undefined;
}

/** Until a defect, or the last request: nobody reads on behind it. */
function read(pieces: readonly Buffer[]): Reading {
  const parser = new RequestParser(headerBytes);
  const requests: Request[] = [];
  let text: (Omit<Request, 'body'> & { readonly isLast: boolean }) | undefined;
  let body = '';
  for (const piece of pieces) {
    let input = Buffer.from(piece);
    while (input.length > 0) {
      const reading = parser.read(input);
      if ('defect' in reading) return { requests, isLast: false, defect: reading.defect };
      text ??= reading.request;
      body += reading.body?.toString('latin1') ?? '';
      input = input.subarray(input.length - reading.rest);
      if (!reading.complete || text === undefined) continue;
      const { method, target, version, rawHeaders, isLast } = text;
      requests.push({ method, target, version, rawHeaders, body });
      if (isLast) return { requests, isLast, defect: undefined };
      text = undefined;
      body = '';
    }
  }
  return { requests, isLast: false, defect: undefined };
}

interface Refusal {
  readonly code: string;
  readonly reason: string;
}

interface Other {
  readonly requests: readonly Request[];
  readonly refusal: Refusal | undefined;
}

/** A connection whose answers nobody wants. */
class Wire extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
}

const server = createServer({
  requireHostHeader: false,
  maxHeaderSize: 16_384,
  shouldUpgradeCallback: () => false,
});
server.maxHeadersCount = 0;

/** What has come of one connection. */
class Heard {
  readonly messages: { readonly message: IncomingMessage; body: string }[] = [];
  refusal: Refusal | undefined;
}

const heard = new WeakMap<Duplex, Heard>();
for (const event of ['request', 'checkContinue', 'checkExpectation'] as const) {
  server.on(event, (message: IncomingMessage) => {
    const one = { message, body: '' };
    heard.get(message.socket)?.messages.push(one);
    message.on('data', (piece: Buffer) => (one.body += piece.toString('latin1')));
    message.on('error', () => {});
  });
}
server.on('clientError', (error: Error & { code?: string; reason?: string }, stream) => {
  const found = heard.get(stream);
  if (found !== undefined) found.refusal = { code: error.code ?? '', reason: error.reason ?? '' };
});

/** What node:http reads, which nothing is lenient about unless it is told to be. */
async function readByOther(bytes: Buffer): Promise<Other> {
  const wire = new Wire();
  const found = new Heard();
  heard.set(wire, found);
  wire.on('error', () => {});
  server.emit('connection', wire);
  wire.push(Buffer.from(bytes));
  await new Promise((resolve) => setImmediate(resolve));
  wire.destroy();
  const requests = found.messages
    .filter(({ message }) => message.complete)
    .map(({ message: { method = '', url = '', httpVersion, rawHeaders }, body }) => ({
      method,
      target: url,
      version: httpVersion,
      rawHeaders,
      body,
    }));
  return { requests, refusal: found.refusal };
}

/** A header as a client may write it. */
const header = fc
  .tuple(
    fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/),
    fc.stringMatching(/^(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?$/),
    fc.stringMatching(/^[ \t]{0,2}$/),
  )
  .filter(([name]) => !/^(?:content-length|transfer-encoding|connection)$/i.test(name));

const methods = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'M-SEARCH'] as const;

const anyRequest = fc.record({
  before: fc.constantFrom('', '', '\r\n', '\r\n\r\n'),
  method: fc.constantFrom(...methods),
  target: fc.stringMatching(/^\/[!-~]{0,20}$/),
  headers: fc.array(header, { maxLength: 8 }),
  pieces: fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 5 }),
  framedBy: fc.constantFrom('chunks', 'length'),
  extension: fc.constantFrom('', ';a', ';a=b;c="d e"'),
  trailers: fc.constantFrom('', 'X-T: y\r\n'),
});
type Asked = typeof anyRequest extends fc.Arbitrary<infer T> ? T : never;

function bytesOf({ before, method, target, headers, ...asked }: Asked): Buffer {
  const { pieces, framedBy, extension, trailers } = asked;
  const body = Buffer.concat(pieces);
  const framing =
    framedBy === 'chunks' ? 'transfer-encoding: Chunked' : `Content-Length: ${body.length}`;
  const lines = headers.map(([name, value, space]) => `${name}:${space}${value}${space}`);
  const head = [`${before}${method} ${target} HTTP/1.1`, ...lines, framing, '', ''].join('\r\n');
  const chunks = pieces.flatMap((piece) => [
    Buffer.from(`${piece.length.toString(16)}${extension}\r\n`),
    piece,
    Buffer.from('\r\n'),
  ]);
  const last = Buffer.from(`0${extension}\r\n${trailers}\r\n`);
  return Buffer.concat([
    Buffer.from(head, 'latin1'),
    ...(framedBy === 'chunks' ? [...chunks, last] : [body]),
  ]);
}

const cutsOf = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 20 });

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = cuts[i % cuts.length] ?? 1;
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

test('requests in good order are read as they were said, by llhttp too, however their bytes come', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyRequest, { minLength: 1, maxLength: 3 }),
      cutsOf,
      async (asked, cuts) => {
        const bytes = Buffer.concat(asked.map(bytesOf));
        const expected = asked.map(({ method, target, headers, pieces, framedBy }) => {
          const body = Buffer.concat(pieces).toString('latin1');
          const framing =
            framedBy === 'chunks'
              ? ['transfer-encoding', 'Chunked']
              : ['Content-Length', `${body.length}`];
          const rawHeaders = [...headers.flatMap(([name, value]) => [name, value]), ...framing];
          return { method, target, version: '1.1', rawHeaders, body };
        });
        for (const pieces of [[bytes], cut(bytes, cuts)]) {
          const reading = read(pieces);
          assert.equal(reading.defect, undefined);
          assert.deepEqual(reading.requests, expected);
        }
        const other = await readByOther(bytes);
        assert.equal(other.refusal, undefined);
        assert.deepEqual(other.requests, expected);
      },
    ),
    { numRuns: 150 },
  );
});

/** What was read, and the first request that llhttp has not taken. */
interface Taken {
  readonly request: Request;
  readonly text: string;
}

type IsKnown = (refusal: Refusal, taken: Taken) => boolean;

/** What llhttp refuses and we take, and why we may. There is nothing that both take, and not for the same. */
const known: Readonly<Record<string, IsKnown>> = {
  'a target that is no path is for `readHead` to refuse, and its connection ends with that': (
    { code },
    { request },
  ) => code === 'HPE_INVALID_URL' && !/^[/*]/.test(request.target),
  'a tab behind a coding is white space (RFC 9110 §5.6.3); whoever takes it for a part of it refuses it':
    ({ reason }, { text }) =>
      reason === 'Request has invalid `Transfer-Encoding`' &&
      /^transfer-encoding:[\t ]*chunked[\t ]*\t[\t ]*\r$/im.test(text),
  'a tab behind a length is, too': ({ reason }, { text }) =>
    reason === 'Invalid character in Content-Length' &&
    /^content-length:[\t ]*[0-9]+[\t ]*\t[\t ]*\r$/im.test(text),
  'it does not know all methods that there are': ({ code }, { request }) =>
    code === 'HPE_INVALID_METHOD' && !METHODS.includes(request.method),
};

const hostile = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  '\0',
  '\t',
  ' ',
  '\x0b',
  '\x0c',
  '\x7f',
  '\x80',
  '\xa0',
  '\xff',
  ':',
  ';',
  ',',
  '=',
  '"',
  '0',
  '1',
  '5',
  'a',
  'F',
  'x',
  '+',
  '-',
  '_',
  '.',
  '/',
  '*',
  '?',
  '#',
  '%',
  '@',
  '(',
  '[',
  '\\',
  'GET',
  'HTTP/1.1',
  'HTTP/1.2',
  'LABEL',
  '1.0',
  'chunked',
  'close',
  'Content-Length',
  'Transfer-Encoding',
  '0\r\n\r\n',
  'GET /x HTTP/1.1\r\n\r\n',
] as const;
const hostileLines = [
  'Content-Length: 5',
  'Content-Length: 0',
  'content-length:3',
  'Content-Length: +5',
  'Content-Length: 5, 5',
  'Content-Length : 5',
  'Content-Length:\t5',
  'Content-Length: 5\t',
  'Transfer-Encoding: chunked \t',
  'Content-Length: 0x5',
  'Content-Length:',
  'Content-Length: 05',
  'Transfer-Encoding: chunked',
  'transfer-encoding: Chunked',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, x',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding: ',
  ' folded',
  '\tfolded',
  'no colon',
  ': nothing',
  'X : y',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: upgrade',
  'Upgrade: websocket',
  'Expect: 100-continue',
  'Expect: tea',
  'Trailer: X',
  'POST /y HTTP/1.1',
  '5',
  '0',
  '',
  'hello',
] as const;

const change = fc.record({
  how: fc.constantFrom(
    'insert',
    'replace',
    'delete',
    'insert line',
    'double line',
    'drop line',
    'swap lines',
  ),
  at: fc.nat(10_000),
  to: fc.nat(10_000),
  length: fc.integer({ min: 1, max: 6 }),
  with: fc.constantFrom(...hostile),
  line: fc.constantFrom(...hostileLines),
});

type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function changed(text: string, { how, at, to, length, with: bytes, line }: Change): string {
  const from = at % (text.length + 1);
  if (how === 'insert') return text.slice(0, from) + bytes + text.slice(from);
  if (how === 'replace') return text.slice(0, from) + bytes + text.slice(from + length);
  if (how === 'delete') return text.slice(0, from) + text.slice(from + length);
  const lines = text.split('\r\n');
  const one = at % lines.length;
  const other = to % lines.length;
  if (how === 'insert line') lines.splice(one, 0, line);
  else if (how === 'double line') lines.splice(other, 0, lines[one] ?? '');
  else if (how === 'drop line') lines.splice(one, 1);
  else [lines[one], lines[other]] = [lines[other] ?? '', lines[one] ?? ''];
  return lines.join('\r\n');
}

/** Simple ones, for what is changed is to be what matters. */
const simple = fc.constantFrom(
  'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
  'POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\n\r\n',
  'POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n',
  'GET /d HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n',
  'GET /e?f=g HTTP/1.1\r\n\r\n',
);

test('whatever we take for requests llhttp takes for the same, and never for more', async () => {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(simple, { minLength: 1, maxLength: 3 }),
      fc.array(change, { minLength: 1, maxLength: 2 }),
      async (texts, changes) => {
        const text = changes.reduce(changed, texts.join(''));
        const bytes = Buffer.from(text, 'latin1');
        const { requests, isLast, defect } = read([bytes]);
        const dribbled = read(cut(bytes, [1]));
        assert.deepEqual(dribbled.requests, requests);
        assert.equal(dribbled.defect === undefined, defect === undefined);
        const other = await readByOther(bytes);
        for (const [i, request] of requests.entries()) {
          const same = other.requests[i];
          if (same === undefined) {
            const { refusal } = other;
            assert.ok(refusal !== undefined, 'llhttp waits for more');
            const isKnown = Object.values(known).some((is) => is(refusal, { request, text }));
            assert.ok(isKnown, `${JSON.stringify(refusal)} ${JSON.stringify(text)}`);
            return;
          }
          assert.deepEqual(request, same);
        }
        taken += requests.length;
        // Of what has a defect, more may be taken there: we are the stricter one.
        if (defect === undefined && !isLast) assert.equal(other.requests.length, requests.length);
      },
    ),
    { numRuns: 6_000 },
  );
  assert.ok(taken > 1_000, `${taken} are enough to see a difference`);
});

test('of the methods that llhttp knows, those that ask for something else than a resource are not ours', () => {
  const missing = METHODS.filter((method) => {
    const { requests } = read([Buffer.from(`${method} / HTTP/1.1\r\n\r\n`)]);
    return requests.length === 0;
  });
  // A tunnel, and a stream of Icecast's.
  assert.deepEqual(missing, ['CONNECT', 'SOURCE']);
});
