import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { after, test } from 'node:test';
import { FaultyProxy } from './faulty-proxy.ts';
import { within } from './waiting.ts';

const limitMs = 60_000;

/** Says back what it hears. */
const echo = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => {});
  socket.pipe(socket);
});
echo.listen(0, '127.0.0.1');
await once(echo, 'listening');
after(() => echo.close());
const port = (): number => (echo.address() as AddressInfo).port;

const sent = Buffer.from(Array.from({ length: 20_000 }, (_, i) => i % 251));

/** What comes back of `sent`, in which pieces, and how it ends. */
async function through(proxy: FaultyProxy) {
  const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
  const pieces: Buffer[] = [];
  let error: string | undefined;
  socket.on('data', (piece) => {
    // Without an encoding there are no texts.
    if (typeof piece !== 'string') pieces.push(piece);
  });
  socket.on('error', (thrown: NodeJS.ErrnoException) => {
    error = thrown.code;
  });
  socket.once('end', () => socket.end());
  socket.end(sent);
  await within(closed(socket), limitMs, 'the end of the connection');
  return { bytes: Buffer.concat(pieces), pieces: pieces.length, error };
}

function closed(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once('close', resolve));
}

test('what comes through is late and in pieces, and nothing else', async () => {
  const whole = { seed: 1, port, delayMs: 3, pieceBytes: 2_000, bytes: 2 ** 31 };
  await using proxy = await FaultyProxy.start(whole);
  const { bytes, pieces, error } = await through(proxy);
  assert.deepEqual([bytes.equals(sent), error], [true, undefined]);
  assert.ok(pieces > 5, `${pieces} pieces`);
  assert.deepEqual(proxy.ended, { reset: 0, hole: 0, cut: 0 });
});

test('connections come to each of the ends, the same ones for the same seed', async () => {
  const runs: FaultyProxy['ended'][] = [];
  for (let run = 0; run < 2; run += 1) {
    await using proxy = await FaultyProxy.start({
      seed: 5,
      port,
      delayMs: 0,
      pieceBytes: 4_000,
      bytes: 15_000,
    });
    const connections = Array.from({ length: 12 }, () => through(proxy));
    const results = await Promise.all(connections);
    for (const { bytes } of results) {
      assert.ok(bytes.length < sent.length && sent.subarray(0, bytes.length).equals(bytes));
    }
    assert.ok(results.some(({ error }) => error === 'ECONNRESET'));
    assert.equal(proxy.connections, 12);
    runs.push(proxy.ended);
  }
  const [first, second] = runs;
  assert.deepEqual(second, first);
  assert.ok(
    Object.values(first ?? {}).every((count) => count > 0),
    JSON.stringify(first),
  );
});

test('a network that has healed lets everything through', async () => {
  await using proxy = await FaultyProxy.start({
    seed: 5,
    port,
    delayMs: 50,
    pieceBytes: 10,
    bytes: 10,
  });
  assert.notEqual((await through(proxy)).bytes.length, sent.length);
  proxy.heal();
  assert.equal((await through(proxy)).bytes.length, sent.length);
});
