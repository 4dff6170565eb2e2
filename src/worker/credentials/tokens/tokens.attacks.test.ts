/**
 * Every manipulation of a token, for each kind of token that is taken: all of them are refused as unauthenticated, whoever
 * is told so is told no more than which kind it was, and nothing is asked of anybody.
 */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { thumbprint } from './public-jwk.ts';
import {
  audience,
  ecdsa,
  hmac,
  host,
  issuerOf,
  issuerUrl,
  jwkOf,
  jws,
  now,
  pair,
  path,
  requestWith,
  segment,
  World,
} from './test-support.ts';
import type { Json, Pair, Signer } from './test-support.ts';
import type { TokenVerdict } from './verdict.ts';

const own = pair('P-256');
const foreign = pair('P-256');
const rsa = pair('RSA');

type KindName = 'access token' | 'DPoP proof' | 'device JWT';

/** One kind of token: how a good one is made, and how any is shown. */
interface Kind {
  readonly name: KindName;
  readonly header: Json;
  readonly claims: Json;
  show(world: World, token: string): Promise<TokenVerdict>;
}

const boundToken = jws(
  { alg: 'ES256', typ: 'at+jwt', kid: 'k1' },
  { ...accessClaims(), cnf: { jkt: thumbprint(jwkOf(own)) } },
  ecdsa(own),
);

function accessClaims(): Json {
  const exp = now + 600;
  return { iss: issuerUrl, aud: audience, sub: 'a', client_id: 'a', jti: 'j', iat: now, exp };
}

const kinds: readonly Kind[] = [
  {
    name: 'access token',
    header: { alg: 'ES256', typ: 'at+jwt', kid: 'k1' },
    claims: accessClaims(),
    show: (world, token) => world.tokens.authenticate(requestWith(`Bearer ${token}`)),
  },
  {
    name: 'DPoP proof',
    header: { alg: 'ES256', typ: 'dpop+jwt', jwk: jwkOf(own) },
    claims: {
      jti: 'proof-1',
      htm: 'POST',
      htu: `https://${host}${path}`,
      iat: now,
      ath: hash('sha256', boundToken, 'base64url'),
    },
    show: (world, token) =>
      world.tokens.authenticate(requestWith(`DPoP ${boundToken}`, { dpop: [token] })),
  },
  {
    name: 'device JWT',
    header: { alg: 'ES256', typ: 'JWT', kid: 'd1.1' },
    claims: { aud: 'fleet.example', sub: 'd1', iat: now, exp: now + 600 },
    show: (world, token) => world.tokens.authenticate(requestWith(`Bearer ${token}`)),
  },
];

function freshWorld(): World {
  const made = new World();
  made.register('service', 'app-a');
  made.register('device', 'd1');
  made.registerKey('d1.1', 'd1', own);
  // A setting that control would never send: even so no symmetric algorithm is taken.
  const algorithms = ['ES256', 'RS256', 'HS256', 'HS384', 'HS512', 'none', 'None', 'NONE'];
  const keys = [
    { ...jwkOf(own), kid: 'k1' },
    { ...jwkOf(rsa), kid: 'k2' },
    { kty: 'oct', k: segment('a secret that is long enough for it'), kid: 'k3', alg: 'HS256' },
  ];
  made.tokens.update({ issuers: [issuerOf(keys, { algorithms })] });
  return made;
}

type Attack = (kind: Kind) => string;

const good: Signer = ecdsa(own);
const remade =
  (header: Json, claims: Json = {}): Attack =>
  (kind) =>
    jws({ ...kind.header, ...header }, { ...kind.claims, ...claims }, good);
const signedBy =
  (by: Signer, header: Json = {}): Attack =>
  (kind) =>
    jws({ ...kind.header, ...header }, kind.claims, by);
const spelled =
  (change: (parts: [string, string, string]) => string): Attack =>
  (kind) => {
    const [header = '', claims = '', signature = ''] = jws(kind.header, kind.claims, good).split(
      '.',
    );
    return change([header, claims, signature]);
  };
/** The text of one part, with a good signature over whatever has become of it. */
const written =
  (part: 'header' | 'claims', change: (text: string) => string | Buffer): Attack =>
  (kind) => {
    const changed = change(JSON.stringify(kind[part]));
    return part === 'header' ? jws(changed, kind.claims, good) : jws(kind.header, changed, good);
  };
const firstMemberTwice = (text: string): string => text.replace(/^\{([^,]+)/, '{$1,$1');
const without =
  (part: 'header' | 'claims', name: string): Attack =>
  (kind) => {
    const { [name]: _, ...rest } = kind[part];
    return part === 'header' ? jws(rest, kind.claims, good) : jws(kind.header, rest, good);
  };

const publicForms: Readonly<Record<string, string | Buffer>> = {
  'its PEM': own.publicKey.export({ format: 'pem', type: 'spki' }),
  'its DER': own.publicKey.export({ format: 'der', type: 'spki' }),
  'its JWK': JSON.stringify(jwkOf(own)),
  'its point': own.publicKey.export({ format: 'der', type: 'spki' }).subarray(-65),
  nothing: '',
};

const everywhere: readonly (readonly [string, Attack])[] = [
  ...['none', 'None', 'NONE', 'nOnE'].flatMap((alg): [string, Attack][] => [
    [`alg ${alg} without a signature`, spelled(([, claims]) => `${segment({ alg })}.${claims}.`)],
    [`alg ${alg} over a good signature`, remade({ alg })],
  ]),
  ...Object.entries(publicForms).flatMap(([form, secret]): [string, Attack][] => [
    [`HS256 by ${form}`, signedBy(hmac(secret), { alg: 'HS256' })],
    [`HS512 by ${form}`, signedBy(hmac(secret, 'sha512'), { alg: 'HS512' })],
    [`alg ES256 and an HMAC by ${form}`, signedBy(hmac(secret))],
  ]),
  [
    'HS256 by a secret of the set',
    signedBy(hmac('a secret that is long enough for it'), { alg: 'HS256', kid: 'k3' }),
  ],
  ['no alg', without('header', 'alg')],
  ...[
    null,
    256,
    ['ES256'],
    { name: 'ES256' },
    '',
    'es256',
    'ES256 ',
    'ES256K',
    'ES384',
    'RS256',
    'PS256',
    'EdDSA',
    'dir',
    '__proto__',
    'constructor',
  ].map((alg): [string, Attack] => [`alg ${JSON.stringify(alg)}`, remade({ alg })]),
  ['the key of somebody else', signedBy(ecdsa(foreign))],
  ['a DER signature', signedBy(ecdsa(own, 'sha256', true))],
  ['another hash', signedBy(ecdsa(own, 'sha384'))],
  ['a signature of zeros', signedBy(() => Buffer.alloc(64))],
  ['a signature of ones', signedBy(() => Buffer.alloc(64, 0xff))],
  ['an empty signature', spelled(([header, claims]) => `${header}.${claims}.`)],
  [
    'half a signature',
    spelled(([header, claims, signature]) => `${header}.${claims}.${signature.slice(0, 43)}`),
  ],
  [
    'a longer signature',
    spelled(([header, claims, signature]) => `${header}.${claims}.${signature}AA`),
  ],
  [
    'the signature of another token',
    spelled(
      ([header, claims]) => `${header}.${claims}.${jws({ alg: 'ES256' }, {}, good).split('.')[2]}`,
    ),
  ],
  [
    'other claims',
    spelled(
      ([header, , signature]) =>
        `${header}.${segment({ ...accessClaims(), sub: 'b' })}.${signature}`,
    ),
  ],
  ['jku', remade({ jku: 'https://127.0.0.1:1/jwks' })],
  ['x5u', remade({ x5u: 'https://127.0.0.1:1/chain' })],
  ['x5c', remade({ x5c: ['MIIB'] })],
  [
    'an embedded key and its signature',
    (kind) => jws({ ...kind.header, jwk: jwkOf(foreign) }, kind.claims, ecdsa(foreign)),
  ],
  ['crit of nothing', remade({ crit: [] })],
  ['crit of a known member', remade({ crit: ['exp'], exp: now + 60 })],
  ['crit of an unknown member', remade({ crit: ['urn:x'], 'urn:x': true })],
  ['crit that is no list', remade({ crit: 'exp' })],
  ['b64 false', remade({ b64: false, crit: ['b64'] })],
  ['b64 false, not critical', remade({ b64: false })],
  ['b64 true', remade({ b64: true, crit: ['b64'] })],
  [
    'an unencoded payload',
    (kind) => {
      const header = segment({ ...kind.header, b64: false, crit: ['b64'] });
      const claims = JSON.stringify(kind.claims);
      return `${header}.${claims}.${good(`${header}.${claims}`).toString('base64url')}`;
    },
  ],
  ['zip', remade({ zip: 'DEF' })],
  ['enc', remade({ enc: 'A128GCM' })],
  ...[
    'logout+jwt',
    'secevent+jwt',
    'client-authentication+jwt',
    'sallyport-identity+jwt',
    'application/dpop+at+jwt',
    '',
    'text/at+jwt',
  ].map((typ): [string, Attack] => [`typ "${typ}"`, remade({ typ })]),
  ['typ that is no text', remade({ typ: 1 })],
  ['a header member twice', written('header', firstMemberTwice)],
  ['alg twice', written('header', (text) => text.replace('{', '{"alg":"none",'))],
  [
    'alg twice, once escaped',
    written('header', (text) => text.replace('{', String.raw`{"\u0061lg":"none",`)),
  ],
  ['a claim twice', written('claims', firstMemberTwice)],
  [
    'a claim twice, once escaped',
    written('claims', (text) =>
      text.replace(
        /^\{"(.)(\w+)":/,
        (all, first: string, rest: string) =>
          `{"\\u00${first.charCodeAt(0).toString(16)}${rest}":"x",${all.slice(1)}`,
      ),
    ),
  ],
  ['a header that is no JSON', written('header', (text) => text.slice(0, -1))],
  ['claims that are no JSON', written('claims', (text) => `${text},`)],
  ['claims in two documents', written('claims', (text) => text + text)],
  ['claims with a byte order mark', written('claims', (text) => `\u{feff}${text}`)],
  [
    'claims that are not UTF-8',
    written('claims', (text) =>
      Buffer.concat([
        Buffer.from(text.replace('}', ',"x":"')),
        Buffer.from([0xc0, 0xaf]),
        Buffer.from('"}'),
      ]),
    ),
  ],
  ['half a surrogate', written('claims', (text) => text.replace('}', String.raw`,"x":"\ud800"}`))],
  ['a number beyond a double', written('claims', (text) => text.replace('{', '{"x":1e400,'))],
  [
    'claims nested 100 deep',
    written('claims', (text) => text.replace('{', `{"x":${'['.repeat(100)}${']'.repeat(100)},`)),
  ],
  ...['[]', 'null', 'true', '1', '"x"', '""', '{}'].flatMap((text): [string, Attack][] => [
    [`a header ${text}`, written('header', () => text)],
    [`claims ${text}`, written('claims', () => text)],
  ]),
  ['padding', spelled(([header, claims, signature]) => `${header}.${claims}.${signature}==`)],
  [
    'another spelling of the signature',
    spelled(([header, claims, signature]) => `${header}.${claims}.${otherSpelling(signature)}`),
  ],
  [
    'base64 of the other alphabet',
    (kind) => {
      const [, claims] = jws(kind.header, kind.claims, good).split('.');
      const header = Buffer.from(JSON.stringify({ ...kind.header, x: '>>>???' }))
        .toString('base64')
        .replaceAll('=', '');
      return `${header}.${claims}.${good(`${header}.${claims}`).toString('base64url')}`;
    },
  ],
  ['two segments', spelled(([header, claims]) => `${header}.${claims}`)],
  ['four segments', spelled((parts) => [...parts, 'e30'].join('.'))],
  [
    'five segments',
    spelled(([header, claims, signature]) => `${header}..${claims}.${signature}.AA`),
  ],
  ['an empty header', spelled(([, claims, signature]) => `.${claims}.${signature}`)],
  [
    'a token in a token',
    (kind) => jws({ ...kind.header, cty: 'JWT' }, jws(kind.header, kind.claims, good), good),
  ],
  ['more than 8 KiB', remade({}, { x: 'x'.repeat(8_192) })],
  ['a megabyte', remade({}, { x: 'x'.repeat(1_000_000) })],
  ...[now - 3_600, now + 3_600, String(now), -1, 1e300, null].map((iat): [string, Attack] => [
    `iat ${JSON.stringify(iat)}`,
    // An hour ago is no fault of a token that has not expired.
    (kind) =>
      (iat === now - 3_600 && kind.name !== 'DPoP proof'
        ? remade({}, { exp: now - 1 })
        : remade({}, { iat }))(kind),
  ]),
];

/** The same bytes with stray bits in the last character. */
function otherSpelling(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(text.slice(-1));
  return `${text.slice(0, -1)}${alphabet[last ^ 1] ?? ''}`;
}

const times: readonly (readonly [string, Attack])[] = [
  ['exp just now', remade({}, { exp: now })],
  ['exp a second ago', remade({}, { exp: now - 1 })],
  ['no exp', without('claims', 'exp')],
  ...[String(now + 60), -1, 1e300, null, true, [now + 60]].map((exp): [string, Attack] => [
    `exp ${JSON.stringify(exp)}`,
    remade({}, { exp }),
  ]),
  ...[now + 61, String(now), -1, null].map((nbf): [string, Attack] => [
    `nbf ${JSON.stringify(nbf)}`,
    remade({}, { nbf }),
  ]),
];
const audiences: readonly (readonly [string, Attack])[] = [
  ['no aud', without('claims', 'aud')],
  ...[
    '',
    'other.example',
    `${audience}/`,
    `x${audience}`,
    audience.toUpperCase(),
    'fleet.example.evil',
    'FLEET.EXAMPLE',
    [],
    ['other'],
    [1],
    1,
    null,
    {},
    { 0: audience },
    [[audience]],
    [audience, 1],
    ['fleet.example', 1],
  ].map((aud): [string, Attack] => [`aud ${JSON.stringify(aud)}`, remade({}, { aud })]),
];

const particular: Readonly<Record<KindName, readonly (readonly [string, Attack])[]>> = {
  'access token': [
    ...times,
    ...audiences,
    ['typ of a proof', remade({ typ: 'dpop+jwt' })],
    ['typ JWT', remade({ typ: 'JWT' })],
    ['no typ', without('header', 'typ')],
    ['a key that the issuer does not have', remade({ kid: 'k9' })],
    ['the key of another kind', remade({ kid: 'k2' })],
    ['kid that is no text', remade({ kid: 1 })],
    ['kid like a path', remade({ kid: '../../etc/passwd' })],
    ['a key of its own', remade({ jwk: jwkOf(own) })],
    ...['iss', 'sub', 'client_id', 'jti', 'iat'].map((name): [string, Attack] => [
      `no ${name}`,
      without('claims', name),
    ]),
    ...[
      `${issuerUrl}/`,
      issuerUrl.toUpperCase(),
      'https://evil.example',
      [issuerUrl],
      null,
      '__proto__',
    ].map((iss): [string, Attack] => [`iss ${JSON.stringify(iss)}`, remade({}, { iss })]),
    ...[
      'nobody',
      '',
      'a/b',
      'a\nb',
      '../device/d1',
      '+',
      '#',
      'x'.repeat(200),
      7,
      ['a'],
      { a: 1 },
      null,
    ].map((sub): [string, Attack] => [`sub ${JSON.stringify(sub)}`, remade({}, { sub })]),
    ...[
      null,
      {},
      [],
      'x',
      { kid: 'k' },
      { 'x5t#S256': 1 },
      { 'x5t#S256': '' },
      { jkt: 'short' },
      { 'x5t#S256': 'A'.repeat(43) },
      { jkt: 'A'.repeat(43) },
      { 'x5t#S1': 'A'.repeat(43) },
    ].map((cnf): [string, Attack] => [`cnf ${JSON.stringify(cnf)}`, remade({}, { cnf })]),
    ['scope that is no text', remade({}, { scope: ['a'] })],
  ],
  'DPoP proof': [
    ['typ of an access token', remade({ typ: 'at+jwt' })],
    ['no typ', without('header', 'typ')],
    ['no jwk', without('header', 'jwk')],
    ['a private key', remade({ jwk: own.privateKey.export({ format: 'jwk' }) })],
    [
      'a secret as its key',
      signedBy(hmac('s'), { alg: 'HS256', jwk: { kty: 'oct', k: segment('s') } }),
    ],
    ...[
      null,
      1,
      'x',
      [],
      {},
      { kty: 'EC' },
      { ...jwkOf(own), y: jwkOf(foreign)['y'] },
      { ...jwkOf(own), crv: 'P-384' },
      { ...jwkOf(own), kty: '__proto__' },
    ].map((jwk, index): [string, Attack] => [`a broken key, ${index}`, remade({ jwk })]),
    ...['jti', 'htm', 'htu', 'iat', 'ath'].map((name): [string, Attack] => [
      `no ${name}`,
      without('claims', name),
    ]),
    ...['', 1, null, 'x'.repeat(257), ['x']].map((jti): [string, Attack] => [
      `jti ${String(jti).slice(0, 9)} (${typeof jti})`,
      remade({}, { jti }),
    ]),
    ...['GET', 'post', 'POST ', '', null, ['POST']].map((htm): [string, Attack] => [
      `htm ${JSON.stringify(htm)}`,
      remade({}, { htm }),
    ]),
    ...[
      `http://${host}${path}`,
      `https://evil.example${path}`,
      `https://${host}.evil.example${path}`,
      `https://evil.example@${host}${path}`,
      `https://${host}@evil.example${path}`,
      `https://gateway.example${path}`,
      `https://gateway.example:8444${path}`,
      `https://${host}${path}/`,
      `https://${host}/backend/X`,
      `https://${host}/backend/../backend/x`,
      `https://${host}/backend//x`,
      `https://${host}/backend%2Fx`,
      `https://${host}\\backend\\x`,
      `https://${host}`,
      ` https://${host}${path}`,
      `https://${host}${path} `,
      path,
      '',
      null,
      [`https://${host}${path}`],
    ].map((htu): [string, Attack] => [`htu ${JSON.stringify(htu)}`, remade({}, { htu })]),
    ...[now - 61, now + 61].map((iat): [string, Attack] => [
      `iat ${iat - now}`,
      remade({}, { iat }),
    ]),
    ...['', null, hash('sha256', 'another', 'base64url'), hash('sha256', boundToken, 'base64')].map(
      (ath): [string, Attack] => [`ath ${JSON.stringify(ath)}`, remade({}, { ath })],
    ),
  ],
  'device JWT': [
    ...times,
    ...audiences.filter(([name]) => name !== `aud "FLEET.EXAMPLE"`),
    ['typ of an access token', remade({ typ: 'at+jwt' })],
    ['typ of a proof', remade({ typ: 'dpop+jwt' })],
    ['no kid', without('header', 'kid')],
    ...['d1.2', 'd2.1', 'D1.1', 'd1', '.1', 'd1.', 'device:d1.1', '__proto__', 1, null].map(
      (kid): [string, Attack] => [`kid ${JSON.stringify(kid)}`, remade({ kid })],
    ),
    ['a key of its own', remade({ jwk: jwkOf(own) })],
    ...[
      'd2',
      'device/d2',
      'service/d1',
      'spiffe://other.example/device/d1',
      '',
      null,
      1,
      ['d1'],
    ].flatMap((other): [string, Attack][] => [
      [`sub ${JSON.stringify(other)}`, remade({}, { sub: other })],
      [`iss ${JSON.stringify(other)}`, remade({}, { iss: other })],
    ]),
    ['a life of more than an hour', remade({}, { exp: now + 3_601 })],
    ['a life of more than an hour, begun long ago', remade({}, { iat: now - 3_001 })],
    ['a year', remade({}, { exp: now + 61_536_000, iat: now + 61_532_500 })],
    [
      'bound to a certificate that is not there',
      remade({}, { cnf: { 'x5t#S256': 'A'.repeat(43) } }),
    ],
    ['bound in an unknown way', remade({}, { cnf: { kid: 'x' } })],
  ],
};

for (const kind of kinds) {
  test(`${kind.name}: a good one is taken`, async () => {
    const verdict = await kind.show(freshWorld(), jws(kind.header, kind.claims, good));
    assert.equal(verdict.ok, true);
  });

  const attacks = [...everywhere, ...particular[kind.name]];
  assert.equal(new Set(attacks.map(([name]) => name)).size, attacks.length, 'a name twice');
  for (const [name, attack] of attacks) {
    test(`${kind.name}: ${name}: refused`, async () => {
      const judging = freshWorld();
      const verdict = await kind.show(judging, attack(kind));
      assert.ok(!verdict.ok, 'it was taken');
      assert.equal(verdict.code, 'unauthenticated', verdict.detail);
      const wanted =
        kind.name === 'DPoP proof'
          ? /^DPoP realm="fleet\.example", error="invalid_dpop_proof", algs="ES256 [A-Za-z0-9 ]+"$/
          : /^(?:Bearer realm="fleet\.example", error="invalid_token"|Bearer realm="fleet\.example", DPoP realm="fleet\.example", algs="[A-Za-z0-9 ]+")$/;
      assert.match(verdict.challenge ?? '', wanted);
      assert.deepEqual(judging.asked, []);
      assert.equal(judging.remembered.size, 0, 'a refused proof takes no place in the memory');
      // The refusal is of this token, and not of everything.
      assert.equal((await kind.show(judging, jws(kind.header, kind.claims, good))).ok, true);
    });
  }
}

test('what one kind of token is, no other is taken for', async () => {
  for (const from of kinds) {
    for (const to of kinds) {
      if (from === to) continue;
      const verdict = await to.show(freshWorld(), jws(from.header, from.claims, good));
      const expected = from.name !== 'DPoP proof' && to.name !== 'DPoP proof';
      // Access tokens and device JWTs are shown in the same way; each is then taken for what it is.
      assert.equal(verdict.ok, expected, `${from.name} as ${to.name}`);
      if (verdict.ok) {
        assert.equal(verdict.by, from.name === 'device JWT' ? 'device-jwt' : 'token');
      }
    }
  }
});

test('no device is named by an access token, whatever its claims say', async () => {
  for (const sub of ['d1', 'device/d1', 'spiffe://fleet.example/device/d1']) {
    const judging = freshWorld();
    const rule = { ...issuerOf([]).principal, prefix: '', register: 'any' as const };
    judging.tokens.update({
      issuers: [issuerOf([{ ...jwkOf(own), kid: 'k1' }], { principal: rule })],
    });
    const token = jws({ alg: 'ES256', typ: 'at+jwt', kid: 'k1' }, { ...accessClaims(), sub }, good);
    const verdict = await judging.tokens.authenticate(requestWith(`Bearer ${token}`));
    assert.ok(!verdict.ok || verdict.principal === 'service/d1');
  }
});

test('the keys of a pair are told apart', () => {
  const prints = [own, foreign, rsa].map((each: Pair) => thumbprint(jwkOf(each)));
  assert.equal(new Set(prints).size, 3);
});
