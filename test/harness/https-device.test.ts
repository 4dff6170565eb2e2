/** The harness's HTTPS clients against a server of Node's own. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { after, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { makeBackendCertificates } from './backend-tls.ts';
import { jsonOf, problemCode } from './https-answer.ts';
import { HttpsDevice } from './https-device.ts';
import { RawHttps } from './https-raw.ts';
import { temporaryFolder } from './temporary-folder.ts';

const folder = temporaryFolder();
const { tls, ca, gateway: identity } = makeBackendCertificates(folder.path);
const server = createServer(
  {
    cert: readFileSync(tls.certificate),
    key: readFileSync(tls.key),
    ca: readFileSync(ca),
    requestCert: true,
    rejectUnauthorized: true,
  },
  (request, response) => {
    const { socket, headers, url } = request;
    if (url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`: open after ${String(headers['last-event-id'])}\n\n`);
      response.write('id: 1\nevent: command\ndata: {}\n\nid: 2\nda');
      response.write('ta: x\n\n');
      request.socket.once('close', () => response.destroy());
      return;
    }
    if (url === '/problem') {
      response.writeHead(404, { 'content-type': 'application/problem+json' });
      response.end('{"code":"not-found"}');
      return;
    }
    const client = socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.subject : '';
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({ client, from: `${socket.remoteAddress ?? ''} ${socket.remotePort ?? 0}` }),
    );
  },
);
await new Promise<void>((resolve) => {
  server.listen(0, '127.0.0.1', resolve);
});
after(async () => {
  server.closeAllConnections();
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const address = server.address();
assert.ok(typeof address === 'object' && address !== null);
const { port } = address;

test('a device shows its certificate, and keeps its connection or not', async () => {
  using device = new HttpsDevice({ port, identity });
  const first = jsonOf(await device.request('POST', '/', { body: { seq: 1 } }));
  assert.ok(typeof first === 'object' && first !== null && 'client' in first && 'from' in first);
  assert.equal(first.client, 'CN=gateway');
  assert.deepEqual(jsonOf(await device.request('GET', '/')), first);
  assert.notDeepEqual(jsonOf(await device.requestAlone('GET', '/')), first);
  assert.equal(problemCode(await device.request('GET', '/problem')), 'not-found');
  assert.equal(device.sockets.length, 1);
  using stranger = new HttpsDevice({ port, identity: undefined, ca });
  await assert.rejects(stranger.request('GET', '/'));
});

test('an event stream is read as it comes, and its end is told', async () => {
  using device = new HttpsDevice({ port, identity });
  using stream = await device.eventStream('7', '/events');
  assert.deepEqual(await stream.next(), { id: '1', event: 'command', data: '{}' });
  assert.deepEqual(await stream.next(), { id: '2', event: 'message', data: 'x' });
  assert.deepEqual(stream.comments, ['open after 7']);
  await assert.rejects(stream.next(50), /an event/);
  server.closeAllConnections();
  assert.equal((await stream.ended).complete, false);
  await assert.rejects(stream.next(), /ended/);
  await assert.rejects(device.eventStream(undefined, '/problem'), /404.*not-found/);
});

test('raw bytes go out, responses are read by the letter, and the end is told', async () => {
  using raw = await RawHttps.open({ port, identity });
  raw.send('GET /problem HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await raw.answer()).status, 404);
  assert.equal((await raw.answer('HEAD')).status, 200);
  raw.send('GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n');
  const [refused, ...more] = await raw.answersUntilClose();
  assert.deepEqual([refused?.status, more.length], [400, 0]);
  assert.match((await raw.untilClose()).toString(), /^HTTP\/1\.1 404 .*HTTP\/1\.1 400 /s);
  assert.equal((await raw.ended).error, undefined);
});
