/**
 * New keys for the CA and the gateway under a running fleet: an issuing CA, then a root, then the gateway's own. Nobody
 * is cut off: not the device that goes on publishing, not one that trusts only the first root, not one that was enrolled
 * before, on either worker, in either version of TLS, over MQTT and HTTPS.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { hash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { DetailedPeerCertificate } from 'node:tls';
import { promisify } from 'node:util';
import { parseCertificate } from '../../src/common/identity/certificate.ts';
import { curl } from '../harness/curl.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { mosquittoPub } from '../harness/mosquitto.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { SteadyPublisher } from '../harness/steady-publisher.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const gateway = await startGateway({
  workers: 2,
  listener: 'status: { host: 127.0.0.1, port: 0 }',
  config:
    'routes: { telemetry: { match: devices/+/telemetry, rate: { limit: 1000/s, burst: 1000 } } }',
});
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});

const { workers } = gateway.run();
const port = gateway.mqttsPort;

interface CertificateView {
  readonly sha256: string;
  readonly pem: string;
}

interface CaView {
  readonly root: CertificateView;
  readonly issuing: CertificateView;
  readonly server: CertificateView;
  readonly older: readonly CertificateView[];
  readonly rootKeyHere: boolean;
}

interface Pin {
  readonly role: string;
  readonly which: 'current' | 'next';
  readonly sha256: string;
}

// Their shapes are what the rest of the file is about.
const caShown = async (): Promise<CaView> =>
  json((await gateway.ok('ca', 'show', '--json')).stdout);
const pinsShown = async (role: string): Promise<{ readonly pins: readonly Pin[] }> =>
  json((await gateway.ok('ca', 'pins', '--of', role, '--json')).stdout);

function json<T>(text: string): T {
  return JSON.parse(text) as T;
}

const pinOf = (pem: string): string =>
  hash(
    'sha256',
    new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' }),
    'base64',
  );

async function connect(identity: Identity, tls: 'TLSv1.2' | 'TLSv1.3') {
  const client = await RawMqtt.open({ port, identity, maxVersion: tls });
  const { code } = await client.connect({ clientId: `${identity.id}-${tls}` });
  assert.equal(code, 0, `CONNACK 0x${code.toString(16)}`);
  return { client };
}

/** The device gets in everywhere and is served; its client verifies the gateway against the root in its own files. */
async function isServed(identity: Identity): Promise<void> {
  for (const tls of ['TLSv1.2', 'TLSv1.3'] as const) {
    const found = await onEachWorker(gateway, workers, () => connect(identity, tls));
    for (const { client } of found.values()) client[Symbol.dispose]();
  }
  const topic = `devices/${identity.id}/telemetry`;
  const published = await mosquittoPub({ port, identity }, topic, '{"t":1}');
  assert.equal(published.code, 0, published.output);
  const answer = await curl(gateway, identity, '/api/v1/telemetry', '--json', '{"t":1}');
  assert.equal(answer.status, 202, answer.body);
}

/** SHA-256 of the certificate that a new connection is shown. */
async function servedCertificate(identity: Identity): Promise<DetailedPeerCertificate> {
  using client = await RawMqtt.open({ port, identity });
  return client.socket.getPeerCertificate(true);
}

const fingerprint = ({ fingerprint256 }: DetailedPeerCertificate): string =>
  fingerprint256.replaceAll(':', '').toLowerCase();

/** The same device as one that knows another root. */
const trusting = (identity: Identity, { ca }: Identity): Identity => ({ ...identity, ca });

const veteran = await gateway.device('veteran');
const steady = await gateway.device('steady');
const { client: live } = await connect(steady, 'TLSv1.3');
const be = await gateway.service('be', 'backend');
const { client: reader } = await connect(be, 'TLSv1.2');
await reader.subscribe('devices/+/telemetry');
const publisher = new SteadyPublisher(live, 'devices/steady/telemetry');

test('an issuing CA follows the other: both have devices, and the gateway has a certificate of the new one', async () => {
  const before = await caShown();
  await gateway.ok('ca', 'rotate');
  const now = await caShown();
  assert.equal(now.root.sha256, before.root.sha256);
  assert.deepEqual(
    now.older.map(({ sha256 }) => sha256),
    [before.issuing.sha256],
  );
  assert.equal(fingerprint(await servedCertificate(veteran)), now.server.sha256);
  assert.ok(
    new X509Certificate(now.server.pem).verify(new X509Certificate(now.issuing.pem).publicKey),
  );
  const newcomer = await gateway.device('newcomer-1');
  for (const each of [veteran, newcomer]) await isServed(each);
});

test('a root follows the other with no device cut off', async () => {
  const before = await caShown();
  const { pins } = await pinsShown('root');
  const { stdout } = await gateway.ok('ca', 'rotate', '--root');
  assert.match(stdout, /pins of the root key that were shown until .* knows no key after this one/);
  const now = await caShown();
  assert.notEqual(now.root.sha256, before.root.sha256);
  assert.equal(pinOf(now.root.pem), pins.find(({ which }) => which === 'next')?.sha256);
  const newcomer = await gateway.device('newcomer-2');
  assert.equal(readFileSync(newcomer.ca, 'utf8'), now.root.pem);
  assert.equal(readFileSync(veteran.ca, 'utf8'), before.root.pem);
  // Old and new certificates of devices, against old and new roots of clients.
  for (const certificate of [veteran, newcomer]) {
    for (const root of [veteran, newcomer]) await isServed(trusting(certificate, root));
  }
});

test('whose firmware would be cut off is said before it is', async () => {
  const before = await caShown();
  const again = await gateway.cli('ca', 'rotate', '--root');
  assert.equal(again.code, 2);
  assert.match(again.stderr, /^error: firmware with pins of the root key .* would be cut off; /);
  assert.deepEqual(await caShown(), before);
});

test('the CA before answers for what it has issued: OCSP and revocation lists', async () => {
  const shown = await caShown();
  const newcomer = await gateway.device('newcomer-4');
  const stolen = await gateway.device('stolen');
  await gateway.ok('device', 'revoke', 'stolen');
  const issuers = [...shown.older, shown.issuing].map(({ pem }) => new X509Certificate(pem));
  const roots = gateway.at('roots.pem');
  writeFileSync(
    roots,
    issuers.map(String).join('') + shown.root.pem + readFileSync(veteran.ca, 'utf8'),
  );
  const url = `http://127.0.0.1:${gateway.statusPort}`;
  for (const [device, word] of [
    [veteran, 'good'],
    [newcomer, 'good'],
    [stolen, 'revoked'],
  ] as const) {
    const leaf = new X509Certificate(readFileSync(device.crt));
    const issuer = issuers.find(({ publicKey }) => leaf.verify(publicKey));
    assert.ok(issuer);
    const issuerFile = gateway.at('issuer.pem');
    writeFileSync(issuerFile, String(issuer));
    const ask = [
      '-issuer',
      issuerFile,
      '-cert',
      device.crt,
      '-CAfile',
      roots,
      '-url',
      `${url}/ocsp`,
    ];
    const { stdout, stderr } = await promisify(execFile)('openssl', ['ocsp', ...ask]);
    assert.match(stderr, /Response verify OK/);
    assert.match(stdout, new RegExp(`: ${word}\\n`), device.id);
    const { subjectKeyId } = parseCertificate(issuer.raw);
    const response = await fetch(`${url}/crl/${subjectKeyId ?? ''}.crl`);
    assert.equal(response.status, 200);
    const crl = gateway.at('list.crl');
    writeFileSync(crl, Buffer.from(await response.arrayBuffer()));
    const check = ['crl', '-inform', 'DER', '-in', crl, '-CAfile', issuerFile, '-noout'];
    assert.match((await promisify(execFile)('openssl', check)).stderr, /verify OK/);
  }
});

test("the gateway's own key changes to the one that was announced, and to no other unasked", async () => {
  const { pins } = await pinsShown('server');
  const pinned = pins.map(({ sha256 }) => `sha256//${sha256}`).join(';');
  const isKnown = async (): Promise<void> => {
    const answer = await curl(gateway, veteran, '/api/v1/time', '--pinnedpubkey', pinned);
    assert.equal(answer.status, 200, answer.body);
  };
  await isKnown();
  await gateway.ok('ca', 'rotate');
  await isKnown();
  assert.equal(
    pinOf((await caShown()).server.pem),
    pins.find(({ which }) => which === 'current')?.sha256,
  );
  await gateway.ok('ca', 'rotate', '--server');
  const { server } = await caShown();
  assert.equal(pinOf(server.pem), pins.find(({ which }) => which === 'next')?.sha256);
  assert.equal(fingerprint(await servedCertificate(veteran)), server.sha256);
  await isKnown();
  await gateway.ok('ca', 'rotate', '--server', '--force');
  await assert.rejects(isKnown(), /SSL: public key does not match pinned public key/);
  await isServed(veteran);
});

test('devices that enrol while a rotation is under way are let in at once', async () => {
  const made: Identity[] = [];
  const enrolling = async (): Promise<void> => {
    for (let n = 0; n < 4; n += 1) {
      const device = await gateway.device(`meanwhile-${n}`);
      const found = await onEachWorker(gateway, workers, () => connect(device, 'TLSv1.3'));
      for (const { client } of found.values()) client[Symbol.dispose]();
      made.push(device);
    }
  };
  await Promise.all([enrolling(), gateway.ok('ca', 'rotate')]);
  for (const device of made) await isServed(device);
});

test('a control that was killed comes back with all of it', async () => {
  const before = await caShown();
  const pid = gateway.controlPid;
  process.kill(pid, 'SIGKILL');
  await until('another control', 60_000, async () => {
    const shown = await gateway.cli('ca', 'show', '--json');
    return shown.code === 0 && gateway.controlPid !== pid ? shown : undefined;
  });
  assert.deepEqual(await caShown(), before);
  await isServed(veteran);
});

test('with the root key in a file, the next issuing CA needs that file', async () => {
  const file = gateway.at('root.key');
  await gateway.ok('ca', 'export-root', file);
  const refused = await gateway.cli('ca', 'rotate');
  assert.equal(refused.code, 1, refused.stderr);
  assert.match(refused.stderr, /the key of the root is not here; .*--root-key FILE/);
  const before = await caShown();
  await gateway.ok('ca', 'rotate', '--root-key', file);
  const now = await caShown();
  assert.notEqual(now.issuing.sha256, before.issuing.sha256);
  assert.equal(now.rootKeyHere, false);
  for (const id of ['veteran', 'newcomer-3']) {
    await isServed(id === 'veteran' ? veteran : await gateway.device(id));
  }
});

test('through all of it the device that was connected has gone on publishing', async () => {
  assert.ok((await publisher.stop()) > 10);
  live[Symbol.dispose]();
  reader[Symbol.dispose]();
});

test('every rotation is in the audit log, and every time that pins were shown', async () => {
  const lines: readonly { action: string; target: string }[] = json(
    (await gateway.ok('audit-log', 'show', '--json')).stdout,
  );
  const acts = lines.filter(({ target }) => target.startsWith('ca'));
  assert.deepEqual(
    acts.map(({ action, target }) => `${action} ${target}`),
    [
      'rotate ca/issuing',
      'show-pins ca',
      'rotate ca/root',
      'show-pins ca',
      'rotate ca/issuing',
      'rotate ca/server',
      'rotate ca/server',
      'rotate ca/issuing',
      'export-root ca/root',
      'discard-root-key ca/root',
      'rotate ca/issuing',
      'rotate ca/issuing',
    ],
  );
});
