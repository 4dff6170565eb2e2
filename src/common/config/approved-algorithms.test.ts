import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { configWarnings } from './config-warnings.ts';
import type { Config } from './config.ts';
import { parseConfig } from './parse-config.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

function parse(configText: string, files: Readonly<Record<string, string>> = {}): Config {
  return parseConfig({ configPath: '/etc/sallyport/sallyport.yaml', configText, files });
}

/** A root whose key and signature are as the words for `openssl req` say. */
function root(name: string, ...words: readonly string[]): string {
  const files = ['-keyout', folder.at(`${name}.key`), '-out', folder.at(`${name}.crt`)];
  const fixed = ['req', '-x509', '-nodes', '-days', '30', '-subj', `/CN=${name}`];
  execFileSync('openssl', [...fixed, ...words, ...files], { stdio: 'pipe' });
  return readFileSync(folder.at(`${name}.crt`), 'utf8');
}

/** A CA under a root of its own, signed with SHA-1. */
function signedWithSha1(): string {
  const above = root('above', '-newkey', 'rsa:2048');
  assert.ok(above.includes('BEGIN CERTIFICATE'));
  const csr = ['-subj', '/CN=below', '-keyout', folder.at('below.key'), '-out', folder.at('b.csr')];
  execFileSync('openssl', ['req', '-new', '-nodes', '-newkey', 'rsa:2048', ...csr], {
    stdio: 'pipe',
  });
  const signer = [
    '-CA',
    folder.at('above.crt'),
    '-CAkey',
    folder.at('above.key'),
    '-CAcreateserial',
  ];
  const files = ['-in', folder.at('b.csr'), '-out', folder.at('below.crt')];
  execFileSync('openssl', ['x509', '-req', '-sha1', ...signer, ...files], { stdio: 'pipe' });
  return readFileSync(folder.at('below.crt'), 'utf8');
}

const anchor = (file: string): string =>
  `tls: { approvedOnly: true }\nca: { trustAnchors: [ { name: own, file: ${file} } ] }\n`;

test('without it nothing is narrowed and nobody is told anything', () => {
  const { tls } = parse('trustDomain: fleet.example\n');
  assert.equal(tls.minVersion, '1.2');
  assert.ok(tls.groups.includes('X25519'));
  assert.deepEqual(configWarnings(parse('trustDomain: fleet.example\n')), []);
});

test('with it version and groups are narrowed, and it says what that rules out', () => {
  const config = parse('tls: { approvedOnly: true }\n');
  assert.equal(config.tls.minVersion, '1.3');
  assert.deepEqual(config.tls.groups, ['X25519MLKEM768', 'P-256', 'P-384']);
  const said = configWarnings(config).join('\n');
  for (const word of ['TLS 1.2', 'X25519', 'ChaCha20', 'SHA-1'])
    assert.ok(said.includes(word), word);
});

for (const [what, tls, message] of [
  ['an older version', 'minVersion: "1.2"', /tls\.minVersion.*below 1\.3/u],
  ['another group', 'groups: [ P-256, X25519 ]', /tls\.groups.*names X25519,/u],
] as const) {
  test(`what was written is never changed in silence: ${what}`, () => {
    assert.throws(() => parse(`tls: { approvedOnly: true, ${tls} }\n`), message);
  });
}

test('groups that are approved stay as they were written', () => {
  const { tls } = parse(
    'tls: { approvedOnly: true, groups: [ P-384, P-256 ], minVersion: "1.3" }\n',
  );
  assert.deepEqual(tls.groups, ['P-384', 'P-256']);
});

for (const [what, pem, message] of [
  ['a weak RSA key', () => root('rsa1024', '-newkey', 'rsa:1024'), /RSA key of 1024 bits/u],
  [
    'a curve of others',
    () => root('brainpool', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:brainpoolP256r1'),
    /on the curve brainpoolP256r1/u,
  ],
  ['a signature with SHA-1', signedWithSha1, /signed with .*sha1/iu],
] as const) {
  test(`a trust anchor with ${what} is refused, also after good ones`, () => {
    const good = root(`good-${what.replaceAll(' ', '-')}`, '-newkey', 'rsa:2048');
    const files = { 'own.pem': good + pem() };
    assert.throws(() => parse(anchor('own.pem'), files), message);
    assert.ok(parse(anchor('own.pem').replace('true', 'false'), files));
  });
}

test('trust anchors on P-256, P-384, Ed25519 and RSA from 2,048 bits on are taken', () => {
  const pem = [
    root('p256', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
    root('p384', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384'),
    root('ed25519', '-newkey', 'ed25519'),
    root('rsa2048', '-newkey', 'rsa:2048'),
  ].join('');
  assert.equal(parse(anchor('own.pem'), { 'own.pem': pem }).ca.trustAnchors.length, 1);
});
