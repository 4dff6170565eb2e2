import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { makeAuthority, makeIntermediate } from '../../../../test/harness/openssl.ts';
import type { Authority } from '../../../../test/harness/openssl.ts';
import { revocationList } from '../../../../test/harness/revocation-list.ts';
import type { ListEntry, ListOptions } from '../../../../test/harness/revocation-list.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { silentLogger } from '../../../common/base/logger.ts';
import { SerialSet, serialText } from '../../../common/base/serial-set.ts';
import type { RevocationListsConfig, TrustAnchorConfig } from '../../../common/config/config.ts';
import { parseCertificate } from '../../../common/identity/certificate.ts';
import { decodePem } from '../../../common/codec/der/pem.ts';
import type { AuditEntry } from '../../audit-log/record.ts';
import { openDatabase } from '../../store/database.ts';
import { CrlFiles } from './crl-files.ts';
import { CrlRecords } from './crl-records.ts';
import { ExternalCrls } from './external-crls.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const factory = makeAuthority(folder.at('factory'), 'Factory');
const impostor = makeAuthority(folder.at('impostor'), 'Factory');
const stranger = makeAuthority(folder.at('stranger'), 'Stranger');
const below = makeIntermediate(factory, folder.at('below'), 'below');

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
/** Lists know whole seconds. */
const start = Math.floor(Date.now() / 1_000) * 1_000;

let now: number;
let worlds = 0;
let database: ReturnType<typeof openDatabase>;
let served: Map<string, Buffer | SallyportError>;
let asked: string[];
let audited: AuditEntry[];
let auditFails: boolean;
let diskFails: boolean;
let errors: string[];
let revoked: Set<string>;
let trustChanges: number;
let snapshots: number;
let expired: Set<string>;

const url = 'http://ca.example/factory.crl';
const otherUrl = 'http://ca.example/below.crl';

beforeEach(() => {
  worlds += 1;
  now = start;
  database = openDatabase(folder.at(`${worlds}.db`));
  served = new Map();
  asked = [];
  audited = [];
  auditFails = false;
  diskFails = false;
  errors = [];
  revoked = new Set();
  trustChanges = 0;
  snapshots = 0;
  expired = new Set();
});

function anchor(
  changed: Partial<RevocationListsConfig> = {},
  authorities: readonly Authority[] = [factory],
): TrustAnchorConfig {
  return {
    name: 'factory',
    file: 'factory.pem',
    pem: authorities.map(({ crt }) => readFileSync(crt, 'utf8')).join('\n'),
    kind: 'device',
    role: 'device',
    from: 'cn',
    prefix: '',
    register: 'auto',
    crl: {
      from: [{ url }],
      whenStale: 'fail-closed',
      everyMs: hourMs,
      timeoutMs: 10_000,
      maxBytes: 1_000_000,
      keepDays: 365,
      ...changed,
    },
  };
}

function lastingFiles(): CrlFiles {
  const files = new CrlFiles(folder.at(`files-${worlds}`));
  const write = files.write.bind(files);
  files.write = async (...file) => {
    if (diskFails) throw new SallyportError('io', 'the disk is full');
    await write(...file);
  };
  return files;
}

/** A control that starts on this data, with the workers that it tells. */
async function begin(configured: TrustAnchorConfig = anchor()): Promise<ExternalCrls> {
  const crls = new ExternalCrls({
    clock: { now: () => now, monotonic: () => now },
    logger: { ...silentLogger, error: (_, message) => void errors.push(message) },
    records: new CrlRecords(database),
    files: lastingFiles(),
    obtain: async (source) => {
      const from = 'url' in source ? source.url : source.file;
      asked.push(from);
      const list = served.get(from) ?? new SallyportError('io', 'nobody answers');
      if (list instanceof SallyportError) throw list;
      return list;
    },
    hasExpired: (_, serial) => expired.has(serial),
    auditLog: {
      append: (entry) => {
        if (auditFails) throw new SallyportError('io', 'the disk is full');
        audited.push(entry);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
    publish: async (changes) => {
      for (const change of changes) {
        if (change.type === 'revoked') for (const each of change.serials) revoked.add(each);
        if (change.type === 'unrevoked') for (const each of change.serials) revoked.delete(each);
      }
    },
    publishSnapshot: () => {
      snapshots += 1;
      revoked = revokedBy(crls);
    },
    mostRevoked,
    onTrust: () => (trustChanges += 1),
  });
  await crls.load([configured]);
  revoked = revokedBy(crls);
  return crls;
}

const mostRevoked = 20_000;
let lists = 0;

/** The next list of the factory: each has a higher number and a later time. */
function next(
  entries: readonly (string | ListEntry)[],
  options: ListOptions = {},
  authority: Authority = factory,
): Buffer {
  lists += 1;
  return revocationList(authority, {
    number: lists,
    thisUpdate: new Date(now - minuteMs),
    nextUpdate: new Date(now + dayMs),
    entries: entries.map((each) => (typeof each === 'string' ? { serial: each } : each)),
    ...options,
  });
}

/** What workers have been told, and what one that starts now would be. */
function assertRevoked(crls: ExternalCrls, ...serials: readonly string[]): void {
  const expected = new Set(serials.map((serial) => `factory:${serial}`));
  assert.deepEqual(revoked, expected);
  assert.deepEqual(revokedBy(crls), expected);
  for (const serial of ['1', '2', '3', ...serials]) {
    assert.equal(crls.isRevoked('factory', serial), serials.includes(serial), serial);
    assert.equal(crls.isRevoked('elsewhere', serial), false);
  }
}

/** What a worker knows that starts now. */
function revokedBy(crls: ExternalCrls): Set<string> {
  const listed = crls
    .revokedLists()
    .flatMap(({ anchor: name, serials }) =>
      [...SerialSet.unpack(serials).values()].map((serial) => `${name}:${serialText(serial)}`),
    );
  return new Set([...crls.revokedSerials(), ...listed]);
}

const isTrusted = (crls: ExternalCrls, configured = anchor()): boolean =>
  crls.trusted(configured)?.length !== 0;

/** Fetches all there is to fetch. */
async function fetchAll(crls: ExternalCrls): Promise<void> {
  now += hourMs;
  await crls.look();
}

test('nobody is trusted until the list is there; then all but those on it', async () => {
  const crls = await begin();
  assert.equal(isTrusted(crls), false);
  assert.deepEqual(audited, [], 'an alarm about a list that is on its way');
  served.set(url, next(['0a', 'ff00']));
  await crls.look();
  assert.equal(isTrusted(crls), true);
  assert.equal(trustChanges, 1);
  assertRevoked(crls, 'a', 'ff00');
  assert.deepEqual(
    audited.map(({ action, target }) => [action, target]),
    [['crl-taken', 'factory']],
  );
});

test('a list is fetched as often as is said, and sooner before it ends', async () => {
  const crls = await begin();
  served.set(url, next([], { nextUpdate: new Date(now + 90 * minuteMs) }));
  await crls.look();
  now += 44 * minuteMs;
  await crls.look();
  assert.equal(asked.length, 1);
  now += minuteMs;
  await crls.look();
  assert.equal(asked.length, 2);
  served.set(url, next([], { nextUpdate: new Date(now + 10 * dayMs) }));
  now += 23 * minuteMs;
  await crls.look();
  assert.equal(asked.length, 3);
  now += hourMs - 1;
  await crls.look();
  assert.equal(asked.length, 3);
  now += 1;
  await crls.look();
  assert.equal(asked.length, 4);
});

const day = (offsetMs: number): Date => new Date(start + offsetMs);

/** Every way in which a list can be none, after a good one that revokes 01. */
const badLists: Readonly<Record<string, () => Buffer | SallyportError>> = {
  'signed by nobody': () => {
    const list = next(['02']);
    list[list.length - 1] = (list.at(-1) ?? 0) ^ 1;
    return list;
  },
  'signed by another key under the same name': () => next(['02'], {}, impostor),
  'signed by another key that it does not name': () =>
    next(['02'], { signer: impostor, authorityKeyId: '00' }),
  'signed with SHA-1': () => next(['02'], { digest: 'sha1' }),
  'from another authority': () => next(['02'], {}, stranger),
  'with a lower number': () => next(['02'], { number: 0 }),
  'with the same number and other entries': () => next(['02'], { number: lists }),
  'of an earlier time': () => next(['02'], { thisUpdate: day(-hourMs) }),
  'of a time to come': () => next(['02'], { thisUpdate: new Date(now + 20 * hourMs) }),
  'without a number': () => next(['02'], { number: undefined }),
  'without an end': () => next(['02'], { nextUpdate: undefined }),
  'that is no list': () => Buffer.from('<html>'),
  'of 50 MB': () => new SallyportError('too-large', 'it has more than 1000000 bytes'),
  'that does not come': () => new SallyportError('io', 'nobody answers'),
  'that comes too slowly': () => new SallyportError('timeout', 'it did not come'),
};
for (const [what, bad] of Object.entries(badLists)) {
  test(`a list ${what} changes nothing; when the last good one ends, nobody is trusted`, async () => {
    const crls = await begin();
    served.set(url, next(['01'], { nextUpdate: day(5 * hourMs) }));
    await crls.look();
    now += hourMs;
    served.set(url, bad());
    await crls.look();
    assertRevoked(crls, '1');
    assert.equal(isTrusted(crls), true);
    const [state] = crls.states();
    assert.equal((state?.refused ?? 0) + (state?.failed ?? 0), 1);
    now = start + 5 * hourMs - 1;
    await crls.look();
    assert.equal(isTrusted(crls), true);
    now += 1;
    await crls.look();
    assert.equal(isTrusted(crls), false);
    assertRevoked(crls, '1');
    assert.ok(
      errors.some((each) => each.includes('not current')),
      errors.join('\n'),
    );
    assert.equal(audited.at(-1)?.action, 'crl-stale');
    assert.equal(crls.states()[0]?.current, false);
    served.set(url, next(['01', '02']));
    await fetchAll(crls);
    assert.equal(isTrusted(crls), true);
    assertRevoked(crls, '1', '2');
    assert.equal(audited.at(-1)?.action, 'crl-current');
  });
}

test('a list that has ended still revokes, and is not current', async () => {
  const crls = await begin();
  served.set(url, next(['01'], { thisUpdate: day(-dayMs), nextUpdate: day(-hourMs) }));
  await crls.look();
  assertRevoked(crls, '1');
  assert.equal(isTrusted(crls), false);
});

test('with `warn` everybody but the revoked is served while a list is missing or has ended, with the same alarm', async () => {
  const configured = anchor({ whenStale: 'warn' });
  const crls = await begin(configured);
  assert.equal(isTrusted(crls, configured), true);
  await crls.look();
  assert.equal(isTrusted(crls, configured), true);
  assert.ok(errors.some((each) => each.includes('accepted all the same')));
  assert.equal(audited.at(-1)?.action, 'crl-stale');
  served.set(url, next(['01'], { nextUpdate: day(2 * hourMs) }));
  await fetchAll(crls);
  assert.equal(audited.at(-1)?.action, 'crl-current');
  now += 2 * hourMs;
  await crls.look();
  assert.equal(audited.at(-1)?.action, 'crl-stale');
  assert.equal(isTrusted(crls, configured), true);
  assertRevoked(crls, '1');
});

test('a refused list is told once, however often it comes', async () => {
  const crls = await begin();
  served.set(url, next([], {}, impostor));
  for (let n = 0; n < 5; n += 1) await fetchAll(crls);
  assert.equal(audited.filter(({ action }) => action === 'crl-refused').length, 1);
  assert.equal(crls.states()[0]?.refused, 5);
});

test('a certificate that was on hold may be released; one that was revoked may not, until it has expired', async () => {
  const crls = await begin();
  served.set(url, next(['01', { serial: '02', reason: 6 }, '03']));
  await crls.look();
  assertRevoked(crls, '1', '2', '3');
  expired.add('3');
  served.set(url, next([]));
  await fetchAll(crls);
  assertRevoked(crls, '1');
  const detail = JSON.stringify(audited.at(-1)?.detail);
  assert.match(detail, /"released":\{"count":2,"some":\[("2","3"|"3","2")\]\}/);
  assert.match(detail, /"keptRevoked":\{"count":1,"some":\["1"\]\}/);
  expired.add('1');
  served.set(url, next([]));
  await fetchAll(crls);
  assertRevoked(crls);
});

test('of very many, workers are told by a snapshot; of a few, by a change', async () => {
  const crls = await begin();
  const many = Array.from({ length: 10_001 }, (_, n) => (0x10_0000 + n).toString(16));
  served.set(url, next(many));
  await crls.look();
  assert.equal(snapshots, 1);
  assertRevoked(crls, ...many);
  served.set(url, next([...many.slice(1), '01']));
  await fetchAll(crls);
  assert.equal(snapshots, 1);
  assertRevoked(crls, ...many, '1');
});

test('a list that would revoke more than the gateway can hold is refused, and the last one stays', async () => {
  const both = anchor({ from: [{ url }, { url: otherUrl }] }, [factory, below]);
  const crls = await begin(both);
  const many = (count: number, from: number): string[] =>
    Array.from({ length: count }, (_, n) => (from + n).toString(16));
  served.set(url, next(many(15_000, 0x10_0000)));
  served.set(otherUrl, next(many(5_000, 0x20_0000), {}, below));
  await crls.look();
  assert.equal(crls.states()[0]?.revoked, mostRevoked);
  served.set(otherUrl, next(many(5_001, 0x20_0000), {}, below));
  await fetchAll(crls);
  assert.deepEqual([crls.states()[0]?.revoked, crls.states()[0]?.refused], [mostRevoked, 1]);
  served.set(otherUrl, next(many(5_000, 0x20_0000), {}, below));
  await fetchAll(crls);
  assert.equal(crls.states()[0]?.current, true);
  assert.equal(crls.states()[0]?.refused, 1);
});

test('one that was on hold and then revoked is revoked', async () => {
  const crls = await begin();
  served.set(url, next([{ serial: '01', reason: 6 }]));
  await crls.look();
  served.set(url, next([{ serial: '01', reason: 1 }]));
  await fetchAll(crls);
  served.set(url, next([]));
  await fetchAll(crls);
  assertRevoked(crls, '1');
});

test('what stays revoked although its list lost it does so over a restart, and for as long as is said', async () => {
  let crls = await begin();
  served.set(url, next(['01', '02']));
  await crls.look();
  served.set(url, next(['02']));
  await fetchAll(crls);
  crls = await begin();
  assertRevoked(crls, '1', '2');
  now += 365 * dayMs;
  served.set(url, next(['02']));
  await fetchAll(crls);
  assertRevoked(crls, '2');
});

test('what cannot be put on record is revoked all the same, and nothing is released', async () => {
  const crls = await begin();
  served.set(url, next([{ serial: '01', reason: 6 }]));
  await crls.look();
  auditFails = true;
  served.set(url, next(['02']));
  await fetchAll(crls);
  assertRevoked(crls, '1', '2');
  assert.ok(errors.some((each) => each.includes('not on record')));
});

test('a control that starts while the server is down decides with the last list', async () => {
  let crls = await begin();
  served.set(url, next(['01']));
  await crls.look();
  served.clear();
  crls = await begin();
  assert.equal(isTrusted(crls), true);
  assertRevoked(crls, '1');
  now += dayMs;
  await crls.look();
  assert.equal(isTrusted(crls), false);
  assertRevoked(crls, '1');
});

test('a list older than one that was taken is refused after a restart too, and when the kept one is lost', async () => {
  const old = next(['01']);
  let crls = await begin();
  served.set(url, old);
  await crls.look();
  served.set(url, next(['01', '02']));
  await fetchAll(crls);
  // The same records, another folder of files.
  worlds += 1_000;
  served.set(url, old);
  crls = await begin();
  await crls.look();
  assert.equal(crls.states()[0]?.refused, 1);
  assert.equal(isTrusted(crls), false);
});

test('every authority of the anchor that signs clients must have a list', async () => {
  const configured = anchor({}, [factory, below]);
  const crls = await begin(configured);
  served.set(url, next([]));
  await crls.look();
  assert.equal(isTrusted(crls, configured), false, 'the intermediate has no list');
  const both = anchor({ from: [{ url }, { url: otherUrl }] }, [factory, below]);
  crls.configure([both]);
  served.set(otherUrl, next(['07'], {}, below));
  await fetchAll(crls);
  assert.equal(crls.trusted(both)?.length, 2);
  assertRevoked(crls, '7');
});

test('an authority that its root revokes is trusted no more, and its serial number is nobody else', async () => {
  const configured = anchor({ from: [{ url }, { url: otherUrl }] }, [factory, below]);
  const crls = await begin(configured);
  const [der] = decodePem('CERTIFICATE', readFileSync(below.crt, 'utf8'));
  assert.ok(der !== undefined);
  const { serialHex } = parseCertificate(der);
  const serial = serialHex.padStart(serialHex.length + (serialHex.length % 2), '0');
  served.set(url, next([serial]));
  served.set(otherUrl, next([], {}, below));
  await crls.look();
  const trusted = crls.trusted(configured) ?? [];
  assert.equal(trusted.length, 1);
  assert.deepEqual(
    decodePem('CERTIFICATE', trusted[0] ?? ''),
    decodePem('CERTIFICATE', anchor().pem),
  );
  assertRevoked(crls);
});

test('an anchor whose certificates cannot be read is trusted by nobody, and the others are', async () => {
  const broken = {
    ...anchor(),
    name: 'broken',
    pem: '-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n',
  };
  const crls = await begin();
  served.set(url, next([]));
  crls.configure([broken, anchor()]);
  await crls.look();
  assert.equal(isTrusted(crls, broken), false);
  assert.equal(isTrusted(crls), true);
  assert.ok(errors.some((each) => each.includes('cannot be used')));
});

test('lists that are no longer asked release what they revoked; what is asked still, stays', async () => {
  const both = anchor({ from: [{ url }, { url: otherUrl }] }, [factory, below]);
  const crls = await begin(both);
  served.set(url, next(['01']));
  served.set(otherUrl, next(['02'], {}, below));
  await crls.look();
  assertRevoked(crls, '1', '2');
  crls.configure([anchor({ from: [{ url: otherUrl }], everyMs: 2 * hourMs }, [factory, below])]);
  assertRevoked(crls, '2');
  crls.configure([{ ...both, crl: undefined }]);
  assertRevoked(crls);
  assert.equal(crls.trusted({ ...both, crl: undefined }), undefined);
});

test('another file of the anchor keeps the lists of the authorities that are still in it', async () => {
  const warned = (authorities: readonly Authority[]): TrustAnchorConfig =>
    anchor({ whenStale: 'warn' }, authorities);
  const crls = await begin(warned([factory]));
  const [der] = decodePem('CERTIFICATE', readFileSync(below.crt, 'utf8'));
  assert.ok(der !== undefined);
  const { serialHex } = parseCertificate(der);
  served.set(url, next(['01', serialHex.padStart(serialHex.length + (serialHex.length % 2), '0')]));
  await crls.look();
  served.clear();
  crls.configure([warned([factory, below])]);
  assertRevoked(crls, '1', serialHex);
  assert.equal(crls.trusted(warned([factory, below]))?.length, 1, 'the list revokes the new one');
  crls.configure([warned([stranger])]);
  assertRevoked(crls);
});

test('a comment in the file of the anchor cuts nobody off', async () => {
  const configured = anchor();
  const crls = await begin(configured);
  served.set(url, next(['01']));
  await crls.look();
  crls.configure([{ ...configured, pem: `# the factory\n${configured.pem}` }]);
  assert.equal(isTrusted(crls), true);
  assertRevoked(crls, '1');
});

for (const whenStale of ['warn', 'fail-closed'] as const) {
  test(`${whenStale}: when the newest list did not come to the disk, the one before still revokes and is not current`, async () => {
    const configured = anchor({ whenStale });
    let crls = await begin(configured);
    served.set(url, next(['01']));
    await crls.look();
    diskFails = true;
    const newest = next(['01', '02']);
    served.set(url, newest);
    await fetchAll(crls);
    diskFails = false;
    served.clear();
    crls = await begin(configured);
    assertRevoked(crls, '1');
    assert.equal(crls.states()[0]?.current, false);
    assert.equal(isTrusted(crls, configured), whenStale === 'warn');
    served.set(url, newest);
    await fetchAll(crls);
    assertRevoked(crls, '1', '2');
    assert.equal(crls.states()[0]?.current, true);
  });
}
