/**
 * Access tokens of a real authorization server (npm's oidc-provider), with proofs by a real client (npm's dpop), at a real
 * gateway before a backend: the keys are fetched over TLS, opaque tokens are asked about.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { after, before, test } from 'node:test';
import * as DPoP from 'dpop';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { issuerAudience, TokenIssuerServer } from '../harness/token-issuer.ts';
import { UpstreamServer } from '../harness/upstream-server.ts';
import { until } from '../harness/waiting.ts';

const endings: (() => unknown)[] = [];
let gateway: Gateway;
let upstream: UpstreamServer;
/** Gives out tokens as JWTs, and binds them. */
let corporate: TokenIssuerServer;
/** Gives out opaque tokens, and is asked about each. */
let partner: TokenIssuerServer;
let ca: Buffer;
let app: Identity;
let other: Identity;

before(async () => {
  corporate = await TokenIssuerServer.start();
  endings.push(() => corporate[Symbol.asyncDispose]());
  partner = await TokenIssuerServer.start();
  endings.push(() => partner[Symbol.asyncDispose]());
  upstream = await UpstreamServer.of({ after: (end) => void endings.push(end) });
  const { url, clientId, secret } = partner.introspection;
  gateway = await startGateway({
    workers: 2,
    listener: 'httpsSigned: { host: 127.0.0.1, port: 0 }',
    files: { 'corporate.pem': corporate.ca, 'partner.pem': partner.ca, 'partner.secret': secret },
    config: `
limits: { signedFailures: 1000, sourceFailures: 100000, tokenClock: 10m }
roles: { analyst: {}, guest: {} }
routes:
  reports:
    path: /reports/
    upstream: ${upstream.url}
    methods: [ GET, POST ]
    roles: [ analyst, guest ]
    authenticate: [ token ]
  devices:
    path: /devices/
    upstream: ${upstream.url}
    roles: [ analyst, guest ]
tokens:
  issuers:
    - name: corporate
      issuer: ${corporate.url}
      audience: ${issuerAudience}
      algorithms: [ ES256 ]
      jwks: { url: '${corporate.url}/jwks', ca: corporate.pem, every: 2s, maxAge: 1h }
      principal: { claim: client_id, prefix: corp-, scopes: [ fleet.read ] }
    - name: partner
      issuer: ${partner.url}
      audience: ${issuerAudience}
      binding: bearer
      introspection: { url: '${url}', clientId: ${clientId}, clientSecret: { file: partner.secret }, ca: partner.pem, cache: 1s }
      principal: { claim: client_id, prefix: partner-, register: any, role: guest }
`,
  });
  endings.push(() => gateway[Symbol.asyncDispose]());
  app = await gateway.service('corp-dashboard', 'analyst');
  other = await gateway.service('corp-reports', 'analyst');
  ca = readFileSync(app.ca);
});
after(async () => {
  for (const end of endings.reverse()) await end();
});

interface Answer {
  readonly status: number;
  readonly challenge: string | undefined;
}

const path = '/reports/today';

function address(at = path, listener: 'https' | 'httpsSigned' = 'httpsSigned'): string {
  const { [listener]: listening } = gateway.run().listeners;
  assert.ok(listening !== undefined);
  return `https://localhost:${listening.port}${at}`;
}

/** @param identity whose certificate the connection shows; without it, it goes to where nobody has one. */
function ask(
  headers: Readonly<Record<string, string>>,
  at = path,
  method = 'GET',
  identity?: Identity,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const url = address(at, identity === undefined ? 'httpsSigned' : 'https');
  const tls =
    identity === undefined
      ? {}
      : { cert: readFileSync(identity.crt), key: readFileSync(identity.key) };
  const sent = request(url, { method, headers, ca, agent: false, ...tls }, (response) => {
    response.resume();
    const challenge = response.headers['www-authenticate'];
    response.on('end', () => resolve({ status: response.statusCode ?? 0, challenge }));
  });
  sent.on('error', reject);
  sent.end();
  return promise;
}

const bearer = (token: string, at?: string): Promise<Answer> =>
  ask({ Authorization: `Bearer ${token}` }, at);

async function proven(
  token: string,
  key: DPoP.KeyPair,
  at = path,
  method = 'GET',
): Promise<Answer> {
  const proof = await DPoP.generateProof(key, address(at), method, undefined, token);
  return ask({ Authorization: `DPoP ${token}`, DPoP: proof }, at, method);
}

/** Control fetches the keys after the gateway has started and tells each worker: ten connections seldom miss one of two. */
async function whenKeysAreThere(token: string, key: DPoP.KeyPair): Promise<void> {
  await until('the keys of the issuer', 60_000, async () => {
    for (let n = 0; n < 10; n += 1) {
      if ((await proven(token, key)).status !== 200) return false;
    }
    return true;
  });
}

for (const alg of ['ES256', 'Ed25519', 'PS256', 'RS256'] as const) {
  test(`a token that is bound to a key is taken with proofs by ${alg}, each of them once`, async () => {
    const key = await DPoP.generateKeyPair(alg);
    const token = await corporate.token({ dpop: key });
    await whenKeysAreThere(token, key);
    const proof = await DPoP.generateProof(key, address(), 'GET', undefined, token);
    const headers = { Authorization: `DPoP ${token}`, DPoP: proof };
    const seen = upstream.requests.length;
    assert.equal((await ask(headers)).status, 200);
    assert.deepEqual(upstream.requests[seen]?.headers.get('x-principal'), [
      'service/corp-dashboard',
    ]);
    for (let i = 0; i < 4; i += 1) {
      const again = await ask(headers);
      assert.equal(again.status, 401);
      assert.match(again.challenge ?? '', /^DPoP .*error="invalid_dpop_proof", algs="ES256/);
    }
    assert.equal(upstream.requests.length, seen + 1);
  });
}

test('a proof that was taken is refused by the workers that follow those which were killed', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  const token = await corporate.token({ dpop: key });
  await whenKeysAreThere(token, key);
  const proof = await DPoP.generateProof(key, address(), 'GET', undefined, token);
  const headers = { Authorization: `DPoP ${token}`, DPoP: proof };
  assert.equal((await ask(headers)).status, 200);
  const { workers } = gateway.run();
  for (const pid of workers) process.kill(pid, 'SIGKILL');
  await gateway.runFile(
    (now) => now.workers.length === 2 && !now.workers.some((pid) => workers.includes(pid)),
  );
  const again = await until('an answer', 60_000, () => ask(headers).catch(() => undefined));
  assert.equal(again.status, 401);
  assert.match(again.challenge ?? '', /error="invalid_dpop_proof"/);
  await whenKeysAreThere(token, key);
});

test('a proof for another request, by another key or with another token is none', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  const strange = await DPoP.generateKeyPair('ES256');
  const token = await corporate.token({ dpop: key });
  const another = await corporate.token({ dpop: key });
  await whenKeysAreThere(token, key);
  const proof = (of: DPoP.KeyPair, at: string, method: string, ofToken: string): Promise<string> =>
    DPoP.generateProof(of, address(at), method, undefined, ofToken);
  const seen = upstream.requests.length;
  for (const made of [
    proof(key, '/reports/yesterday', 'GET', token),
    proof(key, path, 'POST', token),
    proof(strange, path, 'GET', token),
    proof(key, path, 'GET', another),
    DPoP.generateProof(key, address(), 'GET'),
  ]) {
    const answer = await ask({ Authorization: `DPoP ${token}`, DPoP: await made });
    assert.equal(answer.status, 401);
    assert.match(answer.challenge ?? '', /error="invalid_dpop_proof"/);
  }
  // Without its proof it is nobody's bearer token.
  assert.equal((await bearer(token)).status, 401);
  assert.equal(upstream.requests.length, seen);
});

test('a token that is bound to nothing is refused where it has to be', async () => {
  const answer = await bearer(await corporate.token());
  assert.equal(answer.status, 401);
  assert.match(answer.challenge ?? '', /^Bearer .*error="invalid_token"/);
});

test('a token without the scope is told which', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  await whenKeysAreThere(await corporate.token({ dpop: key }), key);
  const answer = await proven(await corporate.token({ dpop: key, scope: 'fleet.write' }), key);
  assert.equal(answer.status, 403);
  assert.match(answer.challenge ?? '', /error="insufficient_scope", scope="fleet\.read"/);
});

test('whom the issuer names and nobody has registered is nobody', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  const token = await corporate.token({ dpop: key, client: 'gateway' });
  assert.equal((await proven(token, key)).status, 401);
});

test('a key that the issuer has just begun to sign with is taken soon, and the one before it still', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  const earlier = await corporate.token({ dpop: key });
  await whenKeysAreThere(earlier, key);
  corporate.signBy('second');
  await whenKeysAreThere(await corporate.token({ dpop: key }), key);
  assert.equal((await proven(earlier, key)).status, 200);
});

test('a suspended service is suspended with every token that it has', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  const token = await corporate.token({ dpop: key });
  await whenKeysAreThere(token, key);
  await gateway.ok('service', 'suspend', 'corp-dashboard');
  assert.equal((await proven(token, key)).status, 403);
  assert.equal((await proven(await corporate.token({ dpop: key }), key)).status, 403);
  await gateway.ok('service', 'resume', 'corp-dashboard');
  assert.equal((await proven(token, key)).status, 200);
});

test('a token opens nothing that is for certificates', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  const token = await corporate.token({ dpop: key });
  await whenKeysAreThere(token, key);
  assert.equal((await proven(token, key, '/devices/x')).status, 401);
});

test('a token that is bound to a certificate is taken on a connection with that certificate only', async () => {
  const key = await DPoP.generateKeyPair('ES256');
  await whenKeysAreThere(await corporate.token({ dpop: key }), key);
  const token = await corporate.token({ client: 'reports', certificate: app });
  const headers = { Authorization: `Bearer ${token}` };
  const seen = upstream.requests.length;
  assert.equal((await ask(headers, path, 'GET', app)).status, 200);
  const arrived = upstream.requests[seen]?.headers;
  // Whom the token names, and not whose the connection is; and the token goes no further.
  assert.deepEqual(arrived?.get('x-principal'), ['service/corp-reports']);
  assert.equal(arrived.get('authorization'), undefined);
  for (const identity of [other, undefined]) {
    const answer = await ask(headers, path, 'GET', identity);
    assert.equal(answer.status, 401);
    assert.match(answer.challenge ?? '', /^Bearer .*error="invalid_token"/);
  }
  assert.equal(upstream.requests.length, seen + 1);
});

test('an opaque token is what its issuer says, until the issuer takes it back', async () => {
  const token = await partner.token({ opaque: true });
  const seen = upstream.requests.length;
  assert.equal((await bearer(token)).status, 200);
  assert.deepEqual(upstream.requests[seen]?.headers.get('x-principal'), [
    'service/partner-dashboard',
  ]);
  await partner.takeBack(token);
  await until('it is refused', 30_000, async () => (await bearer(token)).status === 401);
  assert.equal((await bearer('neverGivenOutByAnybody')).status, 401);
});

test('the issuers have made no mistake', () => {
  assert.deepEqual([...corporate.errors, ...partner.errors], []);
  // Besides what the test itself has asked for.
  const fetched = new Set(corporate.asked.filter((each) => each !== '/token'));
  assert.deepEqual([...fetched], ['/jwks']);
});
