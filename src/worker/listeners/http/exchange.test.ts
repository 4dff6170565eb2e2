import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchangeOf } from './test-support.ts';
import { accepted, eventStream, headers, json, noContent, problems } from './wire.ts';

const get = 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n';
const post = 'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n';
const date = 'Date: Fri, 02 Jan 2026 00:00:00 GMT';

/** The lines of the head, in order, and what comes after it. */
function parts(text: string): { line: string | undefined; lines: string[]; body: string } {
  const end = text.indexOf('\r\n\r\n');
  const [line, ...lines] = text.slice(0, end).split('\r\n');
  return { line, lines: lines.toSorted(), body: text.slice(end + 4) };
}

test('a whole body is what came, or nothing when its connection is gone', async () => {
  const whole = exchangeOf(post);
  const body = whole.exchange.wholeBody(10);
  assert.equal(whole.bytes.wanted, 1);
  whole.exchange.take(Buffer.from('ab'));
  whole.exchange.take(Buffer.from('cd'));
  whole.exchange.bodyEnded();
  assert.equal((await body)?.toString(), 'abcd');
  const cut = exchangeOf(post);
  const half = cut.exchange.wholeBody(10);
  cut.exchange.take(Buffer.from('ab'));
  cut.exchange.abandon();
  assert.equal(await half, undefined);
  assert.equal(await cut.exchange.wholeBody(10), undefined);
});

test('an answer is one write: head, what is left of a rate, body', () => {
  const { exchange, bytes, endings } = exchangeOf(get);
  bytes.bodyComplete = true;
  exchange.more = ['RateLimit', '"identity";r=1;t=2'];
  exchange.answer(200, json(2), Buffer.from('{}'));
  exchange.answer(200, json(2), Buffer.from('{}'));
  assert.deepEqual(parts(bytes.written), {
    line: 'HTTP/1.1 200 OK',
    lines: [
      'Cache-Control: no-store',
      'Connection: keep-alive',
      'Content-Length: 2',
      'Content-Type: application/json',
      date,
      'RateLimit: "identity";r=1;t=2',
      'X-Content-Type-Options: nosniff',
    ],
    body: '{}',
  });
  assert.deepEqual([bytes.ends, endings], [['next'], ['stays']]);
});

test('no answer to HEAD has a body, and its length stays', () => {
  const { exchange, bytes } = exchangeOf(get.replace('GET', 'HEAD'));
  exchange.answer(200, json(2), Buffer.from('{}'));
  assert.match(bytes.written, /Content-Length: 2\r\n(?:.+\r\n)*\r\n$/);
  const passedOn = exchangeOf(get.replace('GET', 'HEAD'));
  passedOn.exchange.startAnswer(200, ['X-A', 'b']);
  passedOn.exchange.endAnswer(undefined);
  assert.match(passedOn.bytes.written, /X-A: b\r\n(?:.+\r\n)*\r\n$/);
  assert.doesNotMatch(passedOn.bytes.written, /chunked|\r\n0\r\n/);
});

test('who has said that it is the last request, or speaks 1.0, is answered and left', () => {
  for (const head of [
    get.replace('Host', 'Connection: foo, Close\r\nHost'),
    get.replace('1.1', '1.0'),
    get.replace('1.1', '1.0').replace('Host', 'Connection: keep-alive\r\nHost'),
  ]) {
    const { exchange, bytes, endings } = exchangeOf(head);
    bytes.bodyComplete = true;
    exchange.answer(202, accepted);
    assert.match(bytes.written, /\r\nConnection: close\r\n/);
    assert.deepEqual([bytes.ends, endings], [['close'], ['closes']]);
  }
});

test('a refusal leaves the connection open, unless it closes it or some of the body is to come', () => {
  for (const [code, complete, expects, after] of [
    ['forbidden', true, false, 'next'],
    ['forbidden', false, false, 'linger'],
    // Nothing comes from who waits to be told to go on.
    ['forbidden', false, true, 'close'],
    ['standing', true, false, 'close'],
    ['standing', false, false, 'linger'],
  ] as const) {
    const head = expects ? post.replace('Host', 'Expect: 100-continue\r\nHost') : post;
    const { exchange, bytes, refused } = exchangeOf(head);
    bytes.bodyComplete = complete;
    exchange.refuse(code, 'why');
    exchange.refuse(code, 'again');
    assert.equal(parts(bytes.written).body, problems[code].body.toString());
    assert.deepEqual([bytes.ends, refused], [[after], [`${code}: why`]]);
  }
});

test('who waits to be told is told once, and only when the body is wanted', () => {
  const expecting = post.replace('Host', 'Expect: 100-Continue\r\nHost');
  const { exchange, bytes } = exchangeOf(expecting);
  assert.equal(exchange.expectation, 'continue');
  exchange.readBody(10, () => {});
  assert.equal(bytes.written, 'HTTP/1.1 100 Continue\r\n\r\n');
  const there = exchangeOf(expecting);
  there.bytes.bodyComplete = true;
  there.exchange.readBody(10, () => {});
  assert.equal(there.bytes.written, '');
  assert.equal(
    exchangeOf(post.replace('Host', 'Expect: tea\r\nHost')).exchange.expectation,
    'unknown',
  );
});

test('who expects what we do not know is never told to go on', () => {
  const { exchange, bytes } = exchangeOf(post.replace('Host', 'Expect: tea\r\nHost'));
  exchange.readBody(10, () => {});
  assert.deepEqual([bytes.written, bytes.wanted], ['', 1]);
});

test('an answer that is passed on goes with its length, or in chunks, and has one date', async () => {
  const long = exchangeOf(get);
  long.exchange.startAnswer(200, ['content-length', '6', 'DATE', 'yesterday']);
  assert.equal(long.exchange.writeAnswer(Buffer.from('abc')), true);
  long.exchange.endAnswer(Buffer.from('def'));
  assert.equal(parts(long.bytes.written).body, 'abcdef');
  assert.equal(long.bytes.written.match(/date/gi)?.length, 1);
  assert.deepEqual(long.bytes.ends, ['next']);

  const chunked = exchangeOf(get);
  chunked.exchange.startAnswer(200, ['X-A', 'b']);
  // Its head waits for the first piece until the tick is over.
  assert.equal(chunked.bytes.written, '');
  await new Promise((resolve) => setImmediate(resolve));
  assert.match(chunked.bytes.written, /Transfer-Encoding: chunked\r\n(?:.+\r\n)*\r\n$/);
  chunked.exchange.writeAnswer(Buffer.from('abc'));
  chunked.exchange.writeAnswer(Buffer.alloc(0));
  chunked.exchange.writeAnswer(Buffer.alloc(20_000, 'x'));
  chunked.exchange.endAnswer(Buffer.from('d'));
  assert.equal(
    parts(chunked.bytes.written).body,
    `3\r\nabc\r\n4e20\r\n${'x'.repeat(20_000)}\r\n1\r\nd\r\n0\r\n\r\n`,
  );

  const nothing = exchangeOf(get);
  nothing.exchange.startAnswer(204, []);
  nothing.exchange.endAnswer(undefined);
  assert.doesNotMatch(nothing.bytes.written, /chunked/);
  assert.equal(parts(nothing.bytes.written).body, '');
});

test('an answer that has begun is broken off, and one that has not is refused instead', () => {
  const begun = exchangeOf(get);
  begun.exchange.startAnswer(200, []);
  begun.exchange.writeAnswer(Buffer.from('abc'));
  begun.exchange.fail(problems.unavailable, 'the server is gone');
  assert.deepEqual(begun.bytes.ends, ['cut']);
  assert.ok(begun.bytes.written.endsWith('3\r\nabc\r\n'), 'no last chunk');
  const fresh = exchangeOf(get);
  fresh.bytes.bodyComplete = true;
  fresh.exchange.fail(problems.unavailable, 'the server is gone');
  assert.match(fresh.bytes.written, /^HTTP\/1.1 503 /);
});

test('a connection that is to end after all ends with its answer, whatever its head has promised', () => {
  const { exchange, bytes, owner } = exchangeOf(get);
  exchange.startAnswer(200, ['Content-Length', '3']);
  exchange.writeAnswer(Buffer.from('a'));
  owner.ending = true;
  exchange.endAnswer(Buffer.from('bc'));
  assert.deepEqual(bytes.ends, ['close']);
});

test('a stream says that it is the last of its connection; whoever is slow is told once it is not', () => {
  const { exchange, bytes } = exchangeOf(get);
  exchange.startStream(eventStream);
  assert.match(bytes.written, /Connection: close\r\n/);
  assert.match(bytes.written, /Transfer-Encoding: chunked\r\n/);
  let drained = 0;
  assert.equal(
    exchange.writeStream(':\n\n', () => assert.fail('not slow')),
    true,
  );
  bytes.flows = false;
  assert.equal(
    exchange.writeStream('data: 1\n\n', () => (drained += 1)),
    false,
  );
  exchange.drained();
  assert.equal(drained, 1);
  exchange.endStream();
  assert.equal(parts(bytes.written).body, '3\r\n:\n\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n');
  assert.deepEqual(bytes.ends, ['close']);
});

test('nothing that could end a line gets into a head', () => {
  const { exchange, bytes } = exchangeOf(get);
  for (const value of ['a\r\nX: y', 'a\nb', 'a\0b', '\u{1f600}']) {
    assert.throws(() => headers('X-A', value), { code: 'internal' });
    assert.throws(() => exchange.startAnswer(200, ['X-A', value]), { code: 'internal' });
  }
  assert.throws(() => headers('X A', 'b'), { code: 'internal' });
  assert.equal(bytes.written, '');
  assert.equal(noContent.keeping.includes('Content-Length'), false);
});
