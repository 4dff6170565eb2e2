/** The token endpoint of a real gateway, with clients that know nothing of it: curl, openssl and node:crypto. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import { openJwt, signedJwt } from '../harness/signed-jwt.ts';
import { until } from '../harness/waiting.ts';

const jwtBearer = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
type Json = Readonly<Record<string, unknown>>;

interface Answer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly json: Json;
}

/** Says who is asking, as the gateway has told it. */
const backend = createServer(({ headers }, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ principal: headers['x-principal'] }));
});
let gateway: Gateway;
let ingest: Identity;

before(async () => {
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
  const address = backend.address();
  assert.ok(typeof address === 'object' && address !== null);
  gateway = await startGateway({
    config: `
tokens: { endpoint: { life: 2m, perMinute: 1000 } }
routes:
  reports:
    path: /reports/
    upstream: http://127.0.0.1:${address.port}
    roles: [ backend ]
    authenticate: [ token ]
`,
    listener: 'httpsSigned: { host: 127.0.0.1, port: 0 }',
  });
  ingest = await gateway.service('ingest', 'backend');
});
after(async () => {
  await gateway[Symbol.asyncDispose]();
  backend.closeAllConnections();
  await new Promise<void>((resolve) => backend.close(() => resolve()));
});

const issuer = (): string => `https://localhost:${gateway.httpsPort}`;

async function curl(who: Identity, path: string, ...args: readonly string[]): Promise<Answer> {
  // Whoever has no certificate comes to the listener that asks for none.
  const hasOne = who.crt !== '';
  const { httpsSigned } = gateway.run().listeners;
  const base = hasOne ? issuer() : `https://localhost:${httpsSigned?.port ?? 0}`;
  const tls = ['--cacert', who.ca, ...(hasOne ? ['--cert', who.crt, '--key', who.key] : [])];
  const all = ['-sS', '--max-time', '20', '-i', ...tls, ...args, `${base}${path}`];
  const { stdout } = await promisify(execFile)('curl', all);
  const end = stdout.indexOf('\r\n\r\n');
  const [status = '', ...lines] = stdout.slice(0, end).split('\r\n');
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const json: unknown = JSON.parse(stdout.slice(end + 4));
  assert.ok(typeof json === 'object' && json !== null);
  return { status: Number(status.split(' ')[1]), headers, json: json as Json };
}

function ask(who: Identity, parameters: Readonly<Record<string, string>>): Promise<Answer> {
  const form = Object.entries({ grant_type: 'client_credentials', ...parameters });
  const data = form.flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`]);
  return curl(who, '/oauth2/token', ...data);
}

async function keysOf(who: Identity, path = '/oauth2/jwks'): Promise<readonly Json[]> {
  const { keys } = (await curl(who, path)).json;
  assert.ok(Array.isArray(keys));
  return keys as readonly Json[]; // objects, as openJwt finds out
}

test('a service gets a token with its certificate, and whoever has the published keys can verify it', async () => {
  const { status, headers, json } = await ask(ingest, { client_id: 'ingest' });
  assert.equal(status, 200);
  assert.equal(headers.get('cache-control'), 'no-store');
  assert.equal(headers.get('pragma'), 'no-cache');
  assert.equal(headers.get('content-type'), 'application/json');
  const { access_token: token, ...rest } = json;
  assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 120, scope: 'backend' });
  const { header, claims } = openJwt(String(token), await keysOf(ingest));
  assert.equal(header['typ'], 'at+jwt');
  const { iss, sub, aud, client_id: clientId, scope, cnf, exp, iat } = claims;
  assert.deepEqual(
    [iss, sub, aud, clientId, scope],
    [issuer(), 'ingest', issuer(), 'ingest', 'backend'],
  );
  assert.equal(Number(exp) - Number(iat), 120);
  const print = execFileSync('openssl', ['x509', '-in', ingest.crt, '-outform', 'DER']);
  const digest = execFileSync('openssl', ['dgst', '-sha256', '-binary'], { input: print });
  assert.deepEqual(cnf, { 'x5t#S256': digest.toString('base64url') });
});

test('its metadata say where everything is (RFC 8414)', async () => {
  const { json } = await curl(ingest, '/.well-known/oauth-authorization-server');
  assert.equal(json['issuer'], issuer());
  assert.equal(json['token_endpoint'], `${issuer()}/oauth2/token`);
  const [own] = await keysOf(ingest, String(json['jwks_uri']).slice(issuer().length));
  assert.ok(own !== undefined);
  assert.equal(own['d'], undefined);
  const all = await keysOf(ingest, '/.well-known/jwks.json');
  assert.ok(all.some(({ kid }) => kid === own['kid']));
});

test('devices, other services’ names and wrong words are refused in the words of OAuth', async () => {
  const device = await gateway.device('d1');
  const refused: readonly (readonly [
    Identity,
    Readonly<Record<string, string>>,
    number,
    string,
  ])[] = [
    [device, { client_id: 'd1' }, 400, 'unauthorized_client'],
    [ingest, { client_id: 'other' }, 401, 'invalid_client'],
    [ingest, {}, 400, 'invalid_request'],
    [ingest, { client_id: 'ingest', grant_type: 'password' }, 400, 'unsupported_grant_type'],
    [ingest, { client_id: 'ingest', scope: 'admin' }, 400, 'invalid_scope'],
    [ingest, { client_id: 'ingest', client_secret: 'hunter2' }, 401, 'invalid_client'],
  ];
  for (const [who, parameters, status, error] of refused) {
    const answer = await ask(who, parameters);
    assert.deepEqual([answer.status, answer.json], [status, { error }]);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
  }
  const basic = await curl(
    ingest,
    '/oauth2/token',
    '-u',
    'ingest:hunter2',
    '-d',
    'grant_type=client_credentials',
  );
  assert.deepEqual([basic.status, basic.json], [401, { error: 'invalid_client' }]);
  assert.match(basic.headers.get('www-authenticate') ?? '', /^Basic /);
  const twice = await curl(
    ingest,
    '/oauth2/token',
    '-d',
    'grant_type=client_credentials&client_id=ingest&client_id=ingest',
  );
  assert.deepEqual([twice.status, twice.json], [400, { error: 'invalid_request' }]);
  const metrics = await readMetrics(gateway);
  assert.ok(
    metrics.sum('sallyport_control_token_requests_total', { outcome: 'invalid_client' }) >= 3,
  );
});

/** A private key made by openssl, and its name once it is registered for the service. */
async function registeredKey(service: string): Promise<{ key: KeyObject; keyId: string }> {
  const key = gateway.at(`${service}.signer.key`);
  const pub = gateway.at(`${service}.signer.pub`);
  const curve = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  execFileSync('openssl', ['genpkey', ...curve, '-out', key]);
  execFileSync('openssl', ['pkey', '-in', key, '-pubout', '-out', pub]);
  const { stdout } = await gateway.ok('service', 'key', 'add', service, '--public', pub, '--json');
  const added: unknown = JSON.parse(stdout);
  assert.ok(typeof added === 'object' && added !== null && 'keyId' in added);
  return { key: createPrivateKey(readFileSync(key)), keyId: String(added.keyId) };
}

test('a service signs with a key that openssl has made; each assertion is good once, whatever is killed', async () => {
  const { key, keyId } = await registeredKey('ingest');
  const assertion = (claims: Json = {}): string => {
    const now = Math.floor(Date.now() / 1_000);
    const full = { iss: 'ingest', sub: 'ingest', aud: issuer(), iat: now, exp: now + 120 };
    const header = { alg: 'ES256', kid: keyId, typ: 'JWT' };
    return signedJwt(header, { ...full, jti: randomUUID(), ...claims }, key);
  };
  const show = (shown: string): Promise<Answer> =>
    ask(ingest, { client_assertion_type: jwtBearer, client_assertion: shown });
  const good = assertion();
  const { status, json } = await show(good);
  assert.equal(status, 200, JSON.stringify(json));
  openJwt(String(json['access_token']), await keysOf(ingest));
  const invalid = { error: 'invalid_client' };
  assert.deepEqual((await show(good)).json, invalid);
  assert.deepEqual((await show(assertion({ aud: 'https://other.example' }))).json, invalid);
  assert.deepEqual(
    (await show(assertion({ exp: Math.floor(Date.now() / 1_000) + 3_600 }))).json,
    invalid,
  );
  assert.equal((await show(assertion({ aud: `${issuer()}/oauth2/token` }))).status, 200);

  const [keyBefore] = await keysOf(ingest);
  const { controlPid } = gateway;
  process.kill(controlPid, 'SIGKILL');
  await until('another control', 60_000, () => {
    const [pid] = gateway.processes().control;
    return pid !== undefined && pid !== controlPid;
  });
  const [worker = 0] = gateway.processes().workers;
  process.kill(worker, 'SIGKILL');
  const fresh = await until('a token from those that replace them', 60_000, async () => {
    const answer = await show(assertion()).catch(() => undefined);
    return answer?.status === 200 ? answer : undefined;
  });
  const [afterwards] = await keysOf(ingest);
  assert.deepEqual(afterwards, keyBefore, 'the key is the same');
  openJwt(String(fresh.json['access_token']), [keyBefore ?? {}]);
  assert.deepEqual((await show(good)).json, invalid, 'what was used is used');

  await gateway.ok('service', 'key', 'remove', 'ingest', keyId.split('.').at(-1) ?? '');
  assert.deepEqual((await show(assertion())).json, invalid);
});

test('a token opens its route: a bound one with its certificate, another one without; to nobody once suspended', async () => {
  const reader = await gateway.service('reader', 'backend');
  const stranger: Identity = { ...reader, crt: '', key: '' };
  const { key, keyId } = await registeredKey('reader');
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: 'reader', sub: 'reader', aud: issuer(), jti: randomUUID(), exp: now + 240 };
  const assertion = signedJwt({ alg: 'ES256', kid: keyId }, claims, key);
  const shown = { client_assertion_type: jwtBearer, client_assertion: assertion };
  const bearer = await ask(stranger, shown);
  assert.equal(bearer.status, 200, JSON.stringify(bearer.json));
  const bound = await ask(reader, { client_id: 'reader' });
  const open = async (who: Identity, { json }: Answer): Promise<Answer> =>
    curl(who, '/reports/today', '-H', `Authorization: Bearer ${String(json['access_token'])}`);
  for (const [who, token] of [
    [stranger, bearer],
    [reader, bound],
  ] as const) {
    const { status, json } = await open(who, token);
    assert.deepEqual([status, json], [200, { principal: 'service/reader' }]);
  }
  assert.equal((await open(stranger, bound)).status, 401, 'without its certificate');
  assert.equal((await open(ingest, bound)).status, 401, 'with that of another service');
  assert.equal((await ask(stranger, { client_id: 'reader' })).status, 401, 'nothing is proven');
  await gateway.ok('service', 'suspend', 'reader');
  const { status } = await open(stranger, bearer);
  assert.equal(status, 403);
  const again = { ...claims, jti: randomUUID() };
  const fresh = signedJwt({ alg: 'ES256', kid: keyId }, again, key);
  const refused = await ask(stranger, { ...shown, client_assertion: fresh });
  assert.deepEqual([refused.status, refused.json], [400, { error: 'unauthorized_client' }]);
});

test('who is suspended gets none; a resumed one does, and only the first of a day is on record', async () => {
  const other = await gateway.service('other', 'backend');
  assert.equal((await ask(other, { client_id: 'other' })).status, 200);
  await gateway.ok('service', 'suspend', 'other');
  await assert.rejects(async () => {
    const { status } = await ask(other, { client_id: 'other' });
    assert.equal(status, 200);
  });
  await gateway.ok('service', 'resume', 'other');
  assert.equal((await ask(other, { client_id: 'other' })).status, 200);
  const { stdout } = await gateway.ok('audit-log', 'show', '--json');
  const records: unknown = JSON.parse(stdout);
  assert.ok(Array.isArray(records));
  const granted = records.filter(
    ({ action, target }: Json) => action === 'token-granted' && target === 'service/other',
  );
  assert.equal(granted.length, 1);
  await gateway.ok('audit-log', 'verify');
});

test('no token, no assertion and no key is in the log', async () => {
  const { json } = await ask(ingest, { client_id: 'ingest' });
  const signature = String(json['access_token']).split('.').at(-1) ?? '';
  const { raw } = new X509Certificate(readFileSync(ingest.crt));
  const text = gateway.log.text;
  for (const secret of [signature, 'hunter2', raw.toString('base64').slice(0, 60), 'PRIVATE KEY']) {
    assert.ok(!text.includes(secret), secret);
  }
});

test('where httpsSigned is the only listener, the endpoint is there and called after it', async () => {
  await using alone = await startGateway({
    config: 'tokens: { endpoint: {} }',
    listener: `https: false\n  httpsSigned: { host: 127.0.0.1, port: 0 }`,
  });
  const { ca } = await alone.service('ingest', 'backend');
  const port = alone.run().listeners['httpsSigned']?.port ?? 0;
  const url = `https://localhost:${port}/.well-known/oauth-authorization-server`;
  const says = await until('the metadata', 30_000, async () => {
    const { stdout } = await promisify(execFile)('curl', ['-sS', '--cacert', ca, url]);
    return stdout.includes('token_endpoint') ? stdout : undefined;
  });
  assert.match(says, new RegExp(`"issuer":"https://localhost:${port}"`));
});
