/** The backend of the harness does to its senders what it is told, and has written down what it accepted. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { after, test } from 'node:test';
import { startBackend } from './backend.ts';
import type { Backend } from './backend.ts';
import { makeBackendCertificates } from './backend-tls.ts';
import { temporaryFolder } from './temporary-folder.ts';

const backend = await startBackend();
after(() => backend[Symbol.asyncDispose]());

interface Sent {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

/** @throws as the connection breaks. */
function send(
  to: Backend,
  seq: number,
  tls?: { readonly ca: Buffer; readonly cert?: Buffer; readonly key?: Buffer },
  signal = AbortSignal.timeout(10_000),
): Promise<Sent> {
  const headers = {
    'content-type': 'application/json',
    'ce-specversion': '1.0',
    'ce-id': `id-${seq}`,
    'ce-source': 'spiffe://fleet.example/device/d1',
    'ce-type': 'com.sallyport.message.v1',
    'ce-subject': 'devices/d1/telemetry',
    'ce-time': '2026-11-21T07:00:00Z',
  };
  const { promise, resolve, reject } = Promise.withResolvers<Sent>();
  const make = tls === undefined ? httpRequest : httpsRequest;
  const request = make(
    to.url,
    { method: 'POST', headers, agent: false, signal, ...tls },
    (response) => {
      response.once('error', reject);
      response.once('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers['retry-after'],
        }),
      );
      response.resume();
    },
  );
  request.once('error', reject);
  request.end(JSON.stringify({ seq, poison: seq === 13 }));
  return promise;
}

function lastRequest() {
  const last = backend.record().requests.at(-1);
  assert.ok(last !== undefined);
  return { did: last.did, accepted: last.accepted, seqs: last.events.map(({ seq }) => seq) };
}

test('each behaviour, and what is on record of it', async () => {
  assert.equal((await send(backend, 1)).status, 204);
  assert.deepEqual(lastRequest(), { did: 'accept', accepted: true, seqs: [1] });

  await backend.behave({ do: 'answer', status: 503, retryAfterSeconds: 7 }, { do: 'accept' });
  assert.deepEqual(await send(backend, 2), { status: 503, retryAfter: '7' });
  assert.deepEqual(lastRequest(), { did: 'answer', accepted: false, seqs: [2] });
  assert.equal((await send(backend, 2)).status, 204);

  await backend.behave({ do: 'answer', status: 400, containing: '"poison":true' });
  assert.equal((await send(backend, 13)).status, 400);
  assert.equal(lastRequest().accepted, false);
  assert.equal((await send(backend, 14)).status, 204);
  assert.equal(lastRequest().accepted, true);

  await backend.behave({ do: 'slow', ms: 100 });
  const before = performance.now();
  assert.equal((await send(backend, 15)).status, 204);
  assert.ok(performance.now() - before >= 99);

  await backend.behave({ do: 'cut' });
  await assert.rejects(send(backend, 16), { code: 'ECONNRESET' });
  assert.deepEqual(lastRequest(), { did: 'cut', accepted: true, seqs: [16] });

  await backend.behave({ do: 'reset' });
  await assert.rejects(send(backend, 17), { code: 'ECONNRESET' });
  assert.deepEqual(lastRequest(), { did: 'reset', accepted: false, seqs: [] });

  await backend.behave({ do: 'hang' });
  const given = new AbortController();
  const hung = send(backend, 18, undefined, given.signal);
  await backend.recorded('the hung request', ({ requests }) => requests.at(-1)?.did === 'hang');
  given.abort();
  await assert.rejects(hung, { name: 'AbortError' });
  assert.deepEqual(lastRequest(), { did: 'hang', accepted: false, seqs: [18] });
});

test('killed after it accepted and before it answered, it is there again on its port', async () => {
  const { port } = backend;
  await backend.behave({ do: 'die' });
  await assert.rejects(send(backend, 21), { code: 'ECONNRESET' });
  await backend.ended();
  assert.equal(backend.isRunning, false);
  await assert.rejects(send(backend, 22), { code: 'ECONNREFUSED' });
  await backend.start();
  assert.equal(backend.port, port);
  assert.equal((await send(backend, 21)).status, 204);
  assert.equal((await send(backend, 22)).status, 204);
  const { arrivals } = backend.record();
  assert.deepEqual(
    arrivals.filter(({ seq }) => (seq ?? 0) > 20).map(({ seq, request }) => [seq, request.did]),
    [
      [21, 'die'],
      [21, 'accept'],
      [22, 'accept'],
    ],
  );
});

test('what is no event is answered 400 and named', async () => {
  await backend.behave({ do: 'accept' });
  const answer = await fetch(backend.url, { method: 'POST', body: '{}' });
  assert.equal(answer.status, 400);
  await answer.body?.cancel();
  assert.equal(backend.record().problems.length, 1);
});

test('over TLS it demands a certificate of its own authority, and notes whose', async () => {
  using folder = temporaryFolder();
  const certificates = makeBackendCertificates(folder.path);
  await using secured = await startBackend({ tls: certificates.tls });
  const ca = readFileSync(certificates.ca);
  const { crt, key } = certificates.gateway;
  assert.equal(
    (await send(secured, 1, { ca, cert: readFileSync(crt), key: readFileSync(key) })).status,
    204,
  );
  await assert.rejects(send(secured, 2, { ca }));
  assert.deepEqual(
    secured.record().requests.map(({ client, events }) => [client, events[0]?.seq]),
    [['gateway', 1]],
  );
});
