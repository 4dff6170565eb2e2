/**
 * Who sent a message is what its certificate says. Whatever a device writes into headers, in whatever spelling, neither
 * changes that nor reaches the backend, and nothing that the gateway says to the backend can be removed or replaced.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startBackend } from '../harness/backend.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { telemetryText } from '../harness/https-text.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const backend = await startBackend();
after(() => backend[Symbol.asyncDispose]());
const { gateway } = await sharedGateway({
  config: [
    'limits: { identityRates: { device: [] } }',
    'routes:',
    `  telemetry: { rate: [], to: [ { http: ${backend.url} } ] }`,
  ].join('\n'),
});
const port = gateway.httpsPort;
const [d1] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined);
let sent = 0;

/** Everything that a backend is told, and what HTTP itself needs. */
const told = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'content-type',
  'ce-specversion',
  'ce-id',
  'ce-source',
  'ce-subject',
  'ce-type',
  'ce-time',
]);

/** Sends a reading with these lines; asserts that the backend gets it from d1, and nothing of the lines. */
async function assertUnmoved(...lines: readonly string[]): Promise<void> {
  sent += 1;
  const n = sent;
  using raw = await RawHttps.open({ port, identity: d1 });
  raw.send(telemetryText(JSON.stringify({ seq: n }), ...lines));
  const answer = await raw.answer();
  assert.equal(answer.status, 202, lines.join());
  const { request, ...event } = await backend.arrival(({ seq }) => seq === n);
  assert.equal(event.source, 'spiffe://fleet.internal/device/d1');
  assert.equal(event.subject, 'devices/d1/telemetry');
  for (const [name, values] of Object.entries(request.headers)) {
    assert.ok(told.has(name), `${name}: ${values.join()}`);
    assert.equal(values.length, 1, `${name}: ${values.join()}`);
    assert.ok(!values.some((value) => /=d2|evil/.test(value)), `${name}: ${values.join()}`);
  }
  assert.equal(request.path, '/ingest');
}

const names = [
  'X-SSL-Client-S-DN',
  'X-SSL-Client-CN',
  'X-SSL-Client-Verify',
  'X-SSL-Client-Cert',
  'SSL-Client-S-DN',
  'X-Client-Cert',
  'X-Client-DN',
  'X-Forwarded-Client-Cert',
  'X-Forwarded-For',
  'X-Forwarded-User',
  'X-Forwarded-Host',
  'X-Real-IP',
  'X-Remote-User',
  'Remote-User',
  'Forwarded',
  'Via',
  'Client-Cert',
  'Client-Cert-Chain',
  'Authorization',
  'Proxy-Authorization',
  'Cookie',
  'X-Device-Id',
  'X-Original-URL',
  'X-Rewrite-URL',
  'X-HTTP-Method-Override',
  'ce-id',
  'ce-source',
  'ce-subject',
  'ce-type',
  'ce-time',
  'ce-specversion',
  'ce-deviceid',
  'traceparent',
  '__proto__',
  'constructor',
];

const spellings: Readonly<Record<string, (name: string) => string>> = {
  'as it is': (name) => name,
  'in lower case': (name) => name.toLowerCase(),
  'in capitals': (name) => name.toUpperCase(),
  'with underscores': (name) => name.replaceAll('-', '_'),
  'with dots': (name) => name.replaceAll('-', '.'),
  'as a CGI variable': (name) => `HTTP_${name.toUpperCase().replaceAll('-', '_')}`,
};

for (const [how, spell] of Object.entries(spellings)) {
  test(`every header that names somebody else, ${how}`, async () => {
    await assertUnmoved(...names.map((name) => `${spell(name)}: CN=d2, evil`));
  });
}

test('twice, which only what has one meaning may not be', async () => {
  const once = names.filter((name) => !['Authorization'].includes(name));
  for (const half of [once.slice(0, 16), once.slice(16)]) {
    await assertUnmoved(...half.flatMap((name) => [`${name}: CN=d2`, `${name}: evil`]));
  }
});

test('named in Connection, as if they were for this hop', async () => {
  const everything = [...told, ...names].join(', ');
  await assertUnmoved(`Connection: ${everything}`, 'X-SSL-Client-S-DN: CN=d2');
  await assertUnmoved('Connection: close', 'Connection: ce-source, ce-id, content-type');
  await assertUnmoved(
    'Keep-Alive: evil',
    'TE: trailers',
    'Trailer: ce-source',
    'Proxy-Connection: evil',
  );
});

test('in a trailer', async () => {
  sent += 1;
  const n = sent;
  const body = JSON.stringify({ seq: n });
  using raw = await RawHttps.open({ port, identity: d1 });
  raw.send(
    [
      'POST /api/v1/telemetry HTTP/1.1',
      'Host: localhost',
      'Transfer-Encoding: chunked',
      'Trailer: ce-source',
      '',
      body.length.toString(16),
      body,
      '0',
      'ce-source: spiffe://fleet.internal/device/d2',
      'X-SSL-Client-S-DN: CN=d2',
      '',
      '',
    ].join('\r\n'),
  );
  assert.equal((await raw.answer()).status, 202);
  const { request, source } = await backend.arrival(({ seq }) => seq === n);
  assert.equal(source, 'spiffe://fleet.internal/device/d1');
  assert.ok(Object.keys(request.headers).every((name) => told.has(name)));
});

test('a content type is what the device says it is, and no more than a content type', async () => {
  await assertUnmoved('Content-Type: application/json; x="ce-source: y"');
  const { request } = await backend.arrival(({ seq }) => seq === sent);
  assert.deepEqual(request.headers['content-type'], ['application/json; x="ce-source: y"']);
  // One that would make the backend read it as events of somebody else's making.
  for (const type of ['application/cloudevents+json', 'application/cloudevents-batch+json']) {
    sent += 1;
    using raw = await RawHttps.open({ port, identity: d1 });
    const event = {
      specversion: '1.0',
      id: 'x',
      source: 'spiffe://fleet.internal/device/d2',
      type: 't',
    };
    const body = JSON.stringify(type.includes('batch') ? [event] : event);
    raw.send(telemetryText(body, `Content-Type: ${type}`));
    const { status } = await raw.answer();
    await assertUnmoved();
    const forged = backend.record().arrivals.filter(({ source }) => source.endsWith('/d2'));
    assert.deepEqual(forged, [], `${type}: ${status}`);
  }
});
