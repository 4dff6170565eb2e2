import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { until } from '../../../../test/harness/waiting.ts';
import { silentLogger } from '../../../common/base/logger.ts';
import { HandTime, settled } from '../test-support.ts';
import {
  ask,
  begin,
  httpServer,
  patienceMs,
  rawServer,
  settingsFor,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';
import type { Upstreams } from './upstreams.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Answers when it is told to. */
class HeldServer {
  readonly sockets: Socket[] = [];
  most = 0;
  origin = '';
  asked = 0;

  async start(t: TestContext): Promise<this> {
    const { origin } = await rawServer(t, (socket) => {
      this.asked += 1;
      this.sockets.push(socket);
      this.most = Math.max(this.most, this.sockets.length);
    });
    this.origin = origin;
    return this;
  }

  answer(text = ok): void {
    this.sockets.shift()?.write(text);
  }
}

async function held(t: TestContext): Promise<HeldServer> {
  return new HeldServer().start(t);
}

function gauge(upstreams: Upstreams, name: string, origin?: string): number | undefined {
  const server = origin === undefined ? '' : `,server="${origin}"`;
  return upstreams.gauges()[`${name}{route="r"${server}}`];
}

test('each server has as many requests as its weight lets it have', async (t) => {
  const [light, heavy] = [await held(t), await held(t)];
  const settings = settingsFor([], {
    servers: [
      { origin: light.origin, weight: 1 },
      { origin: heavy.origin, weight: 3 },
    ],
    connections: 100,
  });
  const { upstreams } = upstreamsFor(t, settings);
  const asked = Array.from({ length: 40 }, () => begin(upstreams));
  await until('all requests', patienceMs, () => light.asked + heavy.asked === 40);
  assert.deepEqual([light.asked, heavy.asked], [10, 30]);
  assert.equal(gauge(upstreams, 'upstream_in_flight', heavy.origin), 30);
  for (const server of [light, heavy]) while (server.sockets.length > 0) server.answer();
  for (const { told } of asked) await told.over();
});

test('a server that is slow gets less, and equals take turns', async (t) => {
  const [slow, quick] = [await held(t), await rawServer(t, (socket) => socket.write(ok))];
  const { upstreams } = upstreamsFor(t, settingsFor([slow.origin, quick.origin]));
  const first = begin(upstreams);
  const second = begin(upstreams);
  await until('a request', patienceMs, () => slow.asked === 1);
  for (let i = 0; i < 10; i += 1) await ask(upstreams);
  assert.equal(slow.asked, 1);
  slow.answer();
  await first.told.over();
  await second.told.over();

  const [a, b] = [await held(t), await held(t)];
  const even = upstreamsFor(t, settingsFor([a.origin, b.origin])).upstreams;
  for (let i = 0; i < 10; i += 1) {
    const { told } = begin(even);
    await until('a request', patienceMs, () => a.sockets.length + b.sockets.length === 1);
    a.answer();
    b.answer();
    await told.over();
  }
  assert.deepEqual([a.asked, b.asked], [5, 5]);
});

test('no server has more connections than it may, so many wait, and more are refused at once', async (t) => {
  const server = await held(t);
  const { upstreams, counted } = upstreamsFor(
    t,
    settingsFor(server.origin, { connections: 2, waiting: 3 }),
  );
  const asked = Array.from({ length: 5 }, () => begin(upstreams));
  await until('two requests', patienceMs, () => server.sockets.length === 2);
  assert.equal(gauge(upstreams, 'upstream_waiting'), 3);
  const refused = await ask(upstreams);
  assert.deepEqual([refused.failure?.code, refused.failure?.sent], ['busy', false]);
  assert.equal(counted.get('upstream_requests{route="r",outcome="busy"}'), 1);
  // One that is not wanted any more makes room for another.
  asked[4]?.call.abort();
  const late = begin(upstreams);
  for (let i = 1; i <= 5; i += 1) {
    await until('a request', patienceMs, () => server.sockets.length > 0);
    server.answer();
  }
  for (const { told } of [...asked.slice(0, 4), late]) {
    await told.over();
    assert.equal(told.text, 'ok');
  }
  assert.equal(server.most, 2);
  assert.equal(server.asked, 5);
});

test('nobody waits for a connection for longer than one takes', async (t) => {
  const time = new HandTime();
  const server = await held(t);
  const settings = settingsFor(server.origin, {
    connections: 1,
    connectMs: 1_000,
    answerMs: 20_000,
  });
  const { upstreams } = upstreamsFor(t, settings, { time });
  const first = begin(upstreams);
  await until('a request', patienceMs, () => server.asked === 1);
  const second = begin(upstreams);
  await time.pass(1_200);
  await second.told.over();
  assert.equal(second.told.failure?.code, 'busy');
  server.answer();
  await first.told.over();
  assert.equal(first.told.text, 'ok');
});

test('a dead server costs a device less than 50 ms once it is known, and is back without a restart', async (t) => {
  const time = new HandTime();
  let dead = true;
  const { origin, received } = await rawServer(t, (socket) => {
    if (dead) socket.destroy();
    else socket.write(ok);
  });
  const lines: string[] = [];
  const logger = {
    ...silentLogger,
    warn: (_: object, message: string) => lines.push(message),
    info: (_: object, message: string) => lines.push(message),
  };
  const breaker = { failures: 3, openMs: 10_000 };
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { breaker }), { time, logger });
  for (let i = 0; i < 3; i += 1) {
    assert.equal((await ask(upstreams, { caller: `device/d${i}` })).failure?.server, origin);
  }
  assert.equal(gauge(upstreams, 'upstream_breaker', origin), 2);
  const connections = received.length;
  // The machine may have other things to do in between.
  let quickestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 10; i += 1) {
    const before = performance.now();
    await ask(upstreams, { caller: 'device/d9' });
    quickestMs = Math.min(quickestMs, performance.now() - before);
  }
  assert.ok(quickestMs < 50, `${quickestMs}`);
  const { failure } = await ask(upstreams, { caller: 'device/d9' });
  assert.deepEqual(
    [failure?.code, failure?.sent, failure?.server],
    ['unavailable', false, undefined],
  );
  assert.ok(failure?.retryAfterMs !== undefined && failure.retryAfterMs > 9_000);
  assert.equal(received.length, connections);

  await time.pass(10_100);
  assert.equal(gauge(upstreams, 'upstream_breaker', origin), 1);
  assert.equal((await ask(upstreams, { caller: 'device/d9' })).failure?.server, origin);
  assert.equal((await ask(upstreams, { caller: 'device/d9' })).failure?.server, undefined);
  dead = false;
  await time.pass(10_100);
  assert.equal((await ask(upstreams)).text, 'ok');
  assert.equal(gauge(upstreams, 'upstream_breaker', origin), 0);
  assert.deepEqual(
    lines.filter((line) => !line.endsWith('has failed')),
    [
      'an upstream server is left out for a while: it has failed again and again',
      'an upstream server answers again',
    ],
  );
});

test('half open, one request tries the server while the others are refused at once', async (t) => {
  const time = new HandTime();
  const server = await held(t);
  const breaker = { failures: 2, openMs: 10_000 };
  const { upstreams } = upstreamsFor(t, settingsFor(server.origin, { breaker }), { time });
  for (const caller of ['device/d1', 'device/d2']) {
    const { told } = begin(upstreams, { caller });
    await until('a request', patienceMs, () => server.sockets.length > 0);
    server.answer('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n');
    await told.over();
    assert.equal(told.status, 503);
  }
  await time.pass(10_100);
  const probe = begin(upstreams);
  await until('the probe', patienceMs, () => server.sockets.length > 0);
  for (let i = 0; i < 5; i += 1) {
    assert.equal((await ask(upstreams)).failure?.code, 'unavailable');
  }
  server.answer();
  await probe.told.over();
  assert.equal(server.asked, 3);
  const after = begin(upstreams);
  await until('a request', patienceMs, () => server.sockets.length > 0);
  server.answer();
  await after.told.over();
});

test('one device for which a server fails does not take it away from the others', async (t) => {
  const origin = await httpServer(t, (incoming, response) => {
    response.statusCode = incoming.headers['x-device-id'] === 'bad' ? 500 : 200;
    response.end();
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const as = (id: string) =>
    ask(upstreams, { caller: `device/${id}`, headers: ['X-Device-Id', id] });
  for (let i = 0; i < 3; i += 1) assert.equal((await as('bad')).status, 500);
  assert.equal((await as('bad')).failure?.code, 'unavailable');
  assert.equal((await as('good')).status, 200);
});

test('a server that is not well is left out until it is, and a request finds that out no more', async (t) => {
  const time = new HandTime();
  const asked = { ill: 0, well: 0 };
  let status = 503;
  const checks: (string | undefined)[] = [];
  const ill = await httpServer(t, (incoming, response) => {
    if (incoming.url === '/health?deep') {
      checks.push(incoming.headers.host);
      response.writeHead(status).end('x'.repeat(100_000));
      return;
    }
    asked.ill += 1;
    response.end();
  });
  const well = await httpServer(t, (incoming, response) => {
    if (incoming.url !== '/health?deep') asked.well += 1;
    response.writeHead(incoming.url === '/health?deep' ? 302 : 200).end();
  });
  const health = { path: '/health?deep', everyMs: 10_000, timeoutMs: 2_000 };
  const { upstreams } = upstreamsFor(t, settingsFor([ill, well], { health }), { time });
  const isWell = () => gauge(upstreams, 'upstream_healthy', ill);
  await until('a check', patienceMs, () => isWell() === 0);
  assert.deepEqual(checks, [new URL(ill).host]);
  for (let i = 0; i < 6; i += 1) await ask(upstreams);
  assert.deepEqual(asked, { ill: 0, well: 6 });
  status = 204;
  await time.pass(10_000);
  await until('another check', patienceMs, () => isWell() === 1);
  for (let i = 0; i < 6; i += 1) await ask(upstreams);
  assert.ok(asked.ill > 0);
});

test('a check that is not answered in time has found something, and with nobody left devices are told at once', async (t) => {
  const time = new HandTime();
  const server = await held(t);
  const health = { path: '/', everyMs: 10_000, timeoutMs: 2_000 };
  const { upstreams } = upstreamsFor(t, settingsFor(server.origin, { health }), { time });
  await until('a check', patienceMs, () => server.asked === 1);
  await time.pass(1_900);
  assert.equal(gauge(upstreams, 'upstream_healthy', server.origin), 1);
  await time.pass(200);
  assert.equal(gauge(upstreams, 'upstream_healthy', server.origin), 0);
  assert.equal((await ask(upstreams)).failure?.detail, 'no server is available');
  server.sockets.shift();
  await time.pass(10_000);
  await until('another check', patienceMs, () => server.asked === 2);
  server.answer();
  await until(
    'its answer',
    patienceMs,
    () => gauge(upstreams, 'upstream_healthy', server.origin) === 1,
  );
});

test('requests that wait do not wait for a server that is taken for dead meanwhile', async (t) => {
  const server = await held(t);
  const breaker = { failures: 1, openMs: 10_000 };
  const { upstreams } = upstreamsFor(t, settingsFor(server.origin, { connections: 1, breaker }));
  const first = begin(upstreams, { method: 'POST' });
  await until('a request', patienceMs, () => server.asked === 1);
  const second = begin(upstreams, { caller: 'device/d2' });
  await settled();
  server.sockets[0]?.destroy();
  await first.told.over();
  await second.told.over();
  assert.equal(second.told.failure?.code, 'unavailable');
  assert.equal(server.asked, 1);
});
