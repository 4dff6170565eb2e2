import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../test/harness/temporary-folder.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { silentLogger } from '../common/base/logger.ts';
import type { CrlAnswer, OcspAnswer } from '../common/ipc/control-calls.ts';
import { RevocationDesk } from './revocation-desk.ts';
import { issuerFacts } from './revocation/issuer.ts';
import type { StatusIssuer } from './revocation/issuer.ts';
import { certIdOf } from './revocation/ocsp/ocsp-request.ts';
import { recordCertificates, revokeCertificate, testIssuer } from './revocation/test-support.ts';
import { sequence } from '../common/codec/der/writer.ts';
import { openDatabase } from './store/database.ts';

const hourMs = 3_600_000;
let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let issuer: StatusIssuer;
let desk: RevocationDesk;
let now = Date.UTC(2026, 10, 21, 12);

beforeEach(async () => {
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  issuer = await testIssuer('Test CA', now);
  desk = new RevocationDesk({
    database,
    clock: { now: () => now, monotonic: () => now },
    later: (_, action) => {
      setImmediate(action);
      return () => {};
    },
    issuers: () => [issuer],
    settings: () => ({
      statusUrl: 'http://gw.example',
      crl: { intervalMs: hourMs, validityMs: 24 * hourMs, deltaValidityMs: 6 * hourMs },
      ocsp: {
        validityMs: hourMs,
        stapleValidityMs: hourMs,
        keptAnswers: 10,
        signaturesPerSecond: 100,
      },
    }),
    callsPerSecond: 10,
    serverCertificates: () => [],
    ownCertificates: () => [],
    setStaples: () => assert.fail('there is no server certificate'),
    logger: silentLogger,
  });
  recordCertificates(database, issuer.id, [{ serial: 'a1', notAfter: now + 100 * hourMs }]);
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

// The handlers promise these shapes.
const crl = async (fields: object): Promise<CrlAnswer> =>
  (await desk.handlers.crl.answer(0, { what: 'crl', ...fields })) as CrlAnswer;
const ocsp = async (request: unknown): Promise<OcspAnswer> =>
  (await desk.handlers.ocsp.answer(0, { what: 'ocsp', request })) as OcspAnswer;
const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

test('a worker gets a list once, and the next one when there is one', async () => {
  const first = await crl({ issuer: issuer.id, delta: false });
  assert.ok(first.der !== undefined);
  const again = await crl({ issuer: issuer.id, delta: false, have: first.number });
  assert.deepEqual(again, { ...first, der: undefined });
  revokeCertificate(database, 'a1', now);
  desk.revoked(['internal:a1']);
  const next = await crl({ issuer: undefined, delta: false, have: first.number });
  assert.ok(next.number > first.number);
  assert.ok(next.der !== undefined);
  assert.equal((await crl({ delta: true })).number, next.number);
});

test('what other authorities revoke is none of our lists’ business', async () => {
  const { number } = await crl({ delta: false });
  desk.revoked(['factory:a1']);
  assert.equal((await crl({ delta: false })).number, number);
});

test('an OCSP answer names the certificates that it speaks of, as workers know them', async () => {
  const { raw } = certIdOf(issuerFacts(issuer), 'a1');
  const request = sequence(sequence(sequence(sequence(raw)))).toString('base64');
  const good = await ocsp(request);
  assert.deepEqual(good.certificates, ['internal:a1']);
  assert.equal(good.cacheUntil, now + hourMs / 2);
  revokeCertificate(database, 'a1', now);
  desk.revoked(['internal:a1']);
  assert.notEqual((await ocsp(request)).der, good.der);
});

test('what is no such call is refused', async () => {
  for (const fields of [{}, { issuer: 7, delta: false }, { issuer: issuer.id, delta: 'true' }]) {
    await assert.rejects(crl(fields), failsWith('malformed'));
  }
  await assert.rejects(crl({ issuer: '00', delta: false }), failsWith('not-found'));
  for (const request of [undefined, 7, ['MA=='], 'A'.repeat(200_000)]) {
    await assert.rejects(ocsp(request), failsWith('malformed'));
  }
});

test('a CA that has expired says nothing any more', async () => {
  const { notAfter } = issuer;
  const before = now;
  now = notAfter;
  await assert.rejects(crl({ delta: false }), failsWith('not-found'));
  const { raw } = certIdOf(issuerFacts(issuer), 'a1');
  const request = sequence(sequence(sequence(sequence(raw)))).toString('base64');
  assert.equal(Buffer.from((await ocsp(request)).der, 'base64').toString('hex'), '30030a0106');
  now = before;
});
