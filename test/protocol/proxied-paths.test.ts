/** The backend sees the very path that the policy has judged; what could be read in two ways is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedConfig, proxiedWorld, settingsOf } from '../harness/proxied.ts';

/** As sent → as the backend sees it. */
const passed: Readonly<Record<string, string>> = {
  '/b/x': '/b/x',
  '/b/x?': '/b/x?',
  '/b/x?a=1&b=%2e%2E/..//&c=;:@%00': '/b/x?a=1&b=%2e%2E/..//&c=;:@%00',
  '/b/%41%62%2d%5f%7e': '/b/Ab-_~',
  '/b/%e2%82%ac': '/b/%E2%82%AC',
  '/%62/x': '/b/x',
  '/b/x;v=1': '/b/x;v=1',
  '/b/...': '/b/...',
  '/b/': '/b/',
};

const refused: readonly string[] = [
  '/b/../x',
  '/b/..',
  '/b/.',
  '/b/./x',
  '/b/%2e%2e/x',
  '/b/%2E./x',
  '/b/.%2e/admin',
  '/b/..;/x',
  '/b/..;a=b/x',
  '/b/..%3b/x',
  '/b//x',
  '//b/x',
  '/b/x//',
  '/b/%2f',
  '/b/%2F..%2Fx',
  '/b/%5c',
  '/b/\\x',
  '/b/%00',
  '/b/%0d%0aX:%20y',
  '/b/%1f',
  '/b/%7f',
  '/b/%',
  '/b/%zz',
  '/b/%4',
  '/b/%252e%252e/x',
  '/b/%c0%ae%c0%ae/x',
  '/b/x#fragment',
  '/b/x?a#b',
];

test('policy and backend see one form of a path, and the query as it was sent', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  using raw = await surroundings.raw(t);
  for (const [sent, seen] of Object.entries(passed)) {
    raw.send(requestText('GET', sent));
    assert.equal((await raw.answer()).status, 200, sent);
    assert.equal(backend.requests.at(-1)?.target, seen);
  }
});

test('a path that could be taken for another is refused, and reaches nobody', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  for (const sent of refused) {
    using raw = await surroundings.raw(t);
    raw.send(requestText('GET', sent));
    const [answer, ...more] = await raw.answersUntilClose();
    assert.ok(answer !== undefined, sent);
    assert.deepEqual([answer.status, problemCode(answer), more], [400, 'malformed', []], sent);
  }
  assert.equal(backend.connections, 0);
});

test('what may be secret of a request target is not in the log', async (t) => {
  const { surroundings } = await proxiedWorld(t);
  for (const target of [
    'http://u:s3cr3t@localhost/b/x',
    'http://localhost/b/x?k=s3cr3t',
    '*?k=s3cr3t',
    '/b/x?k=s3cr3t',
    '/b/x?k=s3cr3t#',
    '/b//x?k=s3cr3t',
    '/none?k=s3cr3t',
  ]) {
    using raw = await surroundings.raw(t);
    raw.send(requestText('GET', target));
    await raw.answer();
  }
  assert.match(JSON.stringify(surroundings.lines), /refused/);
  assert.doesNotMatch(JSON.stringify(surroundings.lines), /s3cr3t/);
});

test('a route that is open to any path leads to none of the gateway itself', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  const open = proxiedConfig(backend.url).replace('path: /b/', 'path: /');
  surroundings.setPolicy(open);
  using raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/anything/else'));
  assert.equal((await raw.answer()).status, 200);
  const own = [
    '/api/v1/unknown',
    '/api/v1/telemetry/x',
    '/%61pi/v1/telemetry',
    '/api/v1;x/time',
    '/api/firmware/x',
    '/mqtt/x',
    '/oauth2/x',
    '/.well-known/x',
  ];
  for (const path of own) {
    raw.send(requestText('GET', path));
    assert.equal((await raw.answer()).status, 404, path);
  }
  assert.equal(backend.requests.length, 1);
});

test('without a route there is nothing, whoever asks; without the method, what would be taken', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'methods: [ GET, POST ]' });
  using raw = await surroundings.raw(t);
  for (const path of ['/', '/b', '/bb/', '/c/x', '/B/x']) {
    raw.send(requestText('GET', path));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], [404, 'not-found'], path);
  }
  for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    raw.send(requestText(method, '/b/x'));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, POST'], method);
  }
  assert.equal(backend.connections, 0);
});

test('an own path is for its owner, and a rule of the role opens no more than it says', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  surroundings.setPolicy(
    [
      'limits: { connectionsPerIdentity: 1000, identityRates: { device: [], service: [] } }',
      'routes:',
      '  telemetry: { rate: [] }',
      `  own: { path: '/dev/\${id}/', upstream: '${backend.url}', rate: [] }`,
      `  all: { path: '/all/', upstream: '${backend.url}', rate: [], roles: [] }`,
      'roles:',
      "  device: { allow: { request: [ 'GET /all/a/' ] } }",
    ].join('\n'),
  );
  surroundings.setUpstreams(['own', 'all'].map((name) => settingsOf(name, [backend.url])));
  using raw = await surroundings.raw(t);
  for (const [method, path, status] of [
    ['GET', '/dev/d1/x', 200],
    ['GET', '/dev/d2/x', 404],
    ['GET', '/dev/%64%31/x', 200],
    ['GET', '/all/a/x', 200],
    ['HEAD', '/all/a/x', 200],
    ['POST', '/all/a/x', 403],
    ['GET', '/all/b/x', 403],
  ] as const) {
    raw.send(requestText(method, path));
    assert.equal((await raw.answer(method)).status, status, `${method} ${path}`);
  }
  assert.deepEqual(
    backend.requests.map(({ method, target }) => `${method} ${target}`),
    ['GET /dev/d1/x', 'GET /dev/d1/x', 'GET /all/a/x', 'HEAD /all/a/x'],
  );
});
