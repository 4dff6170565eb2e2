/** Requests without end on one connection: what is sent in vain is neither kept nor read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { runningMs, until } from '../harness/waiting.ts';

const outcome = (answer: HttpAnswer): unknown => [answer.status, problemCode(answer)];
const host = 'Host: x\r\n';
const poll = `GET /api/v1/commands?wait=60 HTTP/1.1\r\n${host}\r\n`;
const smallest = 'GET / HTTP/1.1\r\n\r\n';

/** Writes until the peer has closed, or `bytes` are sent. @returns how many were taken. */
async function flood(raw: RawHttps, bytes: number): Promise<number> {
  const chunk = Buffer.from(smallest.repeat(10_000));
  let taken = 0;
  for (let sent = 0; sent < bytes && !raw.isEnded; sent += chunk.length) {
    const flushed = new Promise<void>((resolve) => {
      raw.socket.write(chunk, (error) => {
        if (error === null || error === undefined) taken += chunk.length;
        resolve();
      });
    });
    await Promise.race([flushed, raw.ended]);
  }
  return taken;
}

for (const [what, request] of [
  ['poll', poll],
  ['stream', poll.replace('\r\n\r\n', '\r\nAccept: text/event-stream\r\n\r\n')],
] as const) {
  test(`behind a ${what}`, async (t) => {
    const surroundings = await Surroundings.of(t);
    const raw = await surroundings.raw(t);
    raw.send(request);
    await until('it waits', 5_000, () => surroundings.broker.subscribers === 1);
    assert.ok((await flood(raw, 50_000_000)) < 20_000_000);
    await raw.ended;
    await until('it is gone', 5_000, () => surroundings.listener.connections === 0);
    assert.equal(surroundings.broker.subscribers, 0);
    assert.ok(surroundings.counted.filter((name) => name === 'https_requests').length <= 10);
  });
}

test('from peers that are not let in: one answer each, and no parser', async (t) => {
  const surroundings = await Surroundings.of(t);
  const strangers = await Promise.all(Array.from({ length: 20 }, () => surroundings.raw(t, null)));
  const began = runningMs();
  for (const raw of strangers) raw.send(smallest.repeat(3_000));
  for (const raw of strangers) {
    assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[401, 'unauthenticated']]);
  }
  assert.ok(runningMs() - began < 2_000);
  assert.equal(surroundings.counted.filter((name) => name === 'https_requests').length, 20);
});

test('a peer that is not let in and asks for a head gets one', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t, null);
  raw.send(`HEAD / HTTP/1.1\r\n${host}\r\n`);
  assert.match((await raw.untilClose()).toString(), /^HTTP\/1\.1 401 [^]*\r\n\r\n$/);
});

test('what arrives with a request while its sender is being identified ends as it would later', async (t) => {
  const known = Promise.withResolvers<void>();
  const surroundings: Surroundings = await Surroundings.of(t, {
    ports: {
      identify: async (connection) => {
        await known.promise;
        return surroundings.identify(connection);
      },
    },
  });
  const raw = await surroundings.raw(t);
  raw.send(`GET /api/v1/time HTTP/1.1\r\n${host}\r\nCONNECT x:1 HTTP/1.1\r\n${host}\r\n`);
  known.resolve();
  assert.deepEqual(
    (await raw.answersUntilClose(5_000)).map(({ status }) => status),
    [200, 400],
  );
});

test('who asks for one answer only has the time that others have to take it', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { stalledMs: 30_000 } });
  const payload = Buffer.alloc(6_000_000, 'x');
  await surroundings.command('d1', 'large', payload);
  const raw = await surroundings.raw(t);
  raw.socket.pause();
  raw.send(`GET /api/v1/commands HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
  await until('it is answered', 5_000, () => surroundings.counted.includes('https_commands_out'));
  const at = performance.now();
  await until('more than a second', 5_000, () => performance.now() - at > 1_500);
  assert.equal(surroundings.listener.connections, 1);
  raw.socket.resume();
  const [answer] = await raw.answersUntilClose();
  assert.ok((answer?.body.length ?? 0) > payload.length);
});

test('and loses it within a second when it loses its standing', async (t) => {
  const surroundings = await Surroundings.of(t);
  await surroundings.command('d1', 'large', Buffer.alloc(20_000_000, 'x'));
  const raw = await surroundings.raw(t);
  raw.socket.pause();
  raw.send(`GET /api/v1/commands HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
  await until('it is answered', 5_000, () => surroundings.counted.includes('https_commands_out'));
  const at = runningMs();
  surroundings.setStanding('device/d1', 'revoked');
  await until('it is gone', 5_000, () => surroundings.listener.connections === 0);
  assert.ok(runningMs() - at < 1_000);
});
