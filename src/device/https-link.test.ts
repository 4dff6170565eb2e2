import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { makeBackendCertificates } from '../../test/harness/backend-tls.ts';
import { makeAuthority } from '../../test/harness/openssl.ts';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { until } from '../../test/harness/waiting.ts';
import { systemClock } from '../common/base/clock.ts';
import { HttpsLink } from './https-link.ts';
import type { Command } from './link.ts';
import { clientContext } from './tls-client.ts';

type Handler = (request: IncomingMessage, body: string, response: ServerResponse) => void;

interface Asked {
  readonly line: string;
  readonly body: string;
  readonly type: string | undefined;
}

const folder = temporaryFolder();
const { tls, ca, gateway } = makeBackendCertificates(folder.path);
const identity = {
  id: 'd1',
  privateKey: readFileSync(gateway.key, 'utf8'),
  certificateChain: readFileSync(gateway.crt, 'utf8'),
  root: readFileSync(ca, 'utf8'),
};

let server: Server;
let port = 0;
let asked: Asked[] = [];
let sockets = new Set<Socket>();
/** Line of the request → how it is answered; commands are polled for in vain unless the test says otherwise. */
let handlers = new Map<string, Handler>();
let commands: Command[] = [];

const empty =
  (status: number): Handler =>
  (_, __, response) =>
    void response.writeHead(status).end();
const problem =
  (status: number, code?: string): Handler =>
  (_, __, response) =>
    void response
      .writeHead(status, { 'content-type': 'application/problem+json' })
      .end(code === undefined ? '' : JSON.stringify({ type: 'about:blank', status, code }));
const json =
  (value: unknown): Handler =>
  (_, __, response) =>
    void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
/** Never answers: what a long poll without commands looks like from here. */
const silence: Handler = () => {};

before(async () => {
  server = createServer(
    {
      cert: readFileSync(tls.certificate),
      key: readFileSync(tls.key),
      ca: readFileSync(ca),
      requestCert: true,
      rejectUnauthorized: true,
    },
    (request, response) => {
      sockets.add(request.socket);
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        const line = `${request.method ?? ''} ${request.url ?? ''}`;
        asked.push({ line, body, type: request.headers['content-type'] });
        const handler = handlers.get(line);
        assert.ok(handler !== undefined, `no answer for ${line}`);
        handler(request, body, response);
      });
    },
  );
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  // A server that listens on a port has an address that is none of a pipe.
  ({ port } = server.address() as AddressInfo);
});

beforeEach(() => {
  asked = [];
  sockets = new Set();
  commands = [];
  handlers = new Map([
    ['GET /api/v1/commands?wait=0', empty(204)],
    ['GET /api/v1/commands?wait=25', silence],
    ['POST /api/v1/telemetry', empty(202)],
  ]);
});

after(() => {
  server.closeAllConnections();
  server.close();
  folder[Symbol.dispose]();
});

function makeLink(
  change: { host?: string; root?: string; obey?: (command: Command) => Promise<void> } = {},
): HttpsLink {
  const { host = 'localhost', root = identity.root } = change;
  const obey = change.obey ?? (async (command: Command) => void commands.push(command));
  return new HttpsLink({
    id: 'd1',
    address: { host, port },
    context: clientContext({ ...identity, root }),
    clock: systemClock,
    events: { command: obey },
  });
}

const lines = (): string[] => asked.map(({ line }) => line);

test('readings go out on one connection while the poll waits on another', async () => {
  const link = makeLink();
  await link.open();
  for (const text of ['{"seq":1}', '{"seq":2}', '{"seq":3}'])
    await link.publish('telemetry', Buffer.from(text));
  link.close();
  assert.deepEqual(
    asked.filter(({ line }) => line.startsWith('POST')).map(({ body, type }) => [body, type]),
    [1, 2, 3].map((seq) => [`{"seq":${seq}}`, 'application/json']),
  );
  assert.equal(sockets.size, 2);
  assert.equal((await link.ended).code, 'io');
});

test('each channel has its path', async () => {
  for (const path of ['status', 'diagnostics', 'command-responses'])
    handlers.set(`POST /api/v1/${path}`, empty(202));
  const link = makeLink();
  await link.open();
  for (const channel of ['status', 'diagnostics', 'command_responses'] as const)
    await link.publish(channel, Buffer.from('{}'));
  link.close();
  assert.deepEqual(
    lines().filter((line) => line.startsWith('POST')),
    ['POST /api/v1/status', 'POST /api/v1/diagnostics', 'POST /api/v1/command-responses'],
  );
});

test('a refusal has the code that the gateway gave, or what its status stands for', async () => {
  const link = makeLink();
  await link.open();
  for (const [status, code, expected] of [
    [422, 'schema', 'schema'],
    [401, 'integrity', 'integrity'],
    [429, undefined, 'rate'],
    [413, undefined, 'too-large'],
    [507, 'quota', 'quota'],
    [503, 'busy', 'busy'],
    [500, 'no-such-code', 'unavailable'],
  ] as const) {
    handlers.set('POST /api/v1/telemetry', problem(status, code));
    await assert.rejects(link.publish('telemetry', Buffer.from('{}')), {
      name: 'Refusal',
      code: expected,
    });
  }
  handlers.set('POST /api/v1/telemetry', empty(202));
  await link.publish('telemetry', Buffer.from('{}'));
  link.close();
});

test('a device that lost its standing is at the end of its link', async () => {
  const link = makeLink();
  await link.open();
  handlers.set('POST /api/v1/telemetry', problem(403, 'standing'));
  await assert.rejects(link.publish('telemetry', Buffer.from('{}')), { code: 'standing' });
  assert.equal((await link.ended).code, 'standing');
  await assert.rejects(link.publish('telemetry', Buffer.from('{}')), { code: 'io' });
});

test('who is refused at the first poll is not let in', async () => {
  for (const [status, code] of [
    [401, 'unauthenticated'],
    [403, 'standing'],
    [403, 'forbidden'],
    [503, 'unavailable'],
  ] as const) {
    handlers.set('GET /api/v1/commands?wait=0', problem(status, code));
    const link = makeLink();
    await assert.rejects(link.open(), { code });
    link.close();
  }
});

test('commands are worked on in their order, and removed one by one when they are done', async () => {
  const topic = 'devices/d1/commands/fan/speed';
  handlers.set(
    'GET /api/v1/commands?wait=0',
    json([
      { id: 'c1', topic, payload: { rpm: 900 }, at: '2026-11-21T07:00:00.000Z' },
      { id: 'c2', topic, payload_base64: 'AAH/', at: '2026-11-21T07:00:01.000Z' },
    ]),
  );
  handlers.set('DELETE /api/v1/commands/c1', empty(404));
  handlers.set('DELETE /api/v1/commands/c2', empty(204));
  const done: string[] = [];
  const link = makeLink({
    obey: async (command) => {
      done.push(`obeyed ${command.id ?? ''} after ${lines().length} requests`);
      commands.push(command);
    },
  });
  await link.open();
  await until('the second poll', 5_000, () => lines().includes('GET /api/v1/commands?wait=25'));
  link.close();
  assert.deepEqual(done, ['obeyed c1 after 1 requests', 'obeyed c2 after 2 requests']);
  assert.deepEqual(
    commands.map(({ name, payload }) => [name, payload]),
    [
      ['fan/speed', Buffer.from('{"rpm":900}')],
      ['fan/speed', Buffer.of(0, 1, 255)],
    ],
  );
});

test('a command whose work failed is left with the gateway', async () => {
  const command = { id: 'c1', topic: 'devices/d1/commands/x', payload: null, at: '' };
  handlers.set('GET /api/v1/commands?wait=0', json([command]));
  const link = makeLink({ obey: () => Promise.reject(new TypeError('broken')) });
  await link.open();
  assert.equal((await link.ended).message, 'broken');
  assert.deepEqual(lines(), ['GET /api/v1/commands?wait=0']);
});

test('what is no list of commands for this device ends the link', async () => {
  for (const answer of [
    {},
    [{}],
    [{ id: 7, topic: 'devices/d1/commands/x' }],
    [{ id: 'c1', topic: 'devices/d2/commands/x', payload: 1 }],
  ]) {
    handlers.set('GET /api/v1/commands?wait=0', json(answer));
    const link = makeLink();
    await link.open();
    assert.equal((await link.ended).code, 'malformed', JSON.stringify(answer));
    assert.deepEqual(commands, []);
  }
});

test('a kept connection that the gateway has closed is replaced without a word', async () => {
  const link = makeLink();
  await link.open();
  await link.publish('telemetry', Buffer.from('{}'));
  let cut = true;
  handlers.set('POST /api/v1/telemetry', (request, body, response) => {
    if (cut) request.socket.destroy();
    else empty(202)(request, body, response);
    cut = false;
  });
  await link.publish('telemetry', Buffer.from('{"seq":2}'));
  link.close();
});

test('a gateway that resets every connection ends the link', async () => {
  const link = makeLink();
  await link.open();
  handlers.set('POST /api/v1/telemetry', (request) => request.socket.destroy());
  await assert.rejects(link.publish('telemetry', Buffer.from('{}')), { code: 'io' });
  assert.equal((await link.ended).code, 'io');
});

test('an answer without end is not kept', async () => {
  handlers.set('GET /api/v1/commands?wait=0', (_, __, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const more = (error?: Error | null): void => {
      if (error === undefined || error === null) response.write('x'.repeat(65_536), more);
    };
    response.on('error', () => {});
    more();
  });
  await assert.rejects(makeLink().open(), { code: 'malformed' });
});

test('a gateway with a certificate of another root is none, and learns nothing', async () => {
  const other = readFileSync(makeAuthority(folder.at('other'), 'other').crt, 'utf8');
  await assert.rejects(makeLink({ root: other }).open(), { code: 'invalid-certificate' });
  assert.deepEqual(asked, []);
});
