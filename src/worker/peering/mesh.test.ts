import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { silentLogger } from '../../common/base/logger.ts';
import { encodeFrame, FrameReader } from '../../common/ipc/frames.ts';
import { parseBody } from '../../common/ipc/link.ts';
import { makeHello, parseHello, proofOf } from './handshake.ts';
import { Mesh } from './mesh.ts';
import { eventually, groupKey } from './peering-group.ts';

let directory = '';
let meshes: Mesh[] = [];
let sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-mesh-'));
  meshes = [];
  sockets = [];
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const mesh of meshes) await mesh.close();
  rmSync(directory, { recursive: true, force: true });
});

function make(slot: number, generation = 1, key = groupKey): Mesh {
  const mesh = new Mesh({ slot, generation, key, logger: silentLogger, directory });
  meshes.push(mesh);
  return mesh;
}

const members = (...slots: number[]) => slots.map((slot) => ({ slot, generation: 1, pid: 1 }));

async function pair(): Promise<[Mesh, Mesh]> {
  const [a, b] = [make(0), make(1)];
  await a.start();
  await b.start();
  for (const mesh of [a, b]) mesh.setMembers(members(0, 1));
  await eventually('both linked', () => a.linked.has(1) && b.linked.has(0));
  return [a, b];
}

const called = (mesh: Mesh, slot: number, type: string, body: object, timeoutMs = 60_000) =>
  new Promise<unknown>((resolve) => {
    mesh.call(slot, type, body, timeoutMs, resolve);
  });

/** The other end of a socket, as a stranger would write it. */
function speak(
  path: string,
): Promise<{ words: object[]; say: (word: object) => void; ended: () => boolean }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    sockets.push(socket);
    const reader = new FrameReader(1_000_000);
    const words: object[] = [];
    let ended = false;
    socket.on('data', (chunk: Buffer) => {
      for (const { body } of reader.push(chunk)) words.push(parseBody(body) ?? {});
    });
    socket.on('close', () => {
      ended = true;
    });
    socket.on('error', reject);
    const say = (word: object): void => {
      const header = { channel: 0, kind: 0, epoch: 0, seq: 0 };
      socket.write(encodeFrame(header, Buffer.from(JSON.stringify(word))));
    };
    socket.on('connect', () => resolve({ words, say, ended: () => ended }));
  });
}

test('words, replies and batches go both ways, in order, and to oneself', async () => {
  const [a, b] = await pair();
  const heard: string[] = [];
  for (const mesh of [a, b]) {
    mesh.handle('count', (from, body, reply) => {
      heard.push(`${from}>${mesh.slot} ${JSON.stringify(body)}`);
      reply({ from, body });
    });
  }
  b.notify(0, 'count', { n: 1 });
  assert.deepEqual(await called(b, 0, 'count', { n: 2 }), { from: 1, body: { n: 2 } });
  assert.deepEqual(await called(a, 1, 'count', { n: 3 }), { from: 0, body: { n: 3 } });
  a.notify(0, 'count', { n: 4 });
  assert.equal(heard.length, 3, 'a word to oneself does not run within the caller');
  assert.deepEqual(await called(a, 0, 'count', { n: 5 }), { from: 0, body: { n: 5 } });
  assert.deepEqual(heard, [
    '1>0 {"n":1}',
    '1>0 {"n":2}',
    '0>1 {"n":3}',
    '0>0 {"n":4}',
    '0>0 {"n":5}',
  ]);
  const batches: string[] = [];
  b.onBatch = (from, batch) => batches.push(`${from} ${batch.toString()}`);
  assert.equal(a.sendBatch(1, Buffer.from('one')), true);
  assert.equal(a.sendBatch(2, Buffer.from('nobody')), false);
  await eventually('the batch', () => batches.length === 1);
  assert.deepEqual(batches, ['0 one']);
});

test('a call ends without a reply in time, without a link, and with the end of one', async () => {
  const [a, b] = await pair();
  b.handle('silent', () => {});
  assert.equal(await called(a, 1, 'silent', {}, 1), undefined);
  assert.equal(await called(a, 7, 'silent', {}), undefined);
  const open = called(a, 1, 'silent', {}, 60_000);
  await b.close();
  assert.equal(await open, undefined);
});

test('the end of a peer is known at once, and its next process is linked again', async () => {
  const [a, b] = await pair();
  const news: string[] = [];
  a.listen({
    onUp: (slot) => news.push(`up ${slot}`),
    onDown: (slot) => news.push(`down ${slot}`),
    onView: (view) => news.push(view.id),
  });
  await b.close();
  await eventually('down', () => news.length === 1);
  const next = make(1, 2);
  await next.start();
  const now = [...members(0), { slot: 1, generation: 2, pid: 1 }];
  next.setMembers(now);
  a.setMembers(now);
  a.setMembers(now);
  await eventually('up again', () => a.linked.has(1) && next.linked.has(0));
  assert.deepEqual(news, ['down 1', '0:1,1:2 0', 'up 1']);
});

test('a link that breaks between two who live is made again', async () => {
  const [a, b] = await pair();
  const ups: number[] = [];
  b.listen({ onUp: (slot) => ups.push(slot), onDown: () => {}, onView: () => {} });
  b.cut(0, 'for the test');
  await eventually('linked again', () => ups.length === 1 && a.linked.has(1));
  a.cut(1, 'for the test');
  await eventually('linked once more', () => ups.length === 2 && a.linked.has(1));
});

test('a worker that leaves the members keeps its links, and is not sought again', async () => {
  const [a, b] = await pair();
  a.setMembers(members(0));
  assert.ok(a.linked.has(1));
  await b.close();
  await eventually('gone', () => !a.linked.has(1));
  assert.deepEqual(a.view?.slots, [0]);
});

test('without the key nobody is linked, on either side', async () => {
  const a = make(0);
  const b = make(1, 1, Buffer.alloc(32, 1));
  await a.start();
  await b.start();
  const b2 = join(directory, 'peer-2-1.sock');
  let greeted = 0;
  const impostor = createServer((socket) => {
    sockets.push(socket);
    greeted += 1;
    socket.on('error', () => {});
    const own = makeHello({ slot: 2, generation: 1 });
    const say = (word: object): void => {
      const header = { channel: 0, kind: 0, epoch: 0, seq: 0 };
      socket.write(encodeFrame(header, Buffer.from(JSON.stringify(word))));
    };
    say(own);
    say({ type: 'proof', mac: Buffer.alloc(32).toString('base64') });
  });
  await new Promise<void>((resolve) => {
    impostor.listen({ path: b2 }, resolve);
  });
  for (const mesh of [a, b]) mesh.setMembers(members(0, 1, 2));
  await eventually('several attempts', () => greeted >= 3);
  assert.equal(a.linked.size, 0);
  assert.equal(b.linked.size, 0);
  impostor.close();
});

test('a stranger on the socket gets a nonce and nothing else: no proof sent back, no words before it', async () => {
  const a = make(0);
  await a.start();
  const heard: unknown[] = [];
  a.handle('word', (_from, body) => heard.push(body));
  const path = join(directory, 'peer-0-1.sock');
  const own = makeHello({ slot: 1, generation: 1 });

  const impatient = await speak(path);
  impatient.say(own);
  impatient.say({ type: 'word', body: { evil: true } });
  await eventually('cut', impatient.ended);

  // The proof of the other end, handed back: it carries its side.
  const mirror = await speak(path);
  await eventually('a hello', () => mirror.words.length === 1);
  mirror.say(own);
  await eventually('a proof', () => mirror.words.length === 2);
  mirror.say(mirror.words[1] ?? {});
  await eventually('cut', mirror.ended);

  // The hello handed back as well.
  const same = await speak(path);
  await eventually('a hello', () => same.words.length === 1);
  same.say(same.words[0] ?? {});
  await eventually('cut', same.ended);

  for (const hello of [
    { ...own, version: 2 },
    { ...own, slot: -1 },
    { ...own, nonce: 'AA==' },
  ]) {
    const wrong = await speak(path);
    wrong.say(hello);
    await eventually('cut', wrong.ended);
  }
  assert.equal(a.linked.size, 0);
  assert.deepEqual(heard, []);

  // The same steps with the key: the test would notice if none of this could ever work.
  const friend = await speak(path);
  await eventually('a hello', () => friend.words.length === 1);
  const other = parseHello(friend.words[0] ?? {});
  assert.ok(other);
  friend.say(own);
  friend.say({
    type: 'proof',
    mac: proofOf(groupKey, 'connecting', own, other).toString('base64'),
  });
  friend.say({ type: 'word', body: { good: true } });
  await eventually('heard', () => heard.length === 1);
});

test('a peer that does not read is cut, and the sender does not wait', async () => {
  const a = make(0);
  await a.start();
  const path = join(directory, 'peer-0-1.sock');
  const deaf = await speak(path);
  await eventually('a hello', () => deaf.words.length === 1);
  const own = makeHello({ slot: 1, generation: 1 });
  const other = parseHello(deaf.words[0] ?? {});
  assert.ok(other);
  deaf.say(own);
  deaf.say({ type: 'proof', mac: proofOf(groupKey, 'connecting', own, other).toString('base64') });
  await eventually('linked', () => a.linked.has(1));
  sockets[0]?.pause();
  const batch = Buffer.alloc(16 * 1024 * 1024);
  let sent = 0;
  while (a.sendBatch(1, batch)) {
    sent += 1;
    assert.ok(sent < 20, 'buffers without bound');
  }
  assert.ok(!a.linked.has(1));
});

test('sockets that a killed process of the slot left behind are removed, those of others are not', async () => {
  for (const name of ['peer-0-7.sock', 'peer-0-1.sock', 'peer-1-1.sock', 'other']) {
    writeFileSync(join(directory, name), '');
  }
  const a = make(0, 3);
  await a.start();
  assert.deepEqual(readdirSync(directory).toSorted(), ['other', 'peer-0-3.sock', 'peer-1-1.sock']);
  await a.close();
  assert.ok(!existsSync(join(directory, 'peer-0-3.sock')));
});

test('a handler that throws costs its sender the link and nobody else anything', async () => {
  const [a, b] = await pair();
  let downs = 0;
  b.listen({ onUp: () => {}, onDown: () => (downs += 1), onView: () => {} });
  b.handle('bad', () => {
    throw new Error('for the test');
  });
  assert.equal(await called(a, 1, 'bad', {}, 60_000), undefined);
  assert.equal(downs, 1);
  await eventually('linked again', () => a.linked.has(1));
});
