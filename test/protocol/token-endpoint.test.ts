/** The token endpoint at the edge: what comes to control, what never does, and what its answers may say. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { SallyportError } from '../../src/common/base/errors.ts';
import type { TokenCall } from '../../src/common/ipc/control-calls.ts';
import type { CredentialMaterial, TokenIssuer } from '../../src/common/ipc/credentials.ts';
import { problemCode } from '../harness/https-answer.ts';
import type { RawAnswer } from '../harness/https-bytes.ts';
import { identityOf, Surroundings } from '../harness/https-listener.ts';

const issuer = 'https://gateway.example:8443';
const key = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y', kid: 'k1' };
const own: TokenIssuer = {
  name: 'own',
  issuer,
  audiences: [issuer],
  algorithms: ['ES256'],
  binding: 'bearer',
  strictType: true,
  keys: [key],
  keysNotAfter: Number.MAX_SAFE_INTEGER,
  introspection: undefined,
  principal: { kind: 'service', claim: 'sub', prefix: '', register: 'known', role: '', scopes: [] },
};
const material: CredentialMaterial = {
  issuers: [{ ...own, name: 'corporate', keys: [{ ...key, kid: 'theirs' }] }, own],
  tokenEndpoint: { issuer, lifeMs: 300_000, audience: issuer },
  assertions: undefined,
};
const granted = {
  status: 200,
  headers: { 'content-type': 'application/json', pragma: 'no-cache' },
  body: '{"access_token":"x.y.z","token_type":"Bearer","expires_in":300}',
};

class Endpoint {
  readonly calls: TokenCall[] = [];
  answer: () => unknown = () => granted;
  credentials: CredentialMaterial | undefined = material;
  readonly failed: string[] = [];
  /** Of the last connection, as control is told. */
  address = '';
  readonly surroundings: Promise<Surroundings>;
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    this.surroundings = Surroundings.of(t, {
      limits: { connectionsPerIdentity: 1_000 },
      ports: {
        oauth: {
          credentials: () => this.credentials,
          call: async (call) => {
            this.calls.push(call);
            return this.answer();
          },
          failed: (address) => void this.failed.push(address),
          count: () => {},
        },
      },
    });
  }

  async ask(text: string, method = 'POST', id = 's1'): Promise<RawAnswer> {
    const raw = await (await this.surroundings).raw(this.#t, id);
    this.address = raw.address.split(':')[0] ?? '';
    raw.send(text);
    return raw.answer(method);
  }

  async post(body: string, ...lines: readonly string[]): Promise<RawAnswer> {
    const type = 'Content-Type: application/x-www-form-urlencoded';
    const head = ['POST /oauth2/token HTTP/1.1', 'Host: x', `Content-Length: ${body.length}`];
    const all = lines.some((line) => line.startsWith('Content-Type')) ? lines : [type, ...lines];
    return this.ask(`${[...head, ...all].join('\r\n')}\r\n\r\n${body}`);
  }
}

const form = 'grant_type=client_credentials&client_id=s1';
const said = (answer: RawAnswer): unknown => JSON.parse(answer.body.toString());

test('a form goes to control with the certificate of the connection, and its answer comes back', async (t) => {
  const endpoint = new Endpoint(t);
  const answer = await endpoint.post(
    `${form}&client_secret=hunter2&unknown=x`,
    'Authorization: Basic abc',
  );
  assert.equal(answer.status, 200);
  assert.deepEqual(said(answer), JSON.parse(granted.body));
  assert.deepEqual(answer.lines.slice(0, 5), [
    ['Content-Type', 'application/json'],
    ['Pragma', 'no-cache'],
    ['Content-Length', String(granted.body.length)],
    ['Cache-Control', 'no-store'],
    ['X-Content-Type-Options', 'nosniff'],
  ]);
  const { raw: der } = new X509Certificate(readFileSync(identityOf('s1').crt));
  const [call] = endpoint.calls;
  assert.deepEqual(
    { ...call, parameters: { ...call?.parameters } },
    {
      what: 'token',
      address: endpoint.address,
      certificate: der.toString('base64'),
      scheme: 'Basic',
      parameters: { grant_type: 'client_credentials', client_id: 's1', client_secret: 'given' },
    },
  );
  const { lines } = await endpoint.surroundings;
  assert.doesNotMatch(JSON.stringify(lines), /hunter2|abc|x\.y\.z/);
});

test('a refusal of control is handed on with its status and its header fields', async (t) => {
  const endpoint = new Endpoint(t);
  for (const [status, error, headers] of [
    [401, 'invalid_client', { 'www-authenticate': 'Basic realm="sallyport"' }],
    [400, 'invalid_scope', {}],
    [429, 'slow_down', { 'retry-after': '20' }],
  ] as const) {
    const body = JSON.stringify({ error });
    endpoint.answer = () => ({ status, headers: { ...granted.headers, ...headers }, body });
    const answer = await endpoint.post(form);
    assert.deepEqual([answer.status, said(answer)], [status, { error }]);
    for (const [name, value] of Object.entries(headers))
      assert.equal(answer.headers.get(name), value);
  }
  assert.deepEqual(endpoint.failed, [], 'each of them has shown a certificate');
});

test('what is no form never comes to control', async (t) => {
  const endpoint = new Endpoint(t);
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['', []],
    [`${form}&client_id=s1`, []],
    [`${form}&scope=%00`, []],
    ['{"grant_type":"client_credentials"}', ['Content-Type: application/json']],
    [form, ['Content-Type: application/x-www-form-urlencoded; charset=utf-16']],
    [form, ['Content-Type: multipart/form-data']],
    [form, ['Content-Type: application/x-www-form-urlencodedx']],
  ];
  for (const [body, lines] of cases) {
    const answer = await endpoint.post(body, ...lines);
    assert.deepEqual([answer.status, said(answer)], [400, { error: 'invalid_request' }], body);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
  }
  const gzip = await endpoint.post(form, 'Content-Encoding: gzip');
  assert.equal(gzip.status, 415);
  const large = await endpoint.post(`${form}&x=${'x'.repeat(16_384)}`);
  assert.equal(large.status, 413);
  const inQuery = 'POST /oauth2/token?client_id=s1 HTTP/1.1\r\nHost: x\r\n';
  const query = await endpoint.ask(
    `${inQuery}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${form.length}\r\n\r\n${form}`,
  );
  assert.equal(query.status, 400);
  const get = await endpoint.ask('GET /oauth2/token HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.deepEqual([get.status, get.headers.get('allow')], [405, 'POST']);
  assert.deepEqual(endpoint.calls, []);
  for (const charset of ['; charset=utf-8', ';charset="UTF-8"', ' ; charset=utf-8 ']) {
    const type = `Content-Type: application/x-www-form-urlencoded${charset}`;
    assert.equal((await endpoint.post(form, type)).status, 200, charset);
  }
});

test('a control that is down, busy or strange is no answer', async (t) => {
  const endpoint = new Endpoint(t);
  for (const [code, status] of [
    ['unavailable', 503],
    ['busy', 503],
    ['rate', 429],
    ['internal', 503],
    ['no-key', 503],
  ] as const) {
    endpoint.answer = () => {
      throw new SallyportError(code, 'a secret of control');
    };
    const answer = await endpoint.post(form);
    assert.equal(answer.status, status, code);
    assert.doesNotMatch(answer.body.toString(), /secret/);
  }
  for (const strange of [
    undefined,
    [],
    { ...granted, status: 302 },
    { ...granted, status: '200' },
    { ...granted, headers: { location: 'https://attacker.example/' } },
    { ...granted, headers: { 'content-type': 'a\r\nSet-Cookie: b' } },
    { ...granted, headers: { constructor: 'x' } },
    { ...granted, headers: undefined },
    { ...granted, body: 'no object' },
    { ...granted, body: `{${'x'.repeat(20_000)}}` },
  ]) {
    endpoint.answer = () => strange;
    const answer = await endpoint.post(form);
    assert.deepEqual(
      [answer.status, problemCode(answer)],
      [503, 'unavailable'],
      JSON.stringify(strange),
    );
  }
});

test('the endpoint says what it can (RFC 8414), and shows its own keys and nobody else’s', async (t) => {
  const endpoint = new Endpoint(t);
  const get = (path: string, id?: string): Promise<RawAnswer> =>
    endpoint.ask(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, 'GET', id);
  const metadata = await get('/.well-known/oauth-authorization-server');
  assert.equal(metadata.headers.get('content-type'), 'application/json');
  assert.deepEqual(said(metadata), {
    issuer,
    token_endpoint: `${issuer}/oauth2/token`,
    jwks_uri: `${issuer}/oauth2/jwks`,
    response_types_supported: [],
    grant_types_supported: ['client_credentials'],
    token_endpoint_auth_methods_supported: ['tls_client_auth', 'private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: ['ES256', 'ES384', 'EdDSA', 'Ed25519'],
    tls_client_certificate_bound_access_tokens: true,
  });
  const keys = await get('/oauth2/jwks', 'd1');
  assert.equal(keys.headers.get('content-type'), 'application/jwk-set+json');
  assert.deepEqual(said(keys), { keys: [key] });
});

test('without an endpoint nothing is there', async (t) => {
  const endpoint = new Endpoint(t);
  endpoint.credentials = { ...material, issuers: [], tokenEndpoint: undefined };
  for (const credentials of [endpoint.credentials, undefined]) {
    endpoint.credentials = credentials;
    assert.equal((await endpoint.post(form)).status, 404);
    for (const path of ['/.well-known/oauth-authorization-server', '/oauth2/jwks']) {
      const answer = await endpoint.ask(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      assert.deepEqual([answer.status, problemCode(answer)], [404, 'not-found'], path);
    }
  }
  assert.deepEqual(endpoint.calls, []);
});
