/**
 * A REST service as people write them, with Fastify, behind routes: curl and Python walk up to it by every way of proving who
 * they are, and it sees those requests, as those principals, and no other.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac, generateKeyPairSync, hash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import * as DPoP from 'dpop';
import { fastify } from 'fastify';
import { createSigner, httpbis } from 'http-message-signatures';
import { blockWith } from '../harness/doc-commands.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { newNonce } from '../harness/iot-signature.ts';
import type { HmacKey } from '../harness/iot-signature.ts';
import { issuerAudience, TokenIssuerServer } from '../harness/token-issuer.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const run = promisify(execFile);
const endings: (() => unknown)[] = [];
after(async () => {
  for (const end of endings.reverse()) await end();
});

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly principal: unknown;
  readonly body: unknown;
}

const seen: Seen[] = [];
const service = fastify();
service.all('/*', async ({ method, url, headers, body }) => {
  seen.push({ method, url, principal: headers['x-principal'], body });
  return { hello: headers['x-principal'] };
});
const upstream = await service.listen({ host: '127.0.0.1', port: 0 });
endings.push(() => service.close());
const issuer = await TokenIssuerServer.start();
endings.push(() => issuer[Symbol.asyncDispose]());

const gateway = await startGateway({
  workers: 2,
  listener: 'httpsSigned: { host: 127.0.0.1, port: 0 }',
  files: {
    'issuer.pem': issuer.ca,
    'reading.json': '{"type":"object","required":["temp"],"properties":{"temp":{"type":"number"}}}',
  },
  config: `
limits: { sourceFailures: 100000, signedFailures: 1000 }
roles: { analyst: {} }
routes:
  plain: { path: /plain/, upstream: '${upstream}', schema: reading.json, methods: [ POST ] }
  signed:
    path: /signed/
    upstream: ${upstream}
    authenticate: [ certificate, signature ]
    integrity: { accept: [ hmac, http-signature ], clock: 5m, required: true }
  old:
    path: /old/
    upstream: ${upstream}
    integrity: { accept: [ body-hmac ], clock: 5m, required: true }
  reports: { path: /reports/, upstream: '${upstream}', roles: [ analyst ], authenticate: [ token ] }
tokens:
  endpoint: { perMinute: 1000 }
  issuers:
    - name: corporate
      issuer: ${issuer.url}
      audience: ${issuerAudience}
      algorithms: [ ES256 ]
      binding: bearer
      jwks: { url: '${issuer.url}/jwks', ca: issuer.pem }
      principal: { claim: client_id, prefix: corp-, scopes: [ fleet.read ] }
`,
});
endings.push(() => gateway[Symbol.asyncDispose]());
const d1 = await gateway.device('d1');
const tool = await gateway.service('tool', 'analyst');
await gateway.service('corp-dashboard', 'analyst');
await gateway.ok('device', 'register', 'h1');
const keyFiles = { d1: gateway.at('d1.key.json'), h1: gateway.at('h1.key.json') };
await gateway.ok('device', 'key', 'add', 'd1', '--out', keyFiles.d1);
await gateway.ok('device', 'key', 'add', 'h1', '--out', keyFiles.h1);
const key = JSON.parse(readFileSync(keyFiles.d1, 'utf8')) as HmacKey; // docs/cli.md says so
const payload = '{"temp": 22.5, "unit": "C"}';

function urlOf(listener: 'https' | 'httpsSigned', path: string): string {
  const { [listener]: at } = gateway.run().listeners;
  assert.ok(at !== undefined, listener);
  return `https://localhost:${at.port}${path}`;
}

/** @returns the status, and what was answered. */
async function curl(
  url: string,
  who: Identity | undefined,
  ...rest: readonly string[]
): Promise<{ readonly status: number; readonly body: string }> {
  const shown = who === undefined ? [] : ['--cert', who.crt, '--key', who.key];
  const tls = ['--cacert', d1.ca, ...shown];
  const output = ['-sS', '--max-time', '20', '-w', '\n%{http_code}'];
  const { stdout } = await run('curl', [...output, ...tls, ...rest, url]);
  const end = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const json = ['-H', 'Content-Type: application/json', '-d', payload] as const;

/** What the service has seen of `step`, and that it has seen nothing else of it. */
async function sees(step: () => Promise<unknown>, ...expected: readonly Seen[]): Promise<void> {
  const before = seen.length;
  await step();
  assert.deepEqual(seen.slice(before), expected);
}

const reading: unknown = JSON.parse(payload);
const post = (url: string, principal: string): Seen => ({
  method: 'POST',
  url,
  principal,
  body: reading,
});

test('mutual TLS: the request arrives as its device; a malformed one, or nobody’s, never does', async () => {
  await sees(
    async () => {
      const { status, body } = await curl(urlOf('https', '/plain/1?unit=C'), d1, ...json);
      assert.deepEqual([status, body], [200, '{"hello":"device/d1"}']);
    },
    post('/plain/1?unit=C', 'device/d1'),
  );
  await sees(async () => {
    const cold = ['-H', 'Content-Type: application/json', '-d', '{"temp":"cold"}'];
    assert.equal((await curl(urlOf('https', '/plain/1'), d1, ...cold)).status, 422);
    assert.equal((await curl(urlOf('https', '/plain/1'), undefined, ...json)).status, 401);
    assert.equal((await curl(urlOf('httpsSigned', '/plain/1'), undefined, ...json)).status, 401);
    assert.equal((await curl(urlOf('https', '/elsewhere'), d1, ...json)).status, 404);
    assert.equal((await curl(urlOf('https', '/reports/1'), d1)).status, 401);
  });
});

test('HMAC in Python with time and nonce: with a certificate, and without one', async () => {
  const send = gateway.at('send.py');
  writeFileSync(send, blockWith('signatures.md', 'python', 'send.py'));
  await sees(
    async () => {
      const { stdout } = await run('python3', [
        send,
        urlOf('https', '/signed/1?a=1'),
        keyFiles.d1,
        d1.ca,
        d1.crt,
        d1.key,
      ]);
      assert.equal(stdout, '200\n');
    },
    post('/signed/1?a=1', 'device/d1'),
  );
  await sees(
    async () => {
      const url = urlOf('httpsSigned', '/signed/2');
      const { stdout } = await run('python3', [send, url, keyFiles.h1, d1.ca]);
      assert.equal(stdout, '200\n');
    },
    post('/signed/2', 'device/h1'),
  );
});

test('the body alone, as the founding document signs it, where a route takes that', async () => {
  const mac = createHmac('sha256', Buffer.from(key.key, 'hex')).update(payload).digest('hex');
  const header = ['-H', `X-IoT-Signature: ${mac}`];
  await sees(
    async () => {
      assert.equal((await curl(urlOf('https', '/old/1'), d1, ...json, ...header)).status, 200);
      assert.equal((await curl(urlOf('https', '/old/1'), d1, ...json, ...header)).status, 401);
      assert.equal((await curl(urlOf('https', '/signed/1'), d1, ...json, ...header)).status, 401);
    },
    post('/old/1', 'device/d1'),
  );
});

test('HTTP message signatures, signed by npm’s http-message-signatures', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const file = gateway.at('ed25519.pem');
  writeFileSync(file, publicKey.export({ type: 'spki', format: 'pem' }));
  const added = await gateway.ok('device', 'key', 'add', 'h1', '--public', file, '--json');
  const { keyId } = added.json() as HmacKey; // docs/openapi says so
  const url = urlOf('httpsSigned', '/signed/3');
  const { headers } = await httpbis.signMessage(
    {
      key: createSigner(privateKey, 'ed25519', keyId),
      fields: ['@method', '@target-uri', 'content-type', 'content-digest'],
      params: ['created', 'nonce', 'keyid', 'alg'],
      paramValues: { nonce: newNonce() },
    },
    {
      method: 'POST',
      url,
      headers: {
        'content-type': 'application/json',
        'content-digest': `sha-256=:${hash('sha256', payload, 'base64')}:`,
      },
    },
  );
  const lines = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  await sees(
    async () => {
      assert.equal((await curl(url, undefined, '-d', payload, ...lines)).status, 200);
      assert.equal((await curl(url, undefined, '-d', payload, ...lines)).status, 401, 'a replay');
    },
    post('/signed/3', 'device/h1'),
  );
});

const report = (url: string, principal: string): Seen => ({
  method: 'GET',
  url,
  principal,
  body: undefined,
});

test('access tokens of a real authorization server, as they are and with a proof of their key', async () => {
  const url = urlOf('httpsSigned', '/reports/1');
  const authorization = `Authorization: Bearer ${await issuer.token()}`;
  const bearer = ['-H', authorization];
  // Control fetches the keys of the issuer after the gateway has started, and tells each worker.
  await until('the keys of the issuer on each worker', 60_000, async () => {
    const answers = await onEachWorker(gateway, gateway.run().workers, async () => {
      const client = await RawHttps.open({ port: gateway.httpsPort, identity: d1 });
      client.send(requestText('GET', '/reports/1', undefined, authorization));
      return { client, status: (await client.answer()).status };
    });
    for (const { client } of answers.values()) client[Symbol.dispose]();
    return [...answers.values()].every(({ status }) => status === 200);
  });
  await sees(
    async () => {
      const { status, body } = await curl(url, undefined, ...bearer);
      assert.deepEqual([status, body], [200, '{"hello":"service/corp-dashboard"}']);
      assert.equal(
        (await curl(urlOf('httpsSigned', '/signed/1'), undefined, ...bearer)).status,
        401,
      );
    },
    report('/reports/1', 'service/corp-dashboard'),
  );
  const pair = await DPoP.generateKeyPair('ES256');
  const token = await issuer.token({ dpop: pair });
  const proof = await DPoP.generateProof(pair, url, 'GET', undefined, token);
  const proven = ['-H', `Authorization: DPoP ${token}`, '-H', `DPoP: ${proof}`];
  await sees(
    async () => {
      assert.equal((await curl(url, undefined, ...proven)).status, 200);
      assert.equal((await curl(url, undefined, ...proven)).status, 401, 'a replay');
      const stolen = ['-H', `Authorization: Bearer ${token}`];
      assert.equal((await curl(url, undefined, ...stolen)).status, 401);
    },
    report('/reports/1', 'service/corp-dashboard'),
  );
});

test('the gateway’s own token endpoint: a short-lived token instead of an API key', async () => {
  const form = ['-d', 'grant_type=client_credentials', '-d', 'client_id=tool'];
  const asked = await curl(urlOf('https', '/oauth2/token'), tool, ...form);
  assert.equal(asked.status, 200, asked.body);
  const { access_token: token } = JSON.parse(asked.body) as { access_token: string }; // RFC 6749 §5.1
  const bearer = ['-H', `Authorization: Bearer ${token}`];
  await sees(
    async () => {
      assert.equal((await curl(urlOf('https', '/reports/2'), tool, ...bearer)).status, 200);
      assert.equal((await curl(urlOf('https', '/reports/2'), d1, ...bearer)).status, 401);
      assert.equal(
        (await curl(urlOf('httpsSigned', '/reports/2'), undefined, ...bearer)).status,
        401,
      );
    },
    report('/reports/2', 'service/tool'),
  );
});
