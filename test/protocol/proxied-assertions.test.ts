/** What a backend verifies by itself: who asks for what, with the keys that the gateway publishes, by somebody else's library. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { JSONWebKeySet } from 'jose';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import type { AssertionKeys, CredentialMaterial } from '../../src/common/ipc/credentials.ts';

const settings = { identity: 'jwt', audience: 'https://backend.example' } as const;
const expected = {
  issuer: 'https://gateway.example',
  audience: settings.audience,
  typ: 'sallyport-identity+jwt',
  algorithms: ['ES256'],
};

function keysOf(kid: string): AssertionKeys {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' };
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
  return { kid, privateKey: String(pem), keys: [key], issuer: expected.issuer };
}

function materialOf(assertions: AssertionKeys | undefined): CredentialMaterial {
  return { issuers: [], tokenEndpoint: undefined, assertions };
}

test('every request carries an assertion of its own, which holds for it alone', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { settings });
  surroundings.assertions.setCredentials(materialOf(keysOf('k1')));
  using raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/.well-known/jwks.json'));
  const published = await raw.answer();
  assert.equal(published.headers.get('content-type'), 'application/jwk-set+json');
  const set = JSON.parse(published.body.toString()) as JSONWebKeySet; // as documented
  const keys = createLocalJWKSet(set);
  assert.ok(set.keys.every((key) => !('d' in key)));
  const ids = new Set<unknown>();
  for (const [method, path] of [
    ['GET', '/b/%78?q=1'],
    ['POST', '/b/y'],
  ] as const) {
    raw.send(
      requestText(method, path, method === 'POST' ? '{}' : undefined, 'X-Sallyport-Identity: evil'),
    );
    assert.equal((await raw.answer()).status, 200);
    const seen = backend.requests.at(-1)?.headers.get('x-sallyport-identity') ?? [];
    assert.equal(seen.length, 1);
    const { payload } = await jwtVerify(seen[0] ?? '', keys, { ...expected, maxTokenAge: 60 });
    const { jti, iat = 0, exp = 0, ...said } = payload;
    assert.deepEqual(said, {
      iss: expected.issuer,
      aud: expected.audience,
      sub: 'spiffe://fleet.internal/device/d1',
      method,
      path: path === '/b/%78?q=1' ? '/b/x' : path,
    });
    assert.equal(exp - iat, 60);
    ids.add(jti);
    const [head = '', body = '', signature = ''] = (seen[0] ?? '').split('.');
    const other = Buffer.from(
      JSON.stringify({ ...payload, sub: 'spiffe://fleet.internal/device/d2' }),
    );
    await assert.rejects(
      jwtVerify(`${head}.${other.toString('base64url')}.${signature}`, keys, expected),
    );
    await assert.rejects(
      jwtVerify(`${head}.${body}.${signature}`, keys, { ...expected, audience: 'other' }),
    );
  }
  assert.equal(ids.size, 2);
});

test('a backend that waits for an assertion is not asked without one', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { settings });
  using raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/b/x'));
  const answer = await raw.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [503, 'unavailable']);
  assert.equal(backend.connections, 0);
  surroundings.assertions.setCredentials(materialOf(keysOf('k2')));
  raw.send(requestText('GET', '/b/x'));
  assert.equal((await raw.answer()).status, 200);
});
