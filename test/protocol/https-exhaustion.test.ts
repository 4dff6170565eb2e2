/** What one peer can take of a worker over HTTPS, with a certificate and without: bounded in bytes, count and time. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import { until } from '../harness/waiting.ts';

const outcome = (answer: HttpAnswer): unknown => [answer.status, problemCode(answer)];
const host = 'Host: x\r\n';
const post = `POST /api/v1/telemetry HTTP/1.1\r\n${host}`;

test('headers beyond their number or bytes are refused', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { headers: 64, headerBytes: 8_192 } });
  const many = await surroundings.raw(t);
  many.send(`${post}${'a: b\r\n'.repeat(64)}\r\n`);
  assert.deepEqual((await many.answersUntilClose()).map(outcome), [[431, 'too-large']]);
  const tenThousand = await surroundings.raw(t);
  tenThousand.send(`${post}${'a: b\r\n'.repeat(10_000)}\r\n`);
  assert.deepEqual((await tenThousand.answersUntilClose()).map(outcome), [[431, 'too-large']]);
  const long = await surroundings.raw(t);
  long.send(`${post}A: ${'b'.repeat(8_192)}\r\n\r\n`);
  assert.deepEqual((await long.answersUntilClose()).map(outcome), [[431, 'too-large']]);
  const target = await surroundings.raw(t);
  target.send(`GET /${'a'.repeat(9_000)} HTTP/1.1\r\n${host}\r\n`);
  assert.deepEqual((await target.answersUntilClose()).map(outcome), [[431, 'too-large']]);
  const enough = await surroundings.raw(t);
  enough.send(`${post}${'a: b\r\n'.repeat(63)}\r\n`);
  assert.equal((await enough.answer()).status, 202);
});

test('no header is dropped in silence, however many may come', async (t) => {
  const surroundings = await Surroundings.of(t, {
    limits: { headers: 3_000, headerBytes: 65_536 },
  });
  const raw = await surroundings.raw(t);
  raw.send(`${post}${'a: b\r\n'.repeat(2_500)}Host: y\r\n\r\n`);
  assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[400, 'malformed']]);
});

test('a limit on header bytes that was changed holds for the next connection', async (t) => {
  const surroundings = await Surroundings.of(t);
  const head = `${post}A: ${'b'.repeat(2_000)}\r\n\r\n`;
  const before = await surroundings.raw(t);
  before.send(head);
  assert.equal((await before.answer()).status, 202);
  surroundings.setPolicy('limits: { headerBytes: 1KiB }');
  const after = await surroundings.raw(t);
  after.send(head);
  assert.deepEqual((await after.answersUntilClose()).map(outcome), [[431, 'too-large']]);
});

test('headers that dribble in are cut off', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { headersMs: 500, requestMs: 60_000 } });
  const raw = await surroundings.raw(t);
  raw.send(post);
  const timer = setInterval(() => raw.send('a: b\r\n'), 100);
  try {
    assert.deepEqual((await raw.answersUntilClose(5_000)).map(outcome), [[408, 'malformed']]);
  } finally {
    clearInterval(timer);
  }
});

test('a body that dribbles in is cut off', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { headersMs: 500, requestMs: 1_000 } });
  const raw = await surroundings.raw(t);
  raw.send(`${post}Content-Length: 1000\r\n\r\n`);
  const timer = setInterval(() => raw.send('a'), 100);
  try {
    assert.deepEqual((await raw.answersUntilClose(5_000)).map(outcome), [[408, 'malformed']]);
  } finally {
    clearInterval(timer);
  }
  assert.deepEqual(surroundings.published, []);
});

test('a connection that says nothing is closed: before its first request and after', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { headersMs: 500, idleMs: 500 } });
  const silent = await surroundings.raw(t);
  const idle = await surroundings.raw(t);
  idle.send(`GET /api/v1/time HTTP/1.1\r\n${host}\r\n`);
  assert.equal((await idle.answer()).status, 200);
  assert.deepEqual((await silent.answersUntilClose(5_000)).map(outcome), [[408, 'malformed']]);
  assert.deepEqual(await idle.answersUntilClose(5_000), []);
});

test('a payload beyond the limit is refused from its length, or where it passes it', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { payloadBytes: 1_000 } });
  const announced = await surroundings.raw(t);
  announced.send(`${post}Content-Length: 1001\r\n\r\n`);
  assert.deepEqual(outcome(await announced.answer()), [413, 'too-large']);
  const chunked = await surroundings.raw(t);
  chunked.send(`${post}Transfer-Encoding: chunked\r\n\r\n3e8\r\n${'x'.repeat(1_000)}\r\n1\r\n`);
  chunked.send('x\r\n');
  assert.deepEqual((await chunked.answersUntilClose()).map(outcome), [[413, 'too-large']]);
  const most = await surroundings.raw(t);
  most.send(`${post}Content-Length: 1000\r\n\r\n${'x'.repeat(1_000)}`);
  assert.equal((await most.answer()).status, 202);
  assert.equal(surroundings.published.length, 1);
});

test('a refused body may be sent to its end', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { payloadBytes: 1_000 } });
  const raw = await surroundings.raw(t);
  raw.send(`${post}Content-Length: 50000\r\n\r\n`);
  assert.deepEqual(outcome(await raw.answer()), [413, 'too-large']);
  for (let sent = 0; sent < 50_000; sent += 10_000) {
    raw.send(Buffer.alloc(10_000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(await raw.answersUntilClose(), []);
  assert.equal((await raw.ended).error, undefined);
});

test('a refused body is not read for long', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { payloadBytes: 1_000 } });
  const raw = await surroundings.raw(t);
  raw.send(`${post}Content-Length: 1000000000\r\n\r\n`);
  const flood = setInterval(() => raw.send(Buffer.alloc(10_000)), 10);
  try {
    await raw.untilClose(3_000);
  } finally {
    clearInterval(flood);
  }
});

test('chunk extensions are bounded', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  raw.send(`${post}Transfer-Encoding: chunked\r\n\r\n1;a=${'b'.repeat(20_000)}\r\nx\r\n0\r\n\r\n`);
  assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[413, 'too-large']]);
});

test('an identity has so many connections and no more, and they come back when they close', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectionsPerIdentity: 2 } });
  const time = `GET /api/v1/time HTTP/1.1\r\n${host}\r\n`;
  const first = await surroundings.raw(t);
  const second = await surroundings.raw(t);
  for (const raw of [first, second]) {
    raw.send(time);
    assert.equal((await raw.answer()).status, 200);
  }
  const third = await surroundings.raw(t);
  third.send(time);
  assert.deepEqual((await third.answersUntilClose()).map(outcome), [[507, 'quota']]);
  const other = await surroundings.raw(t, 'd2');
  other.send(time);
  assert.equal((await other.answer()).status, 200);
  first[Symbol.dispose]();
  await until('a place is free', 5_000, () => surroundings.listener.connections === 2);
  const fourth = await surroundings.raw(t);
  fourth.send(time);
  assert.equal((await fourth.answer()).status, 200);
});

test('more bytes than may wait for an answer end the connection after an answer', async (t) => {
  const surroundings = await Surroundings.of(t);
  const stored = Promise.withResolvers<void>();
  surroundings.store = () => stored.promise;
  const raw = await surroundings.raw(t);
  raw.send(`${post}Content-Length: 1\r\n\r\n1`.repeat(1_000));
  await until('they are there', 5_000, () => surroundings.counted.includes('https_sent_ahead'));
  stored.resolve();
  const answers = await raw.answersUntilClose();
  assert.deepEqual(
    answers.map(({ status }) => status),
    [202],
  );
  assert.equal(surroundings.published.length, 1);
});

test('a stranger has one answer and so much time, and holds a half-open place until then', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectMs: 1_500 } });
  const asking = await surroundings.raw(t, null);
  const silent = await surroundings.raw(t, null);
  await until('both are known', 5_000, () => surroundings.listener.connections === 2);
  assert.equal(surroundings.admission.halfOpen, 2);
  assert.equal(surroundings.listener.sessions, 0);
  const request = `GET /api/v1/time HTTP/1.1\r\n${host}\r\n`;
  asking.send(request + request);
  assert.deepEqual((await asking.answersUntilClose()).map(outcome), [[401, 'unauthenticated']]);
  assert.deepEqual(await silent.answersUntilClose(5_000), []);
  await until('the places are free', 5_000, () => surroundings.admission.open === 0);
  const device = await surroundings.raw(t);
  device.send(request);
  assert.equal((await device.answer()).status, 200);
  assert.equal(surroundings.admission.halfOpen, 0);
});

test('a reader that reads nothing is cut off, and what waits for it is bounded', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { stalledMs: 1_500 } });
  const payload = Buffer.alloc(100_000, 'x');
  const raw = await surroundings.raw(t);
  raw.socket.pause();
  raw.send(`GET /api/v1/commands HTTP/1.1\r\n${host}Accept: text/event-stream\r\n\r\n`);
  await until('it is there', 5_000, () => surroundings.broker.subscribers === 1);
  for (let i = 0; i < 200; i += 1) await surroundings.command('d1', 'large', payload);
  await until('it is cut off', 10_000, () => surroundings.listener.connections === 0);
  const out = surroundings.counted.filter((name) => name === 'https_commands_out').length;
  assert.ok(out > 0 && out < 100, `${out} of 200 were written`);
  raw.socket.resume();
  await raw.ended;
});

test('a poll whose device went away is dropped at once', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  raw.send(`GET /api/v1/commands?wait=60 HTTP/1.1\r\n${host}\r\n`);
  await until('it waits', 5_000, () => surroundings.broker.subscribers === 1);
  raw.socket.end();
  await once(raw.socket, 'close');
  await until('it is dropped', 2_000, () => surroundings.broker.subscribers === 0);
  assert.equal(surroundings.listener.connections, 0);
});
