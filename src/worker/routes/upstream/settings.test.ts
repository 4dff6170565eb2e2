import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { until, within } from '../../../../test/harness/waiting.ts';
import { HandTime } from '../test-support.ts';
import {
  ask,
  begin,
  patienceMs,
  rawServer,
  settingsFor,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function holding(t: TestContext) {
  const sockets: Socket[] = [];
  const { origin } = await rawServer(t, (socket) => sockets.push(socket));
  return { origin, sockets };
}

test('what is under way to a server that is taken away comes to its end, and nothing new goes there', async (t) => {
  const old = await holding(t);
  const { origin, received } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor(old.origin));
  const { told } = begin(upstreams);
  await until('a request', patienceMs, () => old.sockets.length === 1);
  upstreams.update([settingsFor(origin)]);
  for (let i = 0; i < 3; i += 1) assert.equal((await ask(upstreams)).text, 'ok');
  assert.equal(received.length, 1);
  assert.equal(told.ended, false);
  const [socket] = old.sockets;
  // As long as the server would keep the connection, there is no use for it any more.
  socket?.write('HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok');
  await told.over();
  assert.equal(told.text, 'ok');
  await until('the end of its connection', patienceMs, () => socket?.destroyed === true);
  assert.equal(old.sockets.length, 1);
});

test('a server that stays keeps its connections and what is known of it', async (t) => {
  const { origin, received } = await rawServer(t, (socket, connection) => {
    if (connection === 0) socket.write(ok);
    else socket.destroy();
  });
  const other = await rawServer(t, (socket) => socket.write(ok));
  const breaker = { failures: 1, openMs: 60_000 };
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { breaker }));
  await ask(upstreams);
  upstreams.update([settingsFor([origin], { breaker, answerMs: 1_000, rewrite: '/new/' })]);
  await ask(upstreams);
  assert.equal(received.length, 1);
  assert.match(received[0]?.toString() ?? '', /GET \/new\/x HTTP/);
  // It is known to be dead.
  const held = begin(upstreams, { body: { bytes: 1 }, method: 'POST', caller: 'device/d2' });
  await until(
    'a request',
    patienceMs,
    () => (received[0]?.toString().match(/HTTP\/1\.1/g)?.length ?? 0) === 3,
  );
  held.call.abort();
  await ask(upstreams, { method: 'POST', caller: 'device/d3' });
  upstreams.update([settingsFor([origin, other.origin], { breaker })]);
  for (let i = 0; i < 4; i += 1)
    assert.equal((await ask(upstreams, { caller: 'device/d3' })).text, 'ok');
  assert.equal(other.received.length, 1);
});

test('a connection that is kept goes by the time to answer that there is now', async (t) => {
  const time = new HandTime();
  let requests = 0;
  const { origin, received } = await rawServer(t, (socket) => {
    requests += 1;
    if (requests === 1) socket.write(ok);
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { answerMs: 60_000 }), { time });
  assert.equal((await ask(upstreams)).text, 'ok');
  upstreams.update([settingsFor(origin, { answerMs: 1_000 })]);
  const { told } = begin(upstreams, { method: 'POST' });
  await until('a request', patienceMs, () => requests === 2);
  await time.pass(2_000);
  await told.over();
  assert.equal(told.failure?.detail, 'no answer in time');
  assert.equal(received.length, 1);
});

test('requests that wait go to the servers that there are now', async (t) => {
  const old = await holding(t);
  const { origin } = await rawServer(t, (socket) => socket.write(ok));
  const { upstreams } = upstreamsFor(t, settingsFor(old.origin, { connections: 1 }));
  begin(upstreams);
  const waiting = begin(upstreams);
  await until('a request', patienceMs, () => old.sockets.length === 1);
  upstreams.update([settingsFor([old.origin, origin], { connections: 1 })]);
  await waiting.told.over();
  assert.equal(waiting.told.text, 'ok');
});

test('what waits does not ask for the path of before, where the route leads elsewhere now', async (t) => {
  const old = await holding(t);
  const now = await rawServer(t, (socket) => socket.write(ok));
  const settings = { connections: 1, rewrite: '/' };
  const { upstreams } = upstreamsFor(t, settingsFor(old.origin, settings));
  const first = begin(upstreams);
  const waiting = begin(upstreams);
  await until('a request', patienceMs, () => old.sockets.length === 1);
  upstreams.update([settingsFor(now.origin, { ...settings, rewrite: '/public/' })]);
  await waiting.told.over();
  assert.equal(waiting.told.failure?.code, 'unavailable');
  // Nor does what would be tried again.
  old.sockets[0]?.destroy();
  await first.told.over();
  assert.equal(first.told.failure?.code, 'unavailable');
  assert.equal(now.received.length, 0);
  assert.equal((await ask(upstreams)).text, 'ok');
  assert.match(now.received.join(), /^GET \/public\//);
});

test('a route that is taken away refuses what waits, and finishes what is under way', async (t) => {
  const { origin, sockets } = await holding(t);
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { connections: 1 }));
  const first = begin(upstreams);
  const second = begin(upstreams);
  await until('a request', patienceMs, () => sockets.length === 1);
  upstreams.update([]);
  await second.told.over();
  assert.equal(second.told.failure?.code, 'unavailable');
  assert.equal(second.told.failure.detail, 'the upstream is taken away');
  assert.equal((await ask(upstreams)).failure?.detail, 'the route has no upstream');
  sockets[0]?.write(ok);
  await first.told.over();
  assert.equal(first.told.text, 'ok');
  await until('the end of its connection', patienceMs, () => sockets[0]?.destroyed === true);
});

test('draining takes nothing new, waits for what is under way, and no longer than it may', async (t) => {
  const { origin, sockets } = await holding(t);
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const [first, second] = [begin(upstreams), begin(upstreams)];
  await until('two requests', patienceMs, () => sockets.length === 2);
  const drained = upstreams.drain(60_000);
  upstreams.update([settingsFor(origin)]);
  assert.equal((await ask(upstreams)).failure?.detail, 'the gateway stops');
  sockets[0]?.write(ok);
  await Promise.race([first.told.over(), second.told.over()]);
  sockets[1]?.write(ok);
  await within(drained, patienceMs, 'the drain');
  assert.deepEqual([first.told.text, second.told.text], ['ok', 'ok']);

  const stuck = await holding(t);
  const late = upstreamsFor(t, settingsFor(stuck.origin)).upstreams;
  const { told } = begin(late);
  await until('a request', patienceMs, () => stuck.sockets.length === 1);
  await within(late.drain(20), patienceMs, 'the drain');
  await told.over();
  assert.equal(told.failure?.detail, 'the gateway stops');
});
