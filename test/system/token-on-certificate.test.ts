/**
 * Tokens on connections with a client certificate: a backend's tool gets a short-lived token for its certificate and shows
 * both (RFC 8705); who asks is then whom the token names, for that one request.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { answerText, UpstreamServer } from '../harness/upstream-server.ts';

const endings: (() => unknown)[] = [];
after(async () => {
  for (const end of endings.reverse()) await end();
});
const upstream = await UpstreamServer.of({ after: (end) => void endings.push(end) });
const gateway = await startGateway({
  workers: 2,
  config: [
    'roles: { analyst: {} }',
    'routes:',
    `  reports: { path: /reports/, upstream: '${upstream.url}', roles: [ analyst ], authenticate: [ token ] }`,
    `  open: { path: /open/, upstream: '${upstream.url}', roles: [ analyst, device ] }`,
    'tokens: { endpoint: { perMinute: 1000 } }',
  ].join('\n'),
});
endings.push(() => gateway[Symbol.asyncDispose]());
const tool = await gateway.service('tool', 'analyst');
const other = await gateway.service('other', 'analyst');
const device = await gateway.device('d1');

interface Answer {
  readonly status: number;
  readonly challenge: string | undefined;
  readonly body: string;
}

function agentOf({ key, crt, ca }: Identity): Agent {
  const agent = new Agent({
    key: readFileSync(key),
    cert: readFileSync(crt),
    ca: readFileSync(ca),
    keepAlive: true,
    maxSockets: 1,
  });
  endings.push(() => agent.destroy());
  return agent;
}

function ask(
  agent: Agent,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body = '',
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const url = `https://localhost:${gateway.httpsPort}${path}`;
  const sent = request(url, { method, headers, agent }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    response.on('error', reject);
    const challenge = response.headers['www-authenticate'];
    response.on('end', () => resolve({ status: response.statusCode ?? 0, challenge, body: text }));
  });
  sent.on('error', reject);
  sent.end(body);
  return promise;
}

async function tokenFor(who: Identity): Promise<string> {
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const body = `grant_type=client_credentials&client_id=${who.id}`;
  const { status, body: text } = await ask(agentOf(who), 'POST', '/oauth2/token', form, body);
  assert.equal(status, 200, text);
  return (JSON.parse(text) as { access_token: string }).access_token; // RFC 6749 section 5.1
}

const token = await tokenFor(tool);
const bearer = { Authorization: `Bearer ${token}` };

test('the token opens what its certificate alone does not, and no backend sees it', async () => {
  const agent = agentOf(tool);
  const seen = upstream.requests.length;
  assert.equal((await ask(agent, 'GET', '/reports/1')).status, 401);
  for (const path of ['/reports/1', '/reports/2']) {
    assert.equal((await ask(agentOf(tool), 'GET', path, bearer)).status, 200);
  }
  assert.equal(upstream.requests.length, seen + 2);
  const last = upstream.requests.at(-1);
  assert.ok(last !== undefined);
  assert.deepEqual(last.headers.get('x-principal'), ['service/tool']);
  assert.equal(last.headers.has('authorization'), false);
  assert.equal(last.headers.has('client-cert'), false);
});

for (const [what, who] of [
  ['another service', other],
  ['a device', device],
] as const) {
  test(`the token is no good on the connection of ${what}`, async () => {
    const seen = upstream.requests.length;
    const { status, challenge } = await ask(agentOf(who), 'GET', '/reports/1', bearer);
    assert.equal(status, 401);
    assert.match(challenge ?? '', /invalid_token/);
    assert.equal(upstream.requests.length, seen);
  });
}

test('where no token is taken the field is the backend’s, and says nothing of who asks', async () => {
  const { status } = await ask(agentOf(device), 'GET', '/open/1', bearer);
  assert.equal(status, 200);
  const last = upstream.requests.at(-1);
  assert.ok(last !== undefined);
  assert.deepEqual(last.headers.get('x-principal'), ['device/d1']);
  assert.deepEqual(last.headers.get('authorization'), [bearer.Authorization]);
});

test('an answer that is still being given ends when the principal of its token is suspended', async () => {
  upstream.behaviour = ({ target }, socket) => {
    if (target !== '/reports/slow') return answerText(200, 'ok');
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun');
    return undefined;
  };
  const begun = Promise.withResolvers<void>();
  const over = Promise.withResolvers<string>();
  const url = `https://localhost:${gateway.httpsPort}/reports/slow`;
  const sent = request(url, { headers: bearer, agent: agentOf(tool) }, (response) => {
    response.on('data', () => begun.resolve());
    response.on('end', () => over.resolve('end'));
    response.on('error', () => over.resolve('cut off'));
  });
  sent.on('error', () => over.resolve('error'));
  sent.end();
  await begun.promise;
  await gateway.ok('service', 'suspend', 'tool');
  assert.equal(await over.promise, 'cut off');
  const { status } = await ask(agentOf(tool), 'GET', '/reports/1', bearer);
  assert.equal(status, 403);
});
