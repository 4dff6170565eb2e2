/**
 * Requests that two readers could take for different ones (RFC 9112 §11.2), on a proxied route: refused, the connection
 * closed, and no byte of what an attacker hopes to have taken for another request reaches the backend, which is asked over
 * connections that many devices share.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import { ambiguousRequests } from './https-requests/smuggling.ts';

const refused = ambiguousRequests('/b/x', '/b/y');
/** What an attacker hopes to have taken for a request of its own, or of the next device. */
const second = requestText('POST', '/b/evil', '"evil"');
const good = requestText('GET', '/b/good');

test('an ambiguous request is refused, and the backend sees none that anybody hid in it', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  for (const [name, bytes] of Object.entries(refused)) {
    await t.test(name, async (each) => {
      // The upstream's connection is there, so that a body goes on at once.
      const warm = await surroundings.raw(each, 'd2');
      warm.send(good);
      assert.equal((await warm.answer()).status, 200);
      const raw = await surroundings.raw(each);
      raw.send(bytes + second);
      const answers = await raw.answersUntilClose();
      assert.deepEqual(
        answers.map((answer) => [answer.status, problemCode(answer)]),
        [[400, 'malformed']],
      );
      // Whatever became of the upstream's connection, the next request on it is its own.
      warm.send(good);
      assert.equal((await warm.answer()).status, 200);
    });
  }
  assert.deepEqual(
    backend.requests.filter(({ target }) => target !== '/b/good').map(({ target }) => target),
    [],
  );
  assert.ok(!Buffer.concat(backend.bytes).includes('evil'));
});

test('a byte at a time, what has gone on of a body is never completed', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  const names = ['CL.TE', 'bare LF after a header', 'a folded header', 'two hosts'] as const;
  const chunked = Object.keys(refused).filter((name) => name.startsWith('chunks'));
  for (const name of [...names, ...chunked]) {
    const raw = await surroundings.raw(t);
    for (const byte of (refused[name] ?? '') + second) raw.send(byte);
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map(({ status }) => status),
      [400],
      name,
    );
  }
  assert.deepEqual(backend.requests, []);
  assert.ok(!Buffer.concat(backend.bytes).includes('evil'));
});

test('after a good request a bad one is the end: the good one is answered before', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  const raw = await surroundings.raw(t);
  raw.send(good + refused['two lengths'] + second);
  const answers = await raw.answersUntilClose();
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 400],
  );
  assert.equal(backend.requests.length, 1);
});

test('requests that were sent on are asked in turn, each as it is', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  const raw = await surroundings.raw(t);
  const posts = [1, 2, 3].map((n) => requestText('POST', `/b/${n}`, 'x'.repeat(n)));
  raw.send(posts.join(''));
  for (const _ of posts) assert.equal((await raw.answer()).status, 200);
  assert.deepEqual(
    backend.requests.map(({ target, body }) => `${target} ${body.toString()}`),
    ['/b/1 x', '/b/2 xx', '/b/3 xxx'],
  );
});

test('Upgrade to anything but WebSocket, or where it is not allowed, is not passed on', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  for (const protocol of ['h2c', 'websocket', 'TLS/1.0']) {
    const raw = await surroundings.raw(t);
    const upgrade = [
      'Connection: Upgrade, HTTP2-Settings',
      `Upgrade: ${protocol}`,
      'HTTP2-Settings: AA',
    ];
    raw.send(requestText('GET', '/b/up', undefined, ...upgrade) + second);
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map(({ status, headers }) => [status, headers.get('connection')]),
      [[200, 'close']],
      protocol,
    );
  }
  assert.equal(backend.requests.length, 3);
  for (const { headers } of backend.requests) {
    assert.equal(headers.get('upgrade'), undefined);
    assert.equal(headers.get('http2-settings'), undefined);
  }
});
