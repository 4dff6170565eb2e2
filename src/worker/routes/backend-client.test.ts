import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { ServerOptions } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { within } from '../../../test/harness/waiting.ts';
import { systemClock } from '../../common/base/clock.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import { BackendClient } from './backend-client.ts';
import type { Delivery } from './backend-client.ts';
import { backend } from './test-support.ts';
import { systemTimers } from './timers.ts';

const request = {
  headers: { 'ce-id': '1', 'content-type': 'application/json' },
  body: Buffer.from('{"t":1}'),
};

async function listening(t: TestContext, server: Server, host = '127.0.0.1'): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.listen(0, host);
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  // It listens on TCP.
  return (server.address() as AddressInfo).port;
}

function clientFor(
  t: TestContext,
  url: string,
  settings: Partial<BackendSettings> = {},
): BackendClient {
  const all = backend({ url, timeoutMs: 60_000, ...settings });
  const client = new BackendClient(all, { clock: systemClock, timers: systemTimers });
  t.after(() => client.destroy());
  return client;
}

/** A backend that answers each request in its own way. */
async function answering(t: TestContext, listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listening(t, createServer(listener))}/ingest?key=1`;
}

const status =
  (code: number, headers: Record<string, string> = {}): RequestListener =>
  (incoming, response) => {
    incoming.resume().on('end', () => response.writeHead(code, headers).end('some words'));
  };

async function sentTo(t: TestContext, listener: RequestListener): Promise<Delivery> {
  return within(clientFor(t, await answering(t, listener)).send(request), 4_000, 'a delivery');
}

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test('a request arrives as it is, one after another on one connection', async (t) => {
  const seen: object[] = [];
  const ports = new Set<number | undefined>();
  const url = await answering(t, (incoming, response) => {
    ports.add(incoming.socket.remotePort);
    void bodyOf(incoming).then((body) => {
      const { method, url: path, headers, httpVersion } = incoming;
      seen.push({
        method,
        path,
        httpVersion,
        id: headers['ce-id'],
        length: headers['content-length'],
        body,
      });
      response.writeHead(204).end();
    });
  });
  const client = clientFor(t, url, { requests: 1 });
  for (let i = 0; i < 3; i += 1)
    assert.deepEqual(await client.send(request), { outcome: 'accepted' });
  const expected = {
    method: 'POST',
    path: '/ingest?key=1',
    httpVersion: '1.1',
    id: '1',
    length: '7',
    body: '{"t":1}',
  };
  assert.deepEqual(seen, [expected, expected, expected]);
  assert.equal(ports.size, 1);
});

test('each status is what it says about the messages', async (t) => {
  const outcomes = {
    accepted: [200, 201, 202, 204],
    refused: [400, 401, 403, 404, 409, 410, 413, 415, 422, 451, 499],
    failed: [300, 301, 302, 307, 308, 408, 425, 429, 500, 501, 502, 503, 504, 599],
  } as const;
  let code = 0;
  const url = await answering(t, (incoming, response) => {
    status(code, { location: url })(incoming, response);
  });
  const client = clientFor(t, url);
  for (const [outcome, codes] of Object.entries(outcomes)) {
    for (code of codes) assert.equal((await client.send(request)).outcome, outcome, `${code}`);
  }
});

test('redirects are not followed', async (t) => {
  let requests = 0;
  const url = await answering(t, (incoming, response) => {
    requests += 1;
    status(307, { location: '/elsewhere' })(incoming, response);
  });
  const delivery = await clientFor(t, url).send(request);
  assert.match(JSON.stringify(delivery), /answered 307; redirects are not followed/);
  assert.equal(requests, 1);
});

test('a backend may say how long to wait', async (t) => {
  const asked = async (code: number, value: string) => {
    const delivery = await sentTo(t, status(code, { 'retry-after': value }));
    return delivery.outcome === 'failed' ? delivery.retryAfterMs : 'not failed';
  };
  assert.equal(await asked(503, '7'), 7_000);
  assert.equal(await asked(429, '0'), 0);
  const date = await asked(503, new Date(Date.now() + 60_000).toUTCString());
  assert.ok(typeof date === 'number' && date > 50_000 && date <= 60_000, `${date}`);
  assert.equal(await asked(503, new Date(0).toUTCString()), 0);
  for (const value of ['-1', 'soon', '1e9', '99999999999', '2030-01-01', '1 2 3']) {
    assert.equal(await asked(503, value), undefined, value);
  }
  assert.equal(await asked(500, '7'), undefined);
});

test('1xx is not the answer', async (t) => {
  const delivery = await sentTo(t, (incoming, response) => {
    response.writeProcessing();
    status(422)(incoming, response);
  });
  assert.equal(delivery.outcome, 'refused');
});

test('whatever goes wrong on the way is a failure that says why', async (t) => {
  const cases: Readonly<Record<string, [RequestListener, RegExp]>> = {
    'a reset': [({ socket }) => socket.resetAndDestroy(), /ECONNRESET|other side closed/],
    'an end': [({ socket }) => socket.end(), /other side closed/],
    'no answer': [() => {}, /no answer in time/],
    'half a head': [({ socket }) => socket.write('HTTP/1.1 200 OK\r\nX: '), /no answer in time/],
    'no HTTP': [({ socket }) => socket.end('SSH-2.0-x\r\n\r\n'), /does not match the HTTP/],
    'a large head': [
      ({ socket }) => socket.write(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`),
      /Headers Overflow|HPE_HEADER_OVERFLOW|UND_ERR_HEADERS_OVERFLOW/i,
    ],
  };
  for (const [name, [listener, reason]] of Object.entries(cases)) {
    // Only who waits for nothing is given little time: a slow machine needs some to see the end of a connection.
    const timeoutMs = reason.source.includes('in time') ? 300 : 20_000;
    const client = clientFor(t, await answering(t, listener), { timeoutMs });
    const delivery = await within(client.send(request), 30_000, name);
    assert.ok(delivery.outcome === 'failed', name);
    assert.match(delivery.reason, reason, name);
  }
});

test('nobody there is a failure at once, and no longer when somebody is', async (t) => {
  const server = createTcpServer();
  // No other test listens on this address of loopback: the port is not taken meanwhile.
  const host = '127.254.0.2';
  const port = await listening(t, server, host);
  server.close();
  const client = clientFor(t, `http://${host}:${port}/`);
  const delivery = await within(client.send(request), 2_000, 'a refusal');
  assert.match(JSON.stringify(delivery), /ECONNREFUSED/);
  const back = createServer(status(200));
  back.listen(port, host);
  t.after(() => back.closeAllConnections());
  t.after(() => back.close());
  await once(back, 'listening');
  assert.equal((await client.send(request)).outcome, 'accepted');
});

test('a connection that the backend closed when idle does not cost a message', async (t) => {
  let socket: Socket | undefined;
  const url = await answering(t, (incoming, response) => {
    ({ socket } = incoming);
    status(200)(incoming, response);
  });
  const client = clientFor(t, url);
  await client.send(request);
  assert.ok(socket);
  socket.destroy();
  await once(socket, 'close');
  // Either it has been noticed, or it fails and is sent again by whoever has the message.
  for (let i = 0; ; i += 1) {
    if ((await client.send(request)).outcome === 'accepted') break;
    assert.ok(i < 3);
  }
});

test('the end of an answer that never comes does not take back its status', async (t) => {
  for (const end of ['endless', 'cut', 'stuck'] as const) {
    const url = await answering(t, (incoming, response) => {
      incoming.resume().on('end', () => {
        response.writeHead(200);
        if (end === 'stuck') response.write('x');
        if (end === 'cut') response.write('x', () => response.destroy());
        if (end === 'endless') {
          const more = (): void => {
            while (response.write('x'.repeat(10_000)));
            response.once('drain', more);
          };
          more();
        }
      });
    });
    const client = clientFor(t, url, { timeoutMs: 2_000 });
    assert.equal((await within(client.send(request), 20_000, end)).outcome, 'accepted', end);
    assert.equal((await within(client.send(request), 20_000, end)).outcome, 'accepted', end);
  }
});

test('closing waits for what is under way, destroying does not', async (t) => {
  const waiting: ServerResponse[] = [];
  const arrived: (() => void)[] = [];
  const url = await answering(t, (incoming, response) => {
    waiting.push(response);
    incoming.resume();
    arrived.shift()?.();
  });
  const arrival = (): Promise<void> =>
    new Promise((resolve) => {
      arrived.push(resolve);
    });
  const closing = clientFor(t, url);
  let there = arrival();
  const first = closing.send(request);
  await there;
  const closed = closing.close();
  waiting[0]?.writeHead(200).end();
  assert.equal((await first).outcome, 'accepted');
  await closed;
  assert.equal((await closing.send(request)).outcome, 'failed');
  const destroyed = clientFor(t, url);
  there = arrival();
  const second = destroyed.send(request);
  await there;
  await destroyed.destroy();
  assert.equal((await within(second, 2_000, 'the end')).outcome, 'failed');
});

test('the environment names no proxy for it', async (t) => {
  const saved = { ...process.env };
  t.after(() => {
    process.env = saved;
  });
  for (const name of ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY']) {
    process.env[name] = name.startsWith('NODE') ? '1' : 'http://127.0.0.1:1';
  }
  assert.equal((await sentTo(t, status(200))).outcome, 'accepted');
});

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Backend Root');
const stranger = makeAuthority(folder.at('other'), 'Other Root');
const pem = (file: string): string => readFileSync(file, 'utf8');

function leaf(of: typeof authority, name: string, extensions: string[]) {
  const made = issueLeaf(of, folder.at(name), name, '', { subject: `/CN=${name}`, extensions });
  return { certificate: pem(made.crt), privateKey: pem(made.key) };
}

const server = leaf(authority, 'server', [
  'extendedKeyUsage=serverAuth',
  'subjectAltName=DNS:localhost,IP:127.0.0.1',
]);
const clientOf = (of: typeof authority) => leaf(of, 'gateway', ['extendedKeyUsage=clientAuth']);

async function overTls(
  t: TestContext,
  options: ServerOptions,
  tls: Partial<BackendSettings['tls']>,
  host = 'localhost',
): Promise<{ readonly delivery: Delivery; readonly peer: string | undefined }> {
  let peer: string | undefined;
  const secure = createTlsServer(
    { cert: server.certificate, key: server.privateKey, ...options },
    (incoming, response) => {
      // It came over TLS.
      const { subject } = (incoming.socket as TLSSocket).getPeerCertificate();
      peer = String((subject as { readonly CN?: string } | undefined)?.CN);
      status(200)(incoming, response);
    },
  );
  secure.on('tlsClientError', () => {});
  const port = await listening(t, secure);
  const client = clientFor(t, `https://${host}:${port}/`, {
    tls: { ca: pem(authority.crt), client: undefined, ...tls },
  });
  return { delivery: await within(client.send(request), 4_000, 'a delivery'), peer };
}

test('over TLS the backend must be whom the pinned authority vouches for', async (t) => {
  assert.equal((await overTls(t, {}, {})).delivery.outcome, 'accepted');
  assert.equal((await overTls(t, {}, {}, '127.0.0.1')).delivery.outcome, 'accepted');
  const why = async (...args: [ServerOptions, Partial<BackendSettings['tls']>, string?]) =>
    JSON.stringify((await overTls(t, ...args)).delivery);
  assert.match(await why({}, { ca: undefined }), /failed.*(UNABLE_TO|SELF_SIGNED)/);
  assert.match(await why({}, { ca: pem(stranger.crt) }), /failed.*(UNABLE_TO|SELF_SIGNED)/);
  assert.match(await why({}, { ca: 'no certificate' }), /failed/);
  const elsewhere = leaf(authority, 'elsewhere', ['subjectAltName=DNS:elsewhere.example']);
  const wrong = { cert: elsewhere.certificate, key: elsewhere.privateKey };
  assert.match(await why(wrong, {}), /failed.*ALTNAME/);
  assert.match(await why({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }, {}), /failed/);
});

test('the gateway shows its own certificate to a backend that wants one', async (t) => {
  const wanting = { requestCert: true, rejectUnauthorized: true, ca: pem(authority.crt) };
  const known = await overTls(t, wanting, { client: clientOf(authority) });
  assert.deepEqual([known.delivery.outcome, known.peer], ['accepted', 'gateway']);
  assert.equal((await overTls(t, wanting, {})).delivery.outcome, 'failed');
  const unknown = await overTls(t, wanting, { client: clientOf(stranger) });
  assert.equal(unknown.delivery.outcome, 'failed');
  const broken = { certificate: 'x', privateKey: 'y' };
  assert.equal((await overTls(t, wanting, { client: broken })).delivery.outcome, 'failed');
});
