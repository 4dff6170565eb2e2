import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { until, within } from '../../../../test/harness/waiting.ts';
import type { AnswerHead, UpgradeCall } from './ports.ts';
import {
  ask,
  patienceMs,
  rawServer,
  requestFor,
  route,
  settingsFor,
  Told,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';
import type { RawServer } from '../../../../test/harness/upstream-servers.ts';
import type { Upstreams } from './upstreams.ts';

const switching =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';

class Opened extends Told {
  stream: Duplex | undefined;
  readonly #open = Promise.withResolvers<Duplex>();

  opened(head: AnswerHead, stream: Duplex): void {
    this.head(head);
    this.stream = stream;
    this.#open.resolve(stream);
  }

  open(): Promise<Duplex> {
    return within(this.#open.promise, patienceMs, 'a tunnel');
  }
}

function upgrade(upstreams: Upstreams): { readonly told: Opened; readonly call: UpgradeCall } {
  const told = new Opened();
  const headers = ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version', '13'];
  return { told, call: upstreams.upgrade(route, requestFor({ headers }), told) };
}

/** Switches, says hello at once and then whatever it is told. */
function echo(t: TestContext): Promise<RawServer> {
  return rawServer(t, (socket) => {
    socket.write(`${switching}hello`);
    socket.on('data', (bytes) => socket.write(bytes));
  });
}

test('a tunnel passes bytes both ways and counts as a connection until it ends', async (t) => {
  const { origin, received } = await echo(t);
  const { upstreams, counted } = upstreamsFor(
    t,
    settingsFor(origin, { connections: 1, waiting: 0 }),
  );
  const { told } = upgrade(upstreams);
  const stream = await told.open();
  assert.deepEqual(told.answer?.headers, ['Sec-WebSocket-Accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=']);
  assert.equal(told.status, 101);
  const [head = ''] = received[0]?.toString().split('\r\n\r\n') ?? [];
  assert.deepEqual(head.split('\r\n'), [
    'GET /backend/x HTTP/1.1',
    `Host: ${new URL(origin).host}`,
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version: 13',
    'Connection: Upgrade',
    'Upgrade: websocket',
  ]);
  let text = '';
  stream.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  stream.write(' world');
  await until('an echo', patienceMs, () => text === 'hello world');
  const second = upgrade(upstreams);
  await second.told.over();
  assert.equal(second.told.failure?.code, 'busy');
  stream.destroy();
  await once(stream, 'close');
  const third = upgrade(upstreams);
  await third.told.open();
  assert.equal(counted.get('upstream_requests{route="r",outcome="switched"}'), 2);
});

test('a tunnel has a connection of its own, and one that nobody uses makes room for it', async (t) => {
  const { origin, received } = await rawServer(t, (socket, connection) => {
    socket.write(connection === 0 ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' : switching);
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { connections: 1 }));
  await ask(upstreams);
  const stream = await upgrade(upstreams).told.open();
  assert.equal(received.length, 2);
  assert.equal(upstreams.gauges()[`upstream_connections{route="r",server="${origin}"}`], 1);
  stream.destroy();
});

test('a tunnel ends with its server, and with the gateway', async (t) => {
  const { origin } = await rawServer(t, (socket) => {
    socket.end(`${switching}bye`);
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const stream = await upgrade(upstreams).told.open();
  let text = '';
  stream.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  await within(once(stream, 'close'), patienceMs, 'its end');
  assert.equal(text, 'bye');

  const lasting = await echo(t);
  const second = upstreamsFor(t, settingsFor(lasting.origin)).upstreams;
  const open = await upgrade(second).told.open();
  open.resume();
  const closed = once(open, 'close');
  await second.drain(0);
  await within(closed, patienceMs, 'the end of the tunnel');
});

test('whoever does not switch has answered', async (t) => {
  const { origin } = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  });
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  for (let i = 0; i < 2; i += 1) {
    const { told } = upgrade(upstreams);
    await told.over();
    assert.deepEqual([told.status, told.text, told.stream], [403, 'no', undefined]);
  }
});

test('a tunnel that nobody wants any more is not opened', async (t) => {
  const closed: Promise<unknown>[] = [];
  const { origin } = await rawServer(t, (socket) => closed.push(once(socket, 'close')));
  const { upstreams } = upstreamsFor(t, settingsFor(origin));
  const { told, call } = upgrade(upstreams);
  await until('a request', patienceMs, () => closed.length === 1);
  call.abort();
  await within(Promise.all(closed), patienceMs, 'the end of the connection');
  assert.equal(told.stream, undefined);
});

test('a server that switches to something else has not answered', async (t) => {
  for (const wrong of ['Upgrade: h2c', 'Upgrade: websocket\r\nContent-Length: 5']) {
    const { origin } = await rawServer(t, (socket) => {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n${wrong}\r\n\r\n`);
    });
    const { upstreams } = upstreamsFor(t, settingsFor(origin));
    const { told } = upgrade(upstreams);
    await told.over();
    assert.deepEqual([told.failure?.code, told.stream], ['unavailable', undefined]);
  }
});
