/** Commands over HTTPS: by poll, by long poll and as server-sent events, until the device has acknowledged them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../src/common/base/principal.ts';
import { SallyportError } from '../../src/common/base/errors.ts';
import { HandClock } from '../../src/worker/policy/test-support.ts';
import { jsonOf, problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import { until } from '../harness/waiting.ts';

const outcome = (answer: HttpAnswer): unknown => [answer.status, problemCode(answer)];
const path = '/api/v1/commands';
const idsOf = (answer: HttpAnswer): readonly string[] =>
  (jsonOf(answer) as { id: string }[]).map(({ id }) => id);
const waiting = (surroundings: Surroundings, polls = 1): Promise<true> =>
  until('it waits', 5_000, () => surroundings.broker.subscribers === polls);

test('a command is given again until it is acknowledged, and then never again', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  assert.deepEqual(outcome(await device.request('GET', path)), [204, undefined]);
  const first = await surroundings.command('d1', 'reboot', '{"in": 5}');
  const second = await surroundings.command('d1', 'led/on', '');
  for (let i = 0; i < 2; i += 1) {
    const answer = await device.request('GET', path);
    assert.deepEqual(
      [answer.status, answer.headers.get('content-type')],
      [200, 'application/json'],
    );
    assert.deepEqual(idsOf(answer), [first, second]);
  }
  assert.equal((await device.request('DELETE', `${path}/${first}`)).status, 204);
  assert.deepEqual(outcome(await device.request('DELETE', `${path}/${first}`)), [404, 'not-found']);
  assert.deepEqual(idsOf(await device.request('GET', path)), [second]);
});

test("a device sees and acknowledges its own commands, and no other's", async (t) => {
  const surroundings = await Surroundings.of(t);
  const id = await surroundings.command('d1', 'reboot', '1');
  const other = surroundings.device(t, 'd2');
  assert.equal((await other.request('GET', path)).status, 204);
  assert.equal((await other.request('DELETE', `${path}/${id}`)).status, 404);
  assert.equal(surroundings.mailbox.commands.get(principalName('device', 'd1'))?.length, 1);
});

test('a payload that is JSON is given as it is, anything else as base64', async (t) => {
  const surroundings = await Surroundings.of(t);
  const payloads = [
    '{"a":\r\n[1,\n2]}',
    '12345678901234567890',
    '"\\u2028\\n"',
    '',
    '{',
    '\xff',
    '{"a":1,"a":2}',
  ];
  for (const payload of payloads) {
    await surroundings.command('d1', 'c', Buffer.from(payload, 'latin1'));
  }
  const device = surroundings.device(t, 'd1');
  const answer = await device.request('GET', path);
  assert.match(answer.body.toString(), /"payload":12345678901234567890,/, 'no digit is lost');
  const given = (jsonOf(answer) as Record<string, unknown>[]).map((command) =>
    'payload' in command
      ? command['payload']
      : Buffer.from(String(command['payload_base64']), 'base64').toString('latin1'),
  );
  assert.deepEqual(given, [
    { a: [1, 2] },
    Number('12345678901234567890'),
    '\u2028\n',
    ...payloads.slice(3),
  ]);
  using stream = await device.eventStream();
  for (const expected of given) {
    const command = JSON.parse((await stream.next()).data) as Record<string, unknown>;
    if ('payload' in command) assert.deepEqual(command['payload'], expected);
  }
});

test('a long poll is answered when a command comes, and with nothing when none does', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const poll = device.request('GET', `${path}?wait=60`);
  await waiting(surroundings);
  const id = await surroundings.command('d1', 'reboot', '1');
  assert.deepEqual(idsOf(await poll), [id]);
  assert.equal(surroundings.broker.subscribers, 0);
  await device.request('DELETE', `${path}/${id}`);
  const before = performance.now();
  assert.equal((await device.request('GET', `${path}?wait=1`)).status, 204);
  assert.ok(performance.now() - before >= 990);
  assert.equal(surroundings.broker.subscribers, 0);
  assert.equal(device.sockets.length, 1);
});

test('a command that comes while a poll is about to wait is not missed', async (t) => {
  const message = {
    topic: 'devices/d1/commands/late',
    payload: Buffer.from('1'),
    qos: 1,
    retain: false,
    properties: {},
    publisher: principalName('service', 's1'),
    publisherSession: '',
    delivery: undefined,
    expiresAt: undefined,
  } as const;
  const surroundings: Surroundings = await Surroundings.of(t, {
    ports: {
      // Stored, and its poke lost: the others did not know yet that somebody wants it.
      interestSettled: async () =>
        void (await surroundings.mailbox.put(principalName('device', 'd1'), message)),
    },
  });
  const answer = await surroundings.device(t, 'd1').request('GET', `${path}?wait=30`);
  assert.equal(idsOf(answer).length, 1);
});

test('a message that is no command for this device wakes nobody in vain', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const poll = device.request('GET', `${path}?wait=1`);
  await waiting(surroundings);
  await surroundings.command('d2', 'reboot', '1');
  assert.equal((await poll).status, 204);
});

test('a stream gives each command once, those that wait and those that come', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const first = await surroundings.command('d1', 'a', '1');
  using stream = await device.eventStream();
  assert.equal(stream.headers.get('content-type'), 'text/event-stream');
  const event = await stream.next();
  assert.deepEqual([event.id, event.event], [first, 'command']);
  const { at, ...command } = JSON.parse(event.data) as Record<string, unknown>;
  assert.deepEqual(command, { id: first, topic: 'devices/d1/commands/a', payload: 1 });
  assert.equal(new Date(String(at)).toISOString(), at);
  await waiting(surroundings);
  const later = await Promise.all(
    Array.from({ length: 50 }, (_, i) => surroundings.command('d1', 'b', String(i))),
  );
  for (const id of later) assert.equal((await stream.next()).id, id);
  assert.equal(stream.events.length, 51);
  stream[Symbol.dispose]();
  await until('the stream is forgotten', 5_000, () => surroundings.broker.subscribers === 0);
});

test('a command that comes while the mailbox is being read is not missed', async (t) => {
  const surroundings = await Surroundings.of(t);
  const list = surroundings.mailbox.list.bind(surroundings.mailbox);
  let meanwhile: (() => Promise<unknown>) | undefined;
  surroundings.mailbox.list = async (device) => {
    const found = await list(device);
    const act = meanwhile;
    meanwhile = undefined;
    await act?.();
    return found;
  };
  using stream = await surroundings.device(t, 'd1').eventStream();
  await waiting(surroundings);
  meanwhile = () => surroundings.command('d1', 'second', '2');
  const first = await surroundings.command('d1', 'first', '1');
  assert.equal((await stream.next()).id, first);
  assert.match((await stream.next()).data, /second/);
});

test('what cannot be read behind a poll is told when it is its turn, and is the end', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  raw.send(`GET ${path}?wait=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
  await waiting(surroundings);
  raw.send('garbage\r\n\r\n');
  const answers = await raw.answersUntilClose(5_000);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [204, 400],
  );
  assert.equal(surroundings.broker.subscribers, 0);
});

test('what a reader says it has seen is acknowledged when it comes back', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const ids = [];
  for (const name of ['a', 'b', 'c']) ids.push(await surroundings.command('d1', name, '1'));
  using stream = await device.eventStream(ids[1]);
  assert.equal((await stream.next()).id, ids[2]);
  assert.deepEqual(idsOf(await device.request('GET', path)), [ids[2]]);
});

test('a Last-Event-ID that is no id of ours is malformed', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectionsPerIdentity: 100 } });
  await surroundings.command('d1', 'a', '1');
  for (const id of ['', 'a b', '../x', 'é', 'a'.repeat(65), '1,2']) {
    const raw = await surroundings.raw(t);
    raw.send(
      `GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: ${id}\r\n\r\n`,
    );
    assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[400, 'malformed']], id);
  }
  const device = surroundings.device(t, 'd1');
  assert.equal(idsOf(await device.request('GET', path)).length, 1);
});

test('a stream that is open for too long is ended in good order', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { streamMs: 500 } });
  using stream = await surroundings.device(t, 'd1').eventStream();
  assert.equal((await stream.ended).complete, true);
});

test('a stream on which nothing comes is kept alive by comments', async (t) => {
  const clock = new HandClock();
  clock.time = Date.now();
  const surroundings = await Surroundings.of(t, { clock });
  using stream = await surroundings.device(t, 'd1').eventStream();
  clock.time += 15_000;
  assert.equal(await stream.nextComment(), '');
  assert.equal(stream.events.length, 0);
});

test('polls and streams beside each other each get everything', async (t) => {
  const surroundings = await Surroundings.of(t);
  using stream = await surroundings.device(t, 'd1').eventStream();
  const polls = [1, 2].map(() => surroundings.device(t, 'd1').request('GET', `${path}?wait=30`));
  await waiting(surroundings, 3);
  const id = await surroundings.command('d1', 'a', '1');
  assert.equal((await stream.next()).id, id);
  for (const poll of polls) assert.deepEqual(idsOf(await poll), [id]);
});

test('a mailbox that cannot be read is unavailable', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const fails = (): Promise<never> => Promise.reject(new SallyportError('io', 'the disk is full'));
  surroundings.mailbox.list = fails;
  surroundings.mailbox.acknowledge = fails;
  surroundings.mailbox.acknowledgeUpTo = fails;
  assert.deepEqual(outcome(await device.request('GET', path)), [503, 'unavailable']);
  assert.deepEqual(outcome(await device.request('GET', `${path}?wait=5`)), [503, 'unavailable']);
  assert.deepEqual(outcome(await device.request('DELETE', `${path}/1`)), [503, 'unavailable']);
  const answer = await device.request('GET', path, {
    headers: { accept: 'text/event-stream', 'last-event-id': '1' },
  });
  assert.deepEqual(outcome(answer), [503, 'unavailable']);
});

test('the accepted types decide: whatever else is accepted gets JSON', async (t) => {
  const surroundings = await Surroundings.of(t);
  await surroundings.command('d1', 'a', '1');
  const device = surroundings.device(t, 'd1');
  for (const accept of ['*/*', 'application/json', 'text/html', 'text/event-streams', '']) {
    const answer = await device.request('GET', path, { headers: { accept } });
    assert.equal(answer.headers.get('content-type'), 'application/json', accept);
  }
  for (const accept of ['text/event-stream', 'text/html, Text/Event-Stream;q=0.5']) {
    const raw = await surroundings.raw(t);
    raw.send(`GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: ${accept}\r\n\r\n`);
    await until('the head', 5_000, () => raw.socket.bytesRead > 100);
    raw[Symbol.dispose]();
  }
});
