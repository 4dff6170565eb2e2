import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { IntrospectionSettings } from '../../../common/ipc/credentials.ts';
import { IntrospectionClient } from './introspection.ts';
import { HandClock } from './test-support.ts';

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

interface Endpoint {
  readonly client: IntrospectionClient;
  readonly clock: HandClock;
  readonly requests: { readonly head: IncomingMessage; readonly body: string }[];
  readonly server: Server;
  answer: Answer;
}

const json = (value: unknown, type = 'application/json', status = 200): Answer => {
  const body = typeof value === 'string' ? value : JSON.stringify(value);
  return (response) => response.writeHead(status, { 'content-type': type }).end(body);
};

async function endpoint(
  t: TestContext,
  more: Partial<IntrospectionSettings> = {},
): Promise<Endpoint> {
  const requests: Endpoint['requests'][number][] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      requests.push({ head: request, body });
      made.answer(response, request);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const clock = new HandClock();
  const url = `http://127.0.0.1:${address.port}/introspect?tenant=a`;
  const settings = {
    url,
    clientId: 'gate way',
    clientSecret: 's:e/c%',
    ca: undefined,
    cacheMs: 60_000,
    timeoutMs: 5_000,
  };
  const client = new IntrospectionClient({ ...settings, ...more }, clock, () => ({
    introspections: 64,
    cachedTokens: 100,
  }));
  const made: Endpoint = {
    client,
    clock,
    requests,
    server,
    answer: json({ active: true, sub: 'a' }),
  };
  t.after(() => {
    client.close();
    server.close();
    server.closeAllConnections();
  });
  return made;
}

test('a token is asked about by RFC 7662, with the credentials of the gateway', async (t) => {
  const { client, requests } = await endpoint(t);
  const answer = await client.ask('a+b/c=&token=x');
  assert.equal(answer.outcome, 'active');
  assert.equal(answer.claims['sub'], 'a');
  const [request] = requests;
  assert.ok(request !== undefined);
  assert.equal(request.head.method, 'POST');
  assert.equal(request.head.url, '/introspect?tenant=a');
  assert.equal(request.head.headers['content-type'], 'application/x-www-form-urlencoded');
  assert.equal(request.head.headers.accept, 'application/json');
  const form = new URLSearchParams(request.body);
  assert.deepEqual(
    [...form],
    [
      ['token', 'a+b/c=&token=x'],
      ['token_type_hint', 'access_token'],
    ],
  );
  // RFC 6749 section 2.3.1: encoded before they are joined by a colon.
  const basic = Buffer.from(
    request.head.headers.authorization?.slice('Basic '.length) ?? '',
    'base64',
  );
  assert.equal(basic.toString(), 'gate+way:s%3Ae%2Fc%25');
});

for (const [what, answer] of [
  ['another status', json({ active: true }, 'application/json', 201)],
  ['an error', json({ active: true }, 'application/json', 500)],
  ['a refusal of our credentials', json({ error: 'invalid_client' }, 'application/json', 401)],
  ['no JSON by its type', json({ active: true }, 'text/html')],
  ['no type', (response) => response.end('{"active":true}')],
  ['no JSON', json('{"active":true')],
  ['a member twice', json('{"active":false,"active":true}')],
  ['an array', json([true])],
  ['null', json('null')],
  ['no "active"', json({ sub: 'a' })],
  ['an "active" that is a text', json({ active: 'true' })],
  ['too much', json({ active: true, x: 'x'.repeat(70_000) })],
  [
    'half an answer',
    (response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
      response.write('{"active":true');
      setImmediate(() => response.destroy());
    },
  ],
  ['nothing', (response) => response.destroy()],
] as [string, Answer][]) {
  test(`${what} is no answer about a token`, async (t) => {
    const asking = await endpoint(t);
    asking.answer = answer;
    assert.equal((await asking.client.ask('t')).outcome, 'unavailable');
    // And is not remembered: the next one may be one.
    asking.answer = json({ active: true });
    assert.equal((await asking.client.ask('t')).outcome, 'active');
  });
}

test('a redirect is not followed', async (t) => {
  const asking = await endpoint(t);
  asking.answer = (response, { url }) => {
    if (url === '/elsewhere') json({ active: true })(response, response.req);
    else response.writeHead(307, { location: '/elsewhere' }).end();
  };
  assert.equal((await asking.client.ask('t')).outcome, 'unavailable');
  assert.equal(asking.requests.length, 1);
});

test('an issuer that says nothing is waited for no longer than configured', async (t) => {
  const asking = await endpoint(t, { timeoutMs: 50 });
  asking.answer = () => {};
  assert.equal((await asking.client.ask('t')).outcome, 'unavailable');
  asking.answer = (response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{');
  };
  assert.equal((await asking.client.ask('t')).outcome, 'unavailable');
});

test('a token that is not active is asked about again only after a while', async (t) => {
  const asking = await endpoint(t);
  asking.answer = json({ active: false });
  assert.equal((await asking.client.ask('t')).outcome, 'inactive');
  asking.answer = json({ active: true });
  asking.clock.ms += 59_999;
  assert.equal((await asking.client.ask('t')).outcome, 'inactive');
  assert.equal(asking.requests.length, 1);
  assert.equal((await asking.client.ask('u')).outcome, 'active');
  asking.clock.ms += 1;
  assert.equal((await asking.client.ask('t')).outcome, 'active');
});

test('without a cache each is asked about each time', async (t) => {
  const asking = await endpoint(t, { cacheMs: 0 });
  asking.answer = json({ active: false });
  await asking.client.ask('t');
  await asking.client.ask('t');
  assert.equal(asking.requests.length, 2);
});

test('one token is asked about once at a time, and no more than so many tokens', async (t) => {
  const asking = await endpoint(t);
  const waiting: ServerResponse[] = [];
  asking.answer = (response) => {
    waiting.push(response);
    if (waiting.length === 4) for (const each of waiting) json({ active: true })(each, each.req);
    else if (waiting.length > 4) json({ active: true })(response, response.req);
  };
  const same = Array.from({ length: 100 }, () => asking.client.ask('t0'));
  const others = Array.from({ length: 63 }, (_, i) => asking.client.ask(`t${i + 1}`));
  const beyond = await asking.client.ask('one too many');
  assert.equal(beyond.outcome, 'busy');
  const answers = await Promise.all([...same, ...others]);
  assert.ok(answers.every(({ outcome }) => outcome === 'active'));
  assert.equal(asking.requests.length, 64);
  assert.equal((await asking.client.ask('one too many')).outcome, 'active');
});

test('what is under way when an issuer goes is not answered, and nothing is thrown', async (t) => {
  const asking = await endpoint(t);
  const arrived = Promise.withResolvers<void>();
  asking.answer = () => arrived.resolve();
  const answer = asking.client.ask('t');
  await arrived.promise;
  asking.client.close();
  asking.client.close();
  assert.equal((await answer).outcome, 'unavailable');
  assert.equal((await asking.client.ask('t')).outcome, 'unavailable');
});
