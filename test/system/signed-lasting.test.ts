/**
 * What lasts on the HTTPS listener without client certificates, and what is shared with the others: signatures that come
 * again, connections and bodies of strangers, streams whose key or route goes.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { after, test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { EventStream } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestWith } from '../harness/https-text.ts';
import { iotHeaders } from '../harness/iot-signature.ts';
import type { HmacKey } from '../harness/iot-signature.ts';
import { SignedGateway } from '../harness/signed-gateway.ts';
import { within } from '../harness/waiting.ts';

const endings: (() => unknown)[] = [];
after(async () => {
  for (const end of endings.reverse()) await end();
});
const signed = await SignedGateway.of({ after: (end) => void endings.push(end) });
const { gateway, upstream, ca } = signed;
const [held, flood] = await gateway.devices('held', 'flood');
assert.ok(held !== undefined && flood !== undefined);
await gateway.ok('device', 'register', 'a2', 'a1.1', 'out');
const key = await signed.key('device', 'a1');
const keyOfA2 = await signed.key('device', 'a2');
const keyOfDotted = await signed.key('device', 'a1.1');
const keyOfHeld = await signed.key('device', 'held');
const keyOfOut = await signed.key('device', 'out');
const keyOfFlood = await signed.key('device', 'flood');

const reading = '{"temperature":22.7}';
const json = { 'Content-Type': 'application/json' };
const post = { method: 'POST', path: '/readings/1', body: reading } as const;
const get = { method: 'GET', path: '/readings/1', body: '' } as const;
const good = (): Record<string, string> => ({ ...json, ...iotHeaders(key, post) });

test('one signature is good once, whatever listener it was shown to first', async () => {
  const headers = iotHeaders(keyOfHeld, post);
  const bytes = requestWith('POST', '/readings/1', { ...json, ...headers }, reading);
  using certified = await RawHttps.open({ port: gateway.httpsPort, identity: held });
  certified.send(bytes);
  assert.equal((await certified.answer()).status, 200);
  const answer = await signed.ask(bytes);
  assert.deepEqual([answer.status, problemCode(answer)], [401, 'integrity']);
});

test('a signature that comes again is a stranger, who has heard it', async () => {
  const bytes = requestWith('POST', '/readings/1', good(), reading);
  assert.equal((await signed.ask(bytes)).status, 200);
  using again = await signed.open();
  const since = gateway.log.end;
  again.send(bytes);
  const answer = await again.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [401, 'integrity']);
  // Nothing says before that the connection is anybody's.
  const isOfIt = (line: ReadonlyMap<string, unknown>): boolean =>
    line.get('remote') === again.address;
  assert.equal((await gateway.log.logged(isOfIt, since)).get('code'), 'integrity');
});

test('whoever shows again what he has heard charges nobody, and is no clone', async () => {
  const path = '/api/v1/status';
  const body = '{"n":3}';
  const bytes = (): string =>
    requestWith(
      'POST',
      path,
      { ...json, ...iotHeaders(key, { method: 'POST', path, body }) },
      body,
    );
  const from = async (address: string, text: string): Promise<readonly [number, string]> => {
    using connection = await signed.open(address);
    connection.send(text);
    return [(await connection.answer()).status, connection.address];
  };
  const [home, elsewhere] = ['127.5.5.5', '127.6.6.6'];
  const heard = bytes();
  const since = gateway.log.end;
  assert.equal((await from(home, heard))[0], 202);
  for (let n = 0; n < 4; n += 1) assert.equal((await from(elsewhere, heard))[0], 401);
  assert.equal((await from(home, bytes()))[0], 202);
  const [status, address] = await from(home, bytes());
  assert.equal(status, 202);
  await gateway.log.logged((line) => line.get('remote') === address, since);
  const isSuspicion = (line: ReadonlyMap<string, unknown>): boolean =>
    line.get('principal') === 'device/a1' && line.has('remotes');
  assert.equal(gateway.log.lines(isSuspicion, since).length, 0);
});

test('a certificate is no way to sign in the name of another', async () => {
  using certified = await RawHttps.open({ port: gateway.httpsPort, identity: held });
  certified.send(requestWith('POST', '/readings/1', good(), reading));
  const answer = await certified.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [401, 'integrity']);
});

test('requests that come at once are judged in turn, each by its own proof', async () => {
  const before = upstream.requests.length;
  using connection = await signed.open();
  const bytes = (): string => requestWith('POST', '/readings/1', good(), reading);
  const unsigned = requestWith('POST', '/readings/1', {}, '{}');
  connection.send(bytes() + bytes() + unsigned + bytes());
  const answers = await connection.answersUntilClose();
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 401],
  );
  assert.equal(upstream.requests.length, before + 2);
});

test('one connection serves several devices in turn, each with what is its own', async () => {
  using connection = await signed.open();
  for (const [of, id] of [
    [key, 'a1'],
    [keyOfA2, 'a2'],
    [keyOfDotted, 'a1.1'],
    [key, 'a1'],
  ] as const) {
    const path = `/own/${id}/x`;
    connection.send(requestWith('GET', path, iotHeaders(of, { ...get, path })));
    assert.equal((await connection.answer()).status, 200, id);
    assert.deepEqual(upstream.requests.at(-1)?.headers.get('x-device-id'), [id]);
  }
});

test("a body is asked for once it may be somebody's, and not before", async () => {
  using stranger = await signed.open();
  stranger.send(
    requestWith('POST', '/readings/1', { Expect: '100-continue', 'Content-Length': '9' }),
  );
  assert.equal((await stranger.answer()).status, 401);
  using device = await signed.open();
  const length = String(reading.length);
  device.send(
    requestWith('POST', '/readings/1', {
      ...good(),
      Expect: '100-continue',
      'Content-Length': length,
    }),
  );
  assert.equal((await device.answer()).status, 100);
  device.send(reading);
  assert.equal((await device.answer()).status, 200);
});

test('a suspended device gets nothing, and is a stranger as long as its connection lasts', async () => {
  const path = '/api/v1/time';
  const bytes = (): string => requestWith('GET', path, iotHeaders(keyOfOut, { ...get, path }));
  assert.equal((await signed.ask(bytes())).status, 200);
  await gateway.ok('device', 'suspend', 'out');
  const since = gateway.log.end;
  using connection = await signed.open();
  connection.send(bytes());
  const answer = await connection.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [403, 'standing']);
  const isOfIt = (line: ReadonlyMap<string, unknown>): boolean =>
    line.get('remote') === connection.address;
  // One that has proven who it is would be logged as connected first, and have no place of a stranger any more.
  assert.equal((await gateway.log.logged(isOfIt, since)).get('code'), 'standing');
});

test('a flood over every listener at once meets one limit', async () => {
  const path = '/api/v1/status';
  const bytes = requestWith('POST', path, json, '{"n":1}');
  using certified = await RawHttps.open({ port: gateway.httpsPort, identity: flood });
  const statuses: number[] = [];
  for (let n = 0; n < 2; n += 1) {
    certified.send(bytes);
    statuses.push((await certified.answer()).status);
  }
  const body = '{"n":2}';
  for (let n = 0; n < 2; n += 1) {
    const headers = { ...json, ...iotHeaders(keyOfFlood, { method: 'POST', path, body }) };
    statuses.push((await signed.ask(requestWith('POST', path, headers, body))).status);
  }
  assert.deepEqual(statuses, [202, 202, 202, 429]);
});

/** A stream of commands, or whatever else lasts, over the listener without certificates. */
async function lasting(
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<IncomingMessage> {
  const sent = request({
    host: '127.0.0.1',
    port: signed.port,
    path,
    headers: { ...headers },
    ca: readFileSync(ca),
    servername: 'localhost',
    agent: false,
  });
  sent.end();
  const response = Promise.withResolvers<IncomingMessage>();
  sent.on('response', response.resolve).on('error', response.reject);
  return within(response.promise, 30_000, 'an answer');
}

const commands = '/api/v1/commands';

async function streamOf(of: HmacKey): Promise<EventStream> {
  const headers = { ...iotHeaders(of, { ...get, path: commands }), Accept: 'text/event-stream' };
  return new EventStream(await lasting(commands, headers));
}

test('a stream of commands ends with the key that it was opened by', async () => {
  const another = await signed.key('device', 'a1');
  using ends = await streamOf(another);
  using stays = await streamOf(key);
  assert.deepEqual([ends.status, stays.status], [200, 200]);
  const since = gateway.log.end;
  await gateway.ok('device', 'key', 'remove', 'a1', another.keyId);
  await within(ends.ended, 5_000, 'the end of the stream');
  const isEnd = (line: ReadonlyMap<string, unknown>): boolean =>
    line.get('code') === 'unauthenticated' && line.get('principal') === 'device/a1';
  await gateway.log.logged(isEnd, since);
  await gateway.ok('command', 'send', 'a1', 'go', '{"n":1}');
  assert.match((await stays.next()).data, /"go"|go/);
});

test('strangers of one network leave room for the bodies of others', async () => {
  const strangers: RawHttps[] = [];
  try {
    for (let n = 0; n < 8; n += 1) {
      const connection = await signed.open(`127.9.9.${n + 1}`);
      strangers.push(connection);
      connection.send(
        requestWith('POST', '/readings/1', {
          ...iotHeaders(keyOfA2, post),
          'Content-Length': '4096',
        }),
      );
    }
    const [, ...refusedOnes] = strangers;
    for (const connection of refusedOnes) {
      const answer = await connection.answer();
      assert.deepEqual([answer.status, problemCode(answer)], [503, 'busy']);
    }
    assert.equal(
      (await signed.ask(requestWith('POST', '/readings/1', good(), reading))).status,
      200,
    );
    // What is begun and proves nothing in time is over.
    const [first] = strangers;
    assert.equal((await first?.answer('POST', 40_000))?.status, 401);
  } finally {
    for (const connection of strangers) connection[Symbol.dispose]();
  }
});

test('what waits, or is under way, ends when its route takes no signature any more', async () => {
  const answers: { end: () => void }[] = [];
  upstream.behaviour = (_, socket) => {
    answers.push({ end: () => socket.destroy() });
    return 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegins';
  };
  try {
    using stream = await streamOf(keyOfA2);
    assert.equal(stream.status, 200);
    const download = await lasting('/readings/1', { ...iotHeaders(key, get) });
    assert.equal(download.statusCode, 200);
    const broken = new Promise((resolve) => {
      download.on('close', resolve).on('error', resolve).resume();
    });
    await signed.closeToSignatures();
    await within(stream.ended, 5_000, 'the end of the stream');
    await within(broken, 5_000, 'the end of the download');
    assert.ok(!download.complete);
    const answer = await signed.ask(
      requestWith('GET', commands, iotHeaders(key, { ...get, path: commands })),
    );
    assert.equal(answer.status, 401);
  } finally {
    for (const { end } of answers) end();
  }
});
