/** For the tests of this folder: good tokens of each kind, a world that takes them, and what came of showing one. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import {
  audience,
  ecdsa,
  host,
  issuerOf,
  issuerUrl,
  jwkOf,
  jws,
  now,
  pair,
  path,
  requestWith,
  World,
} from './test-support.ts';
import type { Json, Pair, Signer } from './test-support.ts';
import type { TokenRequest, Tokens } from './tokens.ts';
import type { TokenAccepted, TokenVerdict } from './verdict.ts';

export const key = pair('P-256');
export const clientKey = pair('P-256');
export const jwk = { ...jwkOf(key), kid: 'k1' };
export const introspection = {
  url: 'https://login.example/introspect',
  clientId: 'gateway',
  clientSecret: 'x',
  ca: undefined,
  cacheMs: 60_000,
  timeoutMs: 1_000,
};

export function access(claims: Json = {}, header: Json = {}, by: Signer = ecdsa(key)): string {
  return jws(
    { alg: 'ES256', typ: 'at+jwt', kid: 'k1', ...header },
    {
      iss: issuerUrl,
      aud: audience,
      sub: 'a',
      client_id: 'a',
      jti: 'j',
      iat: now,
      exp: now + 600,
      ...claims,
    },
    by,
  );
}

export function deviceJwt(
  claims: Json = {},
  header: Json = {},
  by: Signer = ecdsa(clientKey),
): string {
  return jws(
    { alg: 'ES256', kid: 'd1.1', ...header },
    { aud: 'fleet.example', exp: now + 600, ...claims },
    by,
  );
}

let proofs = 0;
export function proof(token: string, claims: Json = {}, of: Pair = clientKey): string {
  proofs += 1;
  return jws(
    { alg: 'ES256', typ: 'dpop+jwt', jwk: jwkOf(of) },
    {
      jti: `p${proofs}`,
      htm: 'POST',
      htu: `https://${host}${path}`,
      iat: now,
      ath: hash('sha256', token, 'base64url'),
      ...claims,
    },
    ecdsa(of),
  );
}

export function world(...issuers: Parameters<Tokens['update']>[0]['issuers']): World {
  const made = new World();
  made.register('service', 'app-a');
  made.register('device', 'd1', 'device');
  made.registerKey('d1.1', 'd1', clientKey);
  made.tokens.update({ issuers: issuers.length === 0 ? [issuerOf([jwk])] : issuers });
  return made;
}

export function show(
  { tokens }: World,
  token: string,
  more: Partial<TokenRequest> = {},
): Promise<TokenVerdict> {
  const scheme = more.dpop === undefined ? 'Bearer' : 'DPoP';
  return tokens.authenticate(requestWith(`${scheme} ${token}`, more));
}

export function taken(verdict: TokenVerdict): TokenAccepted {
  assert.ok(verdict.ok, verdict.ok ? '' : verdict.detail);
  return verdict;
}

export function refused(verdict: TokenVerdict): Exclude<TokenVerdict, TokenAccepted> {
  assert.ok(!verdict.ok, 'it was taken');
  return verdict;
}
