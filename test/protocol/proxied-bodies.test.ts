/** Bodies on their way to a backend and back: each side only as fast as the other, in bounded memory, and within their bounds. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { problemCode } from '../harness/https-answer.ts';
import type { Surroundings } from '../harness/https-listener.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import { tlsOptionsOf } from '../harness/raw-mqtt.ts';
import { answerText } from '../harness/upstream-server.ts';
import { until, within } from '../harness/waiting.ts';

const MiB = 1_048_576;
const bodyBytes = 100 * MiB;
/** What two ends of two connections hold in their kernels' buffers and ours, and what the collector lets lie. */
const flatBytes = 90 * MiB;
const piece = Buffer.alloc(65_536, 'x');
const lineOf = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: localhost\r\n`;

/** A connection of d1 of which nothing is kept. */
async function bareSocket(t: TestContext, surroundings: Surroundings): Promise<TLSSocket> {
  const socket = tlsConnect({
    ...tlsOptionsOf(surroundings.options('d1')),
    ALPNProtocols: ['http/1.1'],
  });
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  await within(new Promise((resolve) => socket.once('secureConnect', resolve)), 10_000, 'TLS');
  return socket;
}

/** Writes so many bytes, as fast as they are taken. */
async function pour(socket: Socket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= piece.length) {
    if (socket.write(piece.subarray(0, Math.min(left, piece.length)))) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        socket.off('drain', go).off('close', go);
        resolve();
      };
      socket.on('drain', go).on('close', go);
    });
    if (socket.destroyed) return;
  }
}

/** Bytes after the head, as they come. */
class Counted {
  bytes = 0;
  #head: Buffer | undefined = Buffer.alloc(0);

  constructor(socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      if (this.#head === undefined) {
        this.bytes += chunk.length;
        return;
      }
      this.#head = Buffer.concat([this.#head, chunk]);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.bytes = this.#head.length - end - 4;
      this.#head = undefined;
    });
  }
}

/** Runs while the highest resident memory is watched. @returns by how much it grew. */
async function growth(run: () => Promise<void>): Promise<number> {
  setFlagsFromString('--expose-gc');
  // The flag makes it a global of every context that is made from now on. When the collector comes by itself is chance.
  const collect = runInNewContext('gc') as () => void;
  collect();
  const before = process.memoryUsage.rss();
  let most = before;
  const watch = setInterval(() => {
    collect();
    most = Math.max(most, process.memoryUsage.rss());
  }, 20);
  try {
    await run();
  } finally {
    clearInterval(watch);
  }
  return most - before;
}

test('100 MiB go up and down in flat memory', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'bodyBytes: 200MiB' });
  let up: Counted | undefined;
  backend.takes = (socket) => {
    socket.once('data', (first: Buffer) => {
      if (first.includes('/b/down')) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bodyBytes}\r\n\r\n`);
        void pour(socket, bodyBytes);
        return;
      }
      up = new Counted(socket);
      socket.emit('data', first);
      socket.on('data', () => {
        if (up?.bytes === bodyBytes)
          socket.write(answerText(200, 'all of it', 'Connection: close'));
      });
    });
    return true;
  };
  const grown = await growth(async () => {
    const socket = await bareSocket(t, surroundings);
    socket.write(`${lineOf('/b/up')}Content-Length: ${bodyBytes}\r\n\r\n`);
    const answered = new Promise<string>((resolve) => {
      socket.once('data', (chunk: Buffer) => resolve(chunk.toString()));
    });
    await pour(socket, bodyBytes);
    assert.match(await within(answered, 30_000, 'an answer to 100 MiB'), /^HTTP\/1\.1 200 /);
    const other = await bareSocket(t, surroundings);
    const down = new Counted(other);
    other.write(requestText('GET', '/b/down'));
    await until('100 MiB', 60_000, () => down.bytes === bodyBytes);
  });
  assert.ok(grown < flatBytes, `${Math.round(grown / MiB)} MiB more`);
});

test('a backend that does not read holds the device back, and loses nothing', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'bodyBytes: 200MiB' });
  let up: Counted | undefined;
  let its: Socket | undefined;
  backend.takes = (socket) => {
    its = socket;
    up = new Counted(socket);
    socket.once('data', () => socket.pause());
    return true;
  };
  const grown = await growth(async () => {
    const socket = await bareSocket(t, surroundings);
    socket.write(`${lineOf('/b/up')}Transfer-Encoding: chunked\r\n\r\n`);
    let sent = 0;
    const chunk = Buffer.concat([Buffer.from('10000\r\n'), piece, Buffer.from('\r\n')]);
    const sending = (async () => {
      for (let n = 0; n < bodyBytes / piece.length; n += 1) {
        sent += 1;
        if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve));
      }
      socket.write('0\r\n\r\n');
    })();
    let before = -1;
    await until('the device to be held back', 20_000, async () => {
      const same = sent === before && its?.isPaused() === true;
      before = sent;
      return same;
    });
    assert.ok(sent < bodyBytes / piece.length / 2, `${sent} pieces were taken`);
    its?.resume();
    await within(sending, 30_000, 'the rest of the body');
    await until('all of it', 10_000, () => (up?.bytes ?? 0) > bodyBytes);
  });
  assert.ok(grown < flatBytes, `${Math.round(grown / MiB)} MiB more`);
});

test('a device that does not read holds the backend back, and goes when it never does', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { limits: { stalledMs: 2_000 } });
  let sent = 0;
  let isGone = false;
  backend.takes = (socket) => {
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bodyBytes}\r\n\r\n`);
      void (async () => {
        for (; sent < bodyBytes && !socket.destroyed; sent += piece.length)
          await pour(socket, piece.length);
      })();
    });
    socket.once('close', () => {
      isGone = true;
    });
    return true;
  };
  const grown = await growth(async () => {
    const socket = await bareSocket(t, surroundings);
    socket.pause();
    socket.write(requestText('GET', '/b/down'));
    await until('the end of the request at the backend', 30_000, () => isGone);
  });
  assert.ok(sent < bodyBytes / 2, `${sent} bytes were taken`);
  assert.ok(grown < flatBytes, `${Math.round(grown / MiB)} MiB more`);
});

test('a body beyond the bound of its route is refused: by its length at once, without one when it is', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'bodyBytes: 1000B' });
  using raw = await surroundings.raw(t);
  raw.send(requestText('POST', '/b/x', 'x'.repeat(1_000)));
  assert.equal((await raw.answer()).status, 200);
  raw.send(`${lineOf('/b/x')}Content-Length: 1001\r\n\r\n`);
  const declared = await raw.answer();
  assert.deepEqual([declared.status, problemCode(declared)], [413, 'too-large']);
  using chunked = await surroundings.raw(t);
  chunked.send(
    `${lineOf('/b/x')}Transfer-Encoding: chunked\r\n\r\n3e8\r\n${'x'.repeat(1_000)}\r\n`,
  );
  chunked.send('1\r\nx\r\n0\r\n\r\n');
  const counted = await chunked.answer();
  assert.deepEqual([counted.status, problemCode(counted)], [413, 'too-large']);
  await within(chunked.ended, 10_000, 'the end of the connection');
  // What had gone on was never completed.
  assert.equal(backend.requests.length, 1);
  await until('the end of the request at the backend', 10_000, () => backend.sockets.size <= 1);
});

test('a body that dribbles in is refused in time, and one in chunks of nothing for its cost', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    limits: { requestMs: 1_500, headersMs: 1_000 },
  });
  for (const framing of ['Content-Length: 10\r\n\r\nx', 'Content-Length: 20000\r\n\r\nx']) {
    const slow = await surroundings.raw(t);
    slow.send(lineOf('/b/x') + framing);
    const [late] = await slow.answersUntilClose();
    assert.equal(late?.status, 408);
  }
  // A small one holds no connection of the backend while it is not whole.
  assert.equal(backend.connections, 1);
  const fine = await surroundings.raw(t);
  fine.send(`${lineOf('/b/x')}Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(2_000)}`);
  const [ground] = await fine.answersUntilClose();
  assert.equal(ground?.status, 413);
  assert.equal(backend.requests.length, 0);
  await until('the end of both at the backend', 10_000, () => backend.sockets.size === 0);
});

test('who expects to be told to go on is told so when it may, and only then', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'bodyBytes: 100B, methods: [ POST ]',
  });
  using raw = await surroundings.raw(t);
  const expecting = `${lineOf('/b/x')}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n`;
  raw.send(expecting);
  assert.equal((await raw.answer()).status, 100);
  raw.send('true');
  assert.equal((await raw.answer()).status, 200);
  const seen = await backend.request(1);
  assert.equal(seen.body.toString(), 'true');
  assert.equal(seen.headers.get('expect'), undefined);
  raw.send(expecting.replace('Length: 4', 'Length: 101'));
  assert.equal((await raw.answer()).status, 413);
  assert.equal(backend.requests.length, 1);
});

test('a route with a schema has the body whole, judges it, and passes on what it has judged', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'schema: s.json, contentTypes: [ application/json ]',
    files: { 's.json': '{"type":"object","required":["n"],"properties":{"n":{"type":"number"}}}' },
  });
  const json = 'Content-Type: application/json; charset=utf-8';
  using raw = await surroundings.raw(t);
  const chunked = `${lineOf('/b/x')}${json}\r\nTransfer-Encoding: chunked\r\n\r\n`;
  raw.send(`${chunked}4\r\n{"n"\r\n4\r\n: 1}\r\n0\r\n\r\n`);
  assert.equal((await raw.answer()).status, 200);
  const seen = await backend.request(1);
  assert.equal(seen.body.toString(), '{"n": 1}');
  assert.deepEqual(seen.headers.get('content-length'), ['8']);
  assert.equal(seen.headers.get('transfer-encoding'), undefined);
  for (const body of ['{"n":"x"}', '{}', '{"n":1,"n":2}', '[', '"']) {
    raw.send(requestText('POST', '/b/x', body, json));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], [422, 'schema'], body);
  }
  raw.send(requestText('GET', '/b/x'));
  assert.equal((await raw.answer()).status, 200);
  raw.send(requestText('POST', '/b/x', 'zipped', json, 'Content-Encoding: gzip'));
  assert.equal((await raw.answer()).status, 415);
  assert.deepEqual(
    backend.requests.map(({ method }) => method),
    ['POST', 'GET'],
  );
});

test('bytes without an announced length are charged as they come', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'bodyBytes: 1MiB, bytesRate: [ { limit: 1/day, burst: 99999 } ]',
  });
  const raw = await surroundings.raw(t);
  raw.send(requestText('POST', '/b/x', 'x'.repeat(60_000)));
  assert.equal((await raw.answer()).status, 200);
  raw.send(`${lineOf('/b/x')}Transfer-Encoding: chunked\r\n\r\n7530\r\n${'x'.repeat(30_000)}\r\n`);
  raw.send(`7530\r\n${'x'.repeat(30_000)}\r\n0\r\n\r\n`);
  const [refused] = await raw.answersUntilClose();
  assert.equal(refused?.status, 429);
  assert.equal(backend.requests.length, 1);
});
