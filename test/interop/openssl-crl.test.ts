/** Our revocation lists, judged by OpenSSL's command line. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/common/base/clock.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { Revocations } from '../../src/control/registry/revocations.ts';
import { CertificateLists } from '../../src/control/revocation/crl/certificate-lists.ts';
import { CrlNumbers } from '../../src/control/revocation/crl/crl-numbers.ts';
import {
  recordCertificates,
  revokeCertificate,
  serialOf,
  testIssuer,
} from '../../src/control/revocation/test-support.ts';
import type { TestCertificate, TestIssuer } from '../../src/control/revocation/test-support.ts';
import { openDatabase } from '../../src/control/store/database.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import type { TemporaryFolder } from '../harness/temporary-folder.ts';

const dayMs = 86_400_000;
const now = Date.now();
const notAfter = now + 30 * dayMs;
let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let issuer: TestIssuer;

before(async () => {
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  issuer = await testIssuer('CRL Test CA', now);
  writeFileSync(folder.at('ca.pem'), issuer.pem);
});
after(() => {
  database.close();
  folder[Symbol.dispose]();
});

/** As after a restart: what it issues is new. */
function lists(): CertificateLists {
  return new CertificateLists({
    clock: systemClock,
    later: (ms, action) => {
      const timer = setTimeout(action, ms);
      return () => clearTimeout(timer);
    },
    issuers: () => [issuer],
    settings: () => ({ intervalMs: 3_600_000, validityMs: dayMs, deltaValidityMs: dayMs }),
    deltaUrl: (id) => `http://gw.example:8080/crl/${id}-delta.crl`,
    revocations: new Revocations(database),
    numbers: new CrlNumbers(database),
    logger: silentLogger,
  });
}

async function write(from: CertificateLists, delta: boolean, name: string): Promise<string> {
  const path = folder.at(name);
  writeFileSync(path, (await from.current(undefined, delta)).der);
  return path;
}

const openssl = (...args: readonly string[]): string =>
  execFileSync('openssl', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 256 * 1024 * 1024,
  });

/** What `openssl verify` says of the certificate; its text is on either stream. */
function verdict(leaf: string, ...args: readonly string[]): string {
  const path = folder.at('leaf.pem');
  writeFileSync(path, leaf);
  try {
    return openssl('verify', '-x509_strict', '-CAfile', folder.at('ca.pem'), ...args, path);
  } catch (thrown) {
    const { stdout, stderr } = thrown as { stdout: string; stderr: string }; // as execFileSync throws
    return stdout + stderr;
  }
}

/** `openssl crl -verify` says it on standard error and ends with 0 either way. */
function isVerified(path: string, ca: string): boolean {
  const args = ['crl', '-in', path, '-noout', '-verify', '-CAfile', folder.at(ca)];
  const { stderr } = spawnSync('openssl', args, { encoding: 'utf8' });
  assert.match(stderr, /^verify (OK|failure)|error/m);
  return stderr.includes('verify OK');
}

async function issued(id: string): Promise<{ readonly pem: string; readonly serial: string }> {
  const pem = await issuer.issue(id, notAfter);
  const serial = serialOf(pem);
  recordCertificates(database, issuer.id, [{ serial, notAfter }]);
  return { pem, serial };
}

test('openssl verifies a list, reads it, and refuses whom it names', async () => {
  const good = await issued('good');
  const bad = await issued('bad');
  const crl = ['-crl_check', '-CRLfile'];
  const empty = await write(lists(), false, 'empty.crl');
  assert.match(verdict(bad.pem, ...crl, empty), /: OK/);
  revokeCertificate(database, bad.serial, now, 1);
  const path = await write(lists(), false, 'complete.crl');
  const text = openssl('crl', '-in', path, '-noout', '-text', '-CAfile', folder.at('ca.pem'));
  for (const line of [
    'Version 2 (0x1)',
    'Issuer: CN = CRL Test CA',
    'X509v3 Authority Key Identifier',
    'X509v3 CRL Number',
    'X509v3 Freshest CRL',
    // openssl writes whole bytes.
    `Serial Number: ${(bad.serial.length % 2 === 1 ? '0' : '') + bad.serial.toUpperCase()}`.slice(
      0,
      30,
    ),
    'Key Compromise',
  ]) {
    assert.ok(text.includes(line), `${line} in\n${text}`);
  }
  assert.match(verdict(good.pem, ...crl, path), /: OK/);
  assert.match(verdict(bad.pem, ...crl, path), /certificate revoked/);
});

test('openssl takes a list of somebody else for none', async () => {
  const stranger = await testIssuer('CRL Test CA', now);
  const path = await write(lists(), false, 'mine.crl');
  writeFileSync(folder.at('other.pem'), stranger.pem);
  assert.equal(isVerified(path, 'other.pem'), false);
  assert.equal(isVerified(path, 'ca.pem'), true);
});

test('openssl refuses whom only a delta to its older list names', async () => {
  const bad = await issued('delta');
  const complete = await write(lists(), false, 'base.crl');
  revokeCertificate(database, bad.serial, Date.now(), 4);
  const delta = await write(lists(), true, 'delta.crl');
  const text = openssl('crl', '-in', delta, '-noout', '-text');
  assert.match(text, /X509v3 Delta CRL Indicator: critical/);
  assert.match(text, /Superseded/);
  assert.match(verdict(bad.pem, '-crl_check', '-CRLfile', complete), /: OK/);
  const both = ['-crl_check', '-extended_crl', '-use_deltas'];
  const files = ['-CRLfile', complete, '-CRLfile', delta];
  assert.match(verdict(bad.pem, ...both, ...files), /certificate revoked/);
});

test('100,000 entries are signed in under a second and accepted by openssl', async () => {
  const entries = Array.from({ length: 100_000 }, (_, i): TestCertificate => {
    const serial = (BigInt(`0x${randomBytes(16).toString('hex')}`) | 1n).toString(16);
    return { serial, notAfter, revokedAt: now - i * 1_000, reason: i % 2 };
  });
  recordCertificates(database, issuer.id, entries);
  const good = await issued('survivor');
  const bad = await issued('one-of-many');
  revokeCertificate(database, bad.serial, now);
  const from = lists();
  // The best of three: what else the machine does must not count.
  const costs: number[] = [];
  for (const each of [lists(), lists(), from]) {
    const began = process.cpuUsage();
    await each.check();
    const { user, system } = process.cpuUsage(began);
    costs.push((user + system) / 1_000);
  }
  assert.ok(Math.min(...costs) < 1_000, `${costs.join(', ')} ms of processor time`);
  const { der } = await from.current(undefined, false);
  assert.ok(der.length > 4_000_000);
  const path = await write(from, false, 'large.crl');
  assert.equal(isVerified(path, 'ca.pem'), true);
  const text = openssl('crl', '-in', path, '-noout', '-text');
  assert.ok((text.match(/Serial Number: /g)?.length ?? 0) >= 100_001);
  assert.match(verdict(good.pem, '-crl_check', '-CRLfile', path), /: OK/);
  assert.match(verdict(bad.pem, '-crl_check', '-CRLfile', path), /certificate revoked/);
});
