import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { MasterKey } from '../store/master-key.ts';
import type { CertificateAuthority, IssuedCertificate } from './authority.ts';
import { ensureAuthority } from './ensure-authority.ts';
import type { EnsureAuthorityOptions } from './ensure-authority.ts';
import { pinOf } from './pins.ts';
import { dayMs } from './profiles.ts';
import { SealedKeys } from './sealed-keys.ts';
import { verifyChain } from './verify-chain.ts';

const start = process.cwd();
const masterKey = new MasterKey(Buffer.alloc(32, 1));
const serverNames = ['gateway.fleet.example'];
let folder: TemporaryFolder;
let now = Date.now();
let pinned = new Set<string>();

beforeEach(() => {
  now = Date.now();
  pinned = new Set();
  folder = temporaryFolder();
  process.chdir(folder.path);
});
afterEach(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const open = (change: Partial<EnsureAuthorityOptions> = {}): Promise<CertificateAuthority> =>
  ensureAuthority({
    masterKey,
    trustDomain: 'fleet.example',
    serverNames,
    clock: { now: () => now, monotonic: () => now },
    isPinned: (pin) => pinned.has(pin),
    ...change,
  });

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

const unheard = async (): Promise<void> => {};
const device = (authority: CertificateAuthority, id: string): Promise<IssuedCertificate> => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return authority.issue(principalName('device', id), spki);
};
const vouchedFor = (authority: CertificateAuthority, { der }: IssuedCertificate): string =>
  verifyChain(Buffer.from(der), [authority.anchor], now).anchor.name;
const serverPin = (authority: CertificateAuthority): string =>
  pinOf(
    new X509Certificate(authority.serverTls().certificateChain).publicKey.export({
      type: 'spki',
      format: 'der',
    }),
  );

/** Whether a client that trusts only `root` accepts the chain that the server sends: openssl's word, strictly. */
function accepts(root: string, chain: string): boolean {
  const [leaf = '', ...rest] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
  writeFileSync('root.crt', root);
  writeFileSync('leaf.crt', leaf);
  writeFileSync('rest.crt', rest.join(''));
  const strict = [
    '-x509_strict',
    '-purpose',
    'sslserver',
    '-verify_hostname',
    serverNames[0] ?? '',
  ];
  const trust = ['-no-CApath', '-no-CAstore', '-CAfile', 'root.crt', '-untrusted', 'rest.crt'];
  const at = ['-attime', String(Math.floor(now / 1000))];
  try {
    execFileSync('openssl', ['verify', ...strict, ...trust, ...at, 'leaf.crt'], { stdio: 'pipe' });
    return true;
  } catch (thrown) {
    assert.match(String(thrown), /verification failed/);
    return false;
  }
}

async function rotate(authority: CertificateAuthority, role: 'root' | 'issuing'): Promise<void> {
  await authority.rotate(role, undefined, unheard);
  await authority.renewServerTls(serverNames);
}

test('a new issuing CA is the one whose key was told before, and the old one is still trusted', async () => {
  const authority = await open();
  const before = await device(authority, 'before');
  const { next } = await authority.keysOf('issuing');
  const root = authority.rootPem;
  await rotate(authority, 'issuing');
  assert.deepEqual((await authority.keysOf('issuing')).current, next);
  assert.notDeepEqual((await authority.keysOf('issuing')).next, next);
  assert.equal(authority.rootPem, root);
  const after = await device(authority, 'after');
  assert.deepEqual(
    [after.issuer, before.issuer],
    authority.issuers.map(({ id }) => id),
  );
  for (const each of [before, after]) assert.equal(vouchedFor(authority, each), 'internal');
  assert.ok(accepts(root, authority.serverTls().certificateChain));
  assert.equal(authority.summary().older.length, 1);
});

test('a root rollover cuts nobody off: old and new clients, old and new devices', async () => {
  const authority = await open();
  const before = await device(authority, 'before');
  const oldRoot = authority.rootPem;
  const { next } = await authority.keysOf('root');
  await rotate(authority, 'root');
  const newRoot = authority.rootPem;
  assert.notEqual(newRoot, oldRoot);
  const { publicKey } = new X509Certificate(newRoot);
  assert.deepEqual(publicKey.export({ type: 'spki', format: 'der' }), next);
  const chain = authority.serverTls().certificateChain;
  for (const root of [oldRoot, newRoot, oldRoot + newRoot]) assert.ok(accepts(root, chain));
  assert.ok(
    !accepts(oldRoot, chain.slice(0, chain.lastIndexOf('-----BEGIN'))),
    'it is the cross that leads there',
  );
  for (const each of [before, await device(authority, 'after')]) {
    assert.equal(vouchedFor(authority, each), 'internal');
  }
  assert.deepEqual(authority.rootPems, [newRoot, oldRoot]);
  assert.equal(authority.crossPems.length, 1);
});

test('a device whose clock is most of a day behind is not cut off by a rotation', async () => {
  const authority = await open();
  const oldRoot = authority.rootPem;
  now += 100 * dayMs;
  await rotate(authority, 'root');
  now -= 0.9 * dayMs;
  for (const root of [oldRoot, authority.rootPem]) {
    assert.ok(accepts(root, authority.serverTls().certificateChain));
  }
  now -= 0.2 * dayMs;
  assert.ok(!accepts(oldRoot, authority.serverTls().certificateChain));
});

test('each root is vouched for by the one before it', async () => {
  const authority = await open();
  await rotate(authority, 'root');
  const second = authority.rootPem;
  await rotate(authority, 'root');
  const chain = authority.serverTls().certificateChain;
  for (const root of [second, authority.rootPem]) assert.ok(accepts(root, chain));
  assert.equal(authority.rootPems.length, 3);
});

test('rotations are there after a restart', async () => {
  const authority = await open();
  await rotate(authority, 'root');
  await rotate(authority, 'issuing');
  const restarted = await open();
  assert.deepEqual(restarted.summary(), authority.summary());
  assert.deepEqual(restarted.anchor, authority.anchor);
  assert.deepEqual(restarted.serverTls(), authority.serverTls());
  assert.deepEqual(await restarted.keysOf('root'), await authority.keysOf('root'));
});

test('the new CA is trusted before it issues', async () => {
  const authority = await open();
  const old = authority.issuing;
  let told = 0;
  await authority.rotate('root', undefined, async () => {
    told += 1;
    assert.equal(authority.issuing, old);
    const [newest = ''] = authority.rootPems;
    assert.notEqual(newest, authority.rootPem, 'the new root is among those trusted');
    assert.equal(authority.anchor.certificates.length, 4);
    assert.equal((await device(authority, 'meanwhile')).issuer, old.id);
  });
  assert.equal(told, 1);
  assert.notEqual(authority.issuing, old);
});

/** What a rotation of the root writes, in order; a crash leaves the first of them. */
const writes = ['root-2.cross.pem', 'root-2.pem', 'issuing-2.pem'];

for (let done = 0; done < writes.length; done++) {
  test(`a rollover that ended after ${done} files changes nothing until it is ordered again`, async () => {
    const before = await open();
    const chain = before.serverTls();
    cpSync('ca', 'old', { recursive: true });
    await before.rotate('root', undefined, unheard);
    const made = new Map(writes.map((file) => [file, readFileSync(`ca/${file}`)]));
    rmSync('ca', { recursive: true });
    cpSync('old', 'ca', { recursive: true });
    for (const file of writes.slice(0, done)) writeFileSync(`ca/${file}`, made.get(file) ?? '');

    const authority = await open();
    assert.deepEqual(authority.serverTls(), chain);
    assert.equal(authority.issuers.length, 1);
    const oldRoot = authority.rootPem;
    const { next } = await authority.keysOf('root');
    await rotate(authority, 'root');
    if (done > 1)
      assert.equal(readFileSync('ca/root-2.pem', 'utf8'), made.get('root-2.pem')?.toString());
    assert.deepEqual((await authority.keysOf('root')).current, next, 'the key that was announced');
    for (const root of [oldRoot, authority.rootPem]) {
      assert.ok(accepts(root, authority.serverTls().certificateChain));
    }
  });
}

test('a rotation whose last file cannot be written has changed nothing', async () => {
  const authority = await open();
  const before = { summary: authority.summary(), anchor: authority.anchor };
  // Not even root writes over a folder.
  mkdirSync('ca/issuing-2.pem.tmp');
  for (const role of ['issuing', 'root'] as const) {
    await assert.rejects(rotate(authority, role), failsWith('io'));
    assert.deepEqual({ summary: authority.summary(), anchor: authority.anchor }, before);
  }
  rmSync('ca/issuing-2.pem.tmp', { recursive: true });
  await rotate(authority, 'root');
  assert.equal(authority.issuers.length, 2);
});

/** A key store that does not answer one of the questions that it is asked while a rotation is under way. */
function losing(at: number) {
  const keys = new SealedKeys(masterKey);
  const state = { armed: false, asked: 0 };
  const through = async <T>(answer: () => Promise<T>): Promise<T> => {
    if (state.armed && ++state.asked === at)
      throw new SallyportError('unavailable', 'the token is away');
    return answer();
  };
  return {
    state,
    has: (name: string) => through(() => keys.has(name)),
    find: (name: string) => through(() => keys.find(name)),
    make: (name: string) => through(() => keys.make(name)),
    remove: (name: string) => through(() => keys.remove(name)),
    exportKey: (name: string) => through(() => keys.exportKey(name)),
  };
}

for (const role of ['issuing', 'root'] as const) {
  test(`a token that is lost while the ${role} is rotated leaves all of it or nothing, after a restart too`, async () => {
    for (let at = 1, reached = true; reached; at++) {
      rmSync('ca', { recursive: true, force: true });
      const keys = losing(at);
      const authority = await open({ keys, logger: { error: () => {} } });
      const before = authority.issuing.id;
      keys.state.armed = true;
      const isDone = await authority.rotate(role, undefined, unheard).then(
        () => true,
        (thrown: unknown) => {
          assert.ok(failsWith('unavailable')(thrown), String(thrown));
          return false;
        },
      );
      reached = keys.state.asked >= at;
      keys.state.armed = false;
      assert.equal(authority.issuing.id !== before, isDone, `in service, question ${at}`);
      const again = await open({ keys });
      assert.equal(again.issuing.id !== before, isDone, `after a restart, question ${at}`);
    }
  });
}

test('with the root keys taken away, whoever holds them can rotate, and they do not stay', async () => {
  const authority = await open();
  const { privateKey } = await authority.exportRoot();
  const { next } = await authority.keysOf('root');
  await authority.discardRootKey();
  assert.deepEqual(
    readdirSync('ca').filter((file) => /^root.*key/.test(file)),
    [],
  );
  assert.deepEqual((await (await open()).keysOf('root')).next, next, 'its pin is still known');
  for (const role of ['issuing', 'root'] as const) {
    await assert.rejects(authority.rotate(role, undefined, unheard), failsWith('no-key'));
    const { privateKey: other } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const foreign = other.export({ type: 'pkcs8', format: 'pem' });
    await assert.rejects(authority.rotate(role, foreign, unheard), failsWith('no-key'));
    await assert.rejects(authority.rotate(role, 'no key', unheard), failsWith('usage'));
  }
  const oldRoot = authority.rootPem;
  await authority.rotate('issuing', privateKey, unheard);
  await authority.rotate('root', privateKey, unheard);
  await authority.renewServerTls(serverNames);
  assert.ok(accepts(oldRoot, authority.serverTls().certificateChain));
  assert.equal(authority.summary().rootKeyHere, false);
  const here = readdirSync('ca').filter((file) => /^root.*key/.test(file));
  assert.deepEqual(here, ['root-3.key.sealed'], 'only the one after it, which nobody has yet');
});

test('no root key is removed that nobody has been given', async () => {
  const authority = await open();
  await assert.rejects(authority.discardRootKey(), failsWith('usage'));
  await authority.exportRoot();
  await rotate(authority, 'root');
  const before = readdirSync('ca');
  await assert.rejects(authority.discardRootKey(), failsWith('usage'));
  assert.deepEqual(readdirSync('ca'), before, 'root-3 was made after the export');
  await authority.exportRoot();
  await authority.discardRootKey();
  assert.ok(!readdirSync('ca').some((file) => /^root.*key/.test(file)));
});

test('keys in hardware stay there when the others are taken away', async () => {
  const keys = new SealedKeys(masterKey);
  const stays = new Set(['root-2']);
  const hardware = {
    has: (name: string) => keys.has(name),
    find: (name: string) => keys.find(name),
    make: (name: string) => keys.make(name),
    remove: (name: string) => keys.remove(name),
    exportKey: async (name: string) => {
      if (stays.has(name)) throw new SallyportError('no-key', 'it never leaves its token');
      return keys.exportKey(name);
    },
  };
  const authority = await open({ keys: hardware });
  const { privateKey } = await authority.exportRoot();
  assert.equal(privateKey.match(/BEGIN PRIVATE KEY/g)?.length, 1);
  await authority.discardRootKey();
  assert.deepEqual(
    readdirSync('ca').filter((file) => /^root.*key/.test(file)),
    ['root-2.key.sealed'],
  );
  await assert.rejects(authority.exportRoot(), failsWith('no-key'));
  await authority.rotate('root', privateKey, unheard);
});

test('what is exported begins with the key of the present root', async () => {
  const authority = await open();
  await rotate(authority, 'root');
  const { privateKey, certificate } = await authority.exportRoot();
  assert.equal(privateKey.match(/BEGIN PRIVATE KEY/g)?.length, 3);
  assert.ok(new X509Certificate(certificate).checkPrivateKey(createPrivateKey(privateKey)));
  assert.equal(certificate, authority.rootPem);
});

test('a root that may not vouch for another is not followed by one', async () => {
  await open();
  // As roots were that left room for their issuing CA only.
  const key = new SealedKeys(masterKey).open('root');
  assert.ok(key);
  writeFileSync('root.key', key.export({ type: 'pkcs8', format: 'pem' }));
  const subject = '/CN=Old Root';
  const extensions = ['basicConstraints=critical,CA:TRUE,pathlen:1', 'subjectKeyIdentifier=none'];
  const request = ['req', '-x509', '-key', 'root.key', '-subj', subject, '-days', '100'];
  const added = extensions.flatMap((extension) => ['-addext', extension]);
  execFileSync('openssl', [...request, ...added, '-out', 'ca/root.pem']);
  rmSync('ca/issuing.pem');
  const authority = await open();
  await assert.rejects(authority.rotate('root', undefined, unheard), failsWith('usage'));
  assert.deepEqual(authority.rootPems.length, 1);
});

test('the server takes its next key with each renewal, unless devices may have the present one pinned', async () => {
  const authority = await open({ serverDays: 90 });
  const first = serverPin(authority);
  const { next } = await authority.keysOf('server');
  now += 61 * dayMs;
  assert.equal(await authority.renewServerTls(serverNames), true);
  assert.equal(serverPin(authority), pinOf(next));
  assert.notEqual(serverPin(authority), first);

  pinned.add(serverPin(authority));
  const { serial } = authority.summary().server;
  now += 61 * dayMs;
  assert.equal(await authority.renewServerTls(serverNames), true);
  assert.notEqual(authority.summary().server.serial, serial);
  assert.equal(serverPin(authority), pinOf(next), 'another certificate for the same key');
  await rotate(authority, 'issuing');
  assert.equal(serverPin(authority), pinOf(next), 'nor does a rotation of the CA change it');

  const announced = await authority.keysOf('server');
  const prepared = await authority.prepareServerTls(serverNames, 'next');
  assert.ok(prepared);
  await authority.commitServerTls(prepared);
  assert.equal(serverPin(authority), pinOf(announced.next), 'only an order does');
  assert.deepEqual((await open()).serverTls(), authority.serverTls());
});

test('an issuing CA is retired when all under it has been over for long, and never the one that issues', async () => {
  const authority = await open();
  const old = authority.issuing;
  const { notAfter } = await device(authority, 'd1');
  await rotate(authority, 'issuing');
  const expiries = new Map([[old.id, notAfter]]);
  const retire = (): Promise<readonly string[]> => authority.retire((id) => expiries.get(id));
  now = notAfter + 89 * dayMs;
  assert.deepEqual(await retire(), []);
  now += 2 * dayMs;
  assert.deepEqual(await retire(), [old.id]);
  assert.deepEqual(await retire(), []);
  assert.deepEqual(authority.issuers, [authority.issuing]);
  const files = readdirSync('ca').filter((file) => file.startsWith('issuing'));
  assert.deepEqual(files, [
    'issuing-2.key.sealed',
    'issuing-2.pem',
    'issuing-3.key.sealed',
    'issuing.retired.pem',
  ]);
  assert.equal(
    parseCertificate(new X509Certificate(readFileSync('ca/issuing.retired.pem')).raw).subjectKeyId,
    old.id,
  );
  assert.deepEqual(
    (await open()).issuers.map(({ id }) => id),
    [authority.issuing.id],
  );
});

test('an issuing CA that has issued nothing is kept for its grace time too, and a root goes with its last CA', async () => {
  const authority = await open();
  await rotate(authority, 'root');
  assert.deepEqual(await authority.retire(() => undefined), []);
  assert.equal(authority.rootPems.length, 2);
  now += 91 * dayMs;
  assert.equal((await authority.retire(() => undefined)).length, 1);
  assert.deepEqual(authority.rootPems, [authority.rootPem]);
  assert.equal(authority.anchor.certificates.length, 2);
});

test('a retirement that a crash cut short is finished at the next start', async () => {
  const authority = await open();
  await rotate(authority, 'issuing');
  cpSync('ca', 'old', { recursive: true });
  now += 91 * dayMs;
  assert.equal((await authority.retire(() => undefined)).length, 1);
  for (const file of ['issuing.pem', 'issuing.key.sealed']) cpSync(`old/${file}`, `ca/${file}`);
  assert.equal((await open()).issuers.length, 1);
  assert.ok(!readdirSync('ca').includes('issuing.key.sealed'));
});

test('two that ask for the next key at once get the same', async () => {
  const authority = await open();
  rmSync('ca/issuing-2.key.sealed');
  const [one, other] = await Promise.all([
    authority.keysOf('issuing'),
    authority.keysOf('issuing'),
  ]);
  assert.deepEqual(one, other);
});

test('next keys that cannot be made are said in the log and made later', async () => {
  const errors: string[] = [];
  const logger = { error: (_fields: object, message: string) => errors.push(message) };
  const keys = new SealedKeys(masterKey);
  let isFull = true;
  const failing = {
    has: (name: string) => keys.has(name),
    find: (name: string) => keys.find(name),
    make: async (name: string) => {
      if (isFull && name.includes('-2'))
        throw new SallyportError('unavailable', 'the token is full');
      return keys.make(name);
    },
    remove: (name: string) => keys.remove(name),
    exportKey: (name: string) => keys.exportKey(name),
  };
  const authority = await open({ keys: failing, logger });
  assert.ok(errors.includes('the next keys are not made yet'));
  await assert.rejects(authority.keysOf('issuing'), failsWith('unavailable'));
  isFull = false;
  await authority.prepareNext();
  assert.ok((await authority.keysOf('issuing')).next);
});
