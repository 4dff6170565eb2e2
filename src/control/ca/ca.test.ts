import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { issueLeaf, makeAuthority, makeIntermediate } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { principalOfCertificate } from '../../common/identity/principal-of-certificate.ts';
import { MasterKey } from '../store/master-key.ts';
import type { AuthorityOptions, CertificateAuthority } from './authority.ts';
import { ensureAuthority } from './ensure-authority.ts';
import { addressOctets } from './general-names.ts';
import { dayMs } from './profiles.ts';
import { verifyChain } from './verify-chain.ts';

const start = process.cwd();
let folder: TemporaryFolder;
let now = Date.now();
beforeEach(() => {
  now = Date.now();
  folder = temporaryFolder();
  process.chdir(folder.path);
});
afterEach(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const options: AuthorityOptions = {
  masterKey: new MasterKey(Buffer.alloc(32, 1)),
  trustDomain: 'fleet.example',
  serverNames: ['gateway.fleet.example', 'localhost', '127.0.0.1', '::1'],
  clock: { now: () => now, monotonic: () => now },
};
const ensure = (change: Partial<AuthorityOptions> = {}): Promise<CertificateAuthority> =>
  ensureAuthority({ ...options, ...change });

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

const openssl = (...args: readonly string[]): string =>
  execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

const freshSpki = (): Buffer =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    type: 'spki',
    format: 'der',
  });

/** Whether `openssl verify`, which trusts the root only, accepts the chain with these further options. */
function verifies(
  authority: CertificateAuthority,
  chain: string,
  ...more: readonly string[]
): boolean {
  const [leaf = '', issuing = ''] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
  writeFileSync('root.crt', authority.rootPem);
  writeFileSync('leaf.crt', leaf);
  writeFileSync('issuing.crt', issuing);
  const trust = ['-x509_strict', '-CAfile', 'root.crt', '-untrusted', 'issuing.crt'];
  try {
    return openssl('verify', ...trust, ...more, 'leaf.crt').trim() === 'leaf.crt: OK';
  } catch (thrown) {
    // Told apart from a wrong use of the command line, which would make every refusal true.
    assert.match(String(thrown), /verification failed/);
    return false;
  }
}

test('openssl verifies client chains strictly, for clients only, and sees the profile', async () => {
  const authority = await ensure();
  for (const kind of ['device', 'service', 'operator'] satisfies PrincipalKind[]) {
    const name = principalName(kind, 'x1');
    const issued = await authority.issue(name, freshSpki());
    assert.ok(verifies(authority, issued.certificateChain, '-purpose', 'sslclient'));
    assert.ok(!verifies(authority, issued.certificateChain, '-purpose', 'sslserver'));
    const text = openssl('x509', '-in', 'leaf.crt', '-noout', '-text');
    for (const line of [
      'Subject: CN = x1',
      `URI:spiffe://fleet.example/${kind}/x1`,
      'TLS Web Client Authentication',
      'CA:FALSE',
      'X509v3 Basic Constraints: critical',
      'X509v3 Key Usage: critical',
      'X509v3 Subject Key Identifier',
      'X509v3 Authority Key Identifier',
    ]) {
      assert.ok(text.includes(line), `${line} in\n${text}`);
    }
    assert.match(text, /Key Usage: critical\n\s+Digital Signature\n/);
    const facts = parseCertificate(Buffer.from(issued.der));
    const mapped = principalOfCertificate(facts, authority.anchor, 'fleet.example', now);
    assert.deepEqual(mapped, { ok: true, principal: name });
  }
});

test('openssl verifies the server chain for its names and for servers only', async () => {
  const authority = await ensure();
  const { certificateChain, privateKey } = authority.serverTls();
  assert.ok(verifies(authority, certificateChain, '-purpose', 'sslserver'));
  assert.ok(!verifies(authority, certificateChain, '-purpose', 'sslclient'));
  for (const host of ['gateway.fleet.example', 'localhost']) {
    assert.ok(verifies(authority, certificateChain, '-verify_hostname', host), host);
  }
  for (const address of ['127.0.0.1', '::1']) {
    assert.ok(verifies(authority, certificateChain, '-verify_ip', address), address);
  }
  assert.ok(!verifies(authority, certificateChain, '-verify_hostname', 'other.example'));
  assert.ok(new X509Certificate(certificateChain).checkPrivateKey(createPrivateKey(privateKey)));
});

test('the CAs are bounded: path lengths, key usage, names, life', async () => {
  const { root, issuing, rootKeyHere } = (await ensure()).summary();
  assert.equal(rootKeyHere, true);
  writeFileSync('root.crt', root.pem);
  writeFileSync('issuing.crt', issuing.pem);
  const text = (file: string): string => openssl('x509', '-in', file, '-noout', '-text');
  assert.match(text('root.crt'), /CA:TRUE, pathlen:2[\s\S]*\n\s+Certificate Sign, CRL Sign\n/);
  assert.match(text('issuing.crt'), /CA:TRUE, pathlen:0[\s\S]*Certificate Sign, CRL Sign\n/);
  assert.match(
    text('issuing.crt'),
    /Subject: O = fleet.example, CN = Sallyport Issuing CA [0-9a-f]{8}\n/,
  );
  assert.ok(root.notAfter - now > 19.9 * 365 * dayMs);
  assert.ok(issuing.notAfter - now > 4.9 * 365 * dayMs);
  const printed = openssl('x509', '-in', 'root.crt', '-noout', '-fingerprint', '-sha256');
  assert.equal(root.sha256, printed.trim().split('=')[1]?.replaceAll(':', '').toLowerCase());
});

test('serial numbers are 127 random bits that no reader takes for negative', async () => {
  const authority = await ensure();
  const spki = freshSpki();
  const issuing = Array.from({ length: 300 }, async (_, n) => {
    const issued = await authority.issue(principalName('device', `d${n}`), spki);
    const peer = new X509Certificate(Buffer.from(issued.der)).serialNumber;
    assert.equal(issued.serial, peer.toLowerCase().replace(/^0+/, ''));
    return BigInt(`0x${issued.serial}`);
  });
  const serials = await Promise.all(issuing);
  assert.equal(new Set(serials).size, 300);
  assert.ok(serials.every((serial) => serial > 0n && serial < 2n ** 127n));
  assert.ok(
    serials.some((serial) => serial >= 2n ** 126n),
    'the bits below the top one are used',
  );
});

test('a certificate is back-dated by minutes and outlives neither its days nor the issuing CA', async () => {
  const authority = await ensure({ deviceDays: 30 });
  const device = await authority.issue(principalName('device', 'd1'), freshSpki());
  assert.equal(device.notBefore, Math.floor((now - 300_000) / 1000) * 1000);
  assert.equal(device.notAfter, Math.floor((now + 30 * dayMs) / 1000) * 1000);
  const { notAfter } = authority.summary().issuing;
  now = notAfter - dayMs;
  const last = await authority.issue(principalName('device', 'd2'), freshSpki());
  assert.equal(last.notAfter, notAfter);
  now = notAfter;
  const late = authority.issue(principalName('device', 'd3'), freshSpki());
  await assert.rejects(late, failsWith('no-key'));
});

test('the second start changes nothing', async () => {
  const first = (await ensure()).summary();
  assert.deepEqual((await ensure()).summary(), first);
});

test('files are 0600 and hold no key in the clear', async () => {
  const { privateKey } = await (await ensure()).exportRoot();
  const der = createPrivateKey(privateKey).export({ format: 'jwk' });
  const secret = Buffer.from(der.d ?? '', 'base64url');
  for (const file of readdirSync('ca')) {
    assert.equal(statSync(`ca/${file}`).mode & 0o777, 0o600, file);
    const content = readFileSync(`ca/${file}`);
    assert.ok(!content.includes(secret) && !content.includes('PRIVATE KEY'), file);
  }
  assert.deepEqual(readdirSync('ca').toSorted(), [
    'issuing-2.key.sealed',
    'issuing.key.sealed',
    'issuing.pem',
    'root-2.key.sealed',
    'root.key.sealed',
    'root.pem',
    'server-2.key.sealed',
    'server.key.sealed',
    'server.pem',
  ]);
});

/** The order in which the first start writes; a crash leaves the first of them, and perhaps a half-written next one. */
const writes = [
  'root.key.sealed',
  'root.pem',
  'issuing.key.sealed',
  'issuing.pem',
  'server.key.sealed',
  'server.pem',
  'issuing-2.key.sealed',
  'root-2.key.sealed',
  'server-2.key.sealed',
];

for (let done = 0; done <= writes.length; done++) {
  test(`a first start that ended after ${done} files is completed with what is there`, async () => {
    // The present key comes first of those that are exported.
    const rootKey = async (authority: CertificateAuthority): Promise<string> =>
      (await authority.exportRoot()).privateKey.split(/(?<=END PRIVATE KEY-----\n)/)[0] ?? '';
    const before = await ensure();
    const key = await rootKey(before);
    const whole = before.summary();
    for (const file of writes.slice(done)) rmSync(`ca/${file}`);
    const next = writes[done];
    if (next !== undefined) writeFileSync(`ca/${next}.tmp`, 'half');
    const after = await ensure();
    if (done >= 1) assert.equal(await rootKey(after), key);
    if (done >= 2) assert.deepEqual(after.summary().root, whole.root);
    if (done >= 4) assert.deepEqual(after.summary().issuing, whole.issuing);
    const issued = await after.issue(principalName('device', 'd1'), freshSpki());
    assert.ok(verifies(after, issued.certificateChain));
    assert.equal(after.serverTls().certificateChain.includes('BEGIN'), true);
  });
}

const refusedStates: Readonly<Record<string, readonly [() => void | Promise<void>, ErrorCode]>> = {
  'the root certificate lost': [(): void => rmSync('ca/root.pem'), 'tampered'],
  'the issuing key lost': [(): void => rmSync('ca/issuing.key.sealed'), 'no-key'],
  'the issuing CA lost after the root key was taken away': [
    (): void => {
      for (const file of ['root.key.sealed', 'issuing.key.sealed', 'issuing.pem'])
        rmSync(`ca/${file}`);
    },
    'no-key',
  ],
  'keys of two installations mixed': [(): Promise<void> => mix('issuing.key.sealed'), 'tampered'],
  'certificates of two installations mixed': [(): Promise<void> => mix('issuing.pem'), 'tampered'],
  'roots of two installations mixed': [(): Promise<void> => mix('root.pem'), 'tampered'],
  'a certificate that is none': [(): void => writeFileSync('ca/issuing.pem', 'x'), 'tampered'],
  'a sealed key that was changed': [(): void => flipLast('ca/issuing.key.sealed'), 'tampered'],
};

async function mix(file: string): Promise<void> {
  mkdirSync('other');
  process.chdir('other');
  await ensure();
  process.chdir('..');
  copyFileSync(`other/ca/${file}`, `ca/${file}`);
}

function flipLast(file: string): void {
  const content = readFileSync(file);
  content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
  writeFileSync(file, content);
}

for (const [what, [spoil, code]] of Object.entries(refusedStates)) {
  test(`refused, and nothing is written: ${what}`, async () => {
    await ensure();
    await spoil();
    const before = readdirSync('ca').map((file) => [file, readFileSync(`ca/${file}`, 'hex')]);
    await assert.rejects(ensure(), failsWith(code));
    const after = readdirSync('ca').map((file) => [file, readFileSync(`ca/${file}`, 'hex')]);
    assert.deepEqual(after, before);
  });
}

test('another master key opens nothing', async () => {
  await ensure();
  const masterKey = new MasterKey(Buffer.alloc(32, 2));
  await assert.rejects(ensure({ masterKey }), failsWith('no-key'));
});

test('the root key can be taken away, and everything goes on without it', async () => {
  const authority = await ensure();
  const { privateKey, certificate } = await authority.exportRoot();
  assert.ok(new X509Certificate(certificate).checkPrivateKey(createPrivateKey(privateKey)));
  assert.equal(authority.summary().rootKeyHere, true, 'until the caller has confirmed');
  await authority.discardRootKey();
  await authority.discardRootKey();
  await assert.rejects(authority.exportRoot(), failsWith('no-key'));
  const restarted = await ensure({ serverNames: ['new.example'] });
  assert.equal(restarted.summary().rootKeyHere, false);
  assert.equal(restarted.rootPem, certificate);
  const issued = await restarted.issue(principalName('device', 'd1'), freshSpki());
  assert.ok(verifies(restarted, issued.certificateChain));
});

test('the server certificate is renewed when names change or a third of its life is left', async () => {
  const authority = await ensure({ serverDays: 90 });
  const current = (): string => authority.summary().server.serial;
  const first = current();
  const { serverNames } = options;
  assert.equal(await authority.renewServerTls(serverNames), false);
  assert.equal(await authority.renewServerTls(serverNames.toReversed()), false);
  assert.equal(await authority.renewServerTls([...serverNames, '192.0.2.1']), true);
  const second = current();
  assert.notEqual(second, first);
  now += 59 * dayMs;
  assert.equal(await authority.renewServerTls([...serverNames, '192.0.2.1']), false);
  now += 2 * dayMs;
  assert.equal(await authority.renewServerTls([...serverNames, '192.0.2.1']), true);
  assert.equal(authority.summary().server.notAfter, Math.floor((now + 90 * dayMs) / 1000) * 1000);
});

test('a renewal that a crash cut in two is finished at the next start', async () => {
  await ensure();
  cpSync('ca', 'old', { recursive: true });
  const after = (await ensure({ serverNames: ['other.example'] })).serverTls();
  for (const file of ['server.pem', 'server.key.sealed']) copyFileSync(`old/${file}`, `ca/${file}`);
  rmSync('ca/server-3.key.sealed');
  assert.deepEqual((await ensure({ serverNames: ['other.example'] })).serverTls(), after);
  const servers = readdirSync('ca').filter((file) => file.startsWith('server'));
  assert.deepEqual(servers, ['server-2.key.sealed', 'server-2.pem', 'server-3.key.sealed']);
});

test('a server pair of which a part was replaced is not served, but made anew', async () => {
  await ensure();
  cpSync('ca', 'old', { recursive: true });
  await ensure({ serverNames: ['other.example'] });
  copyFileSync('old/server.pem', 'ca/server-2.pem');
  const authority = await ensure();
  const { certificateChain, privateKey } = authority.serverTls();
  assert.ok(new X509Certificate(certificateChain).checkPrivateKey(createPrivateKey(privateKey)));
  const old = readFileSync('old/server.pem', 'utf8');
  assert.ok(!certificateChain.startsWith(old));
});

test('what has been prepared is not in service until it is committed', async () => {
  const authority = await ensure();
  const before = authority.serverTls();
  const prepared = await authority.prepareServerTls(['other.example']);
  assert.ok(prepared);
  assert.deepEqual(authority.serverTls(), before);
  assert.deepEqual((await ensure()).serverTls(), before);
  await authority.commitServerTls(prepared);
  assert.deepEqual(authority.serverTls(), prepared.tls);
  assert.deepEqual((await ensure({ serverNames: ['other.example'] })).serverTls(), prepared.tls);
  assert.ok(
    verifies(authority, prepared.tls.certificateChain, '-verify_hostname', 'other.example'),
  );
});

for (const file of ['server-2.key.sealed', 'server-2.pem']) {
  test(`a renewal whose ${file} cannot be written leaves the old pair, here and on disk`, async () => {
    const authority = await ensure();
    const before = authority.serverTls();
    rmSync(`ca/${file}`, { force: true });
    // Not even root writes over a folder.
    mkdirSync(`ca/${file}.tmp`);
    await assert.rejects(authority.renewServerTls(['other.example']), failsWith('io'));
    assert.deepEqual(authority.serverTls(), before);
    rmSync(`ca/${file}.tmp`, { recursive: true });
    assert.deepEqual((await ensure()).serverTls(), before);
  });
}

test('a renewal that fails does not prevent a start with a certificate that still serves', async () => {
  const before = (await ensure()).serverTls();
  const { notAfter } = (await ensure()).summary().server;
  mkdirSync('ca/server-2.pem.tmp');
  const failures: string[] = [];
  const logger = { error: (_fields: object, message: string) => failures.push(message) };
  now = notAfter - dayMs;
  assert.deepEqual((await ensure({ logger })).serverTls(), before);
  assert.deepEqual(failures, ['server certificate not renewed']);
  await assert.rejects(ensure({ logger, serverNames: ['other.example'] }), failsWith('io'));
  now = notAfter;
  await assert.rejects(ensure({ logger }), failsWith('io'));
});

test('what is not a server name is refused before anything is written', async () => {
  const authority = await ensure();
  const { serial } = authority.summary().server;
  for (const name of [
    '',
    'a b',
    'ü.example',
    '-a.example',
    'a..b',
    'x'.repeat(64),
    `${'a.'.repeat(127)}example`,
    'a\0b',
    'spiffe://x',
  ]) {
    await assert.rejects(authority.renewServerTls([name]), failsWith('invalid-config'), name);
  }
  assert.equal(authority.summary().server.serial, serial);
});

test('addresses become the octets that openssl reads', async () => {
  const table: Readonly<Record<string, string>> = {
    '192.0.2.1': 'c0000201',
    '::': '0'.repeat(32),
    '::1': `${'0'.repeat(31)}1`,
    '2001:db8::ff00:42:8329': '20010db8000000000000ff0000428329',
    '1:2:3:4:5:6:7:8': '00010002000300040005000600070008',
    '::ffff:192.0.2.1': '00000000000000000000ffffc0000201',
    'fe80::1%eth0': 'fe800000000000000000000000000001',
  };
  for (const [address, octets] of Object.entries(table)) {
    assert.equal(addressOctets(address).toString('hex'), octets, address);
  }
});

test('a chain is verified by signature, against anchors that are CAs and in date', async () => {
  const authority = await ensure();
  const device = await authority.issue(principalName('device', 'd1'), freshSpki());
  const der = Buffer.from(device.der);
  const foreign = makeAuthority(folder.at('foreign'), 'Foreign Root');
  const intermediate = makeIntermediate(foreign, folder.at('foreign'), 'Foreign Issuing');
  const anchor = {
    name: 'acme',
    certificates: [foreign.crt, intermediate.crt].map((file) => readFileSync(file, 'utf8')),
    mapping: { type: 'spiffe' },
  } as const;
  const below = (signer: typeof foreign, name: string): Buffer =>
    new X509Certificate(
      readFileSync(issueLeaf(signer, folder.at('foreign'), name, '', { subject: '/CN=d1' }).crt),
    ).raw;
  const anchors = [authority.anchor, anchor];
  // openssl has its own clock.
  now = Date.now();
  assert.equal(verifyChain(der, anchors, now).anchor.name, 'internal');
  assert.equal(verifyChain(below(foreign, 'l1'), anchors, now).anchor.name, 'acme');
  assert.equal(verifyChain(below(intermediate, 'l2'), anchors, now).anchor.name, 'acme');

  const refused = (
    leaf: Buffer,
    at = now,
    list: readonly (typeof anchors)[number][] = anchors,
  ): void => assert.throws(() => verifyChain(leaf, list, at), failsWith('invalid-certificate'));
  refused(der, now, [anchor]);
  refused(der, now, []);
  refused(der, now + 3000 * dayMs);
  // A client certificate that signs another, under a CA that is an anchor's all the same.
  const leafAsCa = issueLeaf(foreign, folder.at('foreign'), 'l3', '', { subject: '/CN=leaf' });
  const bogus = { ...anchor, certificates: [readFileSync(leafAsCa.crt, 'utf8')] };
  refused(below({ key: leafAsCa.key, crt: leafAsCa.crt }, 'l4'), now, [bogus]);
  // The same issuer's name, another key.
  const twin = makeAuthority(folder.at('twin'), 'Foreign Root');
  refused(below(twin, 'l5'));
  const changed = Buffer.from(der);
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  refused(changed);
});
