import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { mkdirSync, rmSync } from 'node:fs';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { silentLogger } from '../common/base/logger.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { ensureAuthority } from './ca/ensure-authority.ts';
import { Configuration } from './configuration.ts';
import { MasterKey } from './store/master-key.ts';

const start = process.cwd();
const folder = temporaryFolder();
process.chdir(folder.path);
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const bundle = (configText: string): ConfigBundle => ({
  configPath: '/etc/sallyport.yaml',
  configText,
  files: {},
});
const first = parseConfig(bundle('logs: { level: info }'));
const changed = bundle(`
serverNames: [ new.example ]
roles: { watcher: { allow: { subscribe: [ devices/+/status ] } } }
logs: { level: debug }
`);

let now = Date.now();
let failing: 'audit' | 'publish' | 'onTls' | undefined;
let events: string[] = [];
let authority: CertificateAuthority;
let configuration: Configuration;

const failWhen = (what: typeof failing): void => {
  if (failing === what) throw new SallyportError('io', `${what} failed`);
};

beforeEach(() => {
  rmSync('ca', { recursive: true, force: true });
  now = Date.now();
  failing = undefined;
  events = [];
  authority = ensureAuthority({
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    trustDomain: first.trustDomain,
    serverNames: first.serverNames,
    clock: { now: () => now, monotonic: () => now },
  });
  configuration = new Configuration({
    config: first,
    authority,
    auditLog: {
      append: (entry) => {
        failWhen('audit');
        const inForce = configuration.current === first ? 'before' : 'after';
        events.push(`audit ${inForce}`);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
    publisher: {
      publish: async (changes) => {
        events.push(`publish ${changes.map(({ type }) => type).join(' ')}`);
        failWhen('publish');
        return { acknowledged: 1, killed: 0 };
      },
    },
    logger: {
      ...silentLogger,
      error: (_fields, message) => events.push(`error: ${message}`),
      setLevel: (level) => events.push(`level ${level}`),
    },
    onTls: () => {
      failWhen('onTls');
      events.push('onTls');
    },
  });
});

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;
const serial = (): string => authority.summary().server.serial;
const restarted = (): CertificateAuthority =>
  ensureAuthority({
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    trustDomain: first.trustDomain,
    serverNames: first.serverNames,
    clock: { now: () => now, monotonic: () => now },
  });

test('a configuration is put on record, then in force, then told to everybody', async () => {
  const before = serial();
  const result = await configuration.apply('local:0', changed);
  assert.deepEqual(result.changed, ['certificates and trust anchors', 'policy', 'log level']);
  assert.deepEqual(events, [
    'audit before',
    'level debug',
    'publish tls policy log-level',
    'onTls',
  ]);
  assert.ok(configuration.current.roles['watcher']);
  assert.notEqual(serial(), before);
});

test('what cannot be put on record changes nothing', async () => {
  const before = serial();
  failing = 'audit';
  await assert.rejects(configuration.apply('local:0', changed), failsWith('io'));
  assert.equal(configuration.current, first);
  assert.equal(serial(), before);
  assert.deepEqual(events, []);
  assert.equal(restarted().summary().server.serial, before);
  failing = undefined;
  await configuration.apply('local:0', changed);
  assert.ok(configuration.current.roles['watcher'], 'the next one is applied');
});

for (const file of ['ca/server.key.sealed.tmp', 'ca/server.pem.tmp']) {
  test(`a server certificate that cannot be written changes nothing: ${file}`, async () => {
    const before = { serial: serial(), tls: authority.serverTls() };
    mkdirSync(file);
    await assert.rejects(configuration.apply('local:0', changed), failsWith('io'));
    assert.equal(configuration.current, first);
    assert.deepEqual({ serial: serial(), tls: authority.serverTls() }, before);
    assert.deepEqual(events, ['audit before']);
    rmSync(file, { recursive: true });
    assert.equal(restarted().summary().server.serial, before.serial);
  });
}

test('a server name that no certificate can hold changes nothing', async () => {
  const bad = bundle(`serverNames: [ ${'a.'.repeat(127)}example ]\nlogs: { level: debug }`);
  await assert.rejects(configuration.apply('local:0', bad), failsWith('invalid-config'));
  assert.equal(configuration.current, first);
  assert.deepEqual(events, []);
});

test('an admin listener that keeps its certificate does not keep the policy from the workers', async () => {
  failing = 'onTls';
  await configuration.apply('local:0', changed);
  assert.ok(events.includes('publish tls policy log-level'));
  assert.ok(events.includes('error: the admin listener keeps its old TLS'));
});

const nearItsEnd = (): void => {
  now = authority.summary().server.notAfter - 1_000;
};

test('the server certificate is renewed near its end and told to everybody', () => {
  configuration.renewServerCertificate();
  assert.deepEqual(events, []);
  const before = serial();
  nearItsEnd();
  configuration.renewServerCertificate();
  assert.notEqual(serial(), before);
  assert.deepEqual(events, ['publish tls', 'onTls']);
});

test('a renewal that fails is logged, throws nothing and is tried again', () => {
  const before = serial();
  nearItsEnd();
  mkdirSync('ca/server.pem.tmp');
  configuration.renewServerCertificate();
  assert.deepEqual(events, ['error: server certificate not renewed; the old one stays']);
  assert.equal(serial(), before);
  rmSync('ca/server.pem.tmp', { recursive: true });
  configuration.renewServerCertificate();
  assert.notEqual(serial(), before);
});

test('workers that cannot be told of a renewal are logged, not thrown', async () => {
  nearItsEnd();
  failing = 'publish';
  configuration.renewServerCertificate();
  await new Promise(setImmediate);
  assert.ok(events.includes('error: workers not told of the new server certificate'));
});
