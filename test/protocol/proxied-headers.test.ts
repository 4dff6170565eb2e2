/**
 * What a backend is told of who asks is what the gateway says, and nobody else: no spelling of a header that a device writes
 * gets through as one of ours, and none takes one of ours away.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { identityOf } from '../harness/https-listener.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import type { ProxiedWorld } from '../harness/proxied.ts';
import type { TestContext } from 'node:test';
import { answerText } from '../harness/upstream-server.ts';
import type { SeenRequest } from '../harness/upstream-server.ts';

const names = [
  'X-SSL-Client-S-DN',
  'X-SSL-Client-CN',
  'X-SSL-Client-Verify',
  'X-SSL-Cert',
  'SSL-Client-S-DN',
  'SSL-Client-Cert',
  'X-Client-Cert',
  'X-Client-DN',
  'X-Client-Verify',
  'X-Client-Id',
  'X-Device-Id',
  'X-Device-Cert',
  'X-Principal',
  'X-Sallyport-Identity',
  'X-Sallyport-Anything',
  'X-Forwarded-Client-Cert',
  'X-Forwarded-For',
  'X-Forwarded-User',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'X-Forwarded-Tls-Client-Cert',
  'X-Real-IP',
  'X-Remote-User',
  'X-Host',
  'Remote-User',
  'Remote-Addr',
  'True-Client-IP',
  'CF-Connecting-IP',
  'Forwarded',
  'Via',
  'Client-Cert',
  'Client-Cert-Chain',
  'X-Original-URL',
  'X-Rewrite-URL',
  'X-Original-Forwarded-For',
  'X-HTTP-Method-Override',
  'X-HTTP-Method',
  'X-Method-Override',
  'X-Auth-Request-User',
  'X-WebAuth-User',
  'X-Consumer-Id',
  'X-Amzn-Oidc-Identity',
  'X-Goog-Authenticated-User-Email',
  'X-MS-Client-Principal',
  'X-Envoy-External-Address',
  'X-Authentik-Username',
  'X-Pomerium-Jwt-Assertion',
  'Cf-Access-Jwt-Assertion',
  'Tailscale-User-Login',
  'Impersonate-User',
  'X-User',
  'X-Username',
  'Proxy',
  'Proxy-Authorization',
  'Proxy-Connection',
  'ce-source',
  'ce-id',
  'HTTP-X-Device-Id',
];

const spellings: Readonly<Record<string, (name: string) => string>> = {
  'as it is': (name) => name,
  'in lower case': (name) => name.toLowerCase(),
  'in capitals': (name) => name.toUpperCase(),
  'with underscores': (name) => name.replaceAll('-', '_'),
  'with the last hyphen an underscore': (name) => name.replace(/-([^-]*)$/, '_$1'),
  'with dots': (name) => name.replaceAll('-', '.'),
  'with another character that a token may have': (name) => name.replaceAll('-', '~'),
  'as a CGI variable': (name) => `HTTP_${name.toUpperCase().replaceAll('-', '_')}`,
};

/** What the gateway says of d1's requests in this test, and of every request. */
const ours: readonly string[] = [
  'host',
  'x-principal',
  'x-device-id',
  'x-client-dn',
  'client-cert',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'via',
];

function assertOurs(seen: SeenRequest, ...more: readonly string[]): void {
  assert.deepEqual(
    seen.lines.map(([name]) => name.toLowerCase()).toSorted(),
    [...ours, ...more].toSorted(),
  );
  const certificate = new X509Certificate(readFileSync(identityOf('d1').crt));
  const said = new Map(seen.lines.map(([name, value]) => [name.toLowerCase(), value]));
  assert.equal(said.get('x-principal'), 'device/d1');
  assert.equal(said.get('x-device-id'), 'd1');
  assert.equal(said.get('x-client-dn'), 'CN=d1');
  assert.equal(said.get('client-cert'), `:${certificate.raw.toString('base64')}:`);
  assert.equal(said.get('x-forwarded-proto'), 'https');
  assert.equal(said.get('x-forwarded-host'), 'localhost');
  assert.match(said.get('x-forwarded-for') ?? '', /^127\.\d+\.\d+\.\d+$/);
}

/** What the backend saw of a request with these lines. */
async function seenWith(
  t: TestContext,
  { surroundings, backend }: ProxiedWorld,
  ...lines: readonly string[]
): Promise<SeenRequest> {
  using raw = await surroundings.raw(t);
  const n = backend.requests.length;
  raw.send(requestText('GET', '/b/x', undefined, ...lines));
  assert.equal((await raw.answer()).status, 200, lines.join());
  assert.equal(backend.requests.length, n + 1);
  return await backend.request(n + 1);
}

const options = { limits: { headers: 200, headerBytes: 32_768 } };

test('no header that speaks of who asks reaches a backend, in whatever spelling', async (t) => {
  const world = await proxiedWorld(t, options);
  assertOurs(await seenWith(t, world));
  for (const [how, spell] of Object.entries(spellings)) {
    const lines = names.map((name) => `${spell(name)}: CN=d2, evil`);
    await t.test(how, async (each) => assertOurs(await seenWith(each, world, ...lines)));
  }
  await t.test('twice', async (each) => {
    const lines = names.flatMap((name) => [`${name}: CN=d2`, `${name.toLowerCase()}: evil`]);
    assertOurs(await seenWith(each, world, ...lines));
  });
});

test('Connection takes away what is for this hop, and nothing of ours', async (t) => {
  const world = await proxiedWorld(t, options);
  const named = [...names, 'X-Mine', 'via', 'close-not'].join(', ');
  assertOurs(await seenWith(t, world, `Connection: ${named}`, 'X-Mine: 1'));
  assertOurs(
    await seenWith(
      t,
      world,
      'Connection: x-mine',
      'cOnNeCtIoN: X-DEVICE-ID,,x-principal',
      'X-Mine: 1',
    ),
  );
  const hop = [
    'Keep-Alive: timeout=1',
    'TE: trailers',
    'Trailer: X-Device-Id',
    'HTTP2-Settings: x',
  ];
  assertOurs(await seenWith(t, world, 'Connection: keep-alive, TE', ...hop));
});

test('what is for all on the way is not to be named in Connection', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  for (const name of [
    'Content-Type',
    'content-length',
    'Host',
    'Authorization',
    'X-IoT-Signature',
  ]) {
    using raw = await surroundings.raw(t);
    raw.send(requestText('POST', '/b/x', '{}', `Connection: ${name}`, 'Content-Type: text/plain'));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], [400, 'malformed'], name);
  }
  assert.equal(backend.requests.length, 0);
});

test('a trailer reaches nobody', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  using raw = await surroundings.raw(t);
  const chunked = ['POST /b/x HTTP/1.1', 'Host: localhost', 'Transfer-Encoding: chunked', '', ''];
  raw.send(`${chunked.join('\r\n')}2\r\n{}\r\n0\r\nX-Device-Id: d2\r\nX-Mine: 1\r\n\r\n`);
  assert.equal((await raw.answer()).status, 200);
  assertOurs(await backend.request(1), 'transfer-encoding');
  assert.ok(!Buffer.concat(backend.bytes).includes('X-Mine'));
});

test('everything else passes as it was written, in its order', async (t) => {
  const world = await proxiedWorld(t, options);
  const lines = [
    'Accept: a/b',
    'X-Custom: 1',
    'x-custom: two',
    'Cookie: a=b',
    'Authorization: Bearer of-the-backend',
    'User-Agent: esp/1',
    'If-None-Match: "x"',
    'Range: bytes=0-1',
    'X-Request-Id: 7',
    'traceparent: 00-1-2-01',
    'X-IoT-Signature: ab',
    'X-Device-Temperature: 5',
    'X-Client-Version: 7',
    'X-Latin: caf\xe9',
    '__proto__: x',
    'constructor: x',
  ];
  const seen = await seenWith(t, world, ...lines);
  const theirs = seen.lines.filter(([name]) => !ours.includes(name.toLowerCase()));
  // `__proto__` has an underscore.
  assert.deepEqual(
    theirs.map(([name, value]) => `${name}: ${value}`),
    lines.filter((line) => !line.startsWith('_')),
  );
});

test('a host that is not one of ours is not told: links would be made of it', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  const hosts = [
    ['localhost:8443', true],
    ['LOCALHOST', true],
    ['evil.example', false],
    ['localhost.evil.example', false],
    ['127.0.0.1:1', true],
  ] as const;
  using raw = await surroundings.raw(t);
  for (const [n, [host, isTold]] of hosts.entries()) {
    raw.send(`GET /b/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    assert.equal((await raw.answer()).status, 200);
    const seen = await backend.request(n + 1);
    assert.deepEqual(seen.headers.get('x-forwarded-host'), isTold ? [host] : undefined);
    assert.deepEqual(seen.headers.get('host'), [backend.url.replace('http://', '')]);
  }
});

test('a service is told as what it is, and is no device', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'roles: [ backend ]' });
  using raw = await surroundings.raw(t, 's1');
  raw.send(requestText('GET', '/b/x', undefined, 'X-Device-Id: d1'));
  assert.equal((await raw.answer()).status, 200);
  const { headers } = await backend.request(1);
  assert.deepEqual(headers.get('x-principal'), ['service/s1']);
  assert.deepEqual(headers.get('x-client-dn'), ['CN=s1']);
  assert.equal(headers.get('x-device-id'), undefined);
  using device = await surroundings.raw(t, 'd1');
  device.send(requestText('GET', '/b/x'));
  const refused = await device.answer();
  assert.deepEqual([refused.status, problemCode(refused)], [403, 'forbidden']);
  assert.equal(backend.requests.length, 1);
});

test('a page of another origin gets nothing, and no answer lets one read', async (t) => {
  const allowing = ['Access-Control-Allow-Origin: *', 'Access-Control-Allow-Credentials: true'];
  const leaking = ['Server: Backend/1.2', 'X-Powered-By: PHP/5', 'Alt-Svc: h3=":1"', 'Via: 1.1 x'];
  const { surroundings, backend } = await proxiedWorld(t, {
    behaviour: () =>
      answerText(
        200,
        'ok',
        ...allowing,
        ...leaking,
        'Set-Cookie: a=1',
        'set-cookie: b=2',
        'ETag: "x"',
      ),
  });
  using raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/b/x', undefined, 'Origin: https://localhost:8443'));
  const { status, lines } = await raw.answer();
  assert.equal(status, 200);
  const passed = lines
    .map(([name]) => name)
    .filter((name) => !/^(?:Date|Connection|Keep-Alive)$/.test(name));
  assert.deepEqual(passed, ['Content-Length', 'Set-Cookie', 'set-cookie', 'ETag']);
  for (const origin of ['https://evil.example', 'http://localhost', 'null']) {
    raw.send(requestText('POST', '/b/x', '{}', `Origin: ${origin}`));
    const refused = await raw.answer();
    assert.deepEqual([refused.status, problemCode(refused)], [403, 'forbidden'], origin);
    if (refused.headers.get('connection') === 'close') break;
  }
  assert.equal(backend.requests.length, 1);
});
