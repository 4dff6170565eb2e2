import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Server } from 'node:net';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { until } from '../../../test/harness/waiting.ts';
import { fetchBytes } from './fetch-bytes.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const options = { maxBytes: 1_000, timeoutMs: 5_000, accept: 'application/jwk-set+json' };

async function portOf(t: TestContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

async function served(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  t.after(() => server.closeAllConnections());
  return `http://127.0.0.1:${await portOf(t, server)}/keys`;
}

test('what is there is fetched, as it is, with nothing of us in the request', async (t) => {
  const asked: unknown[] = [];
  const url = await served(t, ({ method, headers }, response) => {
    asked.push([method, headers.accept, headers['accept-encoding'], headers['user-agent']]);
    response.end('{"keys":[]}');
  });
  assert.equal((await fetchBytes(url, options)).toString(), '{"keys":[]}');
  assert.deepEqual(asked, [['GET', 'application/jwk-set+json', 'identity', undefined]]);
});

test('a redirect is not followed, wherever it leads', async (t) => {
  let reached = 0;
  const admin = await served(t, (_request, response) => {
    reached += 1;
    response.end('secret');
  });
  for (const status of [301, 302, 303, 307, 308]) {
    const url = await served(t, (_request, response) => {
      response.writeHead(status, { location: admin }).end();
    });
    await assert.rejects(fetchBytes(url, options), { code: 'io', message: /not followed/ });
  }
  assert.equal(reached, 0);
});

test('what is too large is refused before it is there', async (t) => {
  const announced = await served(t, (_request, response) => {
    response.writeHead(200, { 'content-length': '1000000000' });
    response.write('x');
  });
  await assert.rejects(fetchBytes(announced, options), { code: 'too-large' });
  let isGone = false;
  const endless = await served(t, (request, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    };
    request.once('close', () => {
      isGone = true;
    });
    response.on('drain', more);
    more();
  });
  await assert.rejects(fetchBytes(endless, options), { code: 'too-large' });
  await until('the end of the connection', 5_000, () => isGone);
});

test('who dribbles, says nothing or never ends has until the time is over', async (t) => {
  const limited = { ...options, timeoutMs: 200 };
  const behaviours: readonly RequestListener[] = [
    () => {},
    (_request, response) => void response.writeHead(200).write('{'),
    (request, response) => {
      response.writeHead(200);
      const dribble = setInterval(() => response.write(' '), 20);
      request.once('close', () => clearInterval(dribble));
    },
  ];
  for (const behaviour of behaviours) {
    const url = await served(t, behaviour);
    await assert.rejects(fetchBytes(url, limited), { code: 'timeout' });
  }
});

test('anything but 200, and anything packed, is no answer', async (t) => {
  for (const status of [204, 206, 401, 404, 500]) {
    const url = await served(t, (_request, response) => response.writeHead(status).end());
    await assert.rejects(fetchBytes(url, options), { code: 'io' }, String(status));
  }
  const packed = await served(t, (_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
  });
  await assert.rejects(fetchBytes(packed, options), { code: 'io' });
  const cut = await served(t, (request, response) => {
    response.writeHead(200, { 'content-length': '10' });
    response.write('x', () => request.socket.destroy());
  });
  await assert.rejects(fetchBytes(cut, options), { code: 'io' });
});

test('of an answer that is none nothing more is read', async (t) => {
  let isGone = false;
  const url = await served(t, (request, response) => {
    request.once('close', () => {
      isGone = true;
    });
    response.writeHead(404).write('x');
  });
  // Long after this test has given up: it is not the time limit that ends it.
  const patient = { ...options, timeoutMs: 60_000 };
  await assert.rejects(fetchBytes(url, patient), { code: 'io' });
  await until('the end of the connection', 5_000, () => isGone);
});

test('over TLS only whom the authority vouches for, by the name that was asked for', async (t) => {
  const authority = makeAuthority(folder.at('authority'), 'Keys');
  const other = makeAuthority(folder.at('other'), 'Others');
  const leaf = issueLeaf(authority, folder.at('leaf'), 'localhost', authority.crt, {
    subject: '/CN=localhost',
    extensions: ['subjectAltName=DNS:localhost'],
  });
  const server = createTlsServer(
    { key: readFileSync(leaf.key), cert: readFileSync(leaf.crt) },
    (_request, response) => response.end('over TLS'),
  );
  t.after(() => server.closeAllConnections());
  const port = await portOf(t, server);
  const ca = readFileSync(authority.crt, 'utf8');
  const url = `https://localhost:${port}/`;
  assert.equal((await fetchBytes(url, { ...options, ca })).toString(), 'over TLS');
  const strict = { ...options, ca, approvedOnly: true };
  assert.equal((await fetchBytes(url, strict)).toString(), 'over TLS');
  await assert.rejects(fetchBytes(url, options), { code: 'io' });
  const wrong = { ...options, ca: readFileSync(other.crt, 'utf8') };
  await assert.rejects(fetchBytes(url, wrong), { code: 'io' });
  const byAddress = `https://127.0.0.1:${port}/`;
  await assert.rejects(fetchBytes(byAddress, { ...options, ca }), { code: 'io' });
});
