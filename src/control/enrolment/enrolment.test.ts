import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { systemClock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { ensureAuthority } from '../ca/ensure-authority.ts';
import { Registry } from '../registry/registry.ts';
import { openDatabase } from '../store/database.ts';
import { MasterKey } from '../store/master-key.ts';
import { Enrolment } from './enrolment.ts';

const folder = temporaryFolder();
const start = process.cwd();
before(() => process.chdir(folder.path));
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const d1 = principalName('device', 'd1');
const keyPath = folder.at('device.key');

const openssl = (...args: readonly string[]): Buffer =>
  execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', keyPath);

/** A request of the one device whose key this is. */
const csr = (subject: string): Buffer => openssl('req', '-new', '-key', keyPath, '-subj', subject);

function enrolmentIn(subfolder: string): {
  enrolment: Enrolment;
  registry: Registry;
  rootPem: string;
} {
  const authority = ensureAuthority({
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    trustDomain: 'fleet.example',
    serverNames: ['localhost'],
    clock: systemClock,
  });
  const registry = new Registry(openDatabase(folder.at(`${subfolder}.db`)), systemClock);
  const enrolment = new Enrolment({ authority, registry, trustDomain: 'fleet.example' });
  return { enrolment, registry, rootPem: authority.rootPem };
}

/** Of tests that do not look at the record. */
const record = (): void => {};

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

test('enrolling answers with a chain that openssl verifies, for the key of the request', () => {
  const { enrolment, registry, rootPem } = enrolmentIn('enrol');
  const { certificate, change } = enrolment.enrol(d1, 'device', csr('/CN=d1'), record);
  writeFileSync('root.crt', rootPem);
  writeFileSync('chain.crt', certificate.certificateChain);
  const verdict = openssl('verify', '-CAfile', 'root.crt', '-untrusted', 'chain.crt', 'chain.crt');
  assert.equal(verdict.toString().trim(), 'chain.crt: OK');
  const leaf = new X509Certificate(certificate.certificateChain);
  assert.ok(leaf.checkPrivateKey(createPrivateKey(readFileSync(keyPath))));
  assert.equal(change.created, true);
  assert.equal(registry.certificatesOf(d1)[0]?.serial, certificate.serial);
});

test('nothing of a request but its key reaches the certificate', () => {
  const { enrolment } = enrolmentIn('subject');
  const request = csr('/C=DE/O=Evil/OU=admins/serialNumber=1/CN=d1');
  const { certificate } = enrolment.enrol(d1, 'device', request, record);
  assert.equal(new X509Certificate(certificate.certificateChain).subject, 'CN=d1');
});

test('a refused request registers nobody and issues nothing', () => {
  const { enrolment, registry } = enrolmentIn('refused');
  const bad = (): unknown => enrolment.enrol(d1, 'device', csr('/CN=d2'), record);
  assert.throws(bad, failsWith('invalid-csr'));
  assert.equal(registry.get(d1), undefined);
  assert.deepEqual(registry.certificatesOf(d1), []);
});

test('what cannot be put on record is not issued', () => {
  const { enrolment, registry } = enrolmentIn('unrecorded');
  const fail = (): never => {
    throw new SallyportError('io', 'the disk is full');
  };
  assert.throws(() => enrolment.enrol(d1, 'device', csr('/CN=d1'), fail), failsWith('io'));
  assert.throws(() => enrolment.createLabIdentity(d1, 'device', fail), failsWith('io'));
  assert.equal(registry.get(d1), undefined);
  assert.deepEqual(registry.certificatesOf(d1), []);
});

test('another device’s key is refused, even when its owner asks', () => {
  const { enrolment, registry } = enrolmentIn('key');
  enrolment.enrol(d1, 'device', csr('/CN=d1'), record);
  const d2 = principalName('device', 'd2');
  const clone = (): unknown => enrolment.enrol(d2, 'device', csr('/CN=d2'), record);
  assert.throws(clone, failsWith('already-exists'));
  assert.equal(registry.get(d2), undefined);
});

test('a revoked id enrols only after it was reinstated', () => {
  const { enrolment, registry } = enrolmentIn('revoked');
  enrolment.enrol(d1, 'device', csr('/CN=d1'), record);
  registry.changeStanding(d1, 'revoke');
  const again = (): unknown => enrolment.enrol(d1, 'device', csr('/CN=d1'), record);
  assert.throws(again, failsWith('wrong-standing'));
  registry.changeStanding(d1, 'reinstate');
  again();
});

test('a laboratory identity has a key that fits and passes the same registry', () => {
  const { enrolment, registry } = enrolmentIn('lab');
  const be = principalName('service', 'be');
  const made = enrolment.createLabIdentity(be, 'backend', record);
  const leaf = new X509Certificate(made.certificate.certificateChain);
  assert.ok(leaf.checkPrivateKey(createPrivateKey(made.privateKey)));
  assert.equal(registry.get(be)?.role, 'backend');
  assert.throws(
    () => enrolment.createLabIdentity(be, 'other', record),
    failsWith('already-exists'),
  );
  registry.changeStanding(be, 'revoke');
  assert.throws(
    () => enrolment.createLabIdentity(be, 'backend', record),
    failsWith('wrong-standing'),
  );
});
