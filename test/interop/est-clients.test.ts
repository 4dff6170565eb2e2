/**
 * EST clients that know nothing of the gateway: strongSwan's pki, and curl with openssl, by the very commands of
 * docs/enrolment.md. What they get opens MQTT.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { commandsWith } from '../harness/doc-commands.ts';
import type { Identity } from '../harness/gateway.ts';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import { makeAuthority } from '../harness/openssl.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const limitMs = 60_000;
const fromDocument = 'gateway.fleet.example:8447';
const est = 'est: { host: 127.0.0.1, port: 0 }';
const { gateway, port } = await sharedGateway({
  workers: 2,
  listener: est,
  config: 'enrolment: { renewalDays: 3650, approvalRetry: 1s }',
});
const be = await gateway.service('be', 'backend');
const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
copyFileSync(be.ca, folder.at('ca.crt'));

interface Run {
  readonly code: number;
  readonly output: string;
}

/** Commands in a shell of a device, beside its files. */
async function shell(commands: string, token = ''): Promise<Run> {
  const script = commands.replaceAll(fromDocument, `localhost:${gateway.estPort}`);
  const options = {
    cwd: folder.path,
    env: { ...process.env, TOKEN: token },
    timeout: limitMs,
  };
  try {
    const { stdout, stderr } = await promisify(execFile)(
      'bash',
      ['-euo', 'pipefail', '-c', script],
      options,
    );
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && typeof error.code === 'number');
    return { code: error.code, output: 'stderr' in error ? String(error.stderr) : '' };
  }
}

async function works(commands: string, token?: string): Promise<string> {
  const { code, output } = await shell(commands, token);
  assert.equal(code, 0, output);
  return output;
}

async function tokenBy(...options: readonly string[]): Promise<string> {
  const { stdout } = await gateway.ok('enrolment', 'token', ...options, '--json');
  const { token } = JSON.parse(stdout) as Record<string, unknown>; // an object, or the test fails here
  assert.ok(typeof token === 'string');
  return token;
}

function fileIdentity(id: string, name = id): Identity {
  const at = (kind: string): string => folder.at(`${name}.${kind}`);
  return { id, key: at('key'), crt: at('crt'), ca: be.ca };
}

function certificateOf({ crt }: Identity): X509Certificate {
  return new X509Certificate(readFileSync(crt));
}

/** What it publishes arrives. */
async function publishes(identity: Identity): Promise<void> {
  const topic = `devices/${identity.id}/telemetry`;
  await using subscriber = await MosquittoSub.start({ port, identity: be }, topic);
  const { code, output } = await mosquittoPub({ port, identity }, topic, '{"seq":1}');
  assert.equal(code, 0, output);
  const { payload } = await subscriber.message(() => true);
  assert.equal(payload, '{"seq":1}');
}

/** All of it for `d1`. */
const byHand = commandsWith('enrolment.md', 'openssl ecparam');
const byStrongSwan = commandsWith('enrolment.md', 'pki --gen');
const renewal = commandsWith('enrolment.md', '--cert d1.crt --key d1.key');

test('pki --estca gets the CA certificates, and trusts them', async () => {
  const output = await works(
    `pki --estca --url https://${fromDocument} --cacert ca.crt --caout cas.pem --outform pem --force`,
  );
  assert.match(output, /Root CA cert is trusted/);
  assert.match(output, /Sub CA cert is trusted/);
  const root = new X509Certificate(readFileSync(be.ca));
  const [first, second] = ['cas.pem', 'cas-1.pem'].map(
    (name) => new X509Certificate(readFileSync(folder.at(name))),
  );
  assert.ok(first?.fingerprint256 === root.fingerprint256);
  assert.ok(second?.checkIssued(root) && second.verify(root.publicKey));
});

test('curl and openssl by hand: a key, a request, a certificate, a message', async () => {
  await works(byHand, await tokenBy('--device', 'd1'));
  await publishes(fileIdentity('d1'));
});

test('pki --est enrols by token over TLS 1.2, and renews by the certificate that it got', async () => {
  const token = await tokenBy();
  assert.match(await works(byStrongSwan.replaceAll('d1', 'd2'), token), /negotiated TLS 1\.2/);
  const d2 = fileIdentity('d2');
  await publishes(d2);
  const request = [
    'pki --gen --type ecdsa --size 384 --outform pem > new.key',
    'pki --req --in new.key --type ecdsa --dn CN=d2 --outform pem > new.csr',
  ];
  await works([...request, renewal.replaceAll('d1', 'd2')].join('\n'));
  const renewed = fileIdentity('d2', 'new');
  await publishes(renewed);
  const [before, now] = [d2, renewed].map(certificateOf);
  assert.equal(now?.subject, before?.subject);
  assert.notEqual(now?.serialNumber, before?.serialNumber);
});

test('pki --est waits for the operator, asking again as it is told', async () => {
  gateway.configure('enrolment: { renewalDays: 3650, approvalRetry: 1s, approval: all }', est);
  await gateway.ok('reload');
  try {
    const enrolling = works(
      byStrongSwan.replaceAll('d1', 'd3').replace('--est ', '--est --interval 1 '),
      await tokenBy(),
    );
    await until('it waits', 60_000, async () => {
      const { stdout } = await gateway.ok('enrolment', 'list', '--json');
      return /"d3"|device\/d3/.test(stdout) ? stdout : undefined;
    });
    await gateway.ok('enrolment', 'approve', '1');
    await enrolling;
    await publishes(fileIdentity('d3'));
  } finally {
    gateway.configure('enrolment: { renewalDays: 3650, approvalRetry: 1s }', est);
    await gateway.ok('reload');
  }
});

test('who is refused learns it from HTTP, not from a connection that closes', async () => {
  const guessed = await shell(byStrongSwan.replaceAll('d1', 'd4'), 'A'.repeat(43));
  assert.notEqual(guessed.code, 0);
  assert.match(guessed.output, /401/);
  const byCurl = await shell(byHand.replaceAll('d1', 'd4'), 'A'.repeat(43));
  assert.notEqual(byCurl.code, 0);
  assert.match(byCurl.output, /401/);
  assert.ok(!existsSync(folder.at('d4.crt')) || readFileSync(folder.at('d4.crt')).length === 0);
});

test('pki --est goes to nobody who is not the gateway', async () => {
  const other = makeAuthority(folder.at('other'), 'Somebody Else');
  copyFileSync(other.crt, folder.at('other.crt'));
  const { code, output } = await shell(
    byStrongSwan.replaceAll('d1', 'd5').replace('--cacert ca.crt', '--cacert other.crt'),
    await tokenBy(),
  );
  assert.notEqual(code, 0);
  assert.match(output, /no trusted|no issuer|TLS|not trusted/i);
  assert.equal((await gateway.cli('device', 'show', 'd5')).code, 1);
});
