import assert from 'node:assert/strict';
import { hash, X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import type { Staple } from '../../../common/ipc/snapshot.ts';
import { Revocations } from '../../registry/revocations.ts';
import { openDatabase } from '../../store/database.ts';
import type { StatusIssuer } from '../issuer.ts';
import { serialOf, testIssuer } from '../test-support.ts';
import type { TestIssuer } from '../test-support.ts';
import { OcspResponder } from './responder.ts';
import { Staples } from './staples.ts';

const hourMs = 3_600_000;
let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let issuer: TestIssuer;
let issuers: StatusIssuer[];
let served: Buffer[];
let others: Buffer[];
let revocations: Revocations;
let staples: Staples;
let published: (readonly Staple[])[];
let errors: string[];
let now = 0;
let isKeyGone = false;

beforeEach(async () => {
  now = Date.UTC(2026, 10, 21, 12, 0, 0, 700);
  isKeyGone = false;
  published = [];
  errors = [];
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  issuer = await testIssuer('Test CA', now, (signer) => ({
    ...signer,
    async sign(data) {
      if (isKeyGone) throw new SallyportError('unavailable', 'no token');
      return signer.sign(data);
    },
  }));
  issuers = [issuer];
  served = [await certificate('gw')];
  others = [];
  revocations = new Revocations(database);
  const clock = { now: () => now, monotonic: () => now };
  const logger = { error: (_: object, message: string): void => void errors.push(message) };
  staples = new Staples({
    clock,
    issuers: () => issuers,
    certificates: () => served,
    others: () => others,
    validityMs: () => 4 * hourMs,
    // What strangers get is no measure of it.
    responder: new OcspResponder({
      clock,
      issuers: () => issuers,
      settings: () => ({ validityMs: 1, keptAnswers: 1, signaturesPerSecond: 0 }),
      revocations,
      logger,
    }),
    revocations,
    publish: (all) => published.push(all),
    logger,
  });
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

async function certificate(name: string): Promise<Buffer> {
  return new X509Certificate(await issuer.issue(name)).raw;
}

const fingerprint = (der: Buffer): string => hash('sha256', der, 'hex');
const named = (all: readonly Staple[] | undefined): string[] =>
  (all ?? []).map((staple) => staple.certificate);

test('each server certificate has an answer, which is renewed after half of its time', async () => {
  await staples.check();
  assert.deepEqual(published.map(named), [served.map(fingerprint)]);
  assert.equal(staples.current[0]?.nextUpdate, Math.floor((now + 4 * hourMs) / 1_000) * 1_000);
  now += 2 * hourMs - 1_000;
  await staples.check();
  assert.equal(published.length, 1);
  now += 2_000;
  await staples.check();
  assert.equal(published.length, 2);
  assert.notEqual(published[1]?.[0]?.response, published[0]?.[0]?.response);
});

test('when it cannot be renewed the last one is served on, and it is tried again', async () => {
  await staples.check();
  isKeyGone = true;
  now += 5 * hourMs;
  await staples.check();
  assert.equal(published.length, 1);
  assert.equal(errors.length, 1);
  assert.deepEqual(named(staples.current), served.map(fingerprint));
  isKeyGone = false;
  await staples.check();
  assert.equal(published.length, 2);
});

test('another server certificate has its own answer at once, and the one before goes', async () => {
  await staples.check();
  const [before] = served;
  served = [await certificate('next')];
  await staples.check();
  assert.deepEqual(named(published.at(-1)), served.map(fingerprint));
  assert.ok(before !== undefined);
  assert.equal(revocations.statusOf(issuer.id, serialOf(before)), 'good');
});

test('what the gateway has issued to itself is known to have been issued', async () => {
  others = [await certificate('time')];
  await staples.check();
  assert.equal(published.at(-1)?.length, 1);
  for (const der of [...served, ...others]) {
    assert.equal(revocations.statusOf(issuer.id, serialOf(der)), 'good');
  }
  assert.equal(revocations.statusOf(issuer.id, '77'), undefined);
});

test('a certificate whose CA is gone has no answer', async () => {
  issuers = [await testIssuer('Other CA', now)];
  await staples.check();
  assert.deepEqual(published, []);
  assert.deepEqual(errors, []);
});

test('checks at once do not sign twice', async () => {
  await Promise.all([staples.check(), staples.check(), staples.check()]);
  assert.equal(published.length, 1);
});

test('a defect is logged, and does not end what comes after it', async () => {
  const good = served;
  served = [Buffer.from('no certificate')];
  await staples.check();
  assert.equal(errors.length, 1);
  served = good;
  await staples.check();
  assert.equal(published.length, 1);
});

test('after a clock that was ahead, another answer is stapled', async () => {
  const right = now;
  now += 365 * 24 * hourMs;
  await staples.check();
  now = right;
  await staples.check();
  assert.equal(published.length, 2);
  assert.ok((published.at(-1)?.[0]?.nextUpdate ?? Infinity) <= now + 4 * hourMs);
});
