import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { until, within } from '../../../../test/harness/waiting.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { silentLogger } from '../../../common/base/logger.ts';
import {
  ask,
  begin,
  httpServer,
  patienceMs,
  rawServer,
  requestFor,
  route,
  settingsFor,
  Told,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

test('requests arrive as they are, one after another on one connection', async (t) => {
  const seen: object[] = [];
  const ports = new Set<number | undefined>();
  const origin = await httpServer(t, (incoming, response) => {
    ports.add(incoming.socket.remotePort);
    void bodyOf(incoming).then((body) => {
      seen.push({ method: incoming.method, url: incoming.url, raw: incoming.rawHeaders, body });
      response.writeHead(201, { 'X-Answer': 'yes' }).end('said');
    });
  });
  const { upstreams, counted } = upstreamsFor(t, settingsFor(origin, { rewrite: '/app/' }));
  const host = ['Host', new URL(origin).host];
  const device = ['X-Device-Id', 'd1'];
  for (const [method, body, framing] of [
    ['GET', undefined, []],
    ['DELETE', undefined, []],
    ['POST', undefined, ['Content-Length', '0']],
    ['PUT', Buffer.from('{}'), ['Content-Length', '2']],
    ['PATCH', Buffer.alloc(100_000, 'a'), ['Content-Length', '100000']],
  ] as const) {
    const told = await ask(upstreams, {
      method,
      path: '/backend/a/b',
      query: 'k=v',
      headers: device,
      body,
    });
    assert.equal(told.status, 201);
    assert.equal(told.header('x-answer'), 'yes');
    assert.equal(told.text, 'said');
    assert.deepEqual(seen.pop(), {
      method,
      url: '/app/a/b?k=v',
      raw: [...host, ...device, ...framing],
      body: body?.toString() ?? '',
    });
  }
  assert.equal(ports.size, 1);
  assert.equal(counted.get('upstream_requests{route="r",outcome="answered"}'), 5);
});

test('a streamed body arrives whole, with its length or in chunks, also when it begins before there is a connection', async (t) => {
  const origin = await httpServer(t, (incoming, response) => {
    void bodyOf(incoming).then((body) => {
      const { 'content-length': length, 'transfer-encoding': coding } = incoming.headers;
      response.end(JSON.stringify([body, length, coding]));
    });
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (const bytes of [6, undefined, 6, undefined]) {
    const { told, call } = begin(upstreams, { method: 'POST', body: { bytes } });
    for (const piece of ['ab', '', 'cdef']) call.write(Buffer.from(piece));
    call.end();
    await told.over();
    const framing = bytes === undefined ? [null, 'chunked'] : ['6', null];
    assert.deepEqual(JSON.parse(told.text), ['abcdef', ...framing]);
  }
});

test('whoever streams waits for a server that does not read', async (t) => {
  const sockets: Socket[] = [];
  const { origin, received } = await rawServer(t, (socket) => {
    sockets.push(socket);
    socket.pause();
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const { told, call } = begin(upstreams, { method: 'POST', body: { bytes: undefined } });
  const piece = Buffer.alloc(65_536);
  // The head must have come before the server stops to read.
  call.write(piece);
  await told.room();
  await until('a head', patienceMs, () => sockets.length > 0);
  let written = 1;
  while (call.write(Buffer.from(piece))) written += 1;
  assert.ok(written < 1_000, `${written}`);
  assert.equal(told.failure, undefined);
  sockets[0]?.resume();
  await told.room();
  call.end();
  const total = (written + 1) * piece.length;
  await until('all of it', patienceMs, () => (received[0]?.length ?? 0) > total);
  sockets[0]?.write(ok);
  await told.over();
  assert.equal(told.text, 'ok');
});

test('a server waits for whoever reads slowly', async (t) => {
  const total = 32 * 1_048_576;
  const origin = await httpServer(t, (_, response) => {
    response.setHeader('Content-Length', total);
    const piece = Buffer.alloc(1_048_576, 'x');
    for (let i = 0; i < total / piece.length; i += 1) response.write(piece);
    response.end();
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const { told, call } = begin(upstreams);
  told.flows = false;
  await told.begun();
  await until('a piece', patienceMs, () => told.pieces.length === 1);
  for (let resumed = 1; resumed <= 20; resumed += 1) {
    call.resume();
    await until('another piece', patienceMs, () => told.pieces.length > resumed);
    assert.equal(told.pieces.length, resumed + 1, 'no more than was asked for');
  }
  told.flows = true;
  call.resume();
  await told.over();
  assert.equal(told.bytes, total);
});

test('what has no body has none, and its connection is used again', async (t) => {
  const answers = [
    'HTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n',
    'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
  ];
  const { origin, received } = await rawServer(t, (socket, _, n) => socket.write(answers[n] ?? ''));
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (const [i, answer] of answers.entries()) {
    const told = await ask(upstreams);
    assert.deepEqual([told.ended, told.bytes, told.answer?.bodyBytes], [true, 0, 0], answer);
    const length = new Map([
      [2, '1000'],
      [3, '0'],
    ]).get(i);
    assert.equal(told.header('content-length'), length, answer);
  }
  assert.equal(received.length, 1);
});

test('an answer to HEAD has no body, and its connection carries no other', async (t) => {
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
  ];
  const { origin, received } = await rawServer(t, (socket, connection) =>
    socket.write(answers[connection] ?? ''),
  );
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (const answer of answers) {
    const told = await ask(upstreams, { method: 'HEAD' });
    assert.deepEqual([told.ended, told.bytes, told.answer?.bodyBytes], [true, 0, 0], answer);
    const length = answer.includes('1000') ? '1000' : undefined;
    assert.equal(told.header('content-length'), length, answer);
  }
  assert.equal(received.length, 2);
});

test('interim answers, trailers and what belongs to the connection stay between the server and us', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => {
    socket.write(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n',
    );
    socket.write(
      [
        'Connection: keep-alive, X-Hop',
        'x-hop: 1',
        'Keep-Alive: timeout=20',
        'TE: trailers',
        'Trailer: X-Sum',
        'Upgrade: h2c',
        'Proxy-Connection: keep-alive',
        'Transfer-Encoding: chunked',
        'Set-Cookie: a=1',
        'Set-Cookie: b=2',
        'X-Empty:',
        '',
        '2;x=y\r\nab\r\n0\r\nX-Sum: 1\r\nX-Device-Id: d2\r\n\r\n',
      ].join('\r\n'),
    );
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (let i = 0; i < 2; i += 1) {
    const told = await ask(upstreams);
    assert.deepEqual(told.answer?.headers, [
      'Set-Cookie',
      'a=1',
      'Set-Cookie',
      'b=2',
      'X-Empty',
      '',
    ]);
    assert.equal(told.answer.bodyBytes, undefined);
    assert.equal(told.text, 'ab');
  }
  assert.equal(received.length, 1);
});

test('an answer that comes before the body is complete is told, and ends the connection', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (let i = 0; i < 2; i += 1) {
    const { told, call } = begin(upstreams, { method: 'POST', body: { bytes: 1_000 } });
    call.write(Buffer.alloc(10));
    await told.over();
    assert.equal(told.status, 413);
    assert.equal(told.text, 'no!');
    // Whoever streams may not have heard of it yet.
    assert.equal(call.write(Buffer.alloc(10)), true);
    call.end();
  }
  assert.equal(received.length, 2);
});

test('a body of another length than was announced never looks complete to the server', async (t) => {
  const { origin, received } = await rawServer(t, () => {});
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (const pieces of [['abc'], ['abcd', 'e', 'f']]) {
    const { told, call } = begin(upstreams, { method: 'POST', body: { bytes: 5 } });
    const connections = received.length;
    call.write(Buffer.from('a'));
    await until('the head', patienceMs, () => received.length > connections);
    for (const piece of pieces) call.write(Buffer.from(piece));
    call.end();
    await told.over();
    assert.match(told.failure?.detail ?? '', /^(?:more|less) of the body than was announced$/);
  }
  for (const bytes of received) {
    assert.ok((bytes.toString().split('\r\n\r\n')[1] ?? '').length <= 5);
  }
});

test('a request that nobody waits for any more ends its connection, and is told nothing', async (t) => {
  const closed: Promise<unknown>[] = [];
  const { origin } = await rawServer(t, (socket) => {
    closed.push(once(socket, 'close'));
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
  });
  const { upstreams, counted } = upstreamsFor(t, settingsFor(origin));
  const { told, call } = begin(upstreams);
  await told.begun();
  call.abort();
  call.abort();
  await within(Promise.all(closed), patienceMs, 'the end of the connection');
  const early = begin(upstreams);
  early.call.abort();
  assert.deepEqual([told.ended, told.failure, early.told.status], [false, undefined, undefined]);
  assert.equal(counted.get('upstream_requests{route="r",outcome="aborted"}'), 2);
  assert.equal(upstreams.gauges()[`upstream_in_flight{route="r",server="${origin}"}`], 0);
});

test('a connection that the server does not keep is not used again', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (let i = 0; i < 3; i += 1) assert.equal((await ask(upstreams)).text, 'ok');
  assert.equal(received.length, 3);
});

test('what an answer has brought stays as it is when others come', async (t) => {
  let n = 0;
  const { origin } = await rawServer(t, (socket) => {
    const body = String(n % 10).repeat(n < 10 ? 20_000 : 200);
    n += 1;
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length + 1}\r\n\r\n${body}`);
    setImmediate(() => socket.write('.'));
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const all = [];
  for (let i = 0; i < 20; i += 1) all.push(await ask(upstreams));
  for (const [i, { text }] of all.entries()) {
    assert.equal(text, `${String(i % 10).repeat(i < 10 ? 20_000 : 200)}.`);
  }
});

test('an answer without a length ends with its connection', async (t) => {
  const { origin } = await rawServer(t, (socket) => {
    socket.end('HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nuntil the end');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const told = await ask(upstreams);
  assert.equal(told.text, 'until the end');
  assert.equal(told.answer?.bodyBytes, undefined);
});

test('nothing that would end a line, or the head, is written to a server', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const malformed = (error: unknown) =>
    error instanceof SallyportError && error.code === 'malformed';
  for (const more of [
    { headers: ['X-A', 'b\r\nX-Device-Id: d2'] },
    { headers: ['X-A', 'b\n'] },
    { headers: ['X-A', 'b\0'] },
    { headers: ['X-A', '\u0100'] },
    { headers: ['X-A: b\r\nX-B', 'c'] },
    { headers: ['X A', 'b'] },
    { headers: ['X-Device-Id: d2', 'b'] },
    { headers: ['', 'b'] },
    { method: 'GET / HTTP/1.1\r\nX:' },
    { method: 'CONNECT' },
    { method: '' },
    { path: '/backend/a b' },
    { path: '/backend/\r\n' },
    { path: '/backend/é' },
    { path: 'backend' },
    { query: 'a b' },
  ]) {
    assert.throws(() => begin(upstreams, more), malformed, JSON.stringify(more));
  }
  assert.equal((await ask(upstreams)).text, 'ok');
  assert.equal(received.length, 1);
  assert.ok(!(received[0]?.toString() ?? '').includes('d2'));
});

test('whoever cannot take an answer loses it, and nobody else does', async (t) => {
  const { origin } = await rawServer(t, (socket, connection) => {
    // A piece that is not the last one, where it is the piece that is not taken.
    const body = connection === 1 ? 'ab' : 'abcd';
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${body}`);
  });
  const errors: object[] = [];
  const logger = { ...silentLogger, error: (fields: object) => errors.push(fields) };
  const { upstreams } = upstreamsFor(t, settingsFor(origin), { logger });
  const defect = (): never => {
    throw new SallyportError('internal', 'planted');
  };
  for (const [i, method] of (['head', 'data', 'end'] as const).entries()) {
    const told = new Told();
    told[method] = defect;
    upstreams.request(route, requestFor(), told);
    if (method !== 'end') {
      await told.over();
      assert.equal(told.failure?.begun, true);
    }
    await until('a line in the log', patienceMs, () => errors.length === i + 1);
    assert.deepEqual(errors[i], { route: 'r', err: 'planted' });
  }
  const told = new Told();
  told.failed = defect;
  upstreams.request({ name: 'another', path: '/' }, requestFor(), new Told());
  const call = upstreams.request(route, requestFor({ body: { bytes: 1 }, method: 'POST' }), told);
  call.write(Buffer.from('too much'));
  await until('a line in the log', patienceMs, () => errors.length === 4);
  assert.equal((await ask(upstreams)).text, 'abcd');
});

test('a route without an upstream gets no traffic', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { route: 'another' }));
  const told = await ask(upstreams);
  assert.deepEqual(told.failure, {
    code: 'unavailable',
    detail: 'the route has no upstream',
    server: undefined,
    sent: false,
    begun: false,
    retryAfterMs: undefined,
  });
  assert.equal(received.length, 0);
});
