/** Our OCSP answers, asked for and verified by OpenSSL's command line. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/common/base/clock.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { Revocations } from '../../src/control/registry/revocations.ts';
import { OcspResponder } from '../../src/control/revocation/ocsp/responder.ts';
import {
  recordCertificates,
  serialOf,
  testIssuer,
} from '../../src/control/revocation/test-support.ts';
import type { TestIssuer } from '../../src/control/revocation/test-support.ts';
import { openDatabase } from '../../src/control/store/database.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import type { TemporaryFolder } from '../harness/temporary-folder.ts';

const now = Date.now();
const notAfter = now + 30 * 86_400_000;
let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let issuer: TestIssuer;
let responder: OcspResponder;
let url: string;

const server = createServer((request, response) => {
  void buffer(request).then(async (body) => {
    const { der } = await responder.answer(body);
    response.setHeader('content-type', 'application/ocsp-response').end(der);
  });
});

before(async () => {
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  issuer = await testIssuer('OCSP Test CA', now);
  writeFileSync(folder.at('ca.pem'), issuer.pem);
  responder = new OcspResponder({
    clock: systemClock,
    issuers: () => [issuer],
    settings: () => ({ validityMs: 3_600_000, keptAnswers: 10, signaturesPerSecond: 100 }),
    revocations: new Revocations(database),
    logger: silentLogger,
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  // A TCP server has an address of this form.
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const [name, change] of [
    ['good', {}],
    ['stolen', { revokedAt: now - 60_000, reason: 1 }],
    ['retired', { revokedAt: now - 60_000 }],
  ] as const) {
    const pem = await issuer.issue(name, notAfter);
    writeFileSync(folder.at(`${name}.pem`), pem);
    recordCertificates(database, issuer.id, [{ serial: serialOf(pem), notAfter, ...change }]);
  }
  writeFileSync(folder.at('never.pem'), await issuer.issue('never', notAfter));
});
after(() => {
  server.close();
  server.closeAllConnections();
  database.close();
  folder[Symbol.dispose]();
});

/** What `openssl ocsp` says about the answer to its own request. */
async function ask(names: readonly string[], ...options: readonly string[]): Promise<string> {
  const certificates = names.flatMap((name) => ['-cert', folder.at(`${name}.pem`)]);
  const ca = folder.at('ca.pem');
  return run('ocsp', ...options, '-issuer', ca, ...certificates, '-url', url, '-CAfile', ca);
}

/** Both streams, however it ends. */
function run(...args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile('openssl', args, (_, stdout, stderr) => resolve(stdout + stderr));
  });
}

for (const hash of ['-sha1', '-sha256']) {
  for (const nonce of ['-nonce', '-no_nonce']) {
    test(`openssl verifies good, revoked with its reason and unknown: ${hash} ${nonce}`, async () => {
      const names = ['good', 'stolen', 'retired', 'never'];
      const several = await ask(names, hash, nonce);
      assert.match(several, /Response verify OK/);
      assert.doesNotMatch(several, /WARNING|error/i);
      assert.match(several, /good\.pem: good\n/);
      assert.match(several, /stolen\.pem: revoked\n(?:.*\n){2}\s+Reason: keyCompromise\n/);
      assert.match(several, /retired\.pem: revoked\n(?:\s+(?!Reason).*\n)+/);
      assert.match(several, /never\.pem: unknown\n/);
      for (const [name, status] of [
        ['good', 'good'],
        ['stolen', 'revoked'],
        ['never', 'unknown'],
      ] as const) {
        const alone = await ask([name], hash, nonce);
        assert.match(alone, /Response verify OK/);
        assert.ok(alone.includes(`${name}.pem: ${status}\n`), alone);
      }
    });
  }
}

test('openssl has no doubt about the time of an answer that is given again', async () => {
  for (const round of [1, 2]) {
    const said = await ask(['good'], '-no_nonce');
    assert.match(said, /Response verify OK/, String(round));
    assert.match(said, /This Update: .*\n\s+Next Update: /);
    assert.doesNotMatch(said, /Status times invalid/);
  }
});

test('openssl sees that we do not speak for another issuer', async () => {
  const other = await testIssuer('Other CA', now);
  writeFileSync(folder.at('other-ca.pem'), other.pem);
  writeFileSync(folder.at('theirs.pem'), await other.issue('theirs'));
  const asked = ['-issuer', folder.at('other-ca.pem'), '-cert', folder.at('theirs.pem')];
  const said = await run('ocsp', ...asked, '-url', url);
  assert.match(said, /Responder Error: unauthorized \(6\)/);
});

test('openssl answers the same to a request that it has signed', async () => {
  const key = ['-keyout', folder.at('asker.key'), '-out', folder.at('asker.pem')];
  await run(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=asker',
    '-days',
    '2',
    ...key,
  );
  const signer = ['-signer', folder.at('asker.pem'), '-signkey', folder.at('asker.key')];
  assert.match(await ask(['good'], ...signer), /good\.pem: good/);
});
