/**
 * Backends over TLS: only one that proves who it is to the authority that is pinned gets anything, and what it does not
 * get waits for it.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeBackendCertificates } from '../harness/backend-tls.ts';
import { startBackend } from '../harness/backend.ts';
import type { Backend, BackendOptions } from '../harness/backend.ts';
import { curl } from '../harness/curl.ts';
import { issueLeaf } from '../harness/openssl.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { spoolOf } from '../harness/spool-state.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const right = makeBackendCertificates(folder.at('right'));
const wrong = makeBackendCertificates(folder.at('wrong'));
const authority = { crt: right.ca, key: join(folder.at('right'), 'root.key') };
const misnamed = issueLeaf(authority, folder.at('right'), 'misnamed', right.ca, {
  subject: '/CN=localhost',
  extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:other.example,IP:127.0.0.2'],
});
const outdated = issueLeaf(authority, folder.at('right'), 'outdated', right.ca, {
  subject: '/CN=localhost',
  extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
  notBefore: new Date(Date.now() - 7_200_000),
  notAfter: new Date(Date.now() - 3_600_000),
});

async function newBackend(tls: NonNullable<BackendOptions['tls']>): Promise<Backend> {
  const backend = await startBackend({ tls });
  after(() => backend[Symbol.asyncDispose]());
  return backend;
}

const { certificate, key } = right.tls;
const pinned = await newBackend({ certificate, key });
const mutual = await newBackend(right.tls);
const ofOtherName = await newBackend({ certificate: misnamed.crt, key: misnamed.key });
const ofYesterday = await newBackend({ certificate: outdated.crt, key: outdated.key });

const asGateway = ({ gateway: { crt, key: file } }: typeof right): string =>
  `certificate: ${crt}, key: { file: ${file} }`;

function configWith(backend: Backend, more: string): string {
  return `routes: { telemetry: { match: devices/+/telemetry, rate: [], to: [ { http: '${backend.url}', retry: { min: 50ms, max: 100ms }, ${more} } ] } }`;
}

const good = configWith(pinned, `ca: ${right.ca}`);
const { gateway } = await sharedGateway({ workers: 2, config: good });
const d1 = await gateway.device('d1');

async function use(config: string): Promise<void> {
  gateway.configure(config);
  await gateway.ok('reload');
}

async function publish(payload: string): Promise<void> {
  assert.equal((await curl(gateway, d1, '/api/v1/telemetry', '-d', payload)).status, 202);
}

test('a backend whose certificate the pinned authority has signed gets the message', async () => {
  await publish('{"over":"TLS"}');
  const arrival = await pinned.arrival(({ text }) => text === '{"over":"TLS"}');
  assert.equal(arrival.request.client, undefined);
});

test('a backend that demands a certificate gets the message from the gateway by name', async () => {
  await use(configWith(mutual, `ca: ${right.ca}, ${asGateway(right)}`));
  await publish('{"over":"mTLS"}');
  const arrival = await mutual.arrival(({ text }) => text === '{"over":"mTLS"}');
  assert.equal(arrival.request.client, 'gateway');
});

interface Refused {
  readonly what: string;
  readonly config: string;
  readonly to: Backend;
  /** The reason that the operator is told. */
  readonly says: RegExp;
}

/** In TLS 1.3 the client is done before its certificate is judged: what it hears is the alert, or the end. */
const closedByBackend = /UND_ERR_SOCKET|ECONNRESET|EPIPE|CERTIFICATE_REQUIRED|UNKNOWN_CA/;

const refused: readonly Refused[] = [
  {
    what: 'signed by another authority than the pinned one',
    config: configWith(pinned, `ca: ${wrong.ca}`),
    to: pinned,
    says: /UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
  },
  {
    what: 'signed by none that Node brings',
    config: configWith(pinned, ''),
    to: pinned,
    says: /UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
  },
  {
    what: 'for another name',
    config: configWith(ofOtherName, `ca: ${right.ca}`),
    to: ofOtherName,
    says: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  {
    what: 'out of date',
    config: configWith(ofYesterday, `ca: ${right.ca}`),
    to: ofYesterday,
    says: /CERT_HAS_EXPIRED/,
  },
  {
    what: 'right, and the gateway shows none that it demands',
    config: configWith(mutual, `ca: ${right.ca}`),
    to: mutual,
    says: closedByBackend,
  },
  {
    what: 'right, and the gateway shows one of another authority',
    config: configWith(mutual, `ca: ${right.ca}, ${asGateway(wrong)}`),
    to: mutual,
    says: closedByBackend,
  },
];

for (const { what, config, to, says } of refused) {
  test(`a backend's certificate is ${what}: nothing is delivered and nothing is lost`, async () => {
    const before = to.record().requests.length;
    await use(config);
    const since = gateway.log.end;
    const payload = JSON.stringify({ what });
    await publish(payload);
    const line = await gateway.log.logged(
      (entry) => entry.get('msg') === 'a backend takes no messages: they wait in its spool',
      since,
    );
    assert.match(String(line.get('reason')), says);
    const spool = await spoolOf(gateway, 'telemetry', ({ breakersOpen }) => breakersOpen > 0);
    assert.deepEqual([spool.waiting, spool.deadLetters], [1, 0]);
    assert.equal(to.record().requests.length, before);

    await use(good);
    await pinned.arrival(({ text }) => text === payload);
    await spoolOf(gateway, 'telemetry', ({ waiting }) => waiting === 0);
  });
}
