import assert from 'node:assert/strict';
import { generateKeyPairSync, hash, hkdfSync, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { fc } from '../common/base/property-test-support.ts';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../test/harness/temporary-folder.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { silentLogger } from '../common/base/logger.ts';
import { principalName } from '../common/base/principal.ts';
import type { PrincipalName, StandingAction } from '../common/base/principal.ts';
import type { RegisteredKey } from '../common/ipc/credentials.ts';
import type { SnapshotChange } from '../common/ipc/snapshot.ts';
import type { KeyToAdd } from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import { KeyServices } from './key-services.ts';
import { CertificateKeys } from './registry/certificate-keys.ts';
import { RegisteredKeys } from './registry/registered-keys.ts';
import { Registry } from './registry/registry.ts';
import { openDatabase } from './store/database.ts';
import { MasterKey } from './store/master-key.ts';

const actor = 'local:0';
const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');
const integrityKey = Buffer.alloc(32, 9);
const dayMs = 86_400_000;

let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let registry: Registry;
let services: KeyServices;
let now = 0;
let events: string[] = [];
let lines: Parameters<AuditLog['append']>[0][] = [];
let isDiskFull = false;
/** What a worker has been told. */
let told: Map<PrincipalName, readonly RegisteredKey[]>;

function setUp(): void {
  now = 1_800_000_000_000;
  events = [];
  lines = [];
  isDiskFull = false;
  told = new Map();
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  const clock = { now: () => now, monotonic: () => now };
  const certificateKeys = new CertificateKeys(database, clock, () => false);
  const masterKey = new MasterKey(Buffer.alloc(32, 1));
  const keys = new RegisteredKeys({
    database,
    clock,
    masterKey,
    certificateKeys,
    logger: silentLogger,
  });
  registry = new Registry(database, clock, keys);
  const publish = (how: string) => async (changes: readonly SnapshotChange[]) => {
    for (const change of changes) {
      assert.ok(change.type === 'identity');
      events.push(`${how} ${change.entry.keys?.length ?? 0}`);
      told.set(change.entry.name, change.entry.keys ?? []);
    }
    return { acknowledged: 2, killed: 0 };
  };
  services = new KeyServices({
    clock,
    registry,
    keys,
    certificateKeys,
    integrityKey,
    auditLog: {
      append: (entry) => {
        if (isDiskFull) throw new SallyportError('io', 'the disk is full');
        events.push(`audit ${entry.action}`);
        lines.push(entry);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
    publisher: { publish: publish('publish'), publishAddition: publish('add') },
  });
}

function tearDown(): void {
  database.close();
  folder[Symbol.dispose]();
}

beforeEach(setUp);
afterEach(tearDown);

const failsWith =
  (code: ErrorCode, words = /./) =>
  (thrown: unknown): boolean => {
    assert.ok(thrown instanceof SallyportError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(`${thrown.message}; ${thrown.hint ?? ''}`, words);
    return true;
  };

const terms = { ttlMs: undefined, replaces: undefined };
const derived: KeyToAdd = { key: { type: 'derived' }, ...terms };

function imported(secret = randomBytes(32)): KeyToAdd {
  return { key: { type: 'secret', secret, id: undefined }, ...terms };
}

function pemOrder(pem: string): KeyToAdd {
  return { key: { type: 'public', pem, id: undefined }, ...terms };
}

function publicPem(namedCurve = 'P-256'): string {
  return generateKeyPairSync('ec', { namedCurve }).publicKey.export({
    type: 'spki',
    format: 'pem',
  });
}

test('a derived key is what workers derive, shown once and kept nowhere', async () => {
  await services.register(actor, d1, 'device');
  const added = await services.add(actor, d1, derived);
  assert.equal(added.keyId, `d1.${added.id}`);
  const info = `sallyport device key:device/d1:${added.id}`;
  const expected = Buffer.from(hkdfSync('sha256', integrityKey, '', info, 32)).toString('hex');
  assert.equal(added.key, expected);
  const [listed] = services.list(d1);
  assert.ok(listed !== undefined && !('key' in listed));
  assert.ok(!JSON.stringify([lines, services.list(d1)]).includes(expected));
});

test('what is added is put on record before anybody has it; without the record nobody gets it', async () => {
  await services.register(actor, d1, 'device');
  assert.deepEqual(events, ['audit register', 'add 0']);
  events.length = 0;
  await services.add(actor, d1, derived);
  assert.deepEqual(events, ['audit add-key', 'add 1']);
  events.length = 0;
  isDiskFull = true;
  await assert.rejects(services.add(actor, d1, derived), failsWith('io'));
  await assert.rejects(services.register(actor, d2, 'device'), failsWith('io'));
  assert.deepEqual(events, []);
  assert.equal(services.list(d1).length, 1);
  assert.equal(registry.get(d2), undefined);
});

test('what is removed is taken from the workers first, whatever becomes of the record', async () => {
  await services.register(actor, d1, 'device');
  const [first, second] = [
    await services.add(actor, d1, derived),
    await services.add(actor, d1, derived),
  ];
  events.length = 0;
  await services.remove(actor, d1, first.id, 'lost');
  assert.deepEqual(events, ['publish 1', 'audit remove-key']);
  assert.deepEqual(lines.at(-1)?.detail, {
    key: first.id,
    type: 'derived',
    sha256: undefined,
    reason: 'lost',
  });
  isDiskFull = true;
  await assert.rejects(services.remove(actor, d1, second.id, undefined), failsWith('io'));
  assert.deepEqual(told.get(d1), []);
});

test('the record names a public key, and nothing of a secret', async () => {
  await services.register(actor, d1, 'device');
  const secret = randomBytes(32);
  const { id } = await services.add(actor, d1, imported(secret));
  const pem = publicPem();
  const added = await services.add(actor, d1, { ...pemOrder(pem), ttlMs: dayMs });
  assert.deepEqual(
    lines.slice(-2).map(({ detail }) => detail),
    [
      {
        key: id,
        type: 'secret',
        algorithm: 'HMAC-SHA-256',
        sha256: undefined,
        expires: undefined,
        replaces: undefined,
        overlapsUntil: undefined,
      },
      {
        key: added.id,
        type: 'public',
        algorithm: 'P-256',
        sha256: added.sha256,
        expires: new Date(now + dayMs).toISOString(),
        replaces: undefined,
        overlapsUntil: undefined,
      },
    ],
  );
  const text = JSON.stringify([lines, services.list(d1)]);
  for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
    assert.ok(!text.includes(secret.toString(encoding)));
  }
  assert.ok(!text.includes(hash('sha256', secret)));
});

test('a key takes the place of another after an overlap, and at once without one', async () => {
  await services.register(actor, d1, 'device');
  const old = await services.add(actor, d1, derived);
  const replaces = { id: old.id, overlapMs: 7 * dayMs };
  const next = await services.add(actor, d1, { ...derived, replaces });
  assert.equal(next.replaced?.notAfter, now + 7 * dayMs);
  assert.equal(events.at(-1), 'publish 2', 'it takes something away');
  const last = await services.add(actor, d1, {
    ...derived,
    replaces: { id: next.id, overlapMs: 0 },
  });
  assert.deepEqual(
    told
      .get(d1)
      ?.map(({ id }) => id)
      .toSorted(),
    [old.id, last.id].toSorted(),
  );
  now += 7 * dayMs;
  for (const id of [old.id, next.id]) {
    const order = { ...derived, replaces: { id, overlapMs: dayMs } };
    await assert.rejects(services.add(actor, d1, order), failsWith('usage', /has ended/));
  }
  const none = { ...derived, replaces: { id: 'none', overlapMs: dayMs } };
  await assert.rejects(services.add(actor, d1, none), failsWith('not-found'));
});

test('who is not known, not active or an operator gets no key', async () => {
  await assert.rejects(
    services.add(actor, d1, derived),
    failsWith('unknown-principal', /sallyport device register d1/),
  );
  assert.throws(() => services.list(d1), failsWith('unknown-principal'));
  const ingest = principalName('service', 'ingest');
  await assert.rejects(
    services.add(actor, ingest, derived),
    failsWith('unknown-principal', /service register ingest --role/),
  );
  const ann = principalName('operator', 'ann');
  await assert.rejects(services.add(actor, ann, derived), failsWith('usage', /operator invite/));
  await assert.rejects(services.register(actor, ann, 'operator'), failsWith('usage'));
  assert.throws(() => services.list(ann), failsWith('unknown-principal', /operator invite ann$/));
  await services.register(actor, d1, 'device');
  for (const [action, way] of [
    ['suspend', 'resume'],
    ['quarantine', 'release'],
    ['revoke', 'reinstate'],
  ] as const) {
    registry.changeStanding(d1, action);
    const hint = new RegExp(`device ${way} d1`);
    await assert.rejects(services.add(actor, d1, derived), failsWith('wrong-standing', hint));
    registry.changeStanding(d1, way);
  }
});

test('who is registered again stays as it is, and is not put on record twice', async () => {
  const twice = [
    await services.register(actor, d1, 'device'),
    await services.register(actor, d1, 'device'),
  ];
  assert.deepEqual(
    twice.map(({ created }) => created),
    [true, false],
  );
  assert.equal(lines.length, 1);
  await assert.rejects(services.register(actor, d1, 'backend'), failsWith('already-exists'));
  registry.changeStanding(d1, 'revoke');
  await assert.rejects(
    services.register(actor, d1, 'device'),
    failsWith('wrong-standing', /device reinstate d1/),
  );
});

const ed25519 = generateKeyPairSync('ed25519');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
for (const [what, pem, words] of [
  [
    'a private key',
    ed25519.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    /stays on the device/,
  ],
  ['RSA', rsa.publicKey.export({ type: 'spki', format: 'pem' }), /RSA keys are not accepted/],
  ['a curve that nobody knows', publicPem('secp256k1'), /curve secp256k1 is not accepted/],
  ['two keys', `${publicPem()}${publicPem()}`, /not one public key/],
  ['no key', 'd1', /not one public key/],
  ['half a key', publicPem().slice(0, 60), /cut off/],
  ['no DER', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n', /cannot be read/],
  [
    'a key that everybody has',
    // RFC 9421 B.1.3.
    `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
`,
    /everybody has this key/,
  ],
] as const) {
  test(`no public key: ${what}`, async () => {
    await services.register(actor, d1, 'device');
    await assert.rejects(services.add(actor, d1, pemOrder(pem)), failsWith('usage', words));
    assert.deepEqual(services.list(d1), []);
  });
}

test('the key of a certificate is registered for nobody else', async () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  registry.enrol(d2, 'device', 'internal', {
    serial: 'a1',
    spkiSha256: hash('sha256', spki),
    notBefore: now,
    notAfter: now + dayMs,
    der: Buffer.of(0),
  });
  await services.register(actor, d1, 'device');
  const order = pemOrder(publicKey.export({ type: 'spki', format: 'pem' }));
  await assert.rejects(services.add(actor, d1, order), failsWith('already-exists', /device\/d2/));
  await services.add(actor, d2, order);
});

test('a weak secret is refused with a reason', async () => {
  await services.register(actor, d1, 'device');
  for (const [secret, words] of [
    [Buffer.from('short'), /too weak: it has 5 bytes, and needs 16/],
    [Buffer.alloc(32, 1), /too weak: it has too few different bytes/],
  ] as const) {
    await assert.rejects(services.add(actor, d1, imported(secret)), failsWith('usage', words));
  }
});

test('the keys of a certificate are listed, and end with it alone', async () => {
  await assert.rejects(
    services.remove(actor, d1, 'none', undefined),
    failsWith('unknown-principal'),
  );
  await services.register(actor, d1, 'device');
  await assert.rejects(services.remove(actor, d1, 'none', undefined), failsWith('not-found'));
  await assert.rejects(
    services.remove(actor, d1, 'cert-0badcafe', undefined),
    failsWith('usage', /device revoke d1/),
  );
});

/** What may happen, in any order: `pick` names a device, a key of it, or a secret of those that there are. */
const commands = fc.array(
  fc.record({
    what: fc.constantFrom(
      'register',
      'derive',
      'import',
      'public',
      'expiring',
      'replace',
      'remove',
      'suspend',
      'resume',
      'revoke',
      'reinstate',
      'wait',
    ),
    device: fc.constantFrom(d1, d2),
    pick: fc.nat(3),
  }),
  { maxLength: 40 },
);
const secrets = Array.from({ length: 4 }, () => randomBytes(32));
const pems = Array.from({ length: 4 }, () => publicPem());

test('whatever is done, workers have the keys that the registry has and an operator is shown', async () => {
  const property = fc.asyncProperty(commands, async (all) => {
    tearDown();
    setUp();
    for (const { what, device, pick } of all) {
      const listed = registry.get(device) === undefined ? [] : services.list(device);
      const id = listed[pick % Math.max(listed.length, 1)]?.id ?? 'none';
      try {
        await run(what, device, pick, id);
      } catch (error) {
        assert.ok(error instanceof SallyportError && error.code !== 'internal', String(error));
      }
      for (const entry of registry.snapshotEntries()) assertAgree(entry.name, entry.keys ?? []);
    }
  });
  await fc.assert(property, { numRuns: 25 });
});

async function run(what: string, device: PrincipalName, pick: number, id: string): Promise<void> {
  switch (what) {
    case 'register':
      return void (await services.register(actor, device, 'device'));
    case 'derive':
      return void (await services.add(actor, device, derived));
    case 'import':
      return void (await services.add(actor, device, imported(secrets[pick])));
    case 'public':
      return void (await services.add(actor, device, pemOrder(pems[pick] ?? '')));
    case 'expiring':
      return void (await services.add(actor, device, { ...derived, ttlMs: 3 * dayMs }));
    case 'replace': {
      const order = { ...derived, replaces: { id, overlapMs: pick * dayMs } };
      return void (await services.add(actor, device, order));
    }
    case 'remove':
      return void (await services.remove(actor, device, id, undefined));
    case 'wait':
      now += dayMs;
      return;
    default: {
      // The actions of standing are all that is left.
      const { entry } = registry.changeStanding(device, what as StandingAction);
      told.set(device, entry.keys ?? []);
    }
  }
}

function assertAgree(name: PrincipalName, snapshot: readonly RegisteredKey[]): void {
  const isLive = ({ notAfter }: Pick<RegisteredKey, 'notAfter'>): boolean =>
    notAfter === undefined || now < notAfter;
  // What time alone has ended, a worker finds out by itself.
  assert.deepEqual(told.get(name)?.filter(isLive), snapshot);
  const shown = services
    .list(name)
    .filter((key) => key.revokedAt === undefined && isLive({ notAfter: key.notAfter }))
    .map(({ id, type, notAfter }) => ({ id, type, notAfter }));
  assert.deepEqual(
    snapshot.map(({ id, type, notAfter }) => ({ id, type, notAfter })),
    shown,
  );
  for (const key of snapshot) {
    if (key.type === 'secret')
      assert.ok(secrets.some((each) => each.toString('base64') === key.secret));
  }
}
