import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import type { ServerOptions } from 'node:https';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { issueLeaf, makeAuthority } from '../../../../test/harness/openssl.ts';
import { until } from '../../../../test/harness/waiting.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import type { BackendTls } from '../../../common/ipc/snapshot.ts';
import {
  ask,
  begin,
  listening,
  patienceMs,
  settingsFor,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Upstream Root');
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
const pinned: BackendTls = { ca: pem(authority.crt), client: undefined };

interface Seen {
  readonly origin: string;
  readonly peers: (string | undefined)[];
  readonly connections: Set<number | undefined>;
  readonly protocols: (string | null)[];
}

async function secureServer(t: TestContext, options: ServerOptions = {}): Promise<Seen> {
  const seen = { peers: [], connections: new Set<number>(), protocols: [] } as {
    // Filled by the server below.
    readonly peers: (string | undefined)[];
    readonly connections: Set<number | undefined>;
    readonly protocols: (string | null)[];
  };
  const secure = createTlsServer(
    { cert: server.certificate, key: server.privateKey, ...options },
    (incoming, response) => {
      // It came over TLS.
      const socket = incoming.socket as TLSSocket;
      const { subject } = socket.getPeerCertificate();
      seen.peers.push((subject as { readonly CN?: string } | undefined)?.CN);
      seen.connections.add(socket.remotePort);
      seen.protocols.push(socket.getProtocol());
      incoming.pipe(response);
    },
  );
  secure.on('tlsClientError', () => {});
  const origin = await listening(t, secure, 'https');
  return { origin, ...seen };
}

test('requests go over TLS, many over one connection, large ones too', async (t) => {
  const { origin, connections } = await secureServer(t);
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { tls: pinned }));
  for (let i = 0; i < 3; i += 1) {
    assert.equal((await ask(upstreams, { method: 'POST', body: Buffer.from('ab') })).text, 'ab');
  }
  const large = Buffer.alloc(3_000_000, 'x');
  const told = await ask(upstreams, { method: 'POST', body: large });
  assert.equal(told.bytes, large.length);
  const streamed = begin(upstreams, { method: 'PUT', body: { bytes: 4 } });
  streamed.call.write(Buffer.from('ab'));
  streamed.call.write(Buffer.from('cd'));
  streamed.call.end();
  await streamed.told.over();
  assert.equal(streamed.told.text, 'abcd');
  assert.equal(connections.size, 1);
});

test('the server must be whom the pinned authority vouches for', async (t) => {
  const why = async (options: ServerOptions, tls: Partial<BackendTls>, host = '127.0.0.1') => {
    const { origin, peers } = await secureServer(t, options);
    const settings = settingsFor(origin.replace('127.0.0.1', host), { tls: { ...pinned, ...tls } });
    const { upstreams } = upstreamsFor(t, settings);
    const { status, failure } = await ask(upstreams, {
      method: 'POST',
      body: Buffer.from('secret'),
    });
    assert.equal(peers.length, status === undefined ? 0 : 1);
    assert.notEqual(failure?.sent, true);
    return failure?.detail ?? status;
  };
  assert.equal(await why({}, {}), 200);
  assert.equal(await why({}, {}, 'localhost'), 200);
  assert.match(String(await why({}, { ca: undefined })), /UNABLE_TO|SELF_SIGNED/);
  assert.match(String(await why({}, { ca: pem(stranger.crt) })), /UNABLE_TO|SELF_SIGNED/);
  assert.notEqual(await why({}, { ca: 'no certificate' }), 200);
  const elsewhere = leaf(authority, 'elsewhere', ['subjectAltName=DNS:elsewhere.example']);
  const wrong = { cert: elsewhere.certificate, key: elsewhere.privateKey };
  assert.match(String(await why(wrong, {})), /ALTNAME/);
  assert.notEqual(await why({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }, {}), 200);
});

test('with approved algorithms alone, a server that cannot is not spoken with', async (t) => {
  const approved = { ...pinned, approvedOnly: true };
  const status = async (options: ServerOptions) => {
    const { origin } = await secureServer(t, options);
    return (await ask(upstreamsFor(t, settingsFor(origin, { tls: approved })).upstreams)).status;
  };
  assert.equal(await status({}), 200);
  assert.equal(await status({ maxVersion: 'TLSv1.2' }), undefined);
  assert.equal(await status({ ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }), undefined);
  assert.equal(await status({ ecdhCurve: 'X25519' }), undefined);
});

test('the gateway shows its own certificate to a server that wants one', async (t) => {
  const wanting = { requestCert: true, rejectUnauthorized: true, ca: pem(authority.crt) };
  const asked = async (client: BackendTls['client']) => {
    const { origin, peers } = await secureServer(t, wanting);
    const { upstreams } = upstreamsFor(t, settingsFor(origin, { tls: { ...pinned, client } }));
    const { status } = await ask(upstreams);
    return [status, ...peers];
  };
  assert.deepEqual(await asked(clientOf(authority)), [200, 'gateway']);
  assert.deepEqual(await asked(undefined), [undefined]);
  assert.deepEqual(await asked(clientOf(stranger)), [undefined]);
  assert.deepEqual(await asked({ certificate: 'x', privateKey: 'y' }), [undefined]);
});

test('another authority or certificate holds from the next request on', async (t) => {
  const { origin, connections } = await secureServer(t);
  const { upstreams } = upstreamsFor(t, settingsFor(origin, { tls: pinned }));
  assert.equal((await ask(upstreams)).status, 200);
  upstreams.update([settingsFor(origin, { tls: { ...pinned }, answerMs: 4_000 })]);
  assert.equal((await ask(upstreams)).status, 200);
  assert.equal(connections.size, 1);
  upstreams.update([settingsFor(origin, { tls: { ...pinned, ca: pem(stranger.crt) } })]);
  assert.equal((await ask(upstreams)).status, undefined);
  upstreams.update([settingsFor(origin, { tls: pinned })]);
  assert.equal((await ask(upstreams)).status, 200);
  assert.equal(connections.size, 2);
});

test('a check goes over TLS too, and what it cannot trust is not well', async (t) => {
  const { origin } = await secureServer(t);
  const health = { path: '/', everyMs: 20, timeoutMs: 5_000 };
  const settings = settingsFor(origin, { tls: { ...pinned, ca: pem(stranger.crt) }, health });
  const { upstreams } = upstreamsFor(t, settings);
  const healthy = `upstream_healthy{route="r",server="${origin}"}`;
  await until('a check', patienceMs, () => upstreams.gauges()[healthy] === 0);
  assert.equal((await ask(upstreams)).failure?.detail, 'no server is available');
  upstreams.update([settingsFor(origin, { tls: pinned, health })]);
  assert.equal((await ask(upstreams)).status, 200);
});
