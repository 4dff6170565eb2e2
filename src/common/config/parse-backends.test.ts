import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import { parseConfig } from './parse-config.ts';
import { policyDocumentOf } from './policy-of.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-backends-'));
after(() => rmSync(folder, { recursive: true }));

/** A self-signed certificate and its key, PEM. */
function pair(name: string, ...keyOptions: readonly string[]) {
  const key = join(folder, `${name}.key`);
  const certificate = join(folder, `${name}.pem`);
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const out = ['-keyout', key, '-out', certificate, '-subj', `/CN=${name}`, '-days', '2'];
  const options = keyOptions.length === 0 ? ['-nodes'] : keyOptions;
  execFileSync('openssl', ['req', '-x509', ...curve, ...options, ...out], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), certificate: readFileSync(certificate, 'utf8') };
}

const gateway = pair('gateway');
const other = pair('other');
const locked = pair('locked', '-passout', 'pass:hunter2');
const sec1 = execFileSync('openssl', ['ec', '-in', join(folder, 'gateway.key')], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'ignore'],
});
const files = {
  'ca.pem': `${gateway.certificate}${other.certificate}`,
  'gateway.pem': gateway.certificate,
  'broken.pem': '-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n',
  'half.pem': '-----BEGIN CERTIFICATE-----\nMAo=\n',
  'key.pem': gateway.key,
};

function backendsOf(route: string, secrets?: Record<string, string>) {
  const configText = `routes: { telemetry: ${route} }\n`;
  const bundle = { configPath: '/etc/sallyport/sallyport.yaml', configText, files };
  return parseConfig(secrets === undefined ? bundle : { ...bundle, secrets });
}

const mutual =
  '{ to: [ { http: https://b.example/in, ca: ca.pem, certificate: gateway.pem, key: { file: k } } ] }';

test('a backend has every default', () => {
  const [backend] = backendsOf('{ to: [ { http: "http://127.0.0.1:9000/ingest" } ] }').backends;
  assert.deepEqual(backend, {
    spool: 'telemetry/backend',
    route: 'telemetry',
    match: 'devices/+/telemetry',
    url: 'http://127.0.0.1:9000/ingest',
    batch: 1,
    batchWaitMs: 100,
    timeoutMs: 10_000,
    requests: 8,
    retry: { minMs: 500, maxMs: 30_000 },
    messages: 1_000_000,
    bytes: 1_073_741_824,
    deadLetters: 10_000,
    ca: undefined,
    client: undefined,
  });
});

test('several backends of a route are told apart by their names and share its spool settings', () => {
  const { backends } = backendsOf(
    '{ spool: { messages: 10, bytes: 2GiB, deadLetters: 5 }, to: [ { http: https://a.example, name: a, batch: 100, batchWait: 1s }, { http: https://b.example, name: b, retry: { max: 1m } } ] }',
  );
  assert.deepEqual(
    backends.map(({ spool, messages, bytes, deadLetters, batch, retry }) => [
      [spool, messages, bytes, deadLetters],
      [batch, retry.minMs, retry.maxMs],
    ]),
    [
      [
        ['telemetry/a', 10, 2_147_483_648, 5],
        [100, 500, 30_000],
      ],
      [
        ['telemetry/b', 10, 2_147_483_648, 5],
        [1, 500, 60_000],
      ],
    ],
  );
});

for (const [what, route, message] of [
  ['no URL', '{ to: [ { name: a } ] }', /to\.0 lacks the key "http"/u],
  ['a mapping for the list', '{ to: { http: https://a } }', /telemetry\.to is not a list/u],
  ['nine backends', `{ to: [ ${'{ http: https://a }, '.repeat(9)} ] }`, /more than 8/u],
  ['another protocol', '{ to: [ { http: ftp://a } ] }', /is not a URL such as/u],
  ['a path', '{ to: [ { http: /ingest } ] }', /is not a URL such as/u],
  ['no host', '{ to: [ { http: "https:///ingest" } ] }', /is not written as a URL/u],
  ['a URL that is read as another', '{ to: [ { http: "https:a.example" } ] }', /not written as/u],
  ['a line end in a URL', '{ to: [ { http: "https://a.exa\\nmple/" } ] }', /not written as/u],
  ['a fragment', '{ to: [ { http: "https://a/#x" } ] }', /has a fragment/u],
  ['a password', '{ to: [ { http: "https://u:hunter2@a" } ] }', /user name or password/u],
  ['an empty password', '{ to: [ { http: "https://@a" } ] }', /user name or password/u],
  ['an unknown key', '{ to: [ { http: https://a, bacth: 3 } ] }', /did you mean "batch"/u],
  [
    'two backends without names',
    '{ to: [ { http: https://a }, { http: https://b } ] }',
    /lacks the key "name"/u,
  ],
  [
    'the same name twice',
    '{ to: [ { http: https://a, name: x }, { http: https://b, name: x } ] }',
    /to\.1\.name "x" is already taken/u,
  ],
  [
    'a pause that shrinks',
    '{ to: [ { http: https://a, retry: { min: 1m } } ] }',
    /retry has a "min" above/u,
  ],
  ['a spool of nothing', '{ spool: { messages: 0 } }', /spool\.messages must be >= 1/u],
  [
    'a spool larger than the store',
    '{ spool: { bytes: 33GiB } }',
    /spool\.bytes is not a size.*32GiB/u,
  ],
  [
    'an authority over plain HTTP',
    '{ to: [ { http: http://a, ca: ca.pem } ] }',
    /ca is of no use without TLS/u,
  ],
  [
    'a key over plain HTTP',
    '{ to: [ { http: http://a, key: { file: k } } ] }',
    /key is of no use without TLS/u,
  ],
  [
    'a certificate without a key',
    '{ to: [ { http: https://a, certificate: gateway.pem } ] }',
    /lacks the key "key"/u,
  ],
  [
    'a key without a certificate',
    '{ to: [ { http: https://a, key: { file: k } } ] }',
    /lacks the key "certificate"/u,
  ],
  [
    'a key in the open',
    '{ to: [ { http: https://a, key: hunter2 } ] }',
    /secrets are never written/u,
  ],
  [
    'a certificate that is none',
    '{ to: [ { http: https://a, ca: broken.pem } ] }',
    /cannot be read/u,
  ],
  [
    'a certificate that is cut off',
    '{ to: [ { http: https://a, ca: half.pem } ] }',
    /without a whole PEM/u,
  ],
  ['a key as authority', '{ to: [ { http: https://a, ca: key.pem } ] }', /with a private key/u],
  ['a file that was not read', '{ to: [ { http: https://a, ca: x.pem } ] }', /which was not read/u],
] as const) {
  test(`refuses ${what}`, () => {
    assert.throws(
      () => backendsOf(route, {}),
      (thrown) => {
        assert.ok(thrown instanceof SallyportError);
        assert.equal(thrown.code, 'invalid-config');
        assert.match(thrown.message, message);
        assert.ok(!thrown.message.includes('hunter2'), 'the message repeats a secret');
        return true;
      },
    );
  });
}

test('the key comes from the secrets of the bundle, in the form that workers take', () => {
  const at = 'routes.telemetry.to.0.key';
  for (const key of [gateway.key, sec1]) {
    const [backend] = backendsOf(mutual, { [at]: key }).backends;
    assert.equal(backend?.client?.certificate, gateway.certificate);
    assert.equal(backend.client.privateKey, gateway.key);
    assert.equal(backend.ca, files['ca.pem']);
  }
});

test('a key that is not that of the certificate, locked, missing or no key is refused', () => {
  const at = 'routes.telemetry.to.0.key';
  for (const [secrets, message] of [
    [{ [at]: other.key }, /key is not the key of the first certificate/u],
    [{ [at]: locked.key }, /key names what is no private key in PEM without a passphrase/u],
    [{ [at]: gateway.certificate }, /key names what is no private key/u],
    [{ [at]: 'hunter2' }, /key names what is no private key/u],
    [{}, /key names what is no private key/u],
  ] as const) {
    assert.throws(
      () => backendsOf(mutual, secrets),
      (thrown) =>
        thrown instanceof SallyportError &&
        message.test(thrown.message) &&
        !/hunter2|BEGIN/u.test(thrown.message),
    );
  }
});

test('a configuration that is only checked needs no key', () => {
  const [backend] = backendsOf(mutual).backends;
  assert.equal(backend?.client?.privateKey, undefined);
});

test('the policy document says nothing of backends', () => {
  const config = backendsOf('{ to: [ { http: "https://a.example/in?token=hunter2" } ] }');
  assert.match(config.backends[0]?.url ?? '', /hunter2/u);
  assert.doesNotMatch(JSON.stringify(policyDocumentOf(config)), /hunter2|a\.example/u);
});
