/** What one identity may do on a proxied route: requests in several windows, bytes, requests at once, and JSON or CBOR. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from 'cbor2';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import type { HttpsDevice } from '../harness/https-device.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedConfig, proxiedWorld } from '../harness/proxied.ts';
import { answerText } from '../harness/upstream-server.ts';
import { until } from '../harness/waiting.ts';

const said = (answer: HttpAnswer): readonly unknown[] => [answer.status, problemCode(answer)];

function post(
  device: HttpsDevice,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<HttpAnswer> {
  return device.request('POST', '/b/x', { body, headers });
}

test('two windows at once; every answer says what is left, and a refusal when to come again', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'rate: [ { limit: 5/h, burst: 3 }, { limit: 2/day, burst: 4 } ]',
  });
  const device = surroundings.device(t, 'd1');
  for (let sent = 1; sent <= 4; sent += 1) {
    const { status, headers } = await post(device, '{}');
    assert.equal(status, 200);
    assert.equal(headers.get('ratelimit-policy'), '"route";q=5;w=3600, "route-2";q=2;w=86400');
    assert.match(
      headers.get('ratelimit') ?? '',
      new RegExp(`"route";r=${4 - sent};t=\\d+, "route-2";r=${Math.min(2, 5 - sent)};t=\\d+`),
    );
  }
  const refused = await post(device, '{}');
  assert.deepEqual(said(refused), [429, 'rate']);
  const seconds = Number(refused.headers.get('retry-after'));
  assert.ok(seconds > 600 && seconds <= 720, `${seconds}`);
  assert.equal(backend.requests.length, 4);
  assert.equal((await post(surroundings.device(t, 'd2'), '{}')).status, 200);
});

test('bytes: of a body that says how long it is, of one that does not, and of one that could never pass', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'bytesRate: { limit: 240000/day, burst: 9999 }',
  });
  const device = surroundings.device(t, 'd1');
  const answer = await post(device, 'x'.repeat(6_000));
  assert.equal(answer.status, 200);
  assert.match(
    answer.headers.get('ratelimit-policy') ?? '',
    /"bytes";q=240000;w=86400;qu="content-bytes"/,
  );
  assert.match(answer.headers.get('ratelimit') ?? '', /"bytes";r=4\d\d\d;t=2160/);
  const refused = await post(device, 'x'.repeat(6_000));
  assert.deepEqual(said(refused), [429, 'rate']);
  const seconds = Number(refused.headers.get('retry-after'));
  assert.ok(seconds > 600 && seconds <= 720, `${seconds}`);
  assert.equal((await post(device, 'x'.repeat(10_001))).status, 413);
  // What was refused was not charged.
  assert.equal((await post(device, 'x'.repeat(3_990))).status, 200);
  assert.equal(backend.requests.length, 2);

  const raw = await surroundings.raw(t, 'd2');
  const chunk = 'x'.repeat(4_000);
  raw.send(requestText('POST', '/b/x', undefined, 'Transfer-Encoding: chunked'));
  for (let n = 0; n < 3; n += 1) raw.send(`fa0\r\n${chunk}\r\n`);
  const streamed = await raw.answer();
  assert.deepEqual(said(streamed), [429, 'rate']);
  assert.equal(backend.requests.length, 2, 'no whole request has come');
});

test('so many requests at once; one that ends, or whose device goes away, makes room', async (t) => {
  const held: (() => void)[] = [];
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'concurrent: 2',
    behaviour: (_request, socket) => {
      held.push(() => socket.write(answerText(200, 'late')));
      return undefined;
    },
  });
  const alone = (id: string): Promise<HttpAnswer> =>
    surroundings.device(t, id).requestAlone('GET', '/b/slow');
  const first = alone('d1');
  const going = await surroundings.raw(t, 'd1');
  going.send(requestText('GET', '/b/slow'));
  await until('two are at the backend', 10_000, () => backend.requests.length === 2);
  const third = await alone('d1');
  assert.deepEqual(said(third), [429, 'rate']);
  assert.equal(third.headers.get('retry-after'), '1');
  const others = alone('d2');
  await until('that of another device is', 10_000, () => backend.requests.length === 3);
  going[Symbol.dispose]();
  const more: Promise<HttpAnswer>[] = [];
  await until('there is room again', 10_000, async () => {
    const known = backend.requests.length;
    const next = alone('d1');
    more.push(next);
    const refused = next.then(({ status }) => status === 429);
    const passed = until(
      'it is at the backend',
      10_000,
      () => backend.requests.length > known,
    ).then(() => false);
    passed.catch(() => {});
    return !(await Promise.race([refused, passed]));
  });
  for (const answer of held) answer();
  assert.equal((await first).status, 200);
  assert.equal((await others).status, 200);
  assert.equal((await more.at(-1))?.status, 200);
});

test('a schema judges JSON and CBOR by what the request says it is, and nothing is decompressed for it', async (t) => {
  const schema = {
    type: 'object',
    properties: { t: { type: 'number', maximum: 50 } },
    required: ['t'],
  };
  const { surroundings, backend } = await proxiedWorld(t, {
    route: 'schema: t.json',
    files: { 't.json': JSON.stringify(schema) },
  });
  const device = surroundings.device(t, 'd1');
  const cbor = { 'content-type': 'application/cbor' };
  const bytes = (value: unknown): Buffer => Buffer.from(encode(value));
  assert.equal((await post(device, '{"t":1}')).status, 200);
  assert.equal((await post(device, bytes({ t: 1 }), cbor)).status, 200);
  assert.deepEqual(backend.requests.at(-1)?.body, bytes({ t: 1 }));
  for (const [body, headers] of [
    ['{"t":51}', {}],
    ['{"t":1,"t":2}', {}],
    ['['.repeat(100_000), {}],
    [bytes({ t: 51 }), cbor],
    [bytes({ t: 1 }), {}],
    ['{"t":1}', cbor],
    [Buffer.from('9bffffffffffffffff', 'hex'), cbor],
    [Buffer.from('81'.repeat(100_000), 'hex'), cbor],
    [Buffer.from('a2617401617402', 'hex'), cbor],
  ] as const) {
    assert.deepEqual(said(await post(device, body, headers)), [422, 'schema']);
  }
  assert.equal((await post(device, '{"t":1}', { 'content-encoding': 'gzip' })).status, 415);
  assert.equal(backend.requests.length, 2);
});

test('a body under a schema is passed on as what it was judged as, and as nothing that a backend would read otherwise', async (t) => {
  const files = { 't.json': JSON.stringify({ type: 'object' }) };
  const { surroundings, backend } = await proxiedWorld(t, { route: 'schema: t.json', files });
  const device = surroundings.device(t, 'd1');
  // A form with the field `role`; and in UTF-7 another object.
  const body = '{"a":"&role=admin&+ACI-"}';
  for (const type of [
    'application/json',
    'Application/JSON; charset=UTF-8',
    'application/senml+json;charset="utf-8"',
    'text/json',
  ]) {
    assert.equal((await post(device, body, { 'content-type': type })).status, 200, type);
  }
  const passed = backend.requests.length;
  for (const type of [
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=a',
    'text/plain',
    'application/xml',
    'application/json, application/x-www-form-urlencoded',
    'application/json; charset=utf-7',
    'application/json; charset="utf-16"',
    'application/json; charset=utf-8; charset=utf-7',
    'application/json; charset*=utf-8',
    'application/json; a="b;charset=utf-8"',
    'text/cbor',
    '+json',
    `application/json; a=${'a'.repeat(128)}`,
  ]) {
    const answer = await post(device, body, { 'content-type': type });
    assert.deepEqual(said(answer), [422, 'schema'], type);
  }
  assert.equal(backend.requests.length, passed);
  // What the route names is what its backend is known to read so.
  const listed = 'schema: t.json, contentTypes: [ text/plain ]';
  surroundings.setPolicy(proxiedConfig(backend.url, listed), 'told', files);
  assert.equal((await post(device, body, { 'content-type': 'text/plain' })).status, 200);
  const other = { 'content-type': 'text/plain; charset=utf-7' };
  assert.deepEqual(said(await post(device, body, other)), [422, 'schema']);
});
