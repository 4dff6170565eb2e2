import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { makeRequest } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import type { TrustAnchor } from '../../common/ipc/snapshot.ts';
import { verifyChain } from './verify-chain.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const openssl = (...args: readonly string[]): Buffer =>
  execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });

const keys = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  rsa: ['-newkey', 'rsa:2048'],
  ed25519: ['-newkey', 'ed25519'],
} as const;
type KeyKind = keyof typeof keys;

const cas = new Map<KeyKind, TrustAnchor>();
function caOf(kind: KeyKind): TrustAnchor {
  const known = cas.get(kind);
  if (known !== undefined) return known;
  const files = ['-keyout', folder.at(`${kind}.key`), '-out', folder.at(`${kind}.crt`)];
  openssl('req', '-x509', ...keys[kind], '-nodes', '-days', '30', '-subj', '/CN=CA', ...files);
  const anchor: TrustAnchor = {
    name: kind,
    certificates: [readFileSync(folder.at(`${kind}.crt`), 'utf8')],
    mapping: {
      type: 'rule',
      kind: 'device',
      role: 'device',
      from: 'cn',
      prefix: '',
      autoRegister: false,
    },
  };
  cas.set(kind, anchor);
  return anchor;
}

function leafBy(kind: KeyKind, ...how: readonly string[]): Buffer {
  caOf(kind);
  const { csr } = makeRequest(folder.path, 'd1');
  const ca = ['-CA', folder.at(`${kind}.crt`), '-CAkey', folder.at(`${kind}.key`)];
  const pem = openssl('x509', '-req', '-in', csr, ...ca, '-set_serial', '7', '-days', '9', ...how);
  const [der] = decodePem('CERTIFICATE', pem.toString());
  assert.ok(der !== undefined);
  return der;
}

const pss = ['-sigopt', 'rsa_padding_mode:pss'];
const sound: readonly (readonly [KeyKind, ...string[]])[] = [
  ['ec', '-sha256'],
  ['ec', '-sha384'],
  ['ec', '-sha512'],
  ['rsa', '-sha256'],
  ['rsa', '-sha512'],
  ['rsa', '-sha256', ...pss],
  ['rsa', '-sha384', ...pss],
  ['ed25519'],
];
const weak: readonly (readonly [KeyKind, ...string[]])[] = [
  ['ec', '-sha1'],
  ['ec', '-sha224'],
  ['rsa', '-sha1'],
  ['rsa', '-md5'],
  ['rsa', '-sha1', ...pss],
];

for (const [kind, ...how] of sound) {
  test(`a certificate that is signed soundly is taken: ${kind} ${how.join(' ')}`, () => {
    const { anchor, facts } = verifyChain(leafBy(kind, ...how), [caOf(kind)], Date.now());
    assert.equal(anchor.name, kind);
    assert.deepEqual(facts.commonNames, ['d1']);
  });
}

for (const [kind, ...how] of weak) {
  test(`a certificate whose signature can be moved to another is not: ${kind} ${how.join(' ')}`, () => {
    const leaf = leafBy(kind, ...how);
    assert.throws(() => verifyChain(leaf, [caOf(kind)], Date.now()), {
      code: 'invalid-certificate',
      message: /weak digest/,
    });
  });
}
