import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { StoppedClock } from '../../test/harness/issuance.ts';
import { silentLogger } from '../common/base/logger.ts';
import type { TokenIssuerConfig, TokensConfig } from '../common/config/tokens-config.ts';
import type { CredentialMaterial } from '../common/ipc/credentials.ts';
import { Registry } from './registry/registry.ts';
import { additionMs } from './snapshot/publisher.ts';
import { MasterKey } from './store/master-key.ts';
import { migrations } from './store/migrations.ts';
import { TokenServices } from './token-services.ts';

const dayMs = 86_400_000;
const endpoint = { issuer: undefined, audience: undefined, lifeMs: 300_000, perMinute: 60 };
const nothing: TokensConfig = { issuers: [], endpoint: false, keyRotationMs: 7 * dayMs };
const jwk = {
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
  kid: 'theirs',
};
const corporate: TokenIssuerConfig = {
  name: 'corporate',
  issuer: 'https://id.example',
  audiences: ['https://gateway.example'],
  algorithms: ['ES256'],
  binding: 'bound',
  strictType: true,
  jwks: {
    url: 'https://id.example/jwks.json',
    ca: undefined,
    everyMs: 900_000,
    maxAgeMs: dayMs,
    timeoutMs: 10_000,
    maxBytes: 65_536,
  },
  introspection: undefined,
  principal: { kind: 'service', claim: 'sub', prefix: '', register: 'known', role: '', scopes: [] },
};

class Bench {
  readonly database = new DatabaseSync(':memory:');
  readonly clock = new StoppedClock();
  readonly told: {
    readonly credentials: CredentialMaterial;
    readonly limitMs: number | undefined;
  }[] = [];
  tokens: TokensConfig = nothing;
  wantsAssertions = false;
  serverNames = ['gateway.example', 'localhost'];
  httpsPort: number | undefined = 8443;
  readonly services: TokenServices;

  constructor() {
    for (const step of migrations) this.database.exec(step);
    this.services = this.start();
  }

  start(): TokenServices {
    const { database, clock } = this;
    return new TokenServices({
      database,
      masterKey: new MasterKey(Buffer.alloc(32, 1)),
      clock,
      logger: silentLogger,
      registry: new Registry(database, clock),
      auditLog: {
        append: (entry) => ({ ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' }),
      },
      fetch: async () => Buffer.from(JSON.stringify({ keys: [jwk] })),
      tokens: () => this.tokens,
      wantsAssertions: () => this.wantsAssertions,
      trustDomain: 'fleet.example',
      serverNames: () => this.serverNames,
      httpsPort: () => this.httpsPort,
      anchors: () => [],
      isRevoked: () => false,
      keysOf: () => [],
      publish: async (changes, limitMs) => {
        for (const change of changes) {
          assert.equal(change.type, 'credentials');
          this.told.push({ credentials: change.credentials, limitMs });
        }
      },
    });
  }

  /** What the first snapshot says. */
  tell(): CredentialMaterial {
    this.services.prepare();
    return this.services.tell();
  }
}

const kidsOf = (keys: readonly Readonly<Record<string, unknown>>[] | undefined): unknown[] =>
  keys?.map(({ kid }) => kid) ?? [];

test('nothing is configured: nothing is made, nothing is told', async () => {
  const bench = new Bench();
  const material = { issuers: [], tokenEndpoint: undefined, assertions: undefined };
  assert.deepEqual(bench.tell(), material);
  await bench.services.check();
  assert.deepEqual(bench.told, []);
  assert.equal(bench.database.prepare('SELECT * FROM signing_keys').get(), undefined);
});

test('the endpoint is called after the first name of the server and its port, or as it is configured', () => {
  const bench = new Bench();
  bench.tokens = { ...nothing, endpoint };
  const url = (): string | undefined => bench.tell().tokenEndpoint?.issuer;
  assert.equal(url(), 'https://gateway.example:8443');
  bench.httpsPort = 443;
  assert.equal(url(), 'https://gateway.example');
  bench.serverNames = ['2001:db8::1'];
  bench.httpsPort = 8443;
  assert.equal(url(), 'https://[2001:db8::1]:8443');
  bench.tokens = { ...nothing, endpoint: { ...endpoint, issuer: 'https://tokens.example' } };
  assert.deepEqual(bench.tell().tokenEndpoint, {
    issuer: 'https://tokens.example',
    audience: 'https://tokens.example',
    lifeMs: 300_000,
  });
  bench.tokens = { ...nothing, endpoint: { ...endpoint, audience: 'https://api.example' } };
  assert.equal(bench.tell().tokenEndpoint?.audience, 'https://api.example');
});

test('while nobody knows the port there is no endpoint; workers hear of it once', async () => {
  const bench = new Bench();
  bench.tokens = { ...nothing, endpoint };
  bench.httpsPort = undefined;
  assert.deepEqual(bench.tell().issuers, []);
  bench.httpsPort = 40_000;
  await bench.services.check();
  await bench.services.check();
  assert.equal(bench.told.length, 1);
  const [told] = bench.told;
  assert.equal(told?.limitMs, additionMs);
  assert.equal(told.credentials.tokenEndpoint?.issuer, 'https://gateway.example:40000');
});

test('its tokens are taken as those of any issuer: its own keys, registered services, the type of RFC 9068', () => {
  const bench = new Bench();
  bench.tokens = { ...nothing, endpoint };
  const [own] = bench.tell().issuers;
  assert.ok(own !== undefined);
  const { keys, ...rest } = own;
  assert.equal(keys.length, 1);
  assert.equal(keys[0]?.['d'], undefined);
  assert.deepEqual(rest, {
    name: 'own',
    issuer: 'https://gateway.example:8443',
    audiences: ['https://gateway.example:8443'],
    algorithms: ['ES256'],
    binding: 'bearer',
    strictType: true,
    keysNotAfter: Number.MAX_SAFE_INTEGER,
    introspection: undefined,
    principal: {
      kind: 'service',
      claim: 'sub',
      prefix: '',
      register: 'known',
      role: '',
      scopes: [],
    },
  });
});

test('a new key of tokens is told before it signs, and the old one until its tokens are over', async () => {
  const bench = new Bench();
  bench.tokens = { ...nothing, endpoint };
  const [first] = kidsOf(bench.tell().issuers[0]?.keys);
  const kids = (): unknown[] => kidsOf(bench.told.at(-1)?.credentials.issuers[0]?.keys);
  bench.clock.wallMs += 6 * dayMs;
  await bench.services.check();
  const [, second] = kids();
  assert.deepEqual(kids(), [first, second]);
  bench.clock.wallMs += dayMs;
  await bench.services.check();
  bench.clock.wallMs += 2 * 3_600_000;
  await bench.services.check();
  assert.deepEqual(kids(), [second]);
  assert.equal(bench.told.length, 2);
});

test('workers have a key for assertions when a route wants them, another one each day, and none besides', async () => {
  const bench = new Bench();
  assert.equal(bench.tell().assertions, undefined);
  bench.wantsAssertions = true;
  await bench.services.configure();
  const assertions = bench.told.at(-1)?.credentials.assertions;
  assert.ok(assertions !== undefined);
  assert.equal(assertions.issuer, 'https://gateway.example:8443');
  const [key] = assertions.keys;
  assert.equal(assertions.kid, key?.['kid']);
  const { x } = createPublicKey(createPrivateKey(assertions.privateKey)).export({ format: 'jwk' });
  assert.equal(x, key?.['x']);
  bench.clock.wallMs += 18 * 3_600_000;
  await bench.services.check();
  assert.equal(bench.told.at(-1)?.credentials.assertions?.kid, assertions.kid, 'announced');
  assert.equal(bench.told.at(-1)?.credentials.assertions?.keys.length, 2);
  bench.clock.wallMs += 6 * 3_600_000;
  await bench.services.check();
  assert.notEqual(bench.told.at(-1)?.credentials.assertions?.kid, assertions.kid, 'in use');
  bench.wantsAssertions = false;
  await bench.services.configure();
  assert.equal(bench.told.at(-1)?.credentials.assertions, undefined);
});

test('the keys of assertions are none of those that sign tokens', () => {
  const bench = new Bench();
  bench.tokens = { ...nothing, endpoint };
  bench.wantsAssertions = true;
  const { issuers, assertions } = bench.tell();
  const tokens = kidsOf(issuers[0]?.keys);
  assert.ok(kidsOf(assertions?.keys).every((kid) => !tokens.includes(kid)));
});

test('issuers that are configured are told, first without keys; those that are dropped are waited for', async () => {
  const bench = new Bench();
  bench.tell();
  bench.tokens = { ...nothing, issuers: [corporate] };
  await bench.services.configure();
  assert.deepEqual(bench.told.at(-1)?.credentials.issuers[0]?.keys, []);
  const call = { what: 'issuer-keys', issuer: 'corporate' };
  const { 'issuer-keys': keys } = bench.services.handlers;
  assert.ok(keys !== undefined);
  assert.deepEqual(await keys.answer(0, call), { fetched: true });
  assert.deepEqual(kidsOf(bench.told.at(-1)?.credentials.issuers[0]?.keys), ['theirs']);
  assert.equal(bench.told.at(-1)?.limitMs, additionMs);
  assert.deepEqual(await keys.answer(0, call), { fetched: false });
  assert.deepEqual(await keys.answer(0, { what: 'issuer-keys', issuer: 'own' }), {
    fetched: false,
  });
  await assert.rejects(keys.answer(0, { what: 'issuer-keys' }), { code: 'malformed' });
  bench.tokens = nothing;
  await bench.services.configure();
  assert.deepEqual(bench.told.at(-1), {
    credentials: { issuers: [], tokenEndpoint: undefined, assertions: undefined },
    limitMs: undefined,
  });
});

test('without an endpoint nobody is given a token', async () => {
  const bench = new Bench();
  bench.tell();
  const { handlers } = bench.services;
  for (const what of ['token', 'stranger-token'] as const) {
    await assert.rejects(async () => handlers[what]?.answer(0, { what }), { code: 'not-found' });
  }
});

test('strangers have a share of their own, and a certificate that they claim is not looked at', async () => {
  const bench = new Bench();
  bench.tokens = { ...nothing, endpoint };
  bench.tell();
  const { token, 'stranger-token': stranger } = bench.services.handlers;
  assert.ok(token !== undefined && stranger !== undefined);
  assert.ok(stranger.perSecond < token.perSecond && stranger.atOnce < token.atOnce);
  const call = {
    address: '192.0.2.1',
    parameters: { grant_type: 'client_credentials', client_id: 'ingest' },
    certificate: 7,
  };
  await assert.rejects(token.answer(0, call), { code: 'malformed' });
  const answer = await stranger.answer(0, call);
  assert.deepEqual(answer, {
    status: 401,
    headers: { 'content-type': 'application/json', pragma: 'no-cache' },
    body: '{"error":"invalid_client"}',
  });
});
