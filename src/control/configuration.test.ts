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
/** PEM of the authorities of every configured anchor that are trusted; undefined = all of them. */
let trusted: readonly string[] | undefined;
let authority: CertificateAuthority;
let configuration: Configuration;

const failWhen = (what: typeof failing): void => {
  if (failing === what) throw new SallyportError('io', `${what} failed`);
};

beforeEach(async () => {
  rmSync('ca', { recursive: true, force: true });
  now = Date.now();
  failing = undefined;
  events = [];
  trusted = undefined;
  authority = await ensureAuthority({
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
      publishSnapshot: () => void events.push('snapshot'),
      publish: async (changes) => {
        events.push(`publish ${changes.map(({ type }) => type).join(' ')}`);
        failWhen('publish');
        return { acknowledged: 1, killed: 0 };
      },
    },
    logger: {
      ...silentLogger,
      error: (_fields, message) => events.push(`error: ${message}`),
      warn: (_fields, message) => events.push(`warn: ${message}`),
      setLevel: (level) => events.push(`level ${level}`),
    },
    crls: {
      trusted: () => trusted,
      configure: (anchors) => {
        if (anchors.length > 0)
          events.push(`lists of ${anchors.map(({ name }) => name).join(' ')}`);
      },
    },
    tokens: {
      configure: () => {
        events.push('tokens');
        return Promise.resolve();
      },
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
const restarted = (): Promise<CertificateAuthority> =>
  ensureAuthority({
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    trustDomain: first.trustDomain,
    serverNames: first.serverNames,
    clock: { now: () => now, monotonic: () => now },
  });

test('a configuration is put on record, then in force, then told to everybody', async () => {
  const before = serial();
  const result = await configuration.apply('local:0', changed);
  assert.deepEqual(result.changed, [
    'certificates and trust anchors',
    'policy',
    'log level',
    // Certificates name the status listener by the first server name.
    'CRL and OCSP',
  ]);
  assert.deepEqual(events, [
    'audit before',
    'level debug',
    'publish tls policy log-level',
    'onTls',
  ]);
  assert.ok(configuration.current.roles['watcher']);
  assert.notEqual(serial(), before);
});

test('keys of certificates come with the first route that takes them, before it, and go with the last', async () => {
  const taking = bundle(`
logs: { level: info }
routes: { telemetry: { match: devices/+/telemetry, integrity: { accept: [ http-signature ] } } }
`);
  await configuration.apply('local:0', taking);
  assert.deepEqual(events.splice(0), ['audit before', 'level info', 'snapshot', 'publish policy']);
  await configuration.apply('local:0', taking);
  assert.ok(!events.splice(0).includes('snapshot'));
  await configuration.apply('local:0', bundle('logs: { level: info }'));
  assert.ok(events.includes('snapshot'));
});

test('what cannot be put on record changes nothing', async () => {
  const before = serial();
  failing = 'audit';
  await assert.rejects(configuration.apply('local:0', changed), failsWith('io'));
  assert.equal(configuration.current, first);
  assert.equal(serial(), before);
  assert.deepEqual(events, []);
  assert.equal((await restarted()).summary().server.serial, before);
  failing = undefined;
  await configuration.apply('local:0', changed);
  assert.ok(configuration.current.roles['watcher'], 'the next one is applied');
});

for (const file of ['ca/server-2.key.sealed.tmp', 'ca/server-2.pem.tmp']) {
  test(`a server certificate that cannot be written changes nothing: ${file}`, async () => {
    rmSync('ca/server-2.key.sealed');
    const before = { serial: serial(), tls: authority.serverTls() };
    mkdirSync(file);
    await assert.rejects(configuration.apply('local:0', changed), failsWith('io'));
    assert.equal(configuration.current, first);
    assert.deepEqual({ serial: serial(), tls: authority.serverTls() }, before);
    assert.deepEqual(events, file.includes('key') ? [] : ['audit before']);
    rmSync(file, { recursive: true });
    assert.equal((await restarted()).summary().server.serial, before.serial);
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

test('how the CA tells others of revocations takes effect while it runs', async () => {
  const ca = 'ca: { statusUrl: "http://pki.example", ocsp: { validity: 2h } }';
  const result = await configuration.apply('local:0', bundle(ca));
  assert.ok(result.changed.includes('CRL and OCSP'));
  assert.deepEqual(result.pending, []);
  assert.equal(configuration.current.ca.statusUrl, 'http://pki.example');
  assert.equal(configuration.current.ca.ocsp.validityMs, 7_200_000);
  const same = await configuration.apply('local:0', bundle(ca));
  assert.deepEqual(same.changed, []);
});

const to = (backend: string): ConfigBundle =>
  bundle(`routes: { telemetry: { to: [ ${backend} ] } }\nlogs: { level: info }`);

test('backends are told to the workers when they change, and only then', async () => {
  const result = await configuration.apply('local:0', to('{ http: https://b.example }'));
  assert.deepEqual(result.changed, ['backends']);
  assert.deepEqual(events.slice(), ['audit before', 'level info', 'publish backends']);
  events = [];
  const same = await configuration.apply('local:0', to('{ http: https://b.example }'));
  assert.deepEqual(same.changed, []);
  assert.deepEqual(events.slice(-1), ['publish ']);
  await configuration.apply('local:0', to('{ http: https://b.example, batch: 2 }'));
  assert.deepEqual(events.slice(-1), ['publish backends']);
});

test('a backend whose key was not read is refused before anything takes effect', async () => {
  const wanted = to('{ http: https://b.example, certificate: gw.pem, key: { file: gw.key } }');
  const files = { 'gw.pem': authority.serverTls().certificateChain };
  const unread = configuration.apply('local:0', { ...wanted, files });
  await assert.rejects(unread, failsWith('no-key'));
  assert.equal(configuration.current, first);
  assert.equal(events.length, 0);
  const secrets = { 'routes.telemetry.to.0.key': authority.serverTls().privateKey };
  await configuration.apply('local:0', { ...wanted, files, secrets });
  assert.ok(events.includes('publish backends'));
});

test('plain http to another machine is said in the log when it comes into force', async () => {
  await configuration.apply('local:0', to('{ http: "http://b.example/?k=hunter2" }'));
  const warning = events.find((event) => event.startsWith('warn: '));
  assert.match(warning ?? '', /telemetry\/backend is sent to over plain http/);
  assert.ok(!warning?.includes('hunter2'));
});

const anchored = (more: string): ConfigBundle => ({
  ...bundle(`ca: { trustAnchors: [ { name: factory, file: ca.pem${more} } ] }`),
  files: { 'ca.pem': authority.serverTls().certificateChain },
});

test('the lists of an anchor are asked for when the configuration that names them is in force', async () => {
  await configuration.apply('local:0', anchored(''));
  events = [];
  const wanted = anchored(', crl: { from: [ a.crl ] }');
  const result = await configuration.apply('local:0', wanted);
  assert.deepEqual(result.changed, ['revocation lists']);
  assert.deepEqual(events.slice(-2), ['publish ', 'lists of factory']);
});

test('an anchor none of whose authorities is trusted is not there; workers hear of each change', async () => {
  await configuration.apply('local:0', anchored(', crl: { from: [ a.crl ] }'));
  const names = (): string[] => configuration.anchors.map(({ name }) => name);
  assert.deepEqual(names(), ['internal', 'factory']);
  trusted = [];
  assert.deepEqual(names(), ['internal']);
  events = [];
  configuration.trustChanged(true);
  assert.deepEqual(events, ['publish tls']);
});

test('another rotation of tickets waits for the next start', async () => {
  const result = await configuration.apply('local:0', bundle('tls: { ticketRotation: 2h }'));
  assert.deepEqual(result.pending, ['tls.ticketRotation']);
  assert.equal(configuration.current.tls.ticketRotationMs, first.tls.ticketRotationMs);
});

const nearItsEnd = (): void => {
  now = authority.summary().server.notAfter - 1_000;
};

test('the server certificate is renewed near its end and told to everybody', async () => {
  await configuration.renewServerCertificate();
  assert.deepEqual(events, []);
  const before = serial();
  nearItsEnd();
  await configuration.renewServerCertificate();
  assert.notEqual(serial(), before);
  assert.deepEqual(events, ['publish tls', 'onTls']);
});

test('a renewal that fails is logged, throws nothing and is tried again', async () => {
  const before = serial();
  nearItsEnd();
  mkdirSync('ca/server-2.pem.tmp');
  await configuration.renewServerCertificate();
  assert.deepEqual(events, ['error: server certificate not renewed; the old one stays']);
  assert.equal(serial(), before);
  rmSync('ca/server-2.pem.tmp', { recursive: true });
  await configuration.renewServerCertificate();
  assert.notEqual(serial(), before);
});

test('workers that cannot be told of a renewal are logged, not thrown', async () => {
  nearItsEnd();
  failing = 'publish';
  await configuration.renewServerCertificate();
  await new Promise(setImmediate);
  assert.ok(events.includes('error: workers not told of the new server certificate'));
});

test('where requests go, and whose tokens are taken, is told when it changes', async () => {
  const more = (text: string): ConfigBundle => ({
    ...changed,
    configText: `${changed.configText}${text}`,
  });
  await configuration.apply('local:0', changed);
  events.length = 0;
  const route = 'routes: { b: { path: /b/, upstream: "http://127.0.0.1:9000" } }\n';
  const routed = await configuration.apply('local:0', more(route));
  assert.deepEqual(routed.changed, ['policy', 'upstreams']);
  assert.ok(events.includes('publish policy upstreams'), events.join(', '));
  const elsewhere = await configuration.apply('local:0', more(route.replace('9000', '9001')));
  assert.deepEqual(elsewhere.changed, ['upstreams']);
  events.length = 0;
  const tokens = 'tokens: { endpoint: {} }\n';
  const given = await configuration.apply(
    'local:0',
    more(`${route.replace('9000', '9001')}${tokens}`),
  );
  assert.deepEqual(given.changed, ['tokens']);
  assert.ok(events.includes('tokens'), events.join(', '));
  assert.deepEqual(given.pending, []);
});
