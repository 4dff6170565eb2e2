import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../../common/base/principal.ts';
import { access, clientKey, jwk, key, refused, show, taken, world } from './good-tokens.ts';
import {
  audience,
  ecdsa,
  eddsa,
  issuerOf,
  issuerUrl,
  jwkOf,
  jws,
  now,
  pair,
  requestWith,
} from './test-support.ts';
import type { Pair } from './test-support.ts';
import { Tokens } from './tokens.ts';

test('an access token names a principal of its issuer, for as long as it holds', async () => {
  const judging = world();
  const verdict = taken(await show(judging, access({ scope: 'read write' })));
  assert.equal(verdict.by, 'token');
  assert.equal(verdict.principal, 'service/app-a');
  assert.equal(verdict.identity, judging.identities.get(principalName('service', 'app-a')));
  assert.equal(verdict.registered, true);
  assert.equal(verdict.expiresAt, (now + 600) * 1_000);
  assert.deepEqual(verdict.scopes, ['read', 'write']);
});

test('the scheme is read in any case, and one audience of several is enough', async () => {
  const token = access({ aud: ['other', 'sallyport'] }, { typ: 'application/AT+JWT' });
  for (const scheme of ['Bearer', 'bearer', 'BEARER', 'Bearer  ']) {
    const request = requestWith(`${scheme} ${token}`);
    taken(await world().tokens.authenticate(request));
    assert.equal(Tokens.takes(request.authorization), true);
  }
});

test('what is no token of ours is refused, and told how one is shown', async () => {
  for (const authorization of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Basic YTpi',
    `Bearer a b`,
    `Bearer\t${access()}`,
    `${access()}`,
    `Bearer ${access()},${access()}`,
    `Bearer "${access()}"`,
  ]) {
    const verdict = refused(await world().tokens.authenticate(requestWith(authorization)));
    assert.equal(verdict.code, 'unauthenticated');
    assert.match(
      verdict.challenge ?? '',
      /^Bearer realm="fleet\.example", DPoP realm="fleet\.example", algs="/,
    );
    assert.doesNotMatch(verdict.challenge ?? '', /error/);
  }
  assert.equal(Tokens.takes('Basic YTpi'), false);
  assert.equal(Tokens.takes(undefined), false);
  assert.equal(
    world().tokens.invitation,
    refused(await world().tokens.authenticate(requestWith(undefined))).challenge,
  );
});

for (const [alg, kind, signer] of [
  ['ES256', 'P-256', (each: Pair) => ecdsa(each)],
  ['ES384', 'P-384', (each: Pair) => ecdsa(each, 'sha384')],
  ['ES512', 'P-521', (each: Pair) => ecdsa(each, 'sha512')],
  ['Ed25519', 'Ed25519', eddsa],
  ['EdDSA', 'Ed25519', eddsa],
  ['RS256', 'RSA', (each: Pair) => ecdsa(each)],
] as const) {
  test(`${alg} is taken where the issuer says so, and nowhere else`, async () => {
    const other = pair(kind);
    const keys = [{ ...jwkOf(other), kid: 'k1', use: 'sig', key_ops: ['verify'], alg }];
    const token = access({}, { alg }, signer(other));
    taken(await show(world(issuerOf(keys, { algorithms: [alg] })), token));
    const elsewhere = issuerOf(keys, { algorithms: [alg === 'ES256' ? 'RS256' : 'ES256'] });
    refused(await show(world(elsewhere), token));
  });
}

test('EdDSA and Ed25519 are two names of one algorithm', async () => {
  const other = pair('Ed25519');
  for (const listed of ['EdDSA', 'Ed25519']) {
    for (const said of ['EdDSA', 'Ed25519', undefined]) {
      for (const alg of ['EdDSA', 'Ed25519']) {
        const keys = [{ ...jwkOf(other), kid: 'k1', ...(said === undefined ? {} : { alg: said }) }];
        const judging = world(issuerOf(keys, { algorithms: [listed] }));
        taken(await show(judging, access({}, { alg }, eddsa(other))));
      }
    }
  }
});

test('a key is for what its set says of it', async () => {
  for (const more of [
    { use: 'enc' },
    { key_ops: ['sign'] },
    { alg: 'ES384' },
    { kid: 1 },
    { d: 'AA' },
  ]) {
    refused(await show(world(issuerOf([{ ...jwk, ...more }])), access()));
  }
});

test('without kid each key that may be it is tried', async () => {
  // Those for other algorithms take nobody's turn.
  const others = Array.from({ length: 10 }, () => jwkOf(pair('P-384')));
  const keys = [...others, jwkOf(pair('P-256')), jwk];
  taken(await show(world(issuerOf(keys)), access({}, { kid: undefined })));
});

test('white space in its JSON is nothing against a token', async () => {
  for (const header of [
    '{\n"alg":"ES256","typ":"at+jwt"}',
    '{ "alg" : "ES256", "typ":"at+jwt" }\t',
  ]) {
    const claims = `\r\n{ "iss":"${issuerUrl}","aud":"${audience}","sub":"a","client_id":"a","jti":"j","iat":${now},"exp":${now + 60} }`;
    taken(await show(world(), jws(header, claims, ecdsa(key))));
  }
});

test('an issuer that cannot type its tokens is taken at its word, and no further', async () => {
  const lax = issuerOf([jwk], { strictType: false });
  for (const typ of [undefined, 'JWT', 'at+jwt']) {
    const token = access({ client_id: undefined, jti: undefined }, { typ });
    taken(await show(world(lax), token));
  }
  refused(await show(world(lax), access({}, { typ: 'dpop+jwt' })));
});

test('a token that lacks a scope is told which', async () => {
  const rule = { ...issuerOf([]).principal, scopes: ['fleet.read', 'fleet.write'] };
  const judging = world(issuerOf([jwk], { principal: rule }));
  for (const scope of [
    undefined,
    '',
    'fleet.read',
    'fleet.write fleet.readx',
    'FLEET.READ FLEET.WRITE',
  ]) {
    const verdict = refused(await show(judging, access({ scope })));
    assert.equal(verdict.code, 'forbidden');
    assert.equal(
      verdict.challenge,
      'Bearer realm="fleet.example", error="insufficient_scope", scope="fleet.read fleet.write"',
    );
  }
  taken(await show(judging, access({ scope: 'x fleet.write fleet.read' })));
});

test('a verified token is remembered until it expires, to the second', async () => {
  const judging = world();
  const token = access();
  taken(await show(judging, token));
  judging.clock.ms += 599_999;
  taken(await show(judging, token));
  judging.clock.ms += 1;
  refused(await show(judging, token));
});

test('a remembered token ends with the key that has signed it, and not with any other', async () => {
  const judging = world();
  const token = access();
  const verdict = taken(await show(judging, token));
  const another = { ...jwkOf(pair('P-256')), kid: 'k2' };
  judging.tokens.update({ issuers: [issuerOf([another, { ...jwk }])] });
  taken(await show(judging, token));
  assert.equal(verdict.stands(), true);
  judging.tokens.update({ issuers: [issuerOf([another])] });
  refused(await show(judging, token));
  assert.equal(verdict.stands(), false);
});

for (const [what, more] of [
  ['audience', { audiences: ['other'] }],
  ['binding', { binding: 'bound' }],
  ['algorithms', { algorithms: ['RS256'] }],
  ['scopes', { principal: { ...issuerOf([]).principal, scopes: ['x'] } }],
  ['prefix', { principal: { ...issuerOf([]).principal, prefix: 'other-' } }],
  ['name of its own', { issuer: 'https://other.example' }],
] as const) {
  test(`a remembered token does not survive another ${what} of its issuer`, async () => {
    const judging = world();
    const token = access();
    const verdict = taken(await show(judging, token));
    judging.tokens.update({ issuers: [issuerOf([jwk], more)] });
    refused(await show(judging, token));
    assert.equal(verdict.stands(), false);
  });
}

test('keys that are too old verify nothing, remembered tokens included, until they are fetched again', async () => {
  const judging = world();
  const token = access({ exp: now + 200_000 });
  const verdict = taken(await show(judging, token));
  judging.clock.ms += 86_400_000;
  const stale = refused(await show(judging, token));
  assert.deepEqual([stale.code, stale.challenge], ['unavailable', undefined]);
  assert.deepEqual(judging.refreshed, ['login']);
  assert.equal(verdict.stands(), false);
  judging.tokens.update({ issuers: [issuerOf([jwk], { keysNotAfter: (now + 200_000) * 1_000 })] });
  taken(await show(judging, token));
});

test('an unknown key is asked for once in a while, and known as soon as it is there', async () => {
  const judging = world();
  const next = pair('P-256');
  const token = access({}, { kid: 'k2' }, ecdsa(next));
  for (let i = 0; i < 100; i += 1) refused(await show(judging, token));
  assert.deepEqual(judging.refreshed, ['login']);
  judging.clock.ms += 9_999;
  refused(await show(judging, token));
  assert.equal(judging.refreshed.length, 1);
  judging.clock.ms += 1;
  refused(await show(judging, token));
  assert.equal(judging.refreshed.length, 2);
  judging.tokens.update({ issuers: [issuerOf([jwk, { ...jwkOf(next), kid: 'k2' }])] });
  taken(await show(judging, token));
});

test('a good key with a bad signature is no reason to fetch keys', async () => {
  const judging = world();
  refused(await show(judging, access({}, {}, ecdsa(clientKey))));
  assert.deepEqual(judging.refreshed, []);
});

test('standing and role are those of the moment, not those of when the token was verified', async () => {
  const judging = world();
  const token = access();
  const record = judging.register('service', 'app-a');
  assert.equal(taken(await show(judging, token)).identity, record);
  record.standing = 'revoked';
  assert.equal(taken(await show(judging, token)).identity.standing, 'revoked');
  judging.identities.delete(principalName('service', 'app-a'));
  refused(await show(judging, token));
});

test('more tokens than may be remembered: the others are verified again', async () => {
  const judging = world();
  const tokens = Array.from({ length: 150 }, (_, i) => access({ jti: `j${i}` }));
  for (const token of tokens) taken(await show(judging, token));
  for (const token of tokens) taken(await show(judging, token));
});

const open = { ...issuerOf([]).principal, register: 'any' as const };

test('who is not registered has the role of his issuer, and a record that all his requests share', async () => {
  const judging = world(issuerOf([jwk], { principal: open }));
  const first = taken(await show(judging, access({ sub: 'new', jti: '1' })));
  const second = taken(await show(judging, access({ sub: 'new', jti: '2' })));
  assert.equal(first.registered, false);
  assert.equal(first.principal, 'service/app-new');
  assert.deepEqual(
    { ...first.identity },
    { standing: 'active', role: 'guest', anchor: 'token:login' },
  );
  assert.equal(first.identity, second.identity);
  const other = taken(await show(judging, access({ sub: 'other' })));
  assert.notEqual(other.identity, first.identity);
});

test('an empty claim names nobody, whatever is put before it', async () => {
  const judging = world(issuerOf([jwk], { principal: open }));
  refused(await show(judging, access({ sub: '' })));
  refused(await show(judging, access({ sub: undefined })));
});

test('who comes to be registered is judged by that from then on, also where he is already', async () => {
  const judging = world(issuerOf([jwk], { principal: open }));
  const token = access({ sub: 'new' });
  const before = taken(await show(judging, token));
  const record = judging.register('service', 'app-new', 'reader');
  record.standing = 'suspended';
  judging.tokens.identitiesChanged();
  assert.deepEqual([before.identity.standing, before.identity.role], ['suspended', 'reader']);
  const after = taken(await show(judging, token));
  assert.equal(after.identity, record);
  assert.equal(after.registered, true);
  record.standing = 'active';
  judging.tokens.identitiesChanged();
  assert.equal(before.identity.standing, 'active');
});

test('who is registered has his own role, whatever the issuer gives to strangers', async () => {
  const judging = world(issuerOf([jwk], { principal: open }));
  assert.equal(taken(await show(judging, access())).identity.role, 'reader');
});
