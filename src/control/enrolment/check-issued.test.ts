import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { after, beforeEach, test } from 'node:test';
import {
  authorityFor,
  dayMs,
  IssuanceBench,
  newKey,
  StoppedClock,
  trustDomain,
} from '../../../test/harness/issuance.ts';
import { rfc9500 } from '../../../test/harness/csr-requests.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { principalName } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import * as write from '../../common/codec/der/writer.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { buildCertificate, distinguishedName, extension } from '../ca/build-certificate.ts';
import type { CertificateContent } from '../ca/build-certificate.ts';
import { ensureAuthority } from '../ca/ensure-authority.ts';
import { uriName } from '../ca/general-names.ts';
import { profiles } from '../ca/profiles.ts';
import { SealedKeys } from '../ca/sealed-keys.ts';
import { softwareSigner } from '../ca/signer.ts';
import type { Signer } from '../ca/signer.ts';
import { MasterKey } from '../store/master-key.ts';
import { checkIssued } from './check-issued.ts';

const folder = temporaryFolder();
const start = process.cwd();
process.chdir(folder.path);
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const clock = new StoppedClock();
const authority = await authorityFor(clock);
const startMs = clock.wallMs;
/** Root, issuing CA and server: what every first page begins with. */
const own = 3;
let bench: IssuanceBench;

beforeEach(() => {
  clock.wallMs = startMs;
  bench = new IssuanceBench(authority, clock);
});

const d1 = principalName('device', 'd1');

function check(from = 0, limit = 100) {
  return checkIssued(
    { authority, registry: bench.registry, trustDomain, clock },
    { after: from, limit },
  );
}

const problems = (): readonly string[] => check().problems.map(({ problem }) => problem);

test('what the gateway issues passes, of every kind and key, page by page', async () => {
  for (const [kind, role] of [
    ['device', 'device'],
    ['service', 'backend'],
    ['operator', 'operator'],
  ] as const) {
    const name = principalName(kind, `a:b.c-${kind}`);
    await bench.issue({ right: 'operator', name, role }, newKey());
  }
  const first = check(0, 2);
  assert.deepEqual(first, { checked: own + 2, next: 2, problems: [] });
  const second = check(first.next, 2);
  assert.deepEqual(second, { checked: 1, next: undefined, problems: [] });
  assert.deepEqual(check(3, 2), { checked: 0, next: undefined, problems: [] });
});

test('keys of every kind that can be certified pass', async () => {
  for (const spki of [
    spkiOf(ecKey('P-384')),
    spkiOf(rsaKey(2048)),
    generateKeyPairSync('ed25519').publicKey.export(spkiDer),
    generateKeyPairSync('ml-dsa-44').publicKey.export(spkiDer),
  ]) {
    await plant({ spki });
  }
  assert.deepEqual(problems(), []);
});

test('a CA that was followed by another may expire before it is retired, and the one in service may not', async () => {
  using elsewhere = temporaryFolder();
  process.chdir(elsewhere.path);
  try {
    const followed = await authorityFor(clock);
    const old = followed.issuing;
    clock.wallMs = old.notAfter - 300 * dayMs;
    await followed.rotate('issuing', undefined, async () => {});
    clock.wallMs = old.notAfter + dayMs;
    await followed.renewServerTls(['localhost']);
    const { registry } = bench;
    const parts = { authority: followed, registry, trustDomain, clock };
    const found = () => checkIssued(parts, { after: 0, limit: 10 }).problems;
    assert.equal(followed.issuers.length, 2);
    assert.deepEqual(found(), []);
    clock.wallMs = followed.issuing.notAfter + dayMs;
    assert.deepEqual(
      found().map(({ problem }) => problem),
      ['issuing CA: it has expired', 'server: it has expired'],
    );
  } finally {
    process.chdir(folder.path);
  }
});

test('what a CA with ML-DSA keys has signed passes', async () => {
  using elsewhere = temporaryFolder();
  process.chdir(elsewhere.path);
  try {
    const masterKey = new MasterKey(Buffer.alloc(32, 1));
    const keys = new SealedKeys(masterKey, 'ML-DSA-65');
    const serverNames = ['localhost'];
    const mlDsa = await ensureAuthority({ masterKey, keys, trustDomain, serverNames, clock });
    const spki = spkiOf(newKey());
    bench.registry.enrol(d1, 'device', 'internal', await mlDsa.issue(d1, spki));
    const { registry } = bench;
    const parts = { authority: mlDsa, registry, trustDomain, clock };
    assert.deepEqual(checkIssued(parts, { after: 0, limit: 10 }).problems, []);
  } finally {
    process.chdir(folder.path);
  }
});

test('a certificate may outlast its CA’s retirement once it has expired, and not before', async () => {
  const { certificate } = await bench.issue(
    { right: 'operator', name: d1, role: 'device' },
    newKey(),
  );
  const { database } = bench;
  database.prepare('UPDATE certificates SET issuer = ?').run('00');
  assert.deepEqual(problems(), ['the CA that signed it is none of ours']);
  clock.wallMs = certificate.notAfter + dayMs;
  const ofLeaves = check().problems.filter(({ principal }) => principal !== '');
  assert.deepEqual(ofLeaves, []);
  assert.match(problems().join(), /server: it has expired/);
});

/** What the issuing CA can be made to sign, past every check, for `device/d1`. */
async function plant(
  changed: Partial<CertificateContent>,
  options: { readonly signer?: Signer; readonly edit?: (der: Buffer) => Buffer } = {},
): Promise<void> {
  const { issuing } = authority;
  const spki = changed.spki ?? spkiOf(newKey());
  const content: CertificateContent = {
    profile: profiles.device,
    subject: distinguishedName([[oids.commonName, 'd1']]),
    issuer: parseCertificate(issuing.certificate.raw).subject,
    alternativeNames: [uriName(`spiffe://${trustDomain}/device/d1`)],
    notBefore: startMs - 1_000,
    notAfter: startMs + dayMs,
    ...changed,
    spki,
  };
  const made = await buildCertificate(content, options.signer ?? issuing.signer);
  const der = options.edit?.(made) ?? made;
  const { serialHex, spkiSha256, notBefore, notAfter } = parseCertificate(made);
  bench.registry.enrol(d1, 'device', 'internal', {
    issuer: issuing.id,
    serial: serialHex,
    spkiSha256,
    notBefore,
    notAfter,
    der,
  });
}

function spkiOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

const device = profiles.device;
const unknown = extension('1.2.3.4', write.nullValue());
const rogue = softwareSigner(newKey());

/** What is planted, and the only thing that is to be found. */
const planted: readonly (readonly [string, () => Promise<void>, RegExp])[] = [
  ['another name', () => plant({ subject: subject('d2') }), /^its subject/],
  ['two names', () => plant({ subject: subject('d1', 'd2') }), /^its subject/],
  ['a look-alike letter', () => plant({ subject: subject('d\u0456') }), /^its subject/],
  [
    'another SPIFFE id',
    () => plant({ alternativeNames: [spiffe('device/d2')] }),
    /alternative names/,
  ],
  [
    'a kind that it is not',
    () => plant({ alternativeNames: [spiffe('operator/d1')] }),
    /alternative names/,
  ],
  [
    'a second SPIFFE id',
    () => plant({ alternativeNames: [spiffe('device/d1'), spiffe('operator/x')] }),
    /alternative names/,
  ],
  ['no SPIFFE id', () => plant({ alternativeNames: [] }), /alternative names|551d11/],
  ['a CA', () => plant({ profile: { ...device, pathLength: 0 } }), /551d13/],
  [
    'that it signs certificates',
    () => plant({ profile: { ...device, keyUsage: ['digitalSignature', 'keyCertSign'] } }),
    /551d0f/,
  ],
  [
    'that it is a server',
    () => plant({ profile: { ...device, extendedKeyUsage: [oids.clientAuth, oids.serverAuth] } }),
    /551d25/,
  ],
  [
    'any purpose',
    () => plant({ profile: { ...device, extendedKeyUsage: [] } }),
    /551d25 is missing/,
  ],
  ['an extension of its own', () => plant({ extensions: [unknown] }), /2a0304/],
  [
    'an extension twice',
    () =>
      plant(
        { extensions: [twin('1.3.6.1.5.5.7.1.1'), twin('1.3.6.1.5.5.7.1.2')] },
        { edit: sameTwin },
      ),
    /twice/,
  ],
  ['a life beyond its CA', () => plant({ notAfter: startMs + 9_000 * dayMs }), /outlives/],
  ['a P-521 key', () => plant({ spki: spkiOf(ecKey('P-521')) }), /secp521r1/],
  ['an RSA key of 1,024 bits', () => plant({ spki: spkiOf(rsaKey(1024)) }), /too weak/],
  [
    'an Ed448 key',
    () => plant({ spki: generateKeyPairSync('ed448').publicKey.export(spkiDer) }),
    /ed448/,
  ],
  ['a key of no kind', () => plant({ spki: noKey }), /cannot judge/],
  [
    'a key that everybody has',
    () => plant({ spki: spkiOf(createPrivateKey(rfc9500)) }),
    /everybody/,
  ],
  [
    'the signature of another key',
    () => plant({}, { signer: rogue }),
    /another issuer|does not verify/,
  ],
  ['a signature that was changed', () => plant({}, { edit: flipLast }), /does not verify/],
  [
    'bytes that are no certificate',
    () => plant({}, { edit: (der) => der.subarray(1) }),
    /cannot read/,
  ],
];

/** Of an algorithm that nobody has heard of. */
const noKey = write.sequence(
  write.sequence(write.oid('1.2.3.4')),
  write.bitString(Buffer.alloc(32, 1)),
);
const spkiDer = { type: 'spki', format: 'der' } as const;
const spiffe = (name: string): Buffer => uriName(`spiffe://${trustDomain}/${name}`);
const subject = (...names: readonly string[]): Buffer =>
  distinguishedName(names.map((each) => [oids.commonName, each] as const));
const ecKey = (namedCurve: string): KeyObject =>
  generateKeyPairSync('ec', { namedCurve }).privateKey;
const rsaKey = (modulusLength: number): KeyObject =>
  generateKeyPairSync('rsa', { modulusLength }).privateKey;

const twin = (oid: string): Buffer => extension(oid, write.sequence());

/** What our own parser refuses to read. */
function sameTwin(der: Buffer): Buffer {
  const copy = Buffer.from(der);
  const second = Buffer.from('2b06010505070102', 'hex');
  copy[copy.indexOf(second) + second.length - 1] = 1;
  return copy;
}

/** In the middle of the signature's first number. */
function flipLast(der: Buffer): Buffer {
  const copy = Buffer.from(der);
  copy[copy.length - 50] = (copy[copy.length - 50] ?? 0) ^ 1;
  return copy;
}

for (const [what, make, finding] of planted) {
  test(`it finds what was issued with ${what}`, async () => {
    await make();
    const found = problems();
    assert.ok(found.length > 0, 'nothing found');
    assert.match(found.join('; '), finding);
  });
}

test('it finds what the registry says otherwise', async () => {
  await bench.issue({ right: 'operator', name: d1, role: 'device' }, newKey());
  const { database } = bench;
  for (const edit of [
    'not_after = not_after + 1000',
    'not_before = not_before - 1000',
    `serial = 'abcdef0123456789'`,
    `spki_sha256 = '${hash('sha256', 'x', 'hex')}'`,
  ]) {
    database.exec(`SAVEPOINT edit; UPDATE certificates SET ${edit}`);
    assert.deepEqual(problems(), ['the registry says something else than the certificate'], edit);
    database.exec('ROLLBACK TO edit; RELEASE edit');
  }
  assert.deepEqual(problems(), []);
});

test('it finds a key that two identities have, and what a revocation has left out', async () => {
  const key = newKey();
  await bench.issue({ right: 'operator', name: d1, role: 'device' }, key);
  const d2 = principalName('device', 'd2');
  await bench.issue({ right: 'operator', name: d2, role: 'device' }, newKey());
  const { database, registry } = bench;
  const [first] = registry.certificatesOf(d1);
  const [second] = registry.certificatesOf(d2);
  assert.ok(first !== undefined && second !== undefined);
  database
    .prepare('UPDATE certificates SET spki_sha256 = ? WHERE serial = ?')
    .run(first.spkiSha256, second.serial);
  assert.ok(problems().includes('device/d2 has the same key'));
  registry.changeStanding(d1, 'revoke');
  assert.ok(!problems().includes('its identity is revoked, and it is not'));
  database.exec('UPDATE certificates SET revoked_at = NULL');
  assert.ok(problems().includes('its identity is revoked, and it is not'));
});
