/** Answers of backends, whatever their form, reach the device as HTTP has them, and none looks whole that is not. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import { answerText } from '../harness/upstream-server.ts';
import type { Behaviour } from '../harness/upstream-server.ts';
import { until, within } from '../harness/waiting.ts';

const chunkedHead = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

/** One answer for each path. */
function byPath(answers: Readonly<Record<string, string>>): Behaviour {
  return ({ target }) => answers[target] ?? answerText(500, target);
}

test('an answer without a body has none, and the connection goes on', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    behaviour: byPath({
      '/b/head': 'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: "h"\r\n\r\n',
      '/b/head-chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      '/b/204': 'HTTP/1.1 204 No Content\r\nETag: "x"\r\n\r\n',
      '/b/204-length': 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
      '/b/304': 'HTTP/1.1 304 Not Modified\r\nETag: "y"\r\nContent-Length: 99\r\n\r\n',
      '/b/empty': answerText(200, ''),
      '/b/1xx': `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${answerText(201, 'made')}`,
    }),
  });
  using raw = await surroundings.raw(t);
  const ask = async (method: string, path: string) => {
    raw.send(requestText(method, path));
    const { status, headers, body } = await raw.answer(method);
    return [status, headers.get('content-length'), headers.get('etag'), body.toString()];
  };
  assert.deepEqual(await ask('HEAD', '/b/head'), [200, '1234', '"h"', '']);
  assert.deepEqual(await ask('HEAD', '/b/head-chunked'), [200, undefined, undefined, '']);
  assert.deepEqual(await ask('GET', '/b/204'), [204, undefined, '"x"', '']);
  assert.deepEqual(await ask('GET', '/b/204-length'), [204, undefined, undefined, '']);
  assert.deepEqual(await ask('GET', '/b/304'), [304, '99', '"y"', '']);
  assert.deepEqual(await ask('GET', '/b/empty'), [200, '0', undefined, '']);
  assert.deepEqual(await ask('GET', '/b/1xx'), [201, '4', undefined, 'made']);
  assert.equal(raw.rest.length, 0);
  assert.equal(backend.requests.length, 7);
});

test('a body comes as the backend sends it: with a length, in chunks, or until the end', async (t) => {
  const { surroundings } = await proxiedWorld(t, {
    behaviour: ({ target }, socket) => {
      if (target === '/b/end') {
        socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end');
        return undefined;
      }
      if (target === '/b/length') return answerText(404, 'with a length', 'Content-Type: a/b');
      return `${chunkedHead}5;x=y\r\nin ch\r\n4\r\nunks\r\n0\r\nX-Trailer: 1\r\n\r\n`;
    },
  });
  using raw = await surroundings.raw(t);
  const expected = [
    ['/b/length', 404, 'with a length', '13', undefined],
    ['/b/chunks', 200, 'in chunks', undefined, 'chunked'],
    ['/b/end', 200, 'until the end', undefined, 'chunked'],
  ] as const;
  for (const [path, status, body, length, coding] of expected) {
    raw.send(requestText('GET', path));
    const answer = await raw.answer();
    const { headers } = answer;
    assert.deepEqual(
      [
        answer.status,
        answer.body.toString(),
        headers.get('content-length'),
        headers.get('transfer-encoding'),
      ],
      [status, body, length, coding],
    );
    assert.equal(headers.get('x-trailer'), undefined);
  }
  assert.equal(raw.isEnded, false);
});

test('what has come of an answer is passed on before there is more', async (t) => {
  let socket: Socket | undefined;
  const { surroundings } = await proxiedWorld(t, {
    behaviour: (_, its) => {
      socket = its;
      return 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
    },
  });
  using raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/b/events'));
  await until('the head alone', 10_000, () => raw.rest.includes('\r\n\r\n'));
  assert.ok(!raw.rest.includes('data:'));
  socket?.write('8\r\ndata: 1\n\r\n');
  await until('the first event', 10_000, () => raw.rest.includes('data: 1\n'));
  socket?.write('8\r\ndata: 2\n\r\n0\r\n\r\n');
  assert.equal((await raw.answer()).body.toString(), 'data: 1\ndata: 2\n');
});

test('an answer that breaks off cannot be taken for a whole one', async (t) => {
  const { surroundings } = await proxiedWorld(t, {
    behaviour: ({ target }, socket) => {
      const begun = target.startsWith('/b/chunked')
        ? `${chunkedHead}5\r\nhello\r\n`
        : 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello';
      if (target.endsWith('reset')) socket.write(begun, () => socket.resetAndDestroy());
      else socket.end(begun);
      return undefined;
    },
  });
  for (const path of ['/b/chunked', '/b/length', '/b/chunked-reset', '/b/length-reset']) {
    const raw = await surroundings.raw(t);
    raw.send(requestText('GET', path));
    const { error } = await within(raw.ended, 10_000, 'the end of the connection');
    assert.equal(error, undefined, `${path}: closed in good order`);
    await assert.rejects(raw.answer(), path);
  }
});

test('what is no answer is told as unavailable, with a time to come again', async (t) => {
  const { surroundings } = await proxiedWorld(t, {
    settings: { breaker: { failures: 100, openMs: 1_000 } },
    behaviour: ({ target }, socket) => {
      if (target === '/b/close') socket.end();
      else if (target === '/b/reset') socket.resetAndDestroy();
      else if (target === '/b/half') socket.end('HTTP/1.1 200 OK\r\nContent-Le');
      else if (target === '/b/garbage') return 'SSH-2.0-OpenSSH_9.2\r\n\r\n';
      else if (target === '/b/two')
        return 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx';
      else if (target === '/b/huge') return `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`;
      return undefined;
    },
  });
  using raw = await surroundings.raw(t);
  for (const path of ['/b/close', '/b/reset', '/b/half', '/b/garbage', '/b/two', '/b/huge']) {
    raw.send(requestText('POST', path, '{}'));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], [503, 'unavailable'], path);
    assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/, path);
  }
});

test('answers keep the order of their requests', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    behaviour: ({ target }) => (target === '/b/slow' ? undefined : answerText(200, target)),
  });
  using raw = await surroundings.raw(t);
  raw.send(
    requestText('GET', '/b/slow') +
      requestText('GET', '/b/fast') +
      requestText('GET', '/api/v1/time'),
  );
  await backend.request(1);
  // The second is not even asked before the first is answered.
  for (const socket of backend.sockets) socket.write(answerText(200, '/b/slow'));
  assert.equal((await raw.answer()).body.toString(), '/b/slow');
  assert.equal((await raw.answer()).body.toString(), '/b/fast');
  assert.equal((await raw.answer()).status, 200);
});

test('an answer that comes before the body of its request ends is the answer', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'bodyBytes: 1MiB' });
  backend.takes = (socket) => {
    socket.once('data', (chunk) => {
      const isChunked = chunk.includes('/b/chunked');
      socket.write(isChunked ? `${chunkedHead}5\r\nearly\r\n0\r\n\r\n` : answerText(413, 'early'));
      socket.resume();
    });
    return true;
  };
  const raw = await surroundings.raw(t);
  const half = 'x'.repeat(30_000);
  for (const [path, status] of [
    ['/b/length', 413],
    ['/b/chunked', 200],
  ] as const) {
    raw.send(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n${half}`);
    const answer = await raw.answer();
    assert.deepEqual([answer.status, answer.body.toString()], [status, 'early'], path);
    // The rest of the body is no request, and one that follows it is.
    raw.send(half + requestText('GET', '/api/v1/time'));
    assert.equal((await raw.answer()).status, 200, path);
  }
  // Without a length it may still not go on for ever.
  raw.send(
    'POST /b/length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n',
  );
  assert.equal((await raw.answer()).status, 413);
  const piece = `8000\r\n${'x'.repeat(0x8000)}\r\n`;
  for (let n = 0; n < 40; n += 1) raw.send(piece);
  await within(raw.ended, 10_000, 'the end of a body without end');
});

test('a device that has gone is no longer worked for', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { behaviour: () => undefined });
  const raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/b/x'));
  await backend.request(1);
  assert.equal(backend.sockets.size, 1);
  raw.socket.destroy();
  await until('the end of the request at the backend', 10_000, () => backend.sockets.size === 0);
});
