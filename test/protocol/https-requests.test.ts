/** The device API over HTTPS: what is accepted, and how everything else is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { SallyportError } from '../../src/common/base/errors.ts';
import type { ErrorCode } from '../../src/common/base/errors.ts';
import { jsonOf, problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';

const outcome = (answer: HttpAnswer): unknown => [answer.status, problemCode(answer)];

test('each channel becomes its topic, with the payload as it was sent', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const bytes = Buffer.from([0, 255, 13, 10, 123]);
  for (const channel of ['telemetry', 'status', 'diagnostics', 'command-responses'] as const) {
    const answer = await device.post(channel, bytes, { 'content-type': 'application/cbor' });
    assert.deepEqual([answer.status, answer.body.length], [202, 0]);
    assert.equal(answer.headers.get('content-length'), '0');
  }
  assert.deepEqual(
    surroundings.published.map(({ topic, payload, qos, retain, properties, publisher }) => ({
      topic,
      payload,
      qos,
      retain,
      type: properties.contentType,
      publisher,
    })),
    [
      ['telemetry', false],
      ['status', true],
      ['diagnostics', false],
      ['command_responses', false],
    ].map(([name, retain]) => ({
      topic: `devices/d1/${String(name)}`,
      payload: bytes,
      qos: 1,
      retain,
      type: 'application/cbor',
      publisher: 'device/d1',
    })),
  );
});

test("curl's own content type says nothing of the payload", async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  for (const type of [
    'application/x-www-form-urlencoded',
    'Application/X-WWW-Form-Urlencoded; charset=utf-8',
  ]) {
    assert.equal((await device.post('telemetry', 'a', { 'content-type': type })).status, 202);
  }
  assert.deepEqual(
    surroundings.published.map(({ properties }) => properties.contentType),
    [undefined, undefined],
  );
});

test('a body may come in chunks, in pieces, or not at all', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  const line = 'POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\n';
  for (const byte of `${line}Transfer-Encoding: CHUNKED\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: t\r\n\r\n`) {
    raw.send(byte);
  }
  assert.equal((await raw.answer()).status, 202);
  for (const byte of `${line}Content-Length: 3\r\n\r\ndef`) raw.send(byte);
  assert.equal((await raw.answer()).status, 202);
  raw.send(`${line}\r\n`);
  assert.equal((await raw.answer()).status, 202);
  assert.deepEqual(
    surroundings.published.map(({ payload }) => payload.toString()),
    ['abc', 'def', ''],
  );
});

test('what has come before it is known who sends it is not lost', async (t) => {
  const sent = Promise.withResolvers<void>();
  const surroundings: Surroundings = await Surroundings.of(t, {
    ports: {
      identify: async (connection) => {
        await sent.promise;
        return surroundings.identify(connection);
      },
    },
  });
  const raw = await surroundings.raw(t);
  const large = Buffer.alloc(200_000, 'x');
  const head = 'POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n';
  raw.socket.write(head);
  raw.socket.write(large.subarray(0, 60_000), () => sent.resolve());
  raw.socket.write(large.subarray(60_000));
  assert.equal((await raw.answer()).status, 202);
  assert.deepEqual(surroundings.published[0]?.payload, large);
  raw.send('GET /api/v1/time HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await raw.answer()).status, 200);
});

test('the time', async (t) => {
  const surroundings = await Surroundings.of(t);
  const before = Date.now();
  const answer = await surroundings.device(t, 'd1').request('GET', '/api/v1/time');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('content-type'), 'application/json');
  const { time, unix_ms: unixMs } = jsonOf(answer) as Record<string, unknown>;
  assert.ok(typeof unixMs === 'number' && unixMs >= before && unixMs <= Date.now());
  assert.equal(time, new Date(unixMs).toISOString());
});

test('no answer tells what is behind it, may be kept, or may be read from a page', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const origin = { origin: 'https://evil.example' };
  const raw = await surroundings.raw(t);
  raw.send('garbage\r\n\r\n');
  const answers = [
    await device.post('telemetry', 'x', origin),
    await device.request('GET', '/api/v1/time', { headers: origin }),
    await device.request('GET', '/', { headers: origin }),
    await device.request('GET', '/api/v1/commands', { headers: origin }),
    await raw.answer(),
  ];
  const allowed = new Set([
    'cache-control',
    'connection',
    'content-length',
    'content-type',
    'date',
    'keep-alive',
    'ratelimit',
    'ratelimit-policy',
    'x-content-type-options',
  ]);
  for (const { headers } of answers) {
    assert.deepEqual(
      [...headers.keys()].filter((name) => !allowed.has(name)),
      [],
    );
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.ok(!Number.isNaN(Date.parse(headers.get('date') ?? '')));
  }
});

const missing = [
  'GET /',
  'GET /api/v1',
  'POST /api/v1/telemetry/',
  'POST /api/v1//telemetry',
  'POST //api/v1/telemetry',
  'POST /api/v1/./telemetry',
  'POST /api/v1/x/../telemetry',
  'POST /api/v1%2ftelemetry',
  'POST /api/v1/%74elemetry',
  'POST /API/v1/telemetry',
  'POST /api/v1\\telemetry',
  'POST /api/v1/command_responses',
  'POST /api/v1/telemetry;a=b',
  'POST /api/v1/telemetry#a',
  'DELETE /api/v1/commands/',
  'DELETE /api/v1/commands/a/b',
  'DELETE /api/v1/commands/..',
  'DELETE /api/v1/commands/a%00',
  `DELETE /api/v1/commands/${'a'.repeat(65)}`,
  'GET /api/v1/__proto__',
  'GET /constructor',
];

test('a path is what it says or is not found', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  for (const request of missing) {
    raw.send(`${request} HTTP/1.1\r\nHost: x\r\n\r\n`);
    assert.deepEqual(outcome(await raw.answer()), [404, 'not-found'], request);
  }
  assert.deepEqual(surroundings.published, []);
});

test('a wrong method is told which one is right', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const right = {
    '/api/v1/telemetry': 'POST',
    '/api/v1/status': 'POST',
    '/api/v1/commands': 'GET',
    '/api/v1/commands/1': 'DELETE',
    '/api/v1/time': 'GET',
  };
  for (const [path, allow] of Object.entries(right)) {
    for (const method of [
      'GET',
      'POST',
      'PUT',
      'DELETE',
      'PATCH',
      'OPTIONS',
      'TRACE',
      'PROPFIND',
    ]) {
      if (method === allow) continue;
      const answer = await device.request(method, path);
      assert.deepEqual(outcome(answer), [405, 'not-found'], `${method} ${path}`);
      assert.equal(answer.headers.get('allow'), allow);
    }
    const answer = await device.request('HEAD', path);
    assert.deepEqual([answer.status, answer.body.length], [405, 0]);
  }
  assert.equal(device.sockets.length, 1);
});

test('a query where none belongs, or with anything else in it, is malformed', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectionsPerIdentity: 100 } });
  const device = surroundings.device(t, 'd1');
  const requests = [
    ['POST', '/api/v1/telemetry?'],
    ['POST', '/api/v1/telemetry?a=b'],
    ['GET', '/api/v1/time?wait=1'],
    ['DELETE', '/api/v1/commands/1?a'],
    ...[
      '',
      'wait',
      'wait=',
      'wait=61',
      'wait=-1',
      'wait=+1',
      'wait=1.5',
      'wait=01',
      'wait=1e1',
    ].map((query) => ['GET', `/api/v1/commands?${query}`]),
    ...['wait=1&wait=2', 'wait=1&a=b', 'Wait=1', 'wait=%31', 'wait=1%00', 'wait=100'].map(
      (query) => ['GET', `/api/v1/commands?${query}`],
    ),
  ] as const;
  for (const [method = '', path = ''] of requests) {
    assert.deepEqual(outcome(await device.requestAlone(method, path)), [400, 'malformed'], path);
  }
});

test('an encoded payload is not decoded', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { connectionsPerIdentity: 100 } });
  const device = surroundings.device(t, 'd1');
  for (const coding of ['gzip', 'br', 'deflate', 'gzip, gzip', 'zstd']) {
    const answer = await device.post('telemetry', 'x', { 'content-encoding': coding });
    assert.deepEqual(outcome(answer), [415, 'malformed'], coding);
  }
  const plain = await device.post('telemetry', 'x', { 'content-encoding': 'Identity' });
  assert.equal(plain.status, 202);
  assert.equal(surroundings.published.length, 1);
});

test('Expect: 100-continue is answered when the body is wanted, and refused at once when it is not', async (t) => {
  const surroundings = await Surroundings.of(t, { limits: { payloadBytes: 100 } });
  const head = 'POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n';
  const good = await surroundings.raw(t);
  good.send(`${head}Content-Length: 4\r\n\r\n`);
  assert.equal((await good.answer()).status, 100);
  good.send('true');
  assert.equal((await good.answer()).status, 202);
  const large = await surroundings.raw(t);
  large.send(`${head}Content-Length: 101\r\n\r\n`);
  assert.deepEqual((await large.answersUntilClose()).map(outcome), [[413, 'too-large']]);
  const other = await surroundings.raw(t);
  other.send(
    'POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\nExpect: the worst\r\nContent-Length: 4\r\n\r\ntrue',
  );
  assert.deepEqual((await other.answersUntilClose()).map(outcome), [[417, 'malformed']]);
  surroundings.setStanding('device/d2', 'quarantined');
  const away = await surroundings.raw(t, 'd2');
  away.send(`${head}Content-Length: 4\r\n\r\n`);
  assert.deepEqual((await away.answersUntilClose()).map(outcome), [[403, 'standing']]);
  const stranger = await surroundings.raw(t, null);
  stranger.send(`${head}Content-Length: 4\r\n\r\n`);
  assert.deepEqual((await stranger.answersUntilClose()).map(outcome), [[401, 'unauthenticated']]);
  assert.equal(surroundings.published.length, 1);
});

test('what the policy denies is told by its code', async (t) => {
  const schema = '{"type":"object","required":["a"]}';
  const surroundings = await Surroundings.of(t, {
    config: `
routes:
  telemetry: { rate: { limit: 1/m, burst: 1 } }
  diagnostics: { match: devices/+/diagnostics, schema: a.json, payloadBytes: 1KiB }
roles: { device: { allow: { publish: [ 'devices/\${id}/+' ] }, deny: { publish: [ 'devices/+/status' ] } } }
`,
    files: { 'a.json': schema },
  });
  const device = surroundings.device(t, 'd1');
  assert.equal((await device.post('telemetry', 'x')).status, 202);
  assert.equal((await device.post('telemetry', 'x')).status, 202);
  const tooFast = await device.post('telemetry', 'x');
  assert.deepEqual(outcome(tooFast), [429, 'rate']);
  assert.match(tooFast.headers.get('retry-after') ?? '', /^[0-9]+$/);
  assert.deepEqual(jsonOf(tooFast), {
    type: 'about:blank',
    title: 'Too Many Requests',
    status: 429,
    code: 'rate',
  });
  assert.deepEqual(outcome(await device.post('diagnostics', { b: 1 })), [422, 'schema']);
  assert.deepEqual(outcome(await device.post('status', 'x')), [403, 'forbidden']);
  assert.equal(device.sockets.length, 1, 'none of these ends the connection');
  const large = await device.post('diagnostics', { a: 'x'.repeat(1_100) });
  assert.deepEqual(outcome(large), [413, 'too-large']);
  assert.equal(large.headers.get('connection'), 'close');
  assert.equal(surroundings.published.length, 2);
});

test('a service is no device', async (t) => {
  const surroundings = await Surroundings.of(t);
  const service = surroundings.device(t, 's1');
  for (const [method, path] of [
    ['POST', '/api/v1/telemetry'],
    ['GET', '/api/v1/commands'],
    ['GET', '/api/v1/time'],
    ['DELETE', '/api/v1/commands/1'],
    ['GET', '/nowhere'],
  ] as const) {
    assert.deepEqual(outcome(await service.request(method, path)), [403, 'forbidden'], path);
  }
});

test('202 is sent when the message is stored, and not when it is not', async (t) => {
  const surroundings = await Surroundings.of(t);
  const device = surroundings.device(t, 'd1');
  const codes: readonly (readonly [ErrorCode, number, string])[] = [
    ['unavailable', 503, 'unavailable'],
    ['io', 503, 'unavailable'],
    ['quota', 507, 'quota'],
  ];
  for (const [code, status, told] of codes) {
    surroundings.store = () => Promise.reject(new SallyportError(code, 'not stored'));
    assert.deepEqual(outcome(await device.post('telemetry', 'x')), [status, told]);
    surroundings.store = () => {
      throw new SallyportError(code, 'not stored');
    };
    assert.deepEqual(outcome(await device.post('telemetry', 'x')), [status, told]);
  }
  assert.deepEqual(surroundings.published, []);
  const stored = Promise.withResolvers<void>();
  const storing = Promise.withResolvers<void>();
  surroundings.store = () => {
    storing.resolve();
    return stored.promise;
  };
  let isAnswered = false;
  const answer = device.post('telemetry', 'x').finally(() => {
    isAnswered = true;
  });
  await storing.promise;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isAnswered, false);
  assert.deepEqual(surroundings.published, [], 'nobody hears of what may be lost');
  stored.resolve();
  assert.equal((await answer).status, 202);
  assert.equal(surroundings.published.length, 1);
});

test('an exception in the code of one connection ends that connection only, and is reported', async (t) => {
  const surroundings = await Surroundings.of(t);
  const good = surroundings.device(t, 'd2');
  assert.equal((await good.post('telemetry', '1')).status, 202);
  const defects = [
    () => {
      throw new TypeError('a defect');
    },
    () => Promise.reject(new TypeError('a defect')),
  ];
  for (const defect of defects) {
    surroundings.store = ({ publisher }) => (publisher === 'device/d1' ? defect() : undefined);
    const raw = await surroundings.raw(t);
    raw.send('POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1');
    await raw.ended;
    assert.equal(surroundings.faults.splice(0).length, 1);
    assert.equal((await good.post('telemetry', '1')).status, 202);
  }
  assert.equal(good.sockets.length, 1);
  assert.equal(surroundings.published.length, 3);
});

test('requests that are sent together are handled and answered in their order', async (t) => {
  const surroundings = await Surroundings.of(t);
  let storing = 0;
  surroundings.store = async () => {
    storing += 1;
    assert.equal(storing, 1, 'one after the other');
    await new Promise((resolve) => setImmediate(resolve));
    storing -= 1;
  };
  const raw = await surroundings.raw(t);
  const post = (channel: string): string =>
    `POST /api/v1/${channel} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1`;
  raw.send(`${post('telemetry')}GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n${post('diagnostics')}`);
  const answers = [await raw.answer(), await raw.answer(), await raw.answer()];
  assert.deepEqual(
    answers.map(({ status }) => status),
    [202, 404, 202],
  );
  assert.deepEqual(
    surroundings.published.map(({ topic }) => topic),
    ['devices/d1/telemetry', 'devices/d1/diagnostics'],
  );
});

test('only HTTP/1.1 is spoken: ALPN', async (t) => {
  const surroundings = await Surroundings.of(t);
  const { port, ca, identity } = surroundings.options('d1');
  assert.ok(identity !== undefined && ca !== undefined);
  const offer = (protocols: string[]) =>
    tlsConnect({
      host: '127.0.0.1',
      port,
      servername: 'localhost',
      ca: readFileSync(ca),
      key: readFileSync(identity.key),
      cert: readFileSync(identity.crt),
      ALPNProtocols: protocols,
    });
  const both = offer(['h2', 'http/1.1']);
  await once(both, 'secureConnect');
  assert.equal(both.alpnProtocol, 'http/1.1');
  both.destroy();
  const [error] = (await once(offer(['h2']), 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
});
