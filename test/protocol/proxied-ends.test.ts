/** How a device's connection goes on, or ends, around answers of a backend that come early, late, in a stop, or before garbage. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import type { ProxiedWorld } from '../harness/proxied.ts';
import { answerText } from '../harness/upstream-server.ts';
import { until, within } from '../harness/waiting.ts';

/** A request whose answer has begun to come, and lacks `done`. */
async function begun(t: TestContext): Promise<ProxiedWorld & { readonly raw: RawHttps }> {
  const half = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf';
  const world = await proxiedWorld(t, { behaviour: () => half });
  const raw = await world.surroundings.raw(t);
  raw.send(requestText('GET', '/b/x'));
  await until('the beginning', 10_000, () => raw.rest.length > 0);
  return { ...world, raw };
}

function finish({ sockets }: { readonly sockets: ReadonlySet<Socket> }): void {
  for (const socket of sockets) socket.write('done');
}

test('a stop lets an answer that has begun finish, and waits no longer than for that', async (t) => {
  const { surroundings, backend, raw } = await begun(t);
  const drained = surroundings.listener.drain(0, 60_000);
  finish(backend);
  assert.equal((await raw.answer()).body.toString(), 'halfdone');
  await within(raw.ended, 10_000, 'the end of the connection');
  await within(drained, 10_000, 'the end of the stop');
});

test('behind a request whose answer has begun comes what nobody can read: the answer is whole, and the last', async (t) => {
  const { surroundings, backend, raw } = await begun(t);
  raw.send('no request\r\n\r\n');
  // By the time somebody else is answered it has been read.
  using other = await surroundings.raw(t, 'd2');
  other.send(requestText('GET', '/api/v1/time'));
  await other.answer();
  finish(backend);
  assert.equal((await raw.answer()).body.toString(), 'halfdone');
  await within(raw.ended, 10_000, 'the end of the connection');
});

test('an early answer to a device that is held back: the rest is read, and its next request is found', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'bodyBytes: 100MiB' });
  let its: Socket | undefined;
  backend.takes = (socket) => {
    socket.once('data', () => {
      its = socket;
      socket.pause();
    });
    return true;
  };
  const raw = await surroundings.raw(t);
  const bytes = 40 * 1024 * 1024;
  raw.send(`POST /b/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bytes}\r\n\r\n`);
  raw.send(Buffer.alloc(bytes, 'x'));
  let before = -1;
  await until('the device to be held back', 20_000, () => {
    const { writableLength } = raw.socket;
    const isSame = its !== undefined && writableLength === before;
    before = writableLength;
    return isSame;
  });
  its?.write(answerText(413, 'early'));
  assert.equal((await raw.answer()).status, 413);
  raw.send(requestText('GET', '/api/v1/time'));
  assert.equal((await raw.answer()).status, 200);
});
