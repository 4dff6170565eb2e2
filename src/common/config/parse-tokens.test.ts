import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import { loadConfigBundle } from './load-config.ts';
import { parseConfig } from './parse-config.ts';
import type { TokensConfig } from './tokens-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-tokens-'));
after(() => rmSync(folder, { recursive: true }));
const pem = execFileSync(
  'openssl',
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=ca -days 2'.split(
    ' ',
  ),
  { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
);
const secretAt = 'tokens.issuers.0.introspection.clientSecret';

function parse(configText: string, secrets?: Record<string, string>): TokensConfig {
  const bundle = { configPath: '/etc/sallyport.yaml', configText, files: { 'ca.pem': pem } };
  return parseConfig(secrets === undefined ? bundle : { ...bundle, secrets }).tokens;
}

function problems(text: string, secrets?: Record<string, string>): string[] {
  try {
    parse(text, secrets);
  } catch (thrown) {
    assert.ok(thrown instanceof SallyportError);
    return thrown.message.split('\n').map((line) => line.replace('/etc/sallyport.yaml:', ''));
  }
  return [];
}

const issuer = (more: string): string =>
  `tokens:\n  issuers:\n    - { name: a, issuer: https://id.example, audience: gw, ${more} }\n`;
const jwks = 'jwks: https://id.example/jwks';
const introspection =
  'introspection: { url: https://id.example/i, clientId: sallyport, clientSecret: { file: s } }';

test('an issuer has every default', () => {
  assert.deepEqual(parse(issuer(jwks)), {
    issuers: [
      {
        name: 'a',
        issuer: 'https://id.example',
        audiences: ['gw'],
        algorithms: ['ES256', 'EdDSA', 'PS256', 'RS256'],
        binding: 'bound',
        strictType: true,
        jwks: {
          url: 'https://id.example/jwks',
          ca: undefined,
          everyMs: 900_000,
          maxAgeMs: 86_400_000,
          timeoutMs: 10_000,
          maxBytes: 262_144,
        },
        introspection: undefined,
        principal: {
          kind: 'service',
          claim: 'sub',
          prefix: '',
          register: 'known',
          role: '',
          scopes: [],
        },
      },
    ],
    endpoint: false,
    keyRotationMs: 7 * 86_400_000,
  });
});

test('everything that can be said of tokens arrives', () => {
  const text = `
tokens:
  issuers:
    - name: corp
      issuer: urn:corp
      audience: [ a, b ]
      jwks: { url: https://id.example/jwks, ca: ca.pem, every: 1m, maxAge: 2m, timeout: 3s, maxBytes: 4KiB }
      algorithms: [ ES384 ]
      binding: bearer
      type: any
      principal: { kind: operator, claim: azp, prefix: corp-, register: any, role: backend, scopes: [ x, 'y:z' ] }
      introspection: { url: https://id.example/i, clientId: gw, clientSecret: { credential: c }, ca: ca.pem, cache: 5s, timeout: 6s }
  endpoint: { issuer: https://gw.example:8443, audience: aud, life: 10m, perMinute: 7 }
  keyRotation: 2d
`;
  assert.deepEqual(parse(text, { [secretAt]: 'hunter2\n' }), {
    issuers: [
      {
        name: 'corp',
        issuer: 'urn:corp',
        audiences: ['a', 'b'],
        algorithms: ['ES384'],
        binding: 'bearer',
        strictType: false,
        jwks: {
          url: 'https://id.example/jwks',
          ca: pem,
          everyMs: 60_000,
          maxAgeMs: 120_000,
          timeoutMs: 3_000,
          maxBytes: 4_096,
        },
        introspection: {
          url: 'https://id.example/i',
          clientId: 'gw',
          clientSecret: 'hunter2',
          ca: pem,
          cacheMs: 5_000,
          timeoutMs: 6_000,
        },
        principal: {
          kind: 'operator',
          claim: 'azp',
          prefix: 'corp-',
          register: 'any',
          role: 'backend',
          scopes: ['x', 'y:z'],
        },
      },
    ],
    endpoint: { issuer: 'https://gw.example:8443', audience: 'aud', lifeMs: 600_000, perMinute: 7 },
    keyRotationMs: 2 * 86_400_000,
  });
  assert.deepEqual(parse('tokens: { endpoint: {} }\n').endpoint, {
    issuer: undefined,
    audience: undefined,
    lifeMs: 300_000,
    perMinute: 60,
  });
});

test('the password is read from where it is named, and by nobody who only checks', () => {
  const file = join(folder, 's.yaml');
  const secret = join(folder, 's');
  writeFileSync(file, issuer(introspection));
  writeFileSync(secret, 'hunter2\n');
  chmodSync(secret, 0o600);
  const whole = loadConfigBundle(file, {});
  assert.deepEqual({ ...whole.secrets }, { [secretAt]: 'hunter2\n' });
  assert.equal(parseConfig(whole).tokens.issuers[0]?.introspection?.clientSecret, 'hunter2');
  const checked = parseConfig(loadConfigBundle(file));
  assert.equal(checked.tokens.issuers[0]?.introspection?.clientSecret, undefined);
  chmodSync(secret, 0o644);
  assert.throws(
    () => loadConfigBundle(file, {}),
    /s\.yaml:3: tokens\.issuers\.0\.introspection\.clientSecret cannot be read: others can get at/u,
  );
});

const refused: readonly (readonly [string, string, RegExp])[] = [
  [
    'a name that is taken',
    issuer(`${jwks} }\n    - { name: a, issuer: x, audience: y, ${jwks}`),
    /^4: tokens\.issuers\.1\.name "a" is already taken/u,
  ],
  [
    'the name of the gateway',
    issuer(jwks).replace('name: a', 'name: own'),
    /^3: tokens\.issuers\.0\.name "own"/u,
  ],
  [
    'an issuer twice',
    issuer(`${jwks} }\n    - { name: b, issuer: https://id.example, audience: y, ${jwks}`),
    /issuers\.1\.issuer is another one already/u,
  ],
  [
    'the issuer that the gateway is itself',
    `${issuer(jwks)}  endpoint: { issuer: https://id.example }\n`,
    /issuers\.0\.issuer is another one already/u,
  ],
  [
    'the issuer that the gateway is by its name',
    `${issuer(jwks).replace('issuer: https://id.example,', 'issuer: https://gw.example:8443,')}  endpoint: {}\nserverNames: [ gw.example ]\n`,
    /issuers\.0\.issuer is another one already/u,
  ],
  ['nothing to verify with', issuer('binding: bound'), /lacks the key "jwks" or "introspection"/u],
  [
    'no audience',
    `tokens: { issuers: [ { name: a, issuer: x, ${jwks} } ] }\n`,
    /lacks the key "audience"/u,
  ],
  ['keys over plain http', issuer('jwks: http://id.example/jwks'), /jwks is not an https URL/u],
  [
    'keys over plain http, at length',
    issuer('jwks: { url: http://id.example/jwks }'),
    /jwks\.url is not an https URL/u,
  ],
  [
    'keys that run out',
    issuer('jwks: { url: https://h/j, every: 1h, maxAge: 1h }'),
    /jwks\.maxAge is not more than "every"/u,
  ],
  ['no algorithm', issuer(`${jwks}, algorithms: []`), /algorithms/u],
  [
    'the algorithm none',
    issuer(`${jwks}, algorithms: [ none ]`),
    /algorithms\.0 is not one of ES256/u,
  ],
  [
    'a shared secret',
    issuer(`${jwks}, algorithms: [ HS256 ]`),
    /algorithms\.0 is not one of ES256/u,
  ],
  [
    'a device',
    issuer(`${jwks}, principal: { kind: device }`),
    /kind is not one of service, operator/u,
  ],
  [
    'anybody without a role',
    issuer(`${jwks}, principal: { register: any }`),
    /principal lacks the key "role"/u,
  ],
  ['a role that is none', issuer(`${jwks}, principal: { role: nobody }`), /role is not a role/u],
  [
    'a password in the configuration',
    issuer(introspection.replace('{ file: s }', 'hunter2')),
    /clientSecret is not a mapping; secrets are never/u,
  ],
  [
    'a life of more than an hour',
    'tokens: { endpoint: { life: 61m } }\n',
    /endpoint\.life is more than 1h/u,
  ],
  [
    'an issuer over plain http',
    'tokens: { endpoint: { issuer: http://gw.example } }\n',
    /endpoint\.issuer is not a URL/u,
  ],
  [
    'keys that change all the time',
    'tokens: { keyRotation: 1m }\n',
    /keyRotation is less than 1h/u,
  ],
  [
    'an endpoint without a listener',
    'listeners: { https: false }\ntokens: { endpoint: {} }\n',
    /^2: tokens\.endpoint has no listener/u,
  ],
];

for (const [name, text, expected] of refused) {
  test(`refuses ${name}`, () => {
    const found = problems(text);
    assert.ok(
      found.some((line) => expected.test(line)),
      found.join('\n'),
    );
    assert.doesNotMatch(found.join('\n'), /hunter2/u);
  });
}

test('a password of several lines, or none, is refused without being told', () => {
  for (const secret of ['', '\n', 'a\nb', '\u00e9', 'x'.repeat(1_025)]) {
    assert.deepEqual(problems(issuer(introspection), { [secretAt]: secret }), [
      '3: tokens.issuers.0.introspection.clientSecret names what is no line of 1 to 1024 printable ASCII characters',
    ]);
  }
});
