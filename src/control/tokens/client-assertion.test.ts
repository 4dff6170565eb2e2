import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { openJwt } from '../../../test/harness/signed-jwt.ts';
import {
  assertRefused,
  certificates,
  edKey,
  issuer,
  publicKey,
  serviceKey,
  TokenBench,
} from '../../../test/harness/token-desk.ts';
import { principalName } from '../../common/base/principal.ts';
import { AssertionIds } from './assertion-ids.ts';

const minuteMs = 60_000;
const ingest = principalName('service', 'ingest');
const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 });

/** Signed as it should be, whatever it says. */
function signedText(header: string, claims: string): string {
  const input = [header, claims].map((part) => Buffer.from(part).toString('base64url')).join('.');
  const key = { key: serviceKey.privateKey, dsaEncoding: 'ieee-p1363' } as const;
  return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
}

test('a service that signs with its registered key gets a token; with its certificate besides, a bound one', async () => {
  const bench = new TokenBench();
  const { status, body } = await bench.byAssertion(bench.assertion());
  assert.equal(status, 200);
  const { claims } = openJwt(String(body['access_token']), bench.keys.publicKeys);
  assert.deepEqual(
    [claims['sub'], claims['client_id'], claims['cnf']],
    ['ingest', 'ingest', undefined],
  );
  const bound = await bench.byAssertion(bench.assertion(), {}, certificates.ingest);
  const opened = openJwt(String(bound.body['access_token']), bench.keys.publicKeys);
  assert.notEqual(opened.claims['cnf'], undefined);
  const twofold = await bench.byAssertion(bench.assertion(), {}, certificates.other);
  assertRefused(twofold, 401, 'invalid_client');
});

test('the forms of an assertion that are good', async () => {
  const bench = new TokenBench();
  const tokenUrl = `${issuer}/oauth2/token`;
  const good: readonly (readonly [string, object])[] = [
    [bench.assertion({ aud: tokenUrl }), {}],
    [bench.assertion({ aud: [issuer] }), {}],
    [bench.assertion({ iat: undefined }), {}],
    [bench.assertion({}, { typ: 'JWT' }), {}],
    [bench.assertion({}, { typ: 'client-authentication+jwt' }), {}],
    [bench.assertion({}, { kid: undefined }), {}],
    [bench.assertion(), { client_id: 'ingest' }],
    [bench.assertion({}, { alg: 'EdDSA', kid: 'service:ingest.3' }, edKey.privateKey), {}],
    [bench.assertion({}, { alg: 'Ed25519', kid: undefined }, edKey.privateKey), {}],
  ];
  for (const [assertion, more] of good) {
    const said = await bench.byAssertion(assertion, more);
    assert.equal(said.status, 200, `${bench.lines.at(-1)}`);
  }
});

test('every other assertion is refused', async () => {
  const bench = new TokenBench();
  const now = Math.floor(bench.clock.now() / 1_000);
  const jwk = serviceKey.publicKey.export({ format: 'jwk' });
  const strange = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const good = bench.assertion();
  const [head = '', body = '', signature = ''] = good.split('.');
  const bad: Readonly<Record<string, string>> = {
    'alg none': bench.assertion({}, { alg: 'none' }),
    'alg None': bench.assertion({}, { alg: 'nOnE' }),
    'no signature': `${head}.${body}.`,
    'HS256 by the public key': bench.assertion({}, { alg: 'HS256' }),
    'an algorithm of another kind of key': bench.assertion({}, { alg: 'RS256' }, rsaKey.privateKey),
    'ES384 by a P-256 key': bench.assertion({}, { alg: 'ES384' }),
    'an embedded key': bench.assertion({}, { jwk }),
    'an embedded key of its own': bench.assertion(
      {},
      { jwk: strange.publicKey.export({ format: 'jwk' }), kid: undefined },
      strange.privateKey,
    ),
    jku: bench.assertion({}, { jku: 'https://attacker.example/' }),
    x5u: bench.assertion({}, { x5u: 'https://attacker.example/' }),
    x5c: bench.assertion({}, { x5c: [] }),
    'unknown crit': bench.assertion({}, { crit: ['x'], x: 1 }),
    'b64 false': bench.assertion({}, { crit: ['b64'], b64: false }),
    'another type': bench.assertion({}, { typ: 'at+jwt' }),
    'a DPoP proof': bench.assertion({}, { typ: 'dpop+jwt' }),
    'a key of nobody': bench.assertion({}, { kid: 'service:ingest.9' }),
    'the id of the key alone': bench.assertion({}, { kid: '1' }),
    'a derived key': bench.assertion({}, { kid: 'service:ingest.2' }),
    'another key': bench.assertion({}, {}, strange.privateKey),
    'another key, none named': bench.assertion({}, { kid: undefined }, strange.privateKey),
    'another service': bench.assertion({ iss: 'other', sub: 'other' }),
    'iss is not sub': bench.assertion({ iss: 'other' }),
    'no iss': bench.assertion({ iss: undefined }),
    'no sub': bench.assertion({ sub: undefined }),
    'sub that is no id': bench.assertion({ iss: '../x', sub: '../x' }),
    'sub of the prototype': bench.assertion({ iss: '__proto__', sub: '__proto__' }),
    'no aud': bench.assertion({ aud: undefined }),
    'aud of somebody else': bench.assertion({ aud: 'https://other.example' }),
    'aud of somebody else too': bench.assertion({ aud: [issuer, 'https://other.example'] }),
    'aud of the tokens': bench.assertion({ aud: 'https://api.example' }),
    'aud that is longer': bench.assertion({ aud: `${issuer}/` }),
    'no exp': bench.assertion({ exp: undefined }),
    'exp that is text': bench.assertion({ exp: `${now + 60}` }),
    'exp that is over': bench.assertion({ exp: now - 31 }),
    'exp in six minutes': bench.assertion({ exp: now + 360 }),
    'exp at the end of numbers': bench.assertion({ exp: 1e308 }),
    'not yet': bench.assertion({ nbf: now + 120 }),
    'made tomorrow': bench.assertion({ iat: now + 86_400 }),
    'made an hour ago': bench.assertion({ iat: now - 3_600 }),
    'no jti': bench.assertion({ jti: undefined }),
    'empty jti': bench.assertion({ jti: '' }),
    'jti that is no text': bench.assertion({ jti: 7 }),
    'jti of 300 characters': bench.assertion({ jti: 'j'.repeat(300) }),
    'a changed body': `${head}.${Buffer.from(JSON.stringify({ iss: 'ingest', sub: 'ingest' })).toString('base64url')}.${signature}`,
    'a cut signature': good.slice(0, -4),
    'white space': `${good} `,
    'a claim that is there twice': signedText(
      `{"alg":"ES256","kid":"service:ingest.1"}`,
      `{"iss":"ingest","sub":"other","sub":"ingest","aud":"${issuer}","jti":"1","exp":${now + 60}}`,
    ),
    'claims that are a list': signedText(`{"alg":"ES256","kid":"service:ingest.1"}`, '[]'),
    'two parts': `${head}.${body}`,
    'four parts': `${good}.x`,
    'a JWE': `${good}.x.x`,
    'no JSON': `${Buffer.from('no').toString('base64url')}.${body}.${signature}`,
    '10 kB': bench.assertion({ more: 'x'.repeat(10_000) }),
    'nothing but dots': '..',
  };
  for (const [what, assertion] of Object.entries(bad)) {
    const said = await bench.byAssertion(assertion);
    assert.deepEqual([said.status, said.body], [401, { error: 'invalid_client' }], what);
  }
  assertRefused(await bench.byAssertion(good, { client_id: 'other' }), 401, 'invalid_client');
  const wrongType = await bench.byAssertion(good, { client_assertion_type: 'urn:saml2' });
  assertRefused(wrongType, 400, 'invalid_request');
  assert.equal((await bench.byAssertion(good)).status, 200, 'none of it has used up the good one');
  assert.doesNotMatch(bench.lines.join(), new RegExp(signature), 'no assertion is in the log');
});

test('a key that is registered no longer signs nothing', async () => {
  const bench = new TokenBench();
  const { publicKey: key } = serviceKey;
  bench.registered.set(ingest, [publicKey('1', key, bench.clock.now() + minuteMs)]);
  assert.equal((await bench.byAssertion(bench.assertion())).status, 200);
  bench.clock.wallMs += minuteMs;
  assertRefused(await bench.byAssertion(bench.assertion()), 401, 'invalid_client');
  bench.registered.delete(ingest);
  assertRefused(await bench.byAssertion(bench.assertion()), 401, 'invalid_client');
});

test('an assertion is good once, also after a restart; its id is forgotten when nobody could use it', async () => {
  const bench = new TokenBench();
  const assertion = bench.assertion();
  assert.equal((await bench.byAssertion(assertion)).status, 200);
  assertRefused(await bench.byAssertion(assertion), 401, 'invalid_client');
  bench.restart();
  assertRefused(await bench.byAssertion(assertion), 401, 'invalid_client');
  const twins = bench.assertion();
  const both = await Promise.all([bench.byAssertion(twins), bench.byAssertion(twins)]);
  assert.deepEqual(
    both.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 401],
  );
  // Whose it is belongs to it: another service may choose the same id.
  bench.registered.set(principalName('service', 'other'), [publicKey('1', edKey.publicKey)]);
  const claims = { jti: 'same' };
  const mine = bench.assertion(claims);
  const theirs = bench.assertion(
    { ...claims, iss: 'other', sub: 'other' },
    { alg: 'EdDSA', kid: 'service:other.1' },
    edKey.privateKey,
  );
  assert.equal((await bench.byAssertion(mine)).status, 200);
  assert.equal((await bench.byAssertion(theirs)).status, 200);
  const rows = (): unknown =>
    bench.database.prepare('SELECT count(*) AS n FROM assertion_ids').get()?.['n'];
  assert.equal(rows(), 4);
  bench.clock.wallMs += 70 * minuteMs;
  assert.equal((await bench.byAssertion(bench.assertion())).status, 200);
  assert.equal(rows(), 1);
});

test('a clock that was ahead for a while brings no assertion back to life', () => {
  const { database, clock } = new TokenBench();
  const ids = new AssertionIds(database);
  const now = clock.now();
  assert.ok(ids.use(ingest, 'a', now + minuteMs, now));
  assert.ok(ids.use(ingest, 'b', now + 31 * minuteMs, now + 30 * minuteMs));
  assert.ok(!ids.use(ingest, 'a', now + minuteMs, now));
});
