import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { until } from '../../../../test/harness/waiting.ts';
import { HandTime, settled } from '../test-support.ts';
import {
  begin,
  patienceMs,
  rawServer,
  settingsFor,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';

const times = { connectMs: 1_000, answerMs: 5_000, totalMs: 60_000 };
/** More than all of them are exact to. */
const margin = 200;

test('a server that does not finish a handshake is given up in time', async (t) => {
  const time = new HandTime();
  const { origin, received } = await rawServer(t, () => {});
  const { upstreams } = upstreamsFor(t, settingsFor(origin.replace('http:', 'https:'), times), {
    time,
  });
  const { told } = begin(upstreams);
  await until('a hello', patienceMs, () => (received[0]?.length ?? 0) > 0);
  await time.pass(times.connectMs - margin);
  assert.equal(told.isOver, false);
  await time.pass(2 * margin);
  await told.over();
  assert.equal(told.failure?.detail, 'no connection in time');
  assert.equal(told.failure.sent, false);
});

test('a server that does not answer is given up in time, however slowly it sends a head', async (t) => {
  const time = new HandTime();
  const sockets: Socket[] = [];
  const { origin } = await rawServer(t, (socket) => {
    sockets.push(socket);
    socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: ');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin, times), { time });
  const { told } = begin(upstreams);
  await until('a request', patienceMs, () => sockets.length === 1);
  for (let i = 1; i < 5; i += 1) {
    await time.pass(times.answerMs / 5);
    await new Promise((resolve) => {
      sockets[0]?.write('b', resolve);
    });
    await settled();
    assert.equal(told.isOver, false);
  }
  await time.pass(times.answerMs / 5 + margin);
  await told.over();
  assert.equal(told.failure?.detail, 'no answer in time');
});

test('a device that takes its time with a body is not the server that is late', async (t) => {
  const time = new HandTime();
  const { origin, received } = await rawServer(t, () => {});
  const { upstreams } = upstreamsFor(t, settingsFor(origin, times), { time });
  const { told, call } = begin(upstreams, { method: 'POST', body: { bytes: 100 } });
  for (let sent = 0; sent < 100; sent += 20) {
    call.write(Buffer.alloc(20));
    const expected = sent + 20;
    await until('a piece', patienceMs, () => {
      const [, body = ''] = received[0]?.toString('latin1').split('\r\n\r\n') ?? [];
      return body.length === expected;
    });
    await time.pass(times.answerMs + margin);
  }
  assert.equal(told.isOver, false);
  call.end();
  await time.pass(times.answerMs + margin);
  await told.over();
  assert.equal(told.failure?.detail, 'no answer in time');
});

test('a server that does not read is given up in time', async (t) => {
  const time = new HandTime();
  let stopped = false;
  const { origin } = await rawServer(t, (socket) => {
    socket.pause();
    stopped = true;
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin, times), { time });
  const { told, call } = begin(upstreams, { method: 'POST', body: { bytes: undefined } });
  call.write(Buffer.alloc(10));
  await until('a stop', patienceMs, () => stopped);
  // Until the system has no room for more either.
  for (let drains = -1, pieces = 0; drains !== told.drains; pieces += 1) {
    drains = told.drains;
    while (call.write(Buffer.alloc(65_536))) assert.ok(pieces < 1_000);
    await time.pass(margin);
  }
  await time.pass(times.answerMs + margin);
  await told.over();
  assert.equal(told.failure?.code, 'unavailable');
});

test('an answer that stands still ends, and one that a device reads slowly does not', async (t) => {
  const time = new HandTime();
  const { origin } = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin, times), { time });
  const slow = begin(upstreams);
  const still = begin(upstreams);
  slow.told.flows = false;
  await slow.told.begun();
  await still.told.begun();
  await until('a piece each', patienceMs, () => slow.told.bytes + still.told.bytes === 4);
  await time.pass(times.answerMs + margin);
  await still.told.over();
  assert.equal(still.told.failure?.detail, 'the answer stands still');
  assert.equal(still.told.failure.begun, true);
  assert.equal(slow.told.isOver, false);
  slow.call.resume();
  await time.pass(times.answerMs + margin);
  await slow.told.over();
  assert.equal(slow.told.failure?.detail, 'the answer stands still');
});

test('all of a request has one end', async (t) => {
  const time = new HandTime();
  const { origin } = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin, times), { time });
  const { told } = begin(upstreams);
  told.flows = false;
  await told.begun();
  await time.pass(times.totalMs - margin);
  assert.equal(told.isOver, false);
  await time.pass(2 * margin);
  await told.over();
  assert.equal(told.failure?.detail, 'the request took too long');
});

test('a connection that nobody uses is closed before its server does it', async (t) => {
  for (const [line, keptMs] of [
    ['X-A: b', 4_000],
    ['Keep-Alive: timeout=3', 2_000],
    ['Keep-Alive: timeout=3600', 60_000],
    ['Keep-Alive: timeout=1', 0],
  ] as const) {
    const time = new HandTime();
    const { origin } = await rawServer(t, (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${line}\r\n\r\n`);
    });
    const { upstreams } = upstreamsFor(t, settingsFor(origin, times), { time });
    const connections = () =>
      upstreams.gauges()[`upstream_connections{route="r",server="${origin}"}`];
    const { told } = begin(upstreams);
    await told.over();
    assert.equal(connections(), keptMs === 0 ? 0 : 1, line);
    await time.pass(Math.max(0, keptMs - margin));
    assert.equal(connections(), keptMs === 0 ? 0 : 1, line);
    await time.pass(2 * margin);
    assert.equal(connections(), 0, line);
  }
});
