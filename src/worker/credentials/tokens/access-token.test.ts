import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifyAccessToken } from './access-token.ts';
import { decodeJws } from './compact-jws.ts';
import { access, jwk, world } from './good-tokens.ts';
import { Issuer } from './issuer.ts';
import { issuerOf } from './test-support.ts';

test('a token is not taken for one of another issuer, though the keys are the same', async () => {
  const { clock } = world();
  const bounds = {
    tokenBytes: 8_192,
    cachedTokens: 1,
    tokenClockMs: 0,
    deviceTokenLifeMs: 0,
  };
  const ports = { clock, bounds: () => bounds, refreshKeys: () => {} };
  const token = access();
  const decoded = decodeJws(token, 8_192);
  assert.ok(decoded.ok);
  for (const [issuer, expected] of [
    ['https://login.example', true],
    ['https://other.example', false],
    ['https://login.example/', false],
  ] as const) {
    const of = new Issuer(issuerOf([jwk], { issuer }), () => assert.fail('nobody is asked'));
    assert.equal((await verifyAccessToken(token, decoded, of, ports)).ok, expected, issuer);
  }
});
