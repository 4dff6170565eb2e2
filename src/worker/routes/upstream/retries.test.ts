import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { until } from '../../../../test/harness/waiting.ts';
import {
  ask,
  begin,
  patienceMs,
  rawServer,
  settingsFor,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const body = Buffer.from('body');

/** Of loopback; no other test listens there, so that a port that was given up stays free. */
const desert = '127.254.0.1';

/** An origin at which nobody listens. */
async function deserted(): Promise<string> {
  const server = createServer();
  server.listen(0, desert);
  await once(server, 'listening');
  // It listens on TCP.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `http://${desert}:${port}`;
}

function requestsIn(received: readonly Buffer[]): number {
  return received.reduce(
    (sum, bytes) => sum + bytes.toString().split('HTTP/1.1\r\n').length - 1,
    0,
  );
}

test('a kept connection that the server closes as the next request comes costs an idempotent request nothing', async (t) => {
  // Each connection serves one request, and meets the next one with its end.
  const { origin, received } = await rawServer(t, (socket, _, n) => {
    if (n === 0) socket.write(ok);
    else socket.destroy();
  });
  const { upstreams, counted } = upstreamsFor(t, settingsFor(origin));
  await ask(upstreams);
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']) {
    const told = await ask(upstreams, { method, body: method === 'PUT' ? body : undefined });
    assert.equal(told.status, 200, method);
    // The answer to HEAD has brought a body with it, and ended its connection.
    if (method === 'HEAD') await ask(upstreams);
  }
  assert.ok((counted.get('upstream_retries{route="r"}') ?? 0) >= 5);
  assert.ok(received.length >= 6);
});

test('a connection that has said 408 is not used again, for it may not have been the answer', async (t) => {
  const impatient = 'HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n';
  const { origin, received } = await rawServer(t, (socket, connection, n) => {
    // The second request crosses what the server says of a connection that waits, and is answered all the same.
    if (connection === 0 && n === 1) socket.write(impatient);
    else socket.write(ok);
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const statuses: (number | undefined)[] = [];
  for (let i = 0; i < 3; i += 1) statuses.push((await ask(upstreams)).status);
  assert.deepEqual(statuses, [200, 408, 200]);
  assert.equal(received.length, 2);
});

test('of many kept connections that the server has closed, one is tried', async (t) => {
  const sockets: Socket[] = [];
  const { origin, received } = await rawServer(t, (socket, connection, n) => {
    if (connection >= 5) socket.write(ok);
    else if (n > 0) socket.destroy();
    else sockets.push(socket);
  });
  const { upstreams, counted } = upstreamsFor(t, settingsFor(origin));
  const asked = Array.from({ length: 5 }, () => begin(upstreams));
  await until('all connections', patienceMs, () => sockets.length === 5);
  for (const socket of sockets) socket.write(ok);
  for (const { told } of asked) await told.over();
  assert.equal((await ask(upstreams)).text, 'ok');
  assert.equal(counted.get('upstream_retries{route="r"}'), 1);
  assert.equal(received.length, 6);
});

test('what may have been done once is not done twice', async (t) => {
  for (const method of ['POST', 'PATCH', 'LOCK']) {
    const { origin, received } = await rawServer(t, (socket, _, n) => {
      if (n === 0) socket.write(ok);
      else socket.destroy();
    });
    const breaker = { failures: 1, openMs: 10_000 };
    const { upstreams } = upstreamsFor(t, settingsFor([origin], { breaker }));
    await ask(upstreams);
    const { failure } = await ask(upstreams, { method, body });
    assert.equal(failure?.code, 'unavailable', method);
    assert.equal(failure.sent, true);
    assert.equal(requestsIn(received), 2, method);
    // It says nothing about the server.
    assert.equal((await ask(upstreams, { method, body })).text, 'ok');
  }
});

for (const [what, spoil] of [
  ['is closed', (socket: Socket) => socket.destroy()],
  ['says what nobody asked for', (socket: Socket) => socket.write(ok.replace('ok', 'no'))],
] as const) {
  test(`a request that has not gone out when its connection ${what} goes to another one, whatever its method`, async (t) => {
    const sockets: Socket[] = [];
    const { origin, received } = await rawServer(t, (socket) => {
      sockets.push(socket);
      socket.write(ok);
    });
    const breaker = { failures: 1, openMs: 10_000 };
    const { upstreams, counted } = upstreamsFor(t, settingsFor([origin], { breaker }));
    await ask(upstreams);
    // What begins in the last part of a turn goes out in the next one, when it has been read what has come.
    await nextTurn();
    const [socket] = sockets;
    assert.ok(socket !== undefined);
    spoil(socket);
    const { told } = begin(upstreams, { method: 'POST', body });
    await told.over();
    assert.equal(told.text, 'ok');
    assert.equal(received.length, 2);
    assert.equal(requestsIn(received), 2);
    assert.equal(counted.get('upstream_retries{route="r"}'), 1);
  });
}

test('a request that is given up before it has gone out does not go out', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  await ask(upstreams);
  begin(upstreams, { method: 'POST', body }).call.abort();
  await ask(upstreams);
  assert.equal(requestsIn(received), 2);
  assert.ok(!Buffer.concat(received).includes('POST'));
});

test('a server that nobody can reach costs no request anything while another one is there', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor([await deserted(), await deserted(), origin]));
  for (let i = 0; i < 6; i += 1) {
    assert.equal((await ask(upstreams, { method: 'POST', body })).text, 'ok');
  }
  const { told, call } = begin(upstreams, { method: 'POST', body: { bytes: undefined } });
  call.write(Buffer.from('ab'));
  call.end();
  await told.over();
  assert.equal(told.text, 'ok');
  assert.equal(requestsIn(received), 7);
});

test('an idempotent request goes to another server when one has closed without a word, and others do not', async (t) => {
  const mute = await rawServer(t, (socket) => socket.destroy());
  const well = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(
    t,
    settingsFor([mute.origin, well.origin], { breaker: { failures: 1_000, openMs: 1_000 } }),
  );
  for (let i = 0; i < 4; i += 1) assert.equal((await ask(upstreams)).text, 'ok');
  const before = requestsIn(well.received);
  let failed = 0;
  for (let i = 0; i < 4; i += 1) {
    if ((await ask(upstreams, { method: 'POST', body })).failure !== undefined) failed += 1;
  }
  assert.ok(failed > 0);
  assert.equal(requestsIn(well.received) - before, 4 - failed);
});

test('nothing is tried again once some of an answer, or of a streamed body, has passed', async (t) => {
  const cut = (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le');
  const [half, alsoHalf] = [await rawServer(t, cut), await rawServer(t, cut)];
  const other = await rawServer(t, (socket) => socket.destroy());
  const { upstreams } = upstreamsFor(t, settingsFor([half.origin, alsoHalf.origin]));
  assert.equal((await ask(upstreams)).failure?.code, 'unavailable');
  assert.equal(requestsIn([...half.received, ...alsoHalf.received]), 1);

  const third = await rawServer(t, (socket) => socket.destroy());
  const streaming = upstreamsFor(t, settingsFor([other.origin, third.origin])).upstreams;
  const { told, call } = begin(streaming, { method: 'PUT', body: { bytes: 2 } });
  call.write(Buffer.from('ab'));
  call.end();
  await told.over();
  assert.equal(told.failure?.code, 'unavailable');
  assert.equal(requestsIn([...other.received, ...third.received]), 1);
});

test('an answer that is cut off never looks complete', async (t) => {
  const cuts: ((socket: Socket) => void)[] = [
    (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'),
    (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'),
    (socket) =>
      socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n'),
    (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf'),
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () =>
        socket.resetAndDestroy(),
      );
    },
    // Without a length, only an end in good order is one.
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\nhalf', () => socket.resetAndDestroy());
    },
    (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
      setImmediate(() => socket.write('no size\r\n'));
    },
  ];
  for (const [i, cut] of cuts.entries()) {
    const { origin, received } = await rawServer(t, cut);
    const { upstreams, counted } = upstreamsFor(t, settingsFor(origin));
    const told = await ask(upstreams);
    assert.equal(told.ended, false, `${i}`);
    assert.equal(told.failure?.code, 'unavailable');
    // A reset may be quicker than what was sent before it.
    if (told.status !== undefined) {
      assert.equal(told.failure.begun, true, `${i}`);
      assert.equal(counted.get('upstream_requests{route="r",outcome="truncated"}'), 1);
    }
    assert.equal(requestsIn(received), told.status === undefined ? requestsIn(received) : 1);
  }
});

test('bytes that nobody has asked for never become the next answer', async (t) => {
  const { origin, received } = await rawServer(t, (socket, connection) => {
    socket.write(`${ok}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`);
    if (connection > 0) setImmediate(() => socket.write('more'));
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (let i = 0; i < 5; i += 1) assert.equal((await ask(upstreams)).text, 'ok');
  assert.equal(received.length, 5);

  const late = await rawServer(t, (socket, connection) => {
    socket.write(ok);
    if (connection === 0)
      setImmediate(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'));
  });
  const second = upstreamsFor(t, settingsFor(late.origin)).upstreams;
  await ask(second);
  const connections = `upstream_connections{route="r",server="${late.origin}"}`;
  await until('the end of that connection', patienceMs, () => second.gauges()[connections] === 0);
  assert.equal((await ask(second)).text, 'ok');
});

test('an answer to HEAD with a body is an answer, and the end of its connection', async (t) => {
  const { origin, received } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (let i = 0; i < 3; i += 1) {
    const told = await ask(upstreams, { method: 'HEAD' });
    assert.deepEqual([told.status, told.bytes, told.ended], [200, 0, true]);
  }
  assert.equal(received.length, 3);
});

test('what cannot be read is no answer', async (t) => {
  for (const answer of [
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc',
    'SSH-2.0-OpenSSH_9.2\r\n',
    `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
    `HTTP/1.1 200 OK\r\n${'X: a\r\n'.repeat(500)}\r\n`,
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100),
  ]) {
    const { origin } = await rawServer(t, (socket) => socket.write(answer));
    const { upstreams } = upstreamsFor(t, settingsFor(origin));
    const told = await ask(upstreams);
    assert.equal(told.status, undefined, answer.slice(0, 60));
    assert.equal(told.failure?.code, 'unavailable');
    assert.equal(upstreams.gauges()[`upstream_connections{route="r",server="${origin}"}`], 0);
  }
});
