import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import type { Config } from './config.ts';
import { parseConfig } from './parse-config.ts';
import { policyDocumentOf } from './policy-of.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-proxied-'));
after(() => rmSync(folder, { recursive: true }));
execFileSync(
  'openssl',
  `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${folder}/k -out ${folder}/c -subj /CN=g -days 2`.split(
    ' ',
  ),
  { stdio: 'ignore' },
);
const key = readFileSync(join(folder, 'k'), 'utf8');
const certificate = readFileSync(join(folder, 'c'), 'utf8');
const files = {
  'c.pem': certificate,
  'k.pem': key,
  's.json': '{"type":"object"}',
};

function parse(configText: string, secrets?: Record<string, string>): Config {
  const bundle = { configPath: '/etc/sallyport.yaml', configText, files };
  return parseConfig(secrets === undefined ? bundle : { ...bundle, secrets });
}

/** `line: what is wrong`. */
function problems(text: string, secrets?: Record<string, string>): string[] {
  try {
    parse(text, secrets);
  } catch (thrown) {
    assert.ok(thrown instanceof SallyportError);
    return thrown.message.split('\n').map((line) => line.replace('/etc/sallyport.yaml:', ''));
  }
  return [];
}

const least = 'routes: { b: { path: /backend/, upstream: "http://127.0.0.1:9000" } }\n';

test('a route of requests has every default', () => {
  const config = parse(least);
  assert.deepEqual(config.proxied, [
    {
      name: 'b',
      path: '/backend/',
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      roles: ['device'],
      authenticate: ['certificate'],
      integrity: undefined,
      rate: [],
      bytesRate: [],
      concurrent: 8,
      bodyBytes: 1_048_576,
      contentTypes: [],
      schema: undefined,
      breaker: undefined,
      webSocket: false,
    },
  ]);
  assert.deepEqual(config.upstreams, [
    {
      route: 'b',
      servers: [{ origin: 'http://127.0.0.1:9000', weight: 1 }],
      rewrite: undefined,
      ca: undefined,
      client: undefined,
      connectMs: 5_000,
      answerMs: 30_000,
      totalMs: 300_000,
      connections: 64,
      waiting: 256,
      headerBytes: 16_384,
      breaker: { failures: 5, openMs: 10_000 },
      health: undefined,
      identity: 'none',
      audience: 'http://127.0.0.1:9000',
    },
  ]);
  assert.deepEqual(policyDocumentOf(config).proxied, config.proxied);
  // Those of messages are what they were.
  assert.deepEqual(
    config.routes.map(({ name }) => name),
    ['telemetry'],
  );
});

test('everything that can be said of one arrives', () => {
  const text = `
roles: { fleet: { allow: { request: [ 'GET /b/x', '* /c/' ] }, deny: { request: [ 'DELETE /' ] } } }
tokens: { endpoint: {} }
routes:
  b:
    path: /b/\${id}/*/
    upstream: [ 'https://one.example/x/', { url: 'https://two.example:8443/x/', weight: 3 } ]
    methods: [ GET, POST ]
    roles: [ device, fleet ]
    authenticate: [ certificate, signature, token, device-jwt ]
    integrity: { accept: [ hmac, body-hmac ], clock: 30s, required: false }
    rate: [ { limit: 5/s, burst: 10 }, { limit: 10000/day } ]
    bytesRate: { limit: 1000000/h, burst: 4096 }
    concurrent: 2
    bodyBytes: 64KiB
    contentTypes: [ application/json ]
    schema: s.json
    breaker: { failures: 3, within: 10s, open: 1m }
    webSocket: true
    proxy:
      ca: c.pem
      certificate: c.pem
      key: { file: k.pem }
      connectTimeout: 1s
      answerTimeout: 2s
      timeout: 3s
      connections: 4
      waiting: 5
      headerBytes: 6KiB
      breaker: { failures: 7, open: 8s }
      health: { path: '/healthz?full=1', every: 9s, timeout: 1s }
      identity: jwt
      audience: https://backend.example
`;
  const config = parse(text, { 'routes.b.proxy.key': key });
  const [document] = config.proxied;
  assert.deepEqual(document, {
    name: 'b',
    path: '/b/${id}/*/',
    methods: ['GET', 'POST'],
    roles: ['device', 'fleet'],
    authenticate: ['certificate', 'signature', 'token', 'device-jwt'],
    integrity: { required: false, accept: ['hmac', 'body-hmac'], windowMs: 30_000 },
    rate: [
      { limit: 5, perMs: 1_000, burst: 10 },
      { limit: 10_000, perMs: 86_400_000, burst: 0 },
    ],
    bytesRate: [{ limit: 1_000_000, perMs: 3_600_000, burst: 4_096 }],
    concurrent: 2,
    bodyBytes: 65_536,
    contentTypes: ['application/json'],
    schema: { type: 'object' },
    breaker: { failures: 3, withinMs: 10_000, openMs: 60_000 },
    webSocket: true,
  });
  const [upstream] = config.upstreams;
  assert.ok(upstream?.client !== undefined);
  assert.equal(upstream.client.certificate, certificate);
  assert.match(upstream.client.privateKey ?? '', /BEGIN PRIVATE KEY/u);
  assert.deepEqual(
    { ...upstream, client: undefined },
    {
      route: 'b',
      servers: [
        { origin: 'https://one.example', weight: 1 },
        { origin: 'https://two.example:8443', weight: 3 },
      ],
      rewrite: '/x/',
      ca: certificate,
      client: undefined,
      connectMs: 1_000,
      answerMs: 2_000,
      totalMs: 3_000,
      connections: 4,
      waiting: 5,
      headerBytes: 6_144,
      breaker: { failures: 7, openMs: 8_000 },
      health: { path: '/healthz?full=1', everyMs: 9_000, timeoutMs: 1_000 },
      identity: 'jwt',
      audience: 'https://backend.example',
    },
  );
  assert.deepEqual(policyDocumentOf(config).roles['fleet']?.allow.request, ['GET /b/x', '* /c/']);
});

test('a URL replaces the path when it has one, a slash included', () => {
  const rewrite = (path: string, url: string): string | undefined =>
    parse(`routes: { b: { path: '${path}', upstream: '${url}' } }\n`).upstreams[0]?.rewrite;
  assert.equal(rewrite('/a/', 'http://127.0.0.1:1'), undefined);
  assert.equal(rewrite('/a/', 'http://127.0.0.1:1/'), '/');
  assert.equal(rewrite('/a/', 'http://127.0.0.1:1/b/c/'), '/b/c/');
  assert.equal(rewrite('/a', 'http://127.0.0.1:1/'), '/');
  assert.equal(rewrite('/a', 'http://127.0.0.1:1/b'), '/b');
});

test('a signature on a route of messages opens it to those who sign, and to others what it says', () => {
  const route = (more: string): unknown => {
    const [found] = parse(`routes: { telemetry: { ${more} } }\n`).routes;
    return [found?.authenticate, found?.integrity?.required];
  };
  assert.deepEqual(route(''), [['certificate'], undefined]);
  assert.deepEqual(route('integrity: {}'), [['certificate', 'signature'], true]);
  assert.deepEqual(route('integrity: {}, authenticate: [ certificate ]'), [['certificate'], true]);
  assert.deepEqual(route('authenticate: [ device-jwt ]'), [['device-jwt'], undefined]);
});

test('a key that was not read is missed only by those who need it', () => {
  const text = `routes: { b: { path: /b/, upstream: 'https://x.example', proxy: { certificate: c.pem, key: { file: k.pem } } } }\n`;
  assert.equal(parse(text).upstreams[0]?.client?.privateKey, undefined);
  assert.deepEqual(problems(text, {}), [
    '1: routes.b.proxy.key names what is no private key in PEM without a passphrase',
  ]);
});

const route = (more: string): string =>
  `routes:\n  b:\n    path: /b/\n    upstream: http://127.0.0.1:9000\n    ${more}\n`;

const refused: readonly (readonly [string, string, RegExp])[] = [
  ['a path alone', 'routes: { b: { path: /b/ } }\n', /^1: routes\.b lacks the key "upstream"/u],
  [
    'an upstream alone',
    'routes: { b: { upstream: http://h } }\n',
    /upstream is for routes of requests/u,
  ],
  ['both kinds of route', route('match: a/b'), /^5: routes\.b\.match is for routes of messages/u],
  [
    'backends of messages',
    route('to: [ { http: http://127.0.0.1:1/ } ]'),
    /^5: routes\.b\.to is for routes of messages/u,
  ],
  ['a queue before it', route('spool: { messages: 1 }'), /^5: routes\.b\.spool is for/u],
  [
    'requests to telemetry',
    'routes: { telemetry: { path: /t, upstream: http://h, match: x } }\n',
    /telemetry\.match is for/u,
  ],
  [
    'a path of the gateway',
    'routes: { b: { path: /api/v1/x, upstream: http://h } }\n',
    /path is the gateway's own: \/api\/v1/u,
  ],
  ['all of one', 'routes: { b: { path: /mqtt, upstream: http://h } }\n', /own: \/mqtt/u],
  [
    'one behind an escape',
    'routes: { b: { path: /%6Dqtt, upstream: http://h } }\n',
    /is written "\/mqtt"/u,
  ],
  [
    'the same path twice',
    'routes:\n  b: { path: "/x:y/", upstream: http://h }\n  c: { path: "/x%3Ay/", upstream: http://h }\n',
    /^3: routes\.c\.path is the path of the route "b" already/u,
  ],
  [
    'a path that is none',
    'routes: { b: { path: /a/../b, upstream: http://h } }\n',
    /path is not allowed: the path has a dot segment/u,
  ],
  [
    'a template that is none',
    'routes: { b: { path: "/a/${name}", upstream: http://h } }\n',
    /only template/u,
  ],
  [
    'a method that is none',
    route('methods: [ GET, TRACE ]'),
    /^5: routes\.b\.methods\.1 is not one of/u,
  ],
  ['no method', route('methods: []'), /methods/u],
  [
    'a role that is none',
    route('roles: [ device, nobody ]'),
    /^5: routes\.b\.roles\.1 is not a role/u,
  ],
  [
    'signatures of no form',
    route('authenticate: [ signature ]'),
    /authenticate takes signatures: add "integrity"/u,
  ],
  [
    'tokens of nobody',
    route('authenticate: [ token ]'),
    /authenticate takes tokens: name their issuer/u,
  ],
  ['a proof that is none', route('authenticate: [ password ]'), /is not one of certificate/u],
  ['a form that is none', route('integrity: { accept: [ md5 ] }'), /accept\.0 is not one of/u],
  [
    'a large body to hold',
    route('integrity: {}\n    bodyBytes: 17MiB'),
    /^6: routes\.b\.bodyBytes is more than the 16MiB/u,
  ],
  [
    'a media type with parameters',
    route('contentTypes: [ "application/json; charset=utf-8" ]'),
    /is not a media type/u,
  ],
  [
    'a WebSocket without GET',
    route('methods: [ POST ]\n    webSocket: true'),
    /^6: routes\.b\.webSocket begins with GET/u,
  ],
  [
    'two schemes',
    'routes: { b: { path: /b/, upstream: [ http://h, https://h ] } }\n',
    /mixes http and https/u,
  ],
  [
    'one server twice',
    'routes: { b: { path: /b/, upstream: [ http://h, "http://h:80" ] } }\n',
    /same server twice/u,
  ],
  [
    'two paths of servers',
    'routes: { b: { path: /b/, upstream: [ http://h/, http://i ] } }\n',
    /different paths/u,
  ],
  [
    'a path of a server that does not go on',
    'routes: { b: { path: /b/, upstream: http://h/x } }\n',
    /does not end with "\/"/u,
  ],
  [
    'a query of a server',
    'routes: { b: { path: /b/, upstream: "http://h/?x=1" } }\n',
    /has a query/u,
  ],
  [
    'a path of a server that is none',
    'routes: { b: { path: /b/, upstream: "http://h/a/../b/" } }\n',
    /dot segment/u,
  ],
  [
    'a password',
    'routes: { b: { path: /b/, upstream: "http://u:p@h" } }\n',
    /user name or password/u,
  ],
  ['a file', 'routes: { b: { path: /b/, upstream: "file:///etc/passwd" } }\n', /is not a URL/u],
  ['no server', 'routes: { b: { path: /b/, upstream: [] } }\n', /upstream/u],
  [
    'a server without a URL',
    'routes: { b: { path: /b/, upstream: { weight: 1 } } }\n',
    /lacks the key "url"/u,
  ],
  [
    'a pinned authority without TLS',
    route('proxy: { ca: c.pem }'),
    /^5: routes\.b\.proxy\.ca is of no use without TLS/u,
  ],
  [
    'an answer longer than all',
    route('proxy: { timeout: 1s }'),
    /timeout is less than "answerTimeout"/u,
  ],
  [
    'a path to ask for that is none',
    route('proxy: { health: { path: healthz } }'),
    /health\.path is no path/u,
  ],
  [
    'a request of a role without a method',
    'roles: { r: { allow: { request: [ /x ] } } }\n',
    /request\.0 is not allowed: write a method/u,
  ],
  [
    'a request of a role to no path',
    'roles: { r: { allow: { request: [ "GET x" ] } } }\n',
    /does not begin with/u,
  ],
  [
    'a method of a role that is none',
    'roles: { r: { deny: { request: [ "get /x" ] } } }\n',
    /write a method/u,
  ],
];

for (const [name, text, expected] of refused) {
  test(`refuses ${name}`, () => {
    const found = problems(text);
    assert.ok(
      found.some((line) => expected.test(line)),
      found.join('\n'),
    );
  });
}
