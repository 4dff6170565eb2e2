/** docs/openapi/device-api.yaml describes the device API as it is: every operation, every answer. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startBackend } from '../harness/backend.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { jsonOf, problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { HttpsDevice, httpsPort } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { OpenApiDocument } from '../harness/open-api.ts';
import type { DescribedOperation } from '../harness/open-api.ts';
import { issueLeaf, makeAuthority } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { spoolOf } from '../harness/spool-state.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const document = OpenApiDocument.load('device-api.yaml');

/** What takes a disk that refuses, or a gateway that stops at that very moment. */
const unprovoked = [/^(?:getCommands|acknowledgeCommand|getTime) 503$/];

const burst = 100;
const spoolMessages = 50;
/** As many as some test needs at once. */
const connectionsPerIdentity = 16;

const folder = temporaryFolder();
const backend = await startBackend();
const authority = makeAuthority(folder.at('anchor'), 'a manufacturer');
const gateway = await startGateway({
  folder,
  files: { 'object.json': '{"type":"object"}' },
  config: [
    'limits:',
    `  identityRates: { device: { limit: 1/h, burst: ${burst} } }`,
    `  connectionsPerIdentity: ${connectionsPerIdentity}`,
    '  requestHeaders: 1s',
    '  request: 1s',
    '  retainedPerIdentity: 1',
    'ca:',
    '  trustAnchors:',
    `    - { name: manufacturer, file: ${authority.crt}, register: known }`,
    'routes:',
    '  all:',
    '    match: devices/+/+',
    '    schema: object.json',
    `    to: [ { http: ${backend.url} } ]`,
    `    spool: { messages: ${spoolMessages} }`,
  ].join('\n'),
});
after(async () => {
  await gateway[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const port = httpsPort(gateway);

const ids = ['d1', 'malformed', 'suspended', 'quarantined', 'hasty', 'many', 'late'] as const;
const identities = new Map<string, Identity>(
  (await gateway.devices(...ids)).map((identity) => [identity.id, identity]),
);
function identityOf(id: (typeof ids)[number]): Identity {
  const identity = identities.get(id);
  assert.ok(identity !== undefined);
  return identity;
}
const d1 = identityOf('d1');
const service = await gateway.service('app', 'backend');
const unknown = issueLeaf(authority, folder.at('anchor'), 'unknown', d1.ca, {
  subject: '/CN=unknown',
});
await gateway.ok('device', 'suspend', 'suspended');
await gateway.ok('device', 'quarantine', 'quarantined');

const concrete = ({ path }: DescribedOperation): string => path.replace('{id}', 'no-such-command');

/** A request of the operation, whole and in order but for what is added. */
function requestText(operation: DescribedOperation, ...lines: readonly string[]): string {
  const body = operation.method === 'POST' ? '{}' : '';
  const length = body === '' ? [] : [`Content-Length: ${body.length}`];
  const first = `${operation.method} ${concrete(operation)} HTTP/1.1`;
  return [first, 'Host: localhost', ...length, ...lines, '', body].join('\r\n');
}

async function rawly(identity: Identity, text: string): Promise<HttpAnswer> {
  using raw = await RawHttps.open({ port, identity });
  raw.send(text);
  return await raw.answer();
}

function assertAnswered(method: string, path: string, status: number, answer: HttpAnswer): void {
  document.assertAnswer(method, path, answer);
  assert.equal(answer.status, status, `${method} ${path}: ${answer.body.toString()}`);
}

/** What is the same for every operation: how it is provoked, and whether the connection has to end with it. */
async function assertEverywhere(
  status: number,
  provoke: (operation: DescribedOperation) => Promise<HttpAnswer>,
  closes: 'closes' | 'stays',
  operations: readonly DescribedOperation[] = document.operations,
): Promise<void> {
  assert.ok(operations.length > 0);
  await Promise.all(
    operations.map(async (operation) => {
      const answer = await provoke(operation);
      assertAnswered(operation.method, concrete(operation), status, answer);
      const { id } = operation;
      assert.equal(answer.headers.get('connection') === 'close', closes === 'closes', id);
    }),
  );
}

const publishing = document.operations.filter(({ method }) => method === 'POST');

test('a message is accepted', async () => {
  using device = new HttpsDevice({ port, identity: d1 });
  for (const [seq, { path }] of publishing.entries()) {
    const answer = await device.request('POST', path, { body: { seq } });
    assertAnswered('POST', path, 202, answer);
    assert.equal(answer.headers.get('content-length'), '0');
  }
  const promised = publishing.map((_, seq) => ({ device: 'd1', seq }));
  const record = await backend.recorded(
    'all of them',
    (each) => each.missing(promised).length === 0,
  );
  record.assertSound(promised);
});

test('commands are given, streamed and acknowledged', async () => {
  using device = new HttpsDevice({ port, identity: d1 });
  using publisher = await RawMqtt.open({ port: gateway.mqttsPort, identity: service });
  await publisher.connect();
  const path = '/api/v1/commands';
  const command = async (name: string, payload: string | Buffer): Promise<void> => {
    assert.equal(await publisher.publish(`devices/d1/commands/${name}`, payload), 0);
  };
  assertAnswered('GET', path, 204, await device.request('GET', path));

  const waiting = device.request('GET', `${path}?wait=60`);
  await command('config/set', '{"interval":60}');
  assertAnswered('GET', path, 200, await waiting);
  await command('blob', Buffer.of(0xff));
  const answer = await device.request('GET', path);
  assertAnswered('GET', path, 200, answer);
  const [first, second, ...more] = jsonOf(answer) as { readonly id: string }[]; // as documented
  assert.ok(first !== undefined && second !== undefined && more.length === 0);
  assert.deepEqual(without(first), {
    topic: 'devices/d1/commands/config/set',
    payload: { interval: 60 },
  });
  assert.deepEqual(without(second), {
    topic: 'devices/d1/commands/blob',
    payload_base64: '/w==',
  });

  const one = `${path}/${first.id}`;
  assertAnswered('DELETE', one, 204, await device.request('DELETE', one));
  assertAnswered('DELETE', one, 404, await device.request('DELETE', one));

  using stream = await device.eventStream();
  const { status, headers } = stream;
  document.assertAnswer('GET', path, { status, headers, body: Buffer.alloc(0) });
  const event = await stream.next();
  assert.deepEqual([event.id, event.event], [second.id, 'command']);
  document.assertMatches('Command', JSON.parse(event.data));
  assert.deepEqual(JSON.parse(event.data), second);
  stream[Symbol.dispose]();
  await stream.ended;

  using next = await device.eventStream(second.id);
  await command('reboot', '');
  const reboot = await next.next();
  document.assertMatches('Command', JSON.parse(reboot.data));
  assert.notEqual(reboot.id, second.id);
});

/** What is not the same in every run. */
function without(command: object): object {
  const { id: _id, at: _at, ...rest } = Object.fromEntries(Object.entries(command));
  return rest;
}

test('the time, also for a device in quarantine', async () => {
  using device = new HttpsDevice({ port, identity: identityOf('quarantined') });
  const path = '/api/v1/time';
  const answer = await device.request('GET', path);
  assertAnswered('GET', path, 200, answer);
  const now = jsonOf(answer);
  assert.ok(typeof now === 'object' && now !== null && 'time' in now && 'unix_ms' in now);
  assert.equal(Date.parse(String(now.time)), now.unix_ms);
  for (const { path: where } of publishing) {
    const refused = await device.requestAlone('POST', where, { body: {} });
    assertAnswered('POST', where, 403, refused);
    assert.equal(problemCode(refused), 'standing');
  }
});

test('what is malformed, too large, too slow or not understood', async () => {
  const identity = identityOf('malformed');
  const sends =
    (change: (text: string, operation: DescribedOperation) => string) =>
    (operation: DescribedOperation): Promise<HttpAnswer> =>
      rawly(identity, change(requestText(operation), operation));
  const adds = (line: string) => sends((_, operation) => requestText(operation, line));
  await assertEverywhere(400, adds('Host: twice'), 'closes');
  await assertEverywhere(417, adds('Expect: a-miracle'), 'closes');
  await assertEverywhere(431, adds(`X: ${'x'.repeat(9_000)}`), 'closes');
  const old = sends((text) => text.replace('HTTP/1.1', 'HTTP/1.0'));
  await assertEverywhere(505, old, 'closes');
  await assertEverywhere(415, adds('Content-Encoding: gzip'), 'closes', publishing);
  const large = sends((text) => text.replace('Length: 2', 'Length: 1000000'));
  await assertEverywhere(413, large, 'closes', publishing);

  const halfHead = sends((text) => text.slice(0, 20));
  const halfBody = sends((text) => text.slice(0, -1));
  await Promise.all([
    assertEverywhere(408, halfHead, 'closes'),
    assertEverywhere(408, halfBody, 'closes', publishing),
  ]);

  using device = new HttpsDevice({ port, identity });
  for (const wait of ['61', '-1', '1.5', '', '1&wait=2']) {
    const path = `/api/v1/commands?wait=${wait}`;
    assertAnswered('GET', path, 400, await device.requestAlone('GET', path));
  }
});

test('who may not', async () => {
  await assertEverywhere(401, (each) => rawly(unknown, requestText(each)), 'closes');
  const suspended = identityOf('suspended');
  await assertEverywhere(403, (each) => rawly(suspended, requestText(each)), 'closes');
  using client = new HttpsDevice({ port, identity: service });
  // Without a body: one that is not read ends the connection with any refusal.
  const services = (each: DescribedOperation): Promise<HttpAnswer> =>
    client.request(each.method, concrete(each));
  await assertEverywhere(403, services, 'stays');
  const telemetry = await client.request('POST', '/api/v1/telemetry', { body: {} });
  assert.equal(problemCode(telemetry), 'forbidden');
});

test('paths and methods that are not there', async () => {
  using device = new HttpsDevice({ port, identity: d1 });
  for (const path of ['/', '/api/v1/nothing', '/api/v1/telemetry/', '/api/v1/%74ime']) {
    document.assertSharedResponse('NotFound', await device.request('GET', path));
  }
  for (const operation of document.operations) {
    const method = operation.method === 'GET' ? 'DELETE' : 'GET';
    const answer = await device.request(method, concrete(operation));
    document.assertSharedResponse('MethodNotAllowed', answer);
    assert.equal(answer.headers.get('allow'), operation.method);
  }
});

test('a payload that its schema refuses', async () => {
  using device = new HttpsDevice({ port, identity: d1 });
  const send = (each: DescribedOperation): Promise<HttpAnswer> =>
    device.request('POST', each.path, { body: '[]' });
  await assertEverywhere(422, send, 'stays', publishing);
});

test('more connections than one identity may have', async () => {
  const identity = identityOf('many');
  const held = await Promise.all(
    Array.from({ length: connectionsPerIdentity }, async () => {
      const raw = await RawHttps.open({ port, identity });
      // At once: who has asked for nothing within `requestHeaders` is not kept.
      raw.send('GET /api/v1/time HTTP/1.1\r\nHost: localhost\r\n\r\n');
      assert.equal((await raw.answer()).status, 200);
      return raw;
    }),
  );
  try {
    await assertEverywhere(507, (each) => rawly(identity, requestText(each)), 'closes');
  } finally {
    for (const raw of held) raw[Symbol.dispose]();
  }
});

test('faster than it may be', async () => {
  using device = new HttpsDevice({ port, identity: identityOf('hasty') });
  for (let passed = 0; ; passed += 1) {
    const answer = await device.request('POST', '/api/v1/diagnostics', { body: { seq: passed } });
    document.assertAnswer('POST', '/api/v1/diagnostics', answer);
    if (answer.status === 429) break;
    assert.ok(passed <= burst, 'one more than it may');
  }
  const send = (each: DescribedOperation): Promise<HttpAnswer> =>
    device.request(each.method, concrete(each), each.method === 'POST' ? { body: {} } : {});
  await assertEverywhere(429, send, 'stays');
});

test('a backend that is away for longer than its queue is long', async () => {
  // What the backend has still to answer would make room when it is full.
  await spoolOf(gateway, 'all', ({ waiting }) => waiting === 0);
  await backend.behave({ do: 'answer', status: 503 });
  using device = new HttpsDevice({ port, identity: identityOf('late') });
  const body = { seq: 2 };
  for (let sent = 0; sent <= spoolMessages; sent += 1) {
    const answer = await device.request('POST', '/api/v1/diagnostics', { body });
    if (answer.status === 503) break;
    assert.equal(answer.status, 202);
  }
  const send = (each: DescribedOperation): Promise<HttpAnswer> =>
    device.request('POST', each.path, { body });
  await assertEverywhere(503, send, 'stays', publishing);
});

test('no documented answer was left out', () => {
  const left = document
    .unexercised()
    .filter((each) => !unprovoked.some((pattern) => pattern.test(each)));
  assert.deepEqual(left, []);
});
