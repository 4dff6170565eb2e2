/**
 * Requests that two readers could take for different ones (RFC 9112 §11.2): refused, the connection closed, and what
 * came after them never looked at.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import { within } from '../harness/waiting.ts';
import { ambiguousRequests } from './https-requests/smuggling.ts';

const refused = ambiguousRequests('/api/v1/telemetry', '/api/v1/time');
const host = 'Host: gateway\r\n';
const line = `POST /api/v1/telemetry HTTP/1.1\r\n${host}`;
/** What an attacker hopes to have taken for a request of its own. */
const second = `POST /api/v1/diagnostics HTTP/1.1\r\n${host}Content-Length: 6\r\n\r\n"evil"`;

test('a request that can be read in two ways is refused, and nothing after it is a request', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectionsPerIdentity: 1_000 } });
  for (const [name, bytes] of Object.entries(refused)) {
    await t.test(name, async (each) => {
      const raw = await surroundings.raw(each);
      raw.send(bytes + second);
      const answers = await raw.answersUntilClose();
      assert.deepEqual(
        answers.map((answer) => [answer.status, problemCode(answer)]),
        [[400, 'malformed']],
      );
      assert.deepEqual(surroundings.published, []);
    });
  }
});

test('the same, a byte at a time', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectionsPerIdentity: 1_000 } });
  for (const name of ['CL.TE', 'bare LF after a header', 'a folded header', 'two hosts'] as const) {
    const raw = await surroundings.raw(t);
    for (const byte of refused[name] ?? '') raw.send(byte);
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map(({ status }) => status),
      [400],
      name,
    );
  }
  assert.deepEqual(surroundings.published, []);
});

test('another version of HTTP is refused as such', async (t) => {
  const surroundings = await Surroundings.of(t);
  for (const version of ['HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9']) {
    const raw = await surroundings.raw(t);
    raw.send(`POST /api/v1/telemetry ${version}\r\n${host}Content-Length: 4\r\n\r\ntrue${second}`);
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map((answer) => [answer.status, problemCode(answer)]),
      [[505, 'malformed']],
      version,
    );
  }
  assert.deepEqual(surroundings.published, []);
});

test('after a good request a bad one is the end: the good one is answered before', async (t) => {
  const surroundings = await Surroundings.of(t);
  const storing = Promise.withResolvers<void>();
  const stored = Promise.withResolvers<void>();
  surroundings.store = () => {
    storing.resolve();
    return stored.promise;
  };
  const raw = await surroundings.raw(t);
  raw.send(`${line}Content-Length: 4\r\n\r\ntrue${refused['two lengths']}${second}`);
  await within(storing.promise, 5_000, 'the first is being stored');
  stored.resolve();
  const answers = await raw.answersUntilClose();
  assert.deepEqual(
    answers.map(({ status }) => status),
    [202, 400],
  );
  assert.deepEqual(
    surroundings.published.map(({ topic }) => topic),
    ['devices/d1/telemetry'],
  );
});

test('Connection: close ends it, whatever was sent along', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  raw.send(`${line}Connection: close\r\nContent-Length: 4\r\n\r\ntrue${second}`);
  const answers = await raw.answersUntilClose();
  assert.deepEqual(
    answers.map(({ status }) => status),
    [202],
  );
  assert.equal(surroundings.published.length, 1);
});

test('Upgrade is not taken up, and what follows the request is neither another protocol nor a request', async (t) => {
  const surroundings = await Surroundings.of(t);
  for (const protocol of ['h2c', 'websocket']) {
    const raw = await surroundings.raw(t);
    const upgrade = `${line}Connection: upgrade\r\nUpgrade: ${protocol}\r\nContent-Length: 4\r\n\r\ntrue`;
    raw.send(upgrade + second);
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map(({ status, headers }) => [status, headers.get('connection')]),
      [[202, 'close']],
    );
  }
  assert.equal(surroundings.published.length, 2);
});
