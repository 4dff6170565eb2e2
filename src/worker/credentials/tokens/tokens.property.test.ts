import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { decodeJws } from './compact-jws.ts';
import { thumbprint } from './public-jwk.ts';
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
import type { TokenVerdict } from './verdict.ts';

const key = pair('P-256');
const good = ecdsa(key);
const bounded = { numRuns: 150, interruptAfterTimeLimit: 4_000 };

function world(): World {
  const made = new World();
  made.register('service', 'app-a');
  made.register('device', 'd1');
  made.registerKey('d1.1', 'd1', key);
  made.tokens.update({ issuers: [issuerOf([{ ...jwkOf(key), kid: 'k1' }])] });
  return made;
}

const claims = {
  iss: issuerUrl,
  aud: audience,
  sub: 'a',
  client_id: 'a',
  jti: 'j',
  iat: now,
  exp: now + 600,
};
const header = { alg: 'ES256', typ: 'at+jwt', kid: 'k1' };
const accessToken = jws(header, claims, good);
const bound = jws(header, { ...claims, cnf: { jkt: thumbprint(jwkOf(key)) } }, good);
const proof = jws(
  { alg: 'ES256', typ: 'dpop+jwt', jwk: jwkOf(key) },
  {
    jti: 'p',
    htm: 'POST',
    htu: `https://${host}${path}`,
    iat: now,
    ath: hash('sha256', bound, 'base64url'),
  },
  good,
);
const deviceJwt = jws(
  { alg: 'ES256', kid: 'd1.1' },
  { aud: 'fleet.example', exp: now + 600 },
  good,
);

const shown: Readonly<
  Record<string, { good: string; show: (by: World, token: string) => Promise<TokenVerdict> }>
> = {
  'access token': {
    good: accessToken,
    show: (by, token) => by.tokens.authenticate(requestWith(`Bearer ${token}`)),
  },
  'DPoP proof': {
    good: proof,
    show: (by, token) => by.tokens.authenticate(requestWith(`DPoP ${bound}`, { dpop: [token] })),
  },
  'device JWT': {
    good: deviceJwt,
    show: (by, token) =>
      by.tokens.authenticateMqtt('d1', Buffer.from(token), {
        certificate: undefined,
        principal: undefined,
      }),
  },
};

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const character = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...alphabet.split('')) },
  { weight: 1, arbitrary: fc.constantFrom('.', '=', '+', '/', ' ', '\n', '\0', 'é', '') },
);

for (const [name, { good: token, show }] of Object.entries(shown)) {
  test(`${name}: with one character changed, left out or put in, it is refused`, async () => {
    assert.equal((await show(world(), token)).ok, true);
    const judging = world();
    await fc.assert(
      fc.asyncProperty(
        fc.nat(token.length - 1),
        character,
        fc.boolean(),
        async (at, put, insert) => {
          const changed = token.slice(0, at) + put + token.slice(at + (insert ? 0 : 1));
          // RFC 9110 section 11.4: as many spaces as one likes stand before it.
          fc.pre(changed.replace(/^ +/, '') !== token);
          assert.equal((await show(judging, changed)).ok, false);
        },
      ),
      bounded,
    );
  });

  test(`${name}: any text is judged, and none is taken`, async () => {
    const judging = world();
    const parts = fc.array(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.json().map((text) => Buffer.from(text).toString('base64url')),
      ),
      { maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          parts.map((each) => each.join('.')),
        ),
        async (text) => {
          assert.equal((await show(judging, text)).ok, false);
        },
      ),
      bounded,
    );
  });
}

test('whatever else a signed token says: it is judged, and taken only for whom it names', async () => {
  const judging = world();
  const member = fc.oneof(
    fc.constantFrom(
      'alg',
      'typ',
      'kid',
      'jwk',
      'iss',
      'aud',
      'sub',
      'exp',
      'nbf',
      'iat',
      'jti',
      'client_id',
      'cnf',
      'scope',
      'crit',
      'b64',
      '__proto__',
      'constructor',
    ),
    fc.string({ maxLength: 8 }),
  );
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom<unknown>('ES256', 'at+jwt', 'a', audience, now, now + 60),
  );
  const more = fc.dictionary(member, value, { maxKeys: 3, noNullPrototype: true });
  await fc.assert(
    fc.asyncProperty(more, more, async (inHeader, inClaims) => {
      const token = jws({ ...header, ...inHeader }, { ...claims, ...inClaims }, good);
      const verdict = await judging.tokens.authenticate(requestWith(`Bearer ${token}`));
      if (verdict.ok) assert.equal(verdict.principal, 'service/app-a');
    }),
    bounded,
  );
});

test('reading a JWS never throws, and gives back what was written', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { noNullPrototype: true }),
      (written) => {
        const token = jws({ alg: 'ES256' }, written, () => Buffer.alloc(64));
        const decoded = decodeJws(token, 8_192);
        if (token.length > 8_192 || JSON.stringify(written).includes(String.raw`\ud`)) return;
        assert.ok(decoded.ok);
        assert.deepEqual(
          JSON.parse(JSON.stringify(decoded.claims)),
          JSON.parse(JSON.stringify(written)),
        );
      },
    ),
    bounded,
  );
});
