import assert from 'node:assert/strict';
import { generateKeyPairSync, hash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { openDatabase } from '../store/database.ts';
import { MasterKey } from '../store/master-key.ts';
import { CertificateKeys } from './certificate-keys.ts';
import { RegisteredKeys } from './registered-keys.ts';
import type { NewKey } from './registered-keys.ts';
import { Registry } from './registry.ts';

let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let keys: RegisteredKeys;
let registry: Registry;
let errors: string[];
let now = 0;
const clock = { now: () => now, monotonic: () => now };
const masterKey = new MasterKey(Buffer.alloc(32, 1));
const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');

beforeEach(() => {
  now = 1_800_000_000_000;
  errors = [];
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  keys = keysUnder(masterKey);
  registry = new Registry(database, clock, keys);
  for (const name of [d1, d2]) registry.register(name, 'device', 'internal');
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

function keysUnder(master: MasterKey): RegisteredKeys {
  return new RegisteredKeys({
    database,
    clock,
    masterKey: master,
    certificateKeys: new CertificateKeys(database, clock, () => false),
    logger: { ...silentLogger, error: (_fields, message) => void errors.push(message) },
  });
}

const common = { createdBy: 'local:0', notAfter: undefined };

function add(name: PrincipalName, key: NewKey): string {
  const record = keys.prepare(name, key);
  keys.add(record);
  return record.id;
}

function secret(bytes: Buffer = randomBytes(32), id?: string): NewKey {
  return { ...common, type: 'secret', secret: bytes, id };
}

function publicKey(id?: string): Extract<NewKey, { type: 'public' }> {
  const { publicKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...common, type: 'public', spki: key.export({ type: 'spki', format: 'der' }), id };
}

const derived: NewKey = { ...common, type: 'derived' };

const failsWith =
  (code: ErrorCode, words = /./) =>
  (thrown: unknown): boolean => {
    assert.ok(thrown instanceof SallyportError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(`${thrown.message}; ${thrown.hint ?? ''}`, words);
    return true;
  };

test('a secret is on the disk under the master key only, and comes out for the workers alone', () => {
  const bytes = randomBytes(48);
  const id = add(d1, secret(bytes));
  assert.deepEqual(keys.of(d1), [
    { type: 'secret', id, secret: bytes.toString('base64'), notAfter: undefined },
  ]);
  const row = database.prepare('SELECT * FROM registered_keys').get();
  const stored = Object.values(row ?? {})
    .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('hex') : `${value}`))
    .join(' ');
  assert.ok(!stored.includes(bytes.toString('hex')) && !stored.includes(hash('sha256', bytes)));
  assert.ok(!JSON.stringify(keys.list(d1)).includes(bytes.toString('base64')));
});

test('a sealed secret is of no use under another name, or another master key', () => {
  const id = add(d1, secret());
  const other = add(d2, secret());
  database
    .prepare(
      'UPDATE registered_keys SET material = (SELECT material FROM registered_keys WHERE id = ?) WHERE id = ?',
    )
    .run(id, other);
  assert.deepEqual(keys.of(d2), []);
  assert.equal(keys.of(d1).length, 1, 'the others are as they were');
  assert.deepEqual(keysUnder(new MasterKey(Buffer.alloc(32, 2))).of(d1), []);
  assert.equal(errors.length, 2);
});

test('a secret that takes the name of another is not taken for it', () => {
  const named = (bytes: Buffer): unknown => add(d1, secret(bytes, 'factory'));
  named(randomBytes(32));
  registry.snapshotEntries();
  keys.remove(d1, 'factory');
  const bytes = randomBytes(32);
  named(bytes);
  const expected = [
    { type: 'secret', id: 'factory', secret: bytes.toString('base64'), notAfter: undefined },
  ];
  assert.deepEqual(keys.of(d1), expected);
  assert.deepEqual(registry.snapshotEntries()[0]?.keys, expected);
});

test('an id that was given never comes again for a derived key', () => {
  const given = new Set<string>();
  for (let n = 0; n < 200; n++) {
    const id = add(d1, derived);
    assert.match(id, /^[0-9a-hjkmnp-tv-z]{8}$/);
    assert.ok(!given.has(id));
    given.add(id);
    keys.remove(d1, id);
  }
});

test('a public key is named by its digest, which the device can tell', () => {
  const key = publicKey();
  const id = add(d1, key);
  assert.equal(id, `key-${hash('sha256', key.spki).slice(0, 8)}`);
  const { spki } = key;
  assert.deepEqual(keys.of(d1), [
    { type: 'public', id, spki: spki.toString('base64'), notAfter: undefined },
  ]);
});

test('a device may have a name for its own key, once', () => {
  assert.equal(add(d1, secret(undefined, 'factory_1')), 'factory_1');
  assert.throws(() => add(d1, secret(undefined, 'factory_1')), failsWith('already-exists', /--id/));
  assert.equal(add(d2, publicKey('factory_1')), 'factory_1');
  for (const id of ['', 'a.b', 'x'.repeat(33), 'ü', 'cert-0badcafe', 'a/b']) {
    assert.throws(() => add(d1, publicKey(id)), failsWith('usage'), id);
  }
});

test('one key belongs to one identity', () => {
  const bytes = randomBytes(32);
  add(d1, secret(bytes));
  assert.throws(
    () => add(d2, secret(bytes)),
    failsWith('already-exists', /device\/d1 has this key/),
  );
  assert.throws(() => add(d1, secret(bytes)), failsWith('already-exists', /key remove d1/));
  const key = publicKey();
  const id = add(d1, key);
  assert.throws(() => add(d2, key), failsWith('already-exists', /device\/d1/));
  const spkiSha256 = hash('sha256', key.spki);
  assert.equal(registry.otherHolderOf(spkiSha256, d2), d1);
  assert.throws(
    () => registry.assertEnrollable(d2, 'device', 'internal', spkiSha256),
    failsWith('already-exists', /device\/d1 holds this key/),
  );
  registry.assertEnrollable(d1, 'device', 'internal', spkiSha256);
  keys.remove(d1, id);
  add(d2, key);
});

test('there are sixteen at most that sign, and thirty-two with those that have ended', () => {
  const fill = (count: number, notAfter?: number): void => {
    for (let n = 0; n < count; n++) add(d1, { ...derived, notAfter });
  };
  fill(15, now + 1_000);
  fill(1);
  assert.throws(() => fill(1), failsWith('quota', /has 16 keys; .*key remove d1/));
  now += 1_000;
  assert.equal(keys.of(d1).length, 1);
  fill(15);
  assert.throws(() => fill(1), failsWith('quota'));
  for (const { id } of keys.of(d1).slice(0, 2)) keys.remove(d1, id);
  fill(2, now + 1_000);
  now += 1_000;
  fill(1);
  assert.throws(() => fill(1), failsWith('quota', /32 keys, ended ones among them/));
  add(d2, derived);
});

test('a key ends when its time is up, to the millisecond', () => {
  const id = add(d1, { ...derived, notAfter: now + 5 });
  now += 4;
  assert.deepEqual(keys.of(d1), [{ type: 'derived', id, notAfter: now + 1 }]);
  now += 1;
  assert.deepEqual(keys.of(d1), []);
  assert.equal(keys.list(d1).length, 1);
});

test('what is replaced ends after the overlap, or when it would have ended anyway', () => {
  const old = add(d1, derived);
  const short = add(d1, { ...derived, notAfter: now + 10 });
  for (const [id, endsAt] of [
    [old, now + 1_000],
    [short, now + 1_000],
  ] as const) {
    keys.add(keys.prepare(d1, derived), { id, endsAt });
  }
  assert.equal(keys.get(d1, old).notAfter, now + 1_000);
  assert.equal(keys.get(d1, short).notAfter, now + 10);
  const record = keys.prepare(d1, derived);
  assert.throws(
    () => keys.add(record, { id: 'nothing', endsAt: now }),
    failsWith('not-found', /key list d1/),
  );
  assert.throws(() => keys.get(d1, record.id), failsWith('not-found'), 'neither half stays');
});

test('revoking ends every key and wipes what is secret; reinstating brings none back', () => {
  const bytes = randomBytes(32);
  const key = publicKey();
  add(d1, secret(bytes));
  add(d1, derived);
  add(d1, key);
  add(d2, derived);
  assert.equal(registry.changeStanding(d1, 'revoke').entry.keys, undefined);
  assert.equal(registry.changeStanding(d1, 'reinstate').entry.keys, undefined);
  assert.deepEqual(keys.of(d1), []);
  assert.equal(keys.of(d2).length, 1);
  const wiped = database
    .prepare(`SELECT count(*) AS n FROM registered_keys WHERE type = 'secret' AND material IS NULL`)
    .get();
  assert.equal(wiped?.['n'], 1);
  assert.deepEqual(
    keys.list(d1).map(({ revokedAt }) => revokedAt),
    [now, now, now],
  );
  // Nobody else may have them; it may itself, when an operator says so again.
  assert.throws(() => add(d2, secret(bytes)), failsWith('already-exists'));
  assert.throws(() => add(d2, key), failsWith('already-exists'));
  add(d1, secret(bytes));
  add(d1, key);
  assert.equal(keys.of(d1).length, 2);
});

test('a key that was revoked as compromised is gone for good', () => {
  const bytes = randomBytes(32);
  const key = publicKey();
  add(d1, secret(bytes));
  add(d1, key);
  registry.changeStanding(d1, 'revoke', 'keyCompromise', 1);
  registry.changeStanding(d1, 'reinstate');
  assert.throws(() => add(d1, secret(bytes)), failsWith('already-exists', /key compromise/));
  assert.throws(() => add(d1, key), failsWith('already-exists', /key compromise/));
  assert.throws(
    () => registry.assertKeyFree(d1, hash('sha256', key.spki)),
    failsWith('already-exists', /key compromise/),
  );
  for (const { id } of keys.list(d1)) {
    assert.throws(() => keys.remove(d1, id), failsWith('usage', /key compromise; .*stays/));
  }
  assert.throws(() => add(d2, secret(bytes)), failsWith('already-exists', /key compromise/));
});

test('keys that stay on record for good leave room for others', () => {
  for (let lives = 0; lives < 3; lives++) {
    for (let n = 0; n < 16; n++) add(d1, secret());
    registry.changeStanding(d1, 'revoke', 'keyCompromise', 1);
    registry.changeStanding(d1, 'reinstate');
  }
  assert.equal(keys.list(d1).length, 48);
  add(d1, secret());
});

test('a snapshot has the keys of everybody, as each of the entries has them', () => {
  add(d1, derived);
  add(d1, secret());
  add(d2, publicKey());
  registry.register(principalName('device', 'd3'), 'device', 'internal');
  const entries = registry.snapshotEntries();
  assert.deepEqual(
    entries.map(({ keys: own }) => own?.length),
    [2, 1, undefined],
  );
  for (const entry of entries) assert.deepEqual(registry.entry(entry.name), entry);
});
