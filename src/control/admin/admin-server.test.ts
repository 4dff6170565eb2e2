import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { RequestOptions } from 'node:https';
import { createConnection, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { silentLogger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { ListenAddress } from '../../common/ipc/snapshot.ts';
import { createAdminServer } from './admin-server.ts';
import type { AdminServer } from './admin-server.ts';
import { FakeServices } from './fake-services.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-admin-'));
const socketPath = join(directory, 'admin.sock');
const services = new FakeServices();
/** What the registry says of the operator's certificate; tests change it. */
let operator: PrincipalName | undefined;
const ann = 'operator/ann' as PrincipalName;
const hands = { now: Date.now(), monotonic: 0 };
let server: AdminServer;
let address: ListenAddress;
let pki: ReturnType<typeof makePki>;

before(async () => {
  pki = makePki();
  // After openssl, which may take its time: a certificate that is not valid yet is nobody's.
  hands.now = Date.now();
  server = createAdminServer(services, {
    socketPath,
    listener: { host: '127.0.0.1', port: 0 },
    tls: {
      certificateChain: pki.server.certificate,
      privateKey: pki.server.key,
      clientAnchors: [pki.ca],
    },
    metricsToken: 'scrape-me',
    authenticateOperator: () => operator,
    clock: { now: () => hands.now, monotonic: () => hands.monotonic },
    logger: silentLogger,
  });
  const bound = await server.start();
  assert.ok(bound);
  address = bound;
});

after(async () => {
  await server.close(0);
  rmSync(directory, { recursive: true });
});

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

function exchange(options: RequestOptions, body: string | undefined, overTls: boolean) {
  return new Promise<Reply>((resolve, reject) => {
    const request = (overTls ? httpsRequest : httpRequest)(
      { agent: false, ...options },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const isJson = String(response.headers['content-type']).includes('json');
          // The tests look at single fields of what the server itself wrote.
          const json = (isJson ? JSON.parse(text) : {}) as Record<string, unknown>;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

const jsonType = { 'content-type': 'application/json' };

function local(method: string, path: string, body?: object) {
  const headers = { 'sallyport-uid': '1000', ...(body === undefined ? {} : jsonType) };
  return exchange({ socketPath, method, path, headers }, body && JSON.stringify(body), false);
}

interface RemoteOptions {
  readonly client?: { certificate: string; key: string } | undefined;
  readonly headers?: Record<string, string>;
}

function remote(method: string, path: string, body?: object, options: RemoteOptions = {}) {
  const { client, headers } = options;
  return exchange(
    {
      host: address.host,
      port: address.port,
      servername: 'localhost',
      method,
      path,
      ca: pki.ca,
      headers: { ...(body === undefined ? {} : jsonType), ...headers },
      ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
    },
    body && JSON.stringify(body),
    true,
  );
}

test('the Unix socket is for its owner only and serves the whole table', async () => {
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  const status = await local('GET', '/v1/status');
  assert.equal(status.status, 200);
  assert.equal(status.json['trustDomain'], 'fleet.example');
  const created = await local('POST', '/v1/principals/device/d1/create', {});
  assert.equal(created.status, 201);
  assert.equal(created.json['privateKey'], 'KEY OF device/d1\n');
  assert.deepEqual(services.calls.at(-1), ['createLab', 'local:1000', 'device/d1', undefined]);
  const listed = await local('GET', '/v1/principals?kind=device&limit=1');
  assert.equal((listed.json['principals'] as object[]).length, 1);
  assert.equal((await local('GET', '/v1/principals/device/d1')).json['standing'], 'active');
  const revoked = await local('POST', '/v1/principals/device/d1/revoke', { reason: 'stolen' });
  assert.deepEqual(revoked.json, {
    name: 'device/d1',
    standing: 'revoked',
    revocationReason: 'unspecified',
    acknowledged: 2,
    killed: 0,
  });
  assert.equal((await local('POST', '/v1/ca/export-root', {})).json['privateKey'], 'ROOT KEY\n');
  assert.equal((await local('POST', '/v1/ca/export-root/confirm', {})).status, 204);
  assert.equal((await local('POST', '/v1/reload-processes', {})).status, 202);
  assert.equal((await local('GET', '/metrics')).text, 'sallyport_up 1\n');
});

test('a user id that is none is not written into the audit log', async () => {
  await exchange(
    {
      socketPath,
      method: 'POST',
      path: '/v1/reload',
      headers: { ...jsonType, 'sallyport-uid': '0","actor":"operator/ann' },
    },
    '{}',
    false,
  );
  assert.deepEqual(services.calls.at(-1), ['reload', 'local:unknown']);
});

test('refusals over the Unix socket carry code, detail and hint', async () => {
  const reply = await local('GET', '/v1/principals/device/nobody');
  assert.equal(reply.status, 404);
  assert.equal(reply.headers['content-type'], 'application/problem+json');
  assert.deepEqual(reply.json, {
    type: 'about:blank',
    title: 'Not Found',
    status: 404,
    code: 'unknown-principal',
    detail: 'device/nobody is not known',
    hint: 'enrol it first',
  });
});

test('what does not fit the table or its guards is refused and reaches no service', async () => {
  const calls = services.calls.length;
  const cases: readonly (readonly [string, string, object | undefined, number, string])[] = [
    ['GET', '/', undefined, 404, 'not-found'],
    ['GET', '/v1/status/', undefined, 404, 'not-found'],
    ['DELETE', '/v1/status', undefined, 404, 'not-found'],
    ['GET', '/v1/%zz', undefined, 400, 'malformed'],
    ['GET', `/v1/${'x'.repeat(2100)}`, undefined, 400, 'malformed'],
    ['GET', '/v1/principals', undefined, 400, 'usage'],
    ['GET', '/v1/principals?kind=device&limit=0', undefined, 400, 'usage'],
    ['GET', '/v1/principals?kind=device&limit=1e3', undefined, 400, 'usage'],
    ['GET', '/v1/principals?kind=constructor', undefined, 400, 'usage'],
    ['GET', '/v1/principals/device/a%2Fb', undefined, 400, 'usage'],
    ['GET', '/v1/principals/device/%2e%2e', undefined, 400, 'usage'],
    ['GET', '/v1/audit-log?after=-1', undefined, 400, 'usage'],
    ['POST', '/v1/principals/device/d1/enrol', {}, 400, 'usage'],
    ['POST', '/v1/principals/device/d1/enrol', { csr: 1 }, 400, 'usage'],
    ['POST', '/v1/principals/device/d1/revoke', { reasn: 'typo' }, 400, 'usage'],
    [
      'POST',
      '/v1/principals/device/d1/revoke',
      JSON.parse('{"__proto__":1}') as object,
      400,
      'usage',
    ],
    ['POST', '/v1/principals/device/d1/revoke', [], 400, 'malformed'],
    ['POST', '/v1/operators/ann/invite', { ttlSeconds: 1e9 }, 400, 'usage'],
    ['POST', '/v1/operators/%23/invite', { ttlSeconds: 60 }, 400, 'usage'],
    ['POST', '/v1/reload', { now: true }, 400, 'usage'],
  ];
  for (const [method, path, body, status, code] of cases) {
    const reply = await local(method, path, body);
    assert.deepEqual([reply.status, reply.json['code']], [status, code], `${method} ${path}`);
  }
  assert.equal(services.calls.length, calls);
});

test('a body must be JSON and at most 1 MiB, judged from its declared length', async () => {
  const headers = { 'content-type': 'text/plain' };
  const plain = await exchange(
    { socketPath, method: 'POST', path: '/v1/reload', headers },
    '{}',
    false,
  );
  assert.deepEqual([plain.status, plain.json['code']], [400, 'malformed']);

  const socket = createConnection(socketPath);
  socket.write(
    'POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n{',
  );
  const [first] = (await once(socket, 'data')) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1\.1 413 [\s\S]*connection: close[\s\S]*"too-large"/i);
  await once(socket.resume(), 'close');

  const chunked = createConnection(socketPath);
  const piece = Buffer.alloc(65_536, 0x20);
  chunked.write(
    'POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  chunked.on('error', () => {});
  for (let i = 0; i < 17; i += 1) chunked.write(`10000\r\n${piece.toString()}\r\n`);
  const [answer] = (await once(chunked, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 413 /);
  chunked.destroy();
});

test('smuggling shapes and oversized headers end the connection without telling what runs here', async () => {
  const shapes = [
    'GET /v1/status HTTP/1.1\nHost: x\n\n',
    'POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}',
    'POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}',
    'POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
    `GET /v1/status HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(17_000)}\r\n\r\n`,
    '\x16\x03\x01\x00\x00garbage\r\n\r\n',
  ];
  for (const shape of shapes) {
    const socket = createConnection(socketPath);
    socket.on('error', () => {});
    socket.write(shape);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'close');
    const text = Buffer.concat(chunks).toString();
    assert.match(text, /^HTTP\/1\.1 400 /, JSON.stringify(shape.slice(0, 90)));
    assert.doesNotMatch(text, /node|v\d\d\.|Error|at /i);
  }
});

test('without a certificate every path answers 401 with the code alone', async () => {
  for (const [method, path] of [
    ['GET', '/v1/status'],
    ['GET', '/metrics'],
    ['GET', '/nowhere'],
    ['DELETE', '/v1/ca'],
    ['GET', '/v1/operator-enrolment'],
  ] as const) {
    const reply = await remote(method, path);
    assert.equal(reply.status, 401, path);
    assert.deepEqual(reply.json, {
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      code: 'unauthenticated',
    });
    assert.deepEqual(Object.keys(reply.headers).toSorted(), [
      'cache-control',
      'connection',
      'content-length',
      'content-type',
      'date',
      'x-content-type-options',
    ]);
  }
});

test('the header of local callers means nothing over TLS', async () => {
  const reply = await remote('GET', '/v1/status', undefined, { headers: { 'sallyport-uid': '0' } });
  assert.equal(reply.status, 401);
});

test('an operator of active standing is served, and refused from the next request on when it is not', async () => {
  const socket = tlsConnect({
    host: address.host,
    port: address.port,
    servername: 'localhost',
    ca: pki.ca,
    cert: pki.operator.certificate,
    key: pki.operator.key,
  });
  const ask = async () => {
    socket.write('GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n');
    const [data] = (await once(socket, 'data')) as [Buffer];
    return data.toString().split(' ', 2)[1];
  };
  operator = ann;
  assert.equal(await ask(), '200');
  operator = undefined;
  assert.equal(await ask(), '401');
  operator = ann;
  assert.equal(await ask(), '200');
  hands.now += 400 * 86_400_000;
  assert.equal(await ask(), '401', 'a certificate that has expired meanwhile');
  hands.now -= 400 * 86_400_000;
  socket.destroy();
  operator = undefined;
});

test('standing that ends while a body dribbles in ends the request', async () => {
  operator = ann;
  const calls = services.calls.length;
  const socket = tlsConnect({
    host: address.host,
    port: address.port,
    servername: 'localhost',
    ca: pki.ca,
    cert: pki.operator.certificate,
    key: pki.operator.key,
  });
  socket.write(
    'POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n',
  );
  // The interim answer shows that the request has been identified and waits for its body.
  await once(socket, 'data');
  operator = undefined;
  socket.write('{}');
  const [data] = (await once(socket, 'data')) as [Buffer];
  assert.match(data.toString(), /^HTTP\/1\.1 401 /);
  assert.equal(services.calls.length, calls);
  socket.destroy();
});

test('a certificate of another CA or for servers only is nobody, whatever the registry says', async () => {
  operator = ann;
  for (const client of [pki.foreign, pki.server]) {
    const outcome = await remote('GET', '/v1/status', undefined, { client }).then(
      (reply) => reply.status,
      () => 'refused by TLS',
    );
    assert.ok(outcome === 401 || outcome === 'refused by TLS', String(outcome));
  }
  const fine = await remote('GET', '/v1/status', undefined, { client: pki.operator });
  assert.equal(fine.status, 200);
  operator = undefined;
});

test('what hands out private keys is refused over the network, to operators too', async () => {
  operator = ann;
  const paths = ['/v1/principals/device/d9/create', '/v1/ca/export-root', '/v1/ca/rotate'];
  for (const path of paths) {
    const reply = await remote('POST', path, {}, { client: pki.operator });
    assert.deepEqual([reply.status, reply.json['code']], [403, 'forbidden'], path);
  }
  operator = undefined;
});

test('the metrics token opens /metrics and nothing else', async () => {
  const withToken = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
  assert.equal((await remote('GET', '/metrics', undefined, withToken('scrape-me'))).status, 200);
  assert.equal((await remote('GET', '/metrics', undefined, withToken('scrape-m'))).status, 401);
  assert.equal((await remote('GET', '/v1/status', undefined, withToken('scrape-me'))).status, 401);
  server.updateMetricsToken(undefined);
  assert.equal((await remote('GET', '/metrics', undefined, withToken('scrape-me'))).status, 401);
  assert.equal((await remote('GET', '/metrics', undefined, withToken('undefined'))).status, 401);
});

test('an invitation is redeemed without a certificate; wrong ones are slowed down', async () => {
  const redeem = (token: string) => remote('POST', '/v1/operator-enrolment', { token, csr: 'CSR' });
  const wrong = await redeem('guess');
  assert.deepEqual(
    [wrong.status, wrong.json['code'], wrong.json['detail']],
    [401, 'unauthenticated', undefined],
  );
  const calls = services.calls.length;
  const slowed = await redeem('token-of-32-characters');
  assert.deepEqual([slowed.status, slowed.headers['retry-after']], [429, '1']);
  assert.equal(services.calls.length, calls);
  hands.monotonic += 1000;
  const redeemed = await redeem('token-of-32-characters');
  assert.equal(redeemed.status, 201);
  assert.equal(redeemed.json['certificateChain'], 'CERTIFICATE OF operator/ann\n');
  assert.equal((await redeem('token-of-32-characters')).status, 201, 'success forgets');
});

test('a peer without a certificate gets 16 KiB of body', async () => {
  hands.monotonic += 600_000;
  const csr = 'x'.repeat(17_000);
  const reply = await remote('POST', '/v1/operator-enrolment', { token: 't', csr }).then(
    (answer) => answer.json['code'],
    () => 'connection closed',
  );
  assert.ok(reply === 'too-large' || reply === 'connection closed', String(reply));
  hands.monotonic += 600_000;
});

test('TLS 1.1, CBC suites and resumption are refused', async () => {
  const attempt = async (options: object) => {
    const socket = tlsConnect({
      host: address.host,
      port: address.port,
      ca: pki.ca,
      servername: 'localhost',
      ...options,
    });
    try {
      await once(socket, 'secureConnect');
      return socket;
    } catch (error) {
      socket.destroy();
      return (error as NodeJS.ErrnoException).code;
    }
  };
  assert.equal(
    typeof (await attempt({
      minVersion: 'TLSv1.1',
      maxVersion: 'TLSv1.1',
      ciphers: 'ALL@SECLEVEL=0',
    })),
    'string',
  );
  assert.equal(
    typeof (await attempt({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' })),
    'string',
  );
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
    const first = await attempt({ maxVersion });
    assert.ok(first !== undefined && typeof first !== 'string');
    let session: Buffer | undefined = first.getSession();
    first.on('session', (latest: Buffer) => {
      session = latest;
    });
    first.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(first, 'data');
    first.destroy();
    const second = await attempt({ maxVersion, session });
    assert.ok(second !== undefined && typeof second !== 'string');
    assert.equal(second.isSessionReused(), false, maxVersion);
    second.destroy();
  }
});

test('new trust anchors apply to new connections, under the same rules of TLS', async () => {
  operator = ann;
  const tls = { certificateChain: pki.server.certificate, privateKey: pki.server.key };
  const statusFor = (client: { certificate: string; key: string }) =>
    remote('GET', '/v1/status', undefined, { client }).then(
      (reply) => reply.status,
      () => 'refused by TLS',
    );
  server.updateTls({ ...tls, clientAnchors: [pki.foreignCa] });
  assert.equal(await statusFor(pki.foreign), 200);
  assert.notEqual(await statusFor(pki.operator), 200);
  const old = tlsConnect({
    host: address.host,
    port: address.port,
    ca: pki.ca,
    servername: 'localhost',
    maxVersion: 'TLSv1.2',
    ciphers: 'ECDHE-ECDSA-AES128-SHA256',
  });
  await assert.rejects(once(old, 'secureConnect'));
  server.updateTls({ ...tls, clientAnchors: [pki.ca] });
  assert.equal(await statusFor(pki.operator), 200);
  operator = undefined;
});

test('one source cannot hold more than its share of connections', async () => {
  const open = Array.from({ length: 40 }, () => createConnection(address.port, address.host));
  for (const socket of open) socket.on('error', () => {});
  await Promise.all(open.slice(32).map((socket) => once(socket, 'close')));
  assert.equal(open.slice(0, 32).filter((socket) => !socket.destroyed).length, 32);
  const gone = open.slice(0, 32).map((socket) => once(socket, 'close'));
  for (const socket of open) socket.destroy();
  await Promise.all(gone);
});

test('a second server takes over the socket path, and the first one leaves it alone when it ends', async () => {
  const options = {
    socketPath,
    listener: false,
    tls: {
      certificateChain: pki.server.certificate,
      privateKey: pki.server.key,
      clientAnchors: [pki.ca],
    },
    metricsToken: undefined,
    authenticateOperator: () => undefined,
    clock: { now: () => hands.now, monotonic: () => hands.monotonic },
    logger: silentLogger,
  } as const;
  const first = createAdminServer(services, options);
  assert.equal(await first.start(), undefined);
  const second = createAdminServer(services, options);
  await second.start();
  await first.close(0);
  assert.equal((await local('GET', '/v1/status')).status, 200);
  await second.close(0);
  assert.throws(() => statSync(socketPath), { code: 'ENOENT' });
});

/** Certificates made by openssl: an implementation that is not ours. */
function makePki() {
  const file = (name: string) => join(directory, name);
  const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const issue = (
    name: string,
    ca: string | undefined,
    subject: string,
    ...extensions: string[]
  ) => {
    const signer = ca === undefined ? [] : ['-CA', file(`${ca}.crt`), '-CAkey', file(`${ca}.key`)];
    const added = extensions.flatMap((extension) => ['-addext', extension]);
    const output = ['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)];
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-subj',
      subject,
      '-days',
      '2',
      ...signer,
      ...added,
      ...output,
    );
    return {
      certificate: readFileSync(file(`${name}.crt`), 'utf8'),
      key: readFileSync(file(`${name}.key`), 'utf8'),
    };
  };
  const forClients = 'extendedKeyUsage=clientAuth';
  const forServers = 'extendedKeyUsage=serverAuth';
  const leaf = 'basicConstraints=critical,CA:FALSE';
  const ca = issue('ca', undefined, '/CN=ca').certificate;
  const foreignCa = issue('foreign-ca', undefined, '/CN=ca').certificate;
  return {
    ca,
    foreignCa,
    server: issue('server', 'ca', '/CN=gateway', leaf, forServers, 'subjectAltName=DNS:localhost'),
    operator: issue('operator', 'ca', '/CN=ann', leaf, forClients),
    foreign: issue('foreign', 'foreign-ca', '/CN=ann', leaf, forClients),
  };
}

test('a connection that cannot be accepted is logged and ends nothing', async () => {
  const servers: Server[] = [];
  const listening = (message: unknown): void => {
    if (typeof message !== 'object' || message === null || !('server' in message)) return;
    if (message.server instanceof Server) servers.push(message.server);
  };
  const errors: object[] = [];
  const another = createAdminServer(services, {
    socketPath: join(directory, 'another.sock'),
    listener: { host: '127.0.0.1', port: 0 },
    tls: {
      certificateChain: pki.server.certificate,
      privateKey: pki.server.key,
      clientAnchors: [pki.ca],
    },
    metricsToken: undefined,
    authenticateOperator: () => undefined,
    clock: { now: () => hands.now, monotonic: () => hands.monotonic },
    logger: { ...silentLogger, error: (fields) => errors.push(fields) },
  });
  subscribe('tracing:net.server.listen:asyncStart', listening);
  await another.start();
  unsubscribe('tracing:net.server.listen:asyncStart', listening);
  assert.equal(servers.length, 2);
  // What Node emits when accept() fails, for want of memory or a descriptor.
  for (const each of servers) each.emit('error', new Error('accept ENFILE'));
  assert.deepEqual(errors, [{ err: 'accept ENFILE' }, { err: 'accept ENFILE' }]);
  await another.close(0);
});
