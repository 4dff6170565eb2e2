import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  access,
  clientKey,
  introspection,
  jwk,
  refused,
  show,
  taken,
  world,
} from './good-tokens.ts';
import { audience, ecdsa, issuerOf, now } from './test-support.ts';

test('what an issuer with introspection has not signed is not asked about', async () => {
  const judging = world(issuerOf([jwk], { introspection }));
  refused(await show(judging, access({}, {}, ecdsa(clientKey))));
  refused(await show(judging, access({}, { typ: 'dpop+jwt' })));
  assert.deepEqual(judging.asked, []);
});

test('a JWT is good only as long as its issuer says so, and asked about once per answer', async () => {
  const judging = world(issuerOf([jwk], { introspection }));
  const token = access();
  assert.match(refused(await show(judging, token)).detail, /not active/);
  judging.answer = () => ({ outcome: 'active', claims: { active: true } });
  taken(await show(judging, token));
  taken(await show(judging, token));
  assert.equal(judging.asked.length, 2);
  assert.equal(judging.asked[0], `${introspection.url} ${token}`);
  judging.clock.ms += 60_000;
  judging.answer = () => ({ outcome: 'inactive' });
  refused(await show(judging, token));
});

test('an answer does not widen a signed token, and can bind it', async () => {
  const judging = world(issuerOf([jwk], { introspection }));
  const claims = { active: true, sub: 'd', aud: 'other', scope: 'all', exp: now + 1e6 };
  judging.answer = () => ({ outcome: 'active', claims });
  const verdict = taken(await show(judging, access()));
  assert.deepEqual(
    [verdict.principal, verdict.scopes, verdict.expiresAt],
    ['service/app-a', [], (now + 600) * 1_000],
  );
  judging.answer = () => ({
    outcome: 'active',
    claims: { active: true, cnf: { jkt: 'A'.repeat(43) } },
  });
  refused(await show(judging, access({ jti: 'k' })));
  judging.answer = () => ({
    outcome: 'active',
    claims: { active: true, iss: 'https://other.example' },
  });
  refused(await show(judging, access({ jti: 'l' })));
});

const opaque = 'mF_9.B5f-4.1JqM';
const answer = { active: true, sub: 'a', aud: audience, scope: 'read', exp: now + 600 };

test('an opaque token is what its issuer says of it', async () => {
  const judging = world(issuerOf([], { introspection, keysNotAfter: 0 }));
  judging.answer = () => ({ outcome: 'active', claims: answer });
  const verdict = taken(await show(judging, opaque));
  assert.equal(verdict.principal, 'service/app-a');
  assert.deepEqual(verdict.scopes, ['read']);
  assert.equal(verdict.expiresAt, (now + 600) * 1_000);
  taken(await show(judging, opaque));
  assert.equal(judging.asked.length, 1);
});

for (const [what, claims] of [
  ['of another audience', { ...answer, aud: 'other' }],
  ['without audience', { ...answer, aud: undefined }],
  ['of another issuer', { ...answer, iss: 'https://other.example' }],
  ['expired', { ...answer, exp: now }],
  ['with an exp that is no time', { ...answer, exp: 'tomorrow' }],
  ['not valid yet', { ...answer, nbf: now + 61 }],
  ['that names nobody', { ...answer, sub: undefined }],
  ['bound to another certificate', { ...answer, cnf: { 'x5t#S256': 'A'.repeat(43) } }],
  ['bound to a key', { ...answer, cnf: { jkt: 'A'.repeat(43) } }],
] as const) {
  test(`an opaque token ${what} is refused`, async () => {
    const judging = world(issuerOf([], { introspection }));
    // Tests write undefined for what an answer does not have.
    judging.answer = () => ({
      outcome: 'active',
      claims: JSON.parse(JSON.stringify(claims)) as typeof answer,
    });
    assert.equal(refused(await show(judging, opaque)).code, 'unauthenticated');
  });
}

test('an opaque token without exp holds as long as the answer about it', async () => {
  const judging = world(issuerOf([], { introspection }));
  const { exp: _, ...claims } = answer;
  judging.answer = () => ({ outcome: 'active', claims });
  assert.equal(taken(await show(judging, opaque)).expiresAt, now * 1_000 + 60_000);
});

test('what is too large for a token is not asked about', async () => {
  const judging = world(issuerOf([], { introspection }));
  judging.answer = () => ({ outcome: 'active', claims: answer });
  refused(await show(judging, 'x'.repeat(8_193)));
  assert.deepEqual(judging.asked, []);
  taken(await show(judging, 'x'.repeat(8_192)));
});

test('without a cache each request is asked about, also by a token without exp', async () => {
  const judging = world(issuerOf([], { introspection: { ...introspection, cacheMs: 0 } }));
  const { exp: _, ...claims } = answer;
  judging.answer = () => ({ outcome: 'active', claims });
  taken(await show(judging, opaque));
  taken(await show(judging, opaque));
  assert.equal(judging.asked.length, 2);
  judging.answer = () => ({ outcome: 'inactive' });
  refused(await show(judging, opaque));
});

test('an opaque token is shown to nobody when it is not clear whose it is', async () => {
  const two = [
    issuerOf([], { introspection }),
    issuerOf([], { introspection, name: 'b', issuer: 'https://b.example' }),
  ];
  for (const judging of [world(), world(...two)]) {
    refused(await show(judging, opaque));
    assert.deepEqual(judging.asked, []);
  }
});

test('an issuer that does not answer is no reason to let anybody in', async () => {
  const judging = world(issuerOf([], { introspection }));
  for (const outcome of ['unavailable', 'busy'] as const) {
    judging.answer = () => ({ outcome, reason: 'of the test' });
    const verdict = refused(await show(judging, opaque));
    assert.deepEqual([verdict.code, verdict.challenge], [outcome, undefined]);
  }
});

test('an issuer that goes is asked no more', () => {
  const judging = world(issuerOf([], { introspection }));
  judging.tokens.update({ issuers: [issuerOf([jwk], { introspection })] });
  assert.deepEqual(judging.closed, []);
  judging.tokens.update({ issuers: [] });
  assert.deepEqual(judging.closed, [introspection.url]);
});
