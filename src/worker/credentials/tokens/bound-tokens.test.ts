import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import { test } from 'node:test';
import { calculateJwkThumbprint } from 'jose';
import { access, clientKey, jwk, key, proof, refused, show, taken, world } from './good-tokens.ts';
import { thumbprint } from './public-jwk.ts';
import { ecdsa, host, issuerOf, jwkOf, jws, now, pair, path, requestWith } from './test-support.ts';
import type { TokenVerdict } from './verdict.ts';

test('a token that is not bound is refused where its issuer has to bind them', async () => {
  const verdict = refused(await show(world(issuerOf([jwk], { binding: 'bound' })), access()));
  assert.equal(verdict.code, 'unauthenticated');
});

test('a token that is bound to a certificate needs that certificate', async () => {
  const certificate = Buffer.from('the DER of a certificate');
  const cnf = { 'x5t#S256': createHash('sha256').update(certificate).digest('base64url') };
  for (const binding of ['bound', 'bearer'] as const) {
    const judging = world(issuerOf([jwk], { binding }));
    const shown = (der: Buffer | undefined): Promise<TokenVerdict> =>
      show(judging, access({ cnf }), { peer: { certificate: der, principal: undefined } });
    taken(await shown(certificate));
    refused(await shown(Buffer.from('another')));
    refused(await shown(undefined));
    // Though it has been verified before.
    taken(await shown(certificate));
  }
});

test('a token that is bound to a key needs a proof for each request', async () => {
  const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
  const judging = world(issuerOf([jwk], { binding: 'bound' }));
  const one = proof(token);
  taken(await show(judging, token, { dpop: [one] }));
  assert.match(refused(await show(judging, token, { dpop: [one] })).detail, /come before/);
  taken(await show(judging, token, { dpop: [proof(token)] }));
  refused(await show(judging, token, { dpop: [] }));
  refused(await show(judging, token, { dpop: [proof(token), proof(token)] }));
  refused(await show(judging, token, { dpop: [proof(token, {}, key)] }));
  refused(await show(judging, token, { dpop: [proof(token)], method: 'PUT' }));
  refused(await show(judging, token, { dpop: [proof(token)], path: '/backend/y' }));
  refused(await show(judging, token, { dpop: [proof(token)], authority: 'gateway.example' }));
});

test('a token that is bound to a key is no bearer token, nor one that is not bound a DPoP token', async () => {
  const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
  const judging = world();
  const downgraded = await judging.tokens.authenticate(
    requestWith(`Bearer ${token}`, { dpop: [proof(token)] }),
  );
  assert.match(refused(downgraded).challenge ?? '', /^Bearer .*error="invalid_token"/);
  const free = access();
  const upgraded = refused(await show(judging, free, { dpop: [proof(free)] }));
  assert.match(upgraded.challenge ?? '', /^DPoP .*error="invalid_token", algs="/);
});

test('a token that is bound in a way we do not check is refused, also when we check another', async () => {
  const certificate = Buffer.from('the DER of a certificate');
  const peer = { certificate, principal: undefined };
  const cnf = { 'x5t#S256': hash('sha256', certificate, 'base64url') };
  taken(await show(world(), access({ cnf }), { peer }));
  refused(await show(world(), access({ cnf: { ...cnf, kid: 'of an enclave' } }), { peer }));
});

test('a token that is bound to both needs both', async () => {
  const certificate = Buffer.from('the DER of a certificate');
  const cnf = {
    'x5t#S256': hash('sha256', certificate, 'base64url'),
    jkt: thumbprint(jwkOf(clientKey)),
  };
  const token = access({ cnf });
  const peer = { certificate, principal: undefined };
  taken(await show(world(), token, { dpop: [proof(token)], peer }));
  refused(await show(world(), token, { dpop: [proof(token)] }));
  refused(await show(world(), token, { peer }));
});

for (const [htu, authority, at] of [
  [`HTTPS://Gateway.Example:8443${path}`, host, path],
  [`https://${host}${path}?q=1#f`, host, path],
  [`https://gateway.example:443${path}`, 'gateway.example', path],
  [`https://gateway.example${path}`, 'Gateway.Example:443', path],
  ['https://gateway.example', 'gateway.example', '/'],
  [`https://${host}/backend/%78`, host, path],
  [`https://${host}/a%2cb`, host, '/a%2Cb'],
  [`https://east.site.example${path}`, 'east.site.example', path],
  [`https://[::1]:8443${path}`, '[::1]:8443', path],
] as const) {
  test(`a proof for ${htu} is one for ${authority}${at}`, async () => {
    const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
    const dpop = [proof(token, { htu })];
    taken(await show(world(), token, { dpop, authority, path: at }));
  });
}

for (const authority of [
  'evil.example',
  'a.b.site.example',
  'site.example',
  'gateway.example.evil.example',
]) {
  test(`a proof for ${authority} is for somebody else, though the request names it too`, async () => {
    const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
    const dpop = [proof(token, { htu: `https://${authority}${path}` })];
    refused(await show(world(), token, { dpop, authority }));
  });
}

test('a proof by an algorithm that we do not name to clients is none, though we could verify it', async () => {
  const large = pair('P-521');
  const token = access({ cnf: { jkt: thumbprint(jwkOf(large)) } });
  const ath = hash('sha256', token, 'base64url');
  const claims = { jti: 'p', htm: 'POST', htu: `https://${host}${path}`, iat: now, ath };
  const dpop = [
    jws({ alg: 'ES512', typ: 'dpop+jwt', jwk: jwkOf(large) }, claims, ecdsa(large, 'sha512')),
  ];
  assert.match(refused(await show(world(), token, { dpop })).detail, /algorithm/);
});

test('proofs that cannot be remembered are not taken, and the bearer is told to come again', async () => {
  const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
  for (const [memory, code] of [
    ['full', 'rate'],
    ['unable', 'unavailable'],
  ] as const) {
    const judging = world();
    judging.memory = memory;
    const verdict = refused(await show(judging, token, { dpop: [proof(token)] }));
    assert.deepEqual([verdict.code, verdict.challenge], [code, undefined]);
  }
});

test('a proof is remembered for as long as it could come again', async () => {
  const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
  for (const [iat, seconds] of [
    [now, 60],
    [now + 60, 120],
    [now - 60, 0],
  ] as const) {
    const judging = world();
    taken(await show(judging, token, { dpop: [proof(token, { iat })] }));
    assert.equal(judging.lastTtlMs, seconds * 1_000 + 1);
  }
});

test('an id of a proof may hold anything, and only its hash is kept', async () => {
  const token = access({ cnf: { jkt: thumbprint(jwkOf(clientKey)) } });
  const judging = world();
  taken(await show(judging, token, { dpop: [proof(token, { jti: 'a b\n\u{0}"' })] }));
  assert.match([...judging.remembered].join(), /^service\/app-a dpop [\w-]{43} [\w-]{43}$/);
});

test('thumbprints are those of RFC 7638', async () => {
  for (const kind of ['P-256', 'P-384', 'Ed25519', 'RSA'] as const) {
    const each = { ...jwkOf(pair(kind)), kid: 'x', use: 'sig' };
    assert.equal(thumbprint(each), await calculateJwkThumbprint(each));
  }
});
