/**
 * The keys of a token issuer, in a real gateway: fetched over TLS from a server that turns hostile, kept while it is, and an
 * alarm when they are too old.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { RequestListener, Server } from 'node:http';
import { after, before, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import { issueLeaf, makeAuthority } from '../harness/openssl.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const folder = temporaryFolder();
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const good = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'k1', use: 'sig', alg: 'ES256' };
const labels = { issuer: 'corporate' };

let gateway: Gateway;
let server: Server;
let serves: RequestListener = () => {};
let asked = 0;
/** Requests that came where a redirect led. */
let reached = 0;

const say =
  (...keys: readonly object[]): RequestListener =>
  (_request, response) =>
    response.end(JSON.stringify({ keys }));

/** `maxAge` is the shortest that goes with it. */
const configOf = (maxAge: string): string => {
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const url = `https://localhost:${address.port}/jwks.json?secret=hunter2`;
  return `
tokens:
  issuers:
    - name: corporate
      issuer: https://id.example
      audience: https://gateway.example
      algorithms: [ ES256 ]
      jwks: { url: '${url}', ca: issuer-ca.pem, every: 1s, maxAge: ${maxAge}, timeout: 1s, maxBytes: 64KiB }
`;
};

before(async () => {
  const authority = makeAuthority(folder.at('issuer'), 'Issuer');
  const leaf = issueLeaf(authority, folder.at('issuer'), 'server', authority.crt, {
    subject: '/CN=localhost',
    extensions: ['subjectAltName=DNS:localhost'],
  });
  server = createServer(
    { key: readFileSync(leaf.key), cert: readFileSync(leaf.crt) },
    (...args) => {
      asked += 1;
      serves(...args);
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  serves = say(good);
  gateway = await startGateway({
    config: configOf('1h'),
    files: { 'issuer-ca.pem': readFileSync(authority.crt, 'utf8') },
  });
});
after(async () => {
  await gateway[Symbol.asyncDispose]();
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  folder[Symbol.dispose]();
});

const read = async (name: string): Promise<number> =>
  (await readMetrics(gateway)).sum(`sallyport_token_issuer_${name}`, labels);

test('the keys are there soon after the start', async () => {
  await until('the keys', 30_000, async () => (await read('keys_current')) === 1);
  assert.equal(await read('keys'), 1);
});

const hostile: readonly (readonly [what: string, serves: RequestListener, counted: string])[] = [
  [
    'endless',
    (_request, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    },
    'keys_refused_total',
  ],
  [
    '10,000 keys',
    say(...Array.from({ length: 10_000 }, () => ({ kid: 'x' }))),
    'keys_refused_total',
  ],
  [
    '100 keys',
    say(...Array.from({ length: 100 }, (_each, n) => ({ ...good, kid: `k${n}` }))),
    'keys_refused_total',
  ],
  ['a symmetric key', say(good, { kty: 'oct', k: 'c2VjcmV0' }), 'keys_refused_total'],
  [
    'another key with its private half',
    say(good, other.privateKey.export({ format: 'jwk' })),
    'keys_refused_total',
  ],
  [
    'one kid twice',
    say(good, { ...other.publicKey.export({ format: 'jwk' }), kid: 'k1' }),
    'keys_refused_total',
  ],
  ['nothing but HTML', (_request, response) => response.end('<html>'), 'keys_refused_total'],
  ['never a byte', () => {}, 'keys_failures_total'],
  [
    'a redirect to somewhere on this machine',
    ({ url }, response) => {
      if (url === '/admin') reached += 1;
      response.writeHead(307, { location: '/admin' }).end();
    },
    'keys_failures_total',
  ],
  [
    'gzip',
    (_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
    },
    'keys_failures_total',
  ],
];

for (const [what, behaviour, counted] of hostile) {
  test(`a server that gives ${what} changes nothing`, async () => {
    const counts = await read(counted);
    serves = behaviour;
    await until('it is counted', 45_000, async () => (await read(counted)) > counts);
    assert.equal(await read('keys_current'), 1);
    assert.equal(await read('keys'), 1);
    assert.equal(reached, 0);
  });
}

test('a control that starts while the server is down has the keys of before', async () => {
  serves = (request) => void request.socket.destroy();
  const { controlPid } = gateway;
  const [askedBefore, since] = [asked, gateway.log.end];
  process.kill(controlPid, 'SIGKILL');
  await until('another control', 60_000, () => {
    const [pid] = gateway.processes().control;
    return pid !== undefined && pid !== controlPid;
  });
  const current = await until('what it knows', 60_000, async () => {
    const state = await read('keys_current').catch(() => undefined);
    return asked > askedBefore && state !== undefined ? { state } : undefined;
  });
  assert.equal(current.state, 1);
  await gateway.log.logged(
    (line) => line.get('msg') === 'the keys of a token issuer could not be fetched',
    since,
  );
  serves = say(good);
});

test('a key of the issuer whose private half is published is trusted no more, until a sound set comes', async () => {
  await until('a good answer', 30_000, async () => (await read('keys')) === 1);
  const exposed = { ...pair.privateKey.export({ format: 'jwk' }), kid: 'k1' };
  serves = say(exposed);
  await until('none is trusted', 30_000, async () => (await read('keys')) === 0);
  assert.equal(await read('keys_current'), 0);
  serves = say({ ...other.publicKey.export({ format: 'jwk' }), kid: 'k2' });
  await until('the next one', 30_000, async () => (await read('keys_current')) === 1);
  assert.ok(!gateway.log.text.includes(String(exposed.d)), 'it is not told to the log');
});

test('keys that are too old are an alarm: in the metrics, the log and the audit log', async () => {
  gateway.configure(configOf('2s'));
  await gateway.ok('reload');
  // Before the look: once it has told of keys that are too old, it tells of others only.
  const since = await until('a good answer', 30_000, async () => {
    const { end } = gateway.log;
    return (await read('keys_current')) === 1 ? end : undefined;
  });
  serves = (request) => void request.socket.destroy();
  await until('too old', 60_000, async () => (await read('keys_current')) === 0);
  await gateway.log.logged(
    (line) => String(line.get('msg')).includes('too old or not there'),
    since,
  );
  serves = say(good);
  await until('all is well', 60_000, async () => (await read('keys_current')) === 1);
  const { stdout } = await gateway.ok('audit-log', 'show', '--json');
  for (const action of ['issuer-keys-refused', 'issuer-keys-stale', 'issuer-keys-current']) {
    assert.ok(stdout.includes(`"${action}"`), action);
  }
  assert.ok(!gateway.log.text.includes('hunter2'), 'the query of the URL is nobody else’s');
});
