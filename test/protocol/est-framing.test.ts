/**
 * The EST listener and requests that two readers could take for different ones, or that never come to an end. Nobody has
 * authenticated: whatever is not one request, whole and alone, is no reason to ask control.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EstSurroundings, estAnswer, estRequest } from '../harness/est-listener.ts';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { runningMs, until } from '../harness/waiting.ts';
import { ambiguousRequests } from './https-requests/smuggling.ts';

const outcome = (answer: HttpAnswer): unknown => [answer.status, problemCode(answer)];
const enrolPath = '/.well-known/est/simpleenroll';
const head = `POST ${enrolPath} HTTP/1.1\r\nHost: x\r\n`;
/** What an attacker hopes to have taken for a request of its own. */
const second = estRequest('simplereenroll', 'evil');
const limits = { sourceConnectionsPerSecond: 10_000, sourceHalfOpen: 10_000 };

test('a request that can be read in two ways is refused, and nothing after it is a request', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  const rows = ambiguousRequests(enrolPath, '/.well-known/est/cacerts');
  assert.ok(Object.keys(rows).length > 70);
  for (const [name, bytes] of Object.entries(rows)) {
    await t.test(name, async (each) => {
      const raw = await surroundings.raw(each);
      raw.send(bytes + second);
      assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[400, 'malformed']]);
      assert.deepEqual(surroundings.calls, []);
    });
  }
});

test('a request is the same one wherever it is cut, and a byte at a time', async (t) => {
  const surroundings = await EstSurroundings.of(t, { ...limits, visitRequests: 10_000 });
  const raw = await surroundings.raw(t);
  raw.socket.setNoDelay(true);
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`;
  const wholes = [estRequest('simpleenroll', 'abc', 'Authorization: Bearer x'), chunked];
  for (const whole of wholes) {
    for (let at = 1; at < whole.length; at += 1) {
      raw.send(whole.slice(0, at));
      // In a TLS record of its own.
      await new Promise((resolve) => setImmediate(resolve));
      raw.send(whole.slice(at));
      assert.equal((await raw.answer()).status, 200, `cut at ${at}`);
    }
    for (const byte of whole) raw.send(byte);
    assert.equal((await raw.answer()).status, 200);
  }
  const bodies = surroundings.calls.map(({ body = '' }) => Buffer.from(body, 'base64').toString());
  assert.equal(bodies.length, wholes.join('').length);
  assert.deepEqual(new Set(bodies), new Set(['abc']));
});

test('a second request before the answer to the first waits for it; a flood of them is the end of both', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  const asked = Promise.withResolvers<unknown>();
  surroundings.answer = () => asked.promise;
  const flood = await surroundings.raw(t);
  flood.send(estRequest('simpleenroll', 'x') + 'GET / HTTP/1.1\r\n\r\n'.repeat(10_000));
  assert.equal((await flood.untilClose()).length, 0);
  await until('it is gone', 5_000, () => surroundings.listener.connections === 0);
  const raw = await surroundings.raw(t);
  raw.send(estRequest('simpleenroll', 'x') + second);
  await until('control is asked', 5_000, () => surroundings.calls.length === 2);
  assert.deepEqual(
    new Set(surroundings.calls.map(({ operation }) => operation)),
    new Set(['simpleenroll']),
  );
  asked.resolve(estAnswer(200));
  for (let n = 0; n < 2; n += 1) assert.equal((await raw.answer()).status, 200);
  assert.equal(surroundings.calls.at(-1)?.operation, 'simplereenroll');
});

test('garbage behind a request is the end, when the request has been answered', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  const asked = Promise.withResolvers<unknown>();
  surroundings.answer = () => asked.promise;
  const raw = await surroundings.raw(t);
  raw.send(`${estRequest('simpleenroll', 'x')}\x16\x03\x01 no HTTP\r\n\r\n`);
  await until('control is asked', 5_000, () => surroundings.calls.length === 1);
  asked.resolve(estAnswer(200, 'issued'));
  assert.deepEqual((await raw.answersUntilClose()).map(outcome), [
    [200, undefined],
    [400, 'malformed'],
  ]);
});

test('a connection has so many requests and no more', async (t) => {
  const surroundings = await EstSurroundings.of(t, { ...limits, visitRequests: 3 });
  const raw = await surroundings.raw(t);
  for (const connection of [undefined, undefined, 'close']) {
    raw.send(estRequest('cacerts'));
    assert.equal((await raw.answer()).headers.get('connection'), connection ?? 'keep-alive');
  }
  assert.deepEqual(await raw.answersUntilClose(), []);
});

test('a flood on one connection is a few answers', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  const strangers = await Promise.all(Array.from({ length: 20 }, () => surroundings.raw(t)));
  const began = runningMs();
  for (const raw of strangers) raw.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(5_000));
  for (const raw of strangers) assert.ok((await raw.answersUntilClose()).length <= 16);
  assert.ok(runningMs() - began < 5_000);
  assert.ok(surroundings.counted.filter((name) => name === 'est_requests').length <= 20 * 16);
});

test('headers beyond their number or bytes are refused', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  for (const lines of [
    'a: b\r\n'.repeat(10_000),
    `A: ${'b'.repeat(9_000)}\r\n`,
    'a: b\r\n'.repeat(64),
  ]) {
    const raw = await surroundings.raw(t);
    raw.send(`${head}${lines}Content-Length: 1\r\n\r\nx`);
    assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[431, 'too-large']]);
  }
  assert.deepEqual(surroundings.calls, []);
});

test('a request of a megabyte is refused from its length, or where it passes the limit', async (t) => {
  const surroundings = await EstSurroundings.of(t, { ...limits, estRequestBytes: 1_000 });
  const announced = await surroundings.raw(t);
  announced.send(`${head}Content-Length: 1000000\r\n\r\n`);
  assert.deepEqual(outcome(await announced.answer()), [413, 'too-large']);
  const chunked = await surroundings.raw(t);
  chunked.send(`${head}Transfer-Encoding: chunked\r\n\r\n3e8\r\n${'x'.repeat(1_000)}\r\n`);
  chunked.send('1\r\nx\r\n');
  assert.deepEqual((await chunked.answersUntilClose()).map(outcome), [[413, 'too-large']]);
  const fine = await surroundings.raw(t);
  fine.send(`${head}Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(900)}0\r\n\r\n`);
  assert.deepEqual((await fine.answersUntilClose()).map(outcome), [[413, 'too-large']]);
  assert.deepEqual(surroundings.calls, []);
  const most = await surroundings.raw(t);
  most.send(estRequest('simpleenroll', 'x'.repeat(1_000)));
  assert.equal((await most.answer()).status, 200);
});

test('what dribbles in is cut off: a head, a body, and nothing at all', async (t) => {
  const times = { headersMs: 500, requestMs: 1_000 };
  const surroundings = await EstSurroundings.of(t, { ...limits, ...times });
  const [silent, slowHead, slowBody] = await Promise.all([
    surroundings.raw(t),
    surroundings.raw(t),
    surroundings.raw(t),
  ]);
  slowHead.send(head);
  slowBody.send(`${head}Content-Length: 1000\r\n\r\n`);
  const timer = setInterval(() => {
    slowHead.send('a: b\r\n');
    slowBody.send('a');
  }, 100);
  try {
    for (const raw of [silent, slowHead, slowBody])
      assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[408, 'malformed']]);
  } finally {
    clearInterval(timer);
  }
  assert.deepEqual(surroundings.calls, []);
});

test('who has nothing more to ask goes', async (t) => {
  const surroundings = await EstSurroundings.of(t, { ...limits, connectMs: 300, idleMs: 600_000 });
  const raw = await surroundings.raw(t);
  raw.send(estRequest('cacerts'));
  assert.equal((await raw.answersUntilClose()).length, 1);
});

test('an upgrade is not taken up, and what follows the request is neither another protocol nor a request', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  for (const protocol of ['websocket', 'h2c', 'TLS/1.3']) {
    const raw = await surroundings.raw(t);
    raw.send(
      estRequest('cacerts', undefined, 'Connection: Upgrade', `Upgrade: ${protocol}`) + second,
    );
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200],
    );
  }
  assert.deepEqual(
    surroundings.calls.map(({ operation }) => operation),
    ['cacerts'],
  );
});

test('a visit has an end, whatever it is busy with', async (t) => {
  const surroundings = await EstSurroundings.of(t, {
    ...limits,
    visitMs: 1_000,
    requestMs: 1_000,
    visitRequests: 1_000_000,
  });
  const asked = Promise.withResolvers<unknown>();
  surroundings.answer = ({ operation }) =>
    operation === 'cacerts' ? estAnswer(200) : asked.promise;
  const asking = await surroundings.raw(t);
  const waiting = await surroundings.raw(t);
  waiting.send(estRequest('simpleenroll', 'x'));
  let answers = 0;
  for (; !asking.isEnded; answers += 1) {
    asking.send(estRequest('cacerts'));
    await Promise.race([asking.answer().catch(() => undefined), asking.ended]);
  }
  assert.ok(answers > 1);
  assert.equal((await waiting.untilClose()).length, 0);
  await until('nothing is left', 5_000, () => surroundings.admission.open === 0);
  assert.equal(surroundings.admission.halfOpen, 0);
  asked.resolve(estAnswer(200));
});

test('who gives up before control has answered leaves nothing, and has had his try', async (t) => {
  const surroundings = await EstSurroundings.of(t, limits);
  const asked = Promise.withResolvers<unknown>();
  surroundings.answer = () => asked.promise;
  const raw = await surroundings.raw(t);
  raw.send(estRequest('simpleenroll', 'x'));
  await until('control is asked', 5_000, () => surroundings.calls.length === 1);
  raw[Symbol.dispose]();
  await until('it is gone', 5_000, () => surroundings.listener.connections === 0);
  asked.resolve(estAnswer(401));
  await until('it counts', 5_000, () => surroundings.failed.length === 1);
});

test('strangers hold half-open places, and make room for others', async (t) => {
  const surroundings = await EstSurroundings.of(t, { ...limits, halfOpen: 20 });
  const from = (network: number, host: number): string => `127.${network}.1.${host}`;
  const flood: RawHttps[] = [];
  for (let i = 1; i <= 20; i += 1) {
    flood.push(await surroundings.raw(t, undefined, { localAddress: from(200, i) }));
  }
  await until('all places are taken', 5_000, () => surroundings.admission.halfOpen === 20);
  const honest = await surroundings.raw(t, undefined, { localAddress: from(201, 1) });
  honest.send(estRequest('simpleenroll', 'x'));
  assert.equal((await honest.answer()).status, 200);
  await until('the oldest has gone', 5_000, () => flood[0]?.isEnded === true);
});
