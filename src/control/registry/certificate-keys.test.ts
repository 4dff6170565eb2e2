import assert from 'node:assert/strict';
import { generateKeyPairSync, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName, principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { explicit, sequence, unsignedInteger } from '../../common/codec/der/writer.ts';
import { openDatabase } from '../store/database.ts';
import { MasterKey } from '../store/master-key.ts';
import { CertificateKeys } from './certificate-keys.ts';
import { RegisteredKeys } from './registered-keys.ts';
import { Registry } from './registry.ts';

let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let registry: Registry;
let certificateKeys: CertificateKeys;
let areUsed = true;
let now = 0;
let serials = 0;
const clock = { now: () => now, monotonic: () => now };
const d1 = principalName('device', 'd1');

beforeEach(() => {
  now = 1_800_000_000_000;
  areUsed = true;
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  certificateKeys = new CertificateKeys(database, clock, () => areUsed);
  const keys = new RegisteredKeys({
    database,
    clock,
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    certificateKeys,
    logger: silentLogger,
  });
  registry = new Registry(database, clock, keys);
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

type Kind = 'P-256' | 'P-384' | 'Ed25519' | 'RSA';

function keyOf(kind: Kind): KeyObject {
  if (kind === 'Ed25519') return generateKeyPairSync('ed25519').publicKey;
  if (kind === 'RSA') return generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
  return generateKeyPairSync('ec', { namedCurve: kind }).publicKey;
}

function spkiOf(kind: Kind): Buffer {
  return keyOf(kind).export({ type: 'spki', format: 'der' });
}

/** As much of a certificate as its key is behind. */
function certificateWith(spki: Buffer): Buffer {
  const nothing = sequence();
  return sequence(
    sequence(
      explicit(0, unsignedInteger(Buffer.of(2))),
      unsignedInteger(Buffer.of(1)),
      nothing,
      nothing,
      nothing,
      nothing,
      spki,
    ),
  );
}

function enrol(
  name: PrincipalName,
  spki: Buffer,
  { lifeMs = 1_000, anchor = 'internal', der = certificateWith(spki) } = {},
): string {
  serials += 1;
  const { kind } = principalParts(name);
  const spkiSha256 = hash('sha256', spki);
  registry.enrol(name, kind, anchor, {
    serial: serials.toString(16),
    spkiSha256,
    notBefore: now,
    notAfter: now + lifeMs,
    der,
  });
  return `cert-${spkiSha256.slice(0, 8)}`;
}

const idsOf = (name: PrincipalName): readonly string[] =>
  certificateKeys.of(name).map(({ id }) => id);

for (const kind of ['P-256', 'P-384', 'Ed25519'] as const) {
  test(`a certificate with a key of ${kind} is a key to sign with, as long as it is good`, () => {
    const spki = spkiOf(kind);
    const id = enrol(d1, spki, { lifeMs: 5 });
    const key = { type: 'public', id, spki: spki.toString('base64'), notAfter: now + 5 } as const;
    assert.deepEqual(registry.entry(d1).keys, [key]);
    assert.deepEqual(registry.snapshotEntries()[0]?.keys, [key]);
    now += 5;
    assert.equal(registry.entry(d1).keys, undefined);
  });
}

test('no worker gets them where nothing takes signatures', () => {
  enrol(d1, spkiOf('P-256'));
  areUsed = false;
  assert.equal(registry.entry(d1).keys, undefined);
  assert.equal(registry.snapshotEntries()[0]?.keys, undefined);
});

test('none is of RSA, of another authority, of an operator, or of what is no certificate', () => {
  enrol(d1, spkiOf('RSA'));
  enrol(principalName('device', 'd2'), spkiOf('P-256'), { anchor: 'factory' });
  enrol(principalName('operator', 'ann'), spkiOf('P-256'));
  enrol(principalName('device', 'd3'), spkiOf('P-256'), { der: Buffer.from('der') });
  for (const { keys } of registry.snapshotEntries()) assert.equal(keys, undefined);
});

test('a key that is certified again is one key, for as long as the last of its certificates', () => {
  const spki = spkiOf('P-256');
  enrol(d1, spki, { lifeMs: 9_000 });
  now += 1;
  const id = enrol(d1, spki, { lifeMs: 2_000 });
  assert.deepEqual(
    certificateKeys.of(d1).map((key) => [key.id, key.notAfter]),
    [[id, now - 1 + 9_000]],
  );
});

test('the keys before the newest stay for a while, four in all', () => {
  const ids = Array.from({ length: 6 }, () => {
    now += 1;
    return enrol(d1, spkiOf('P-256'), { lifeMs: 60_000 });
  });
  assert.deepEqual(idsOf(d1), ids.slice(2).reverse());
});

test('they end with the standing, and come back with another certificate only', () => {
  const first = enrol(d1, spkiOf('P-256'));
  assert.equal(registry.changeStanding(d1, 'revoke').entry.keys, undefined);
  assert.equal(registry.changeStanding(d1, 'reinstate').entry.keys, undefined);
  const second = enrol(d1, spkiOf('P-256'));
  assert.notEqual(first, second);
  assert.deepEqual(idsOf(d1), [second]);
});

test('a snapshot of 50,000 certificates is quick', () => {
  const der = certificateWith(spkiOf('P-256'));
  database.exec(`
    INSERT INTO identities (name, standing, resume_to, role, anchor, created_at, updated_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
    SELECT 'device/d' || i, 'active', 'active', 'device', 'internal', 0, 0 FROM n`);
  database
    .prepare(
      `INSERT INTO certificates
        (anchor, serial, principal, spki_sha256, not_before, not_after, der, issued_at)
       SELECT 'internal', name, name, hex(name), 0, ?, ?, 0 FROM identities`,
    )
    .run(now + 1, der);
  const before = process.cpuUsage();
  const entries = registry.snapshotEntries();
  const { user } = process.cpuUsage(before);
  assert.equal(entries.filter(({ keys }) => keys?.length === 1).length, 50_000);
  assert.ok(user < 3_000_000, `${user} µs`);
});
