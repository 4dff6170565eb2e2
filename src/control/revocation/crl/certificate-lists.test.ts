import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { until } from '../../../../test/harness/waiting.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import type { ErrorCode } from '../../../common/base/errors.ts';
import { DerReader } from '../../../common/codec/der/reader.ts';
import { contextConstructed, tag } from '../../../common/codec/der/tag.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { readExtensions } from '../../../common/identity/extensions.ts';
import { Revocations } from '../../registry/revocations.ts';
import { openDatabase } from '../../store/database.ts';
import type { StatusIssuer } from '../issuer.ts';
import { recordCertificates, testIssuer } from '../test-support.ts';
import type { TestIssuer } from '../test-support.ts';
import { CertificateLists } from './certificate-lists.ts';
import type { CertificateListsParts } from './certificate-lists.ts';
import { CrlNumbers } from './crl-numbers.ts';

const hourMs = 3_600_000;
const settings = { intervalMs: hourMs, validityMs: 24 * hourMs, deltaValidityMs: 2 * hourMs };

let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let issuer: TestIssuer;
let issuers: StatusIssuer[];
let now = 0;
let monotonic = 0;
let timers: { readonly at: number; readonly action: () => void }[] = [];
let errors: string[] = [];
let signing: Promise<void> | undefined;
let signatures = 0;

beforeEach(async () => {
  now = Date.UTC(2026, 10, 21, 12, 0, 0, 700);
  monotonic = 0;
  timers = [];
  errors = [];
  signatures = 0;
  signing = undefined;
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  issuer = await testIssuer('Test CA', now, (signer) => ({
    ...signer,
    async sign(data) {
      await signing;
      signatures += 1;
      return signer.sign(data);
    },
  }));
  issuers = [issuer];
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

/** As at a start of control: nothing in memory. */
function start(change: Partial<CertificateListsParts> = {}): CertificateLists {
  return new CertificateLists({
    clock: { now: () => now, monotonic: () => monotonic },
    later: (ms, action) => {
      timers.push({ at: monotonic + ms, action });
      return () => {};
    },
    issuers: () => issuers,
    settings: () => settings,
    deltaUrl: () => undefined,
    revocations: new Revocations(database),
    numbers: new CrlNumbers(database),
    logger: { debug: () => {}, error: (_, message) => errors.push(message) },
    ...change,
  });
}

/** Turns the clocks on and lets happen what is due. */
function pass(ms: number): void {
  now += ms;
  monotonic += ms;
  const due = timers.filter(({ at }) => at <= monotonic);
  timers = timers.filter(({ at }) => at > monotonic);
  for (const { action } of due) action();
}

interface ReadList {
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Serial → CRLReason; 0 when there is none. */
  readonly entries: ReadonlyMap<string, number>;
  readonly extensions: ReadonlyMap<string, Buffer>;
  readonly critical: readonly string[];
}

function read(der: Buffer): ReadList {
  const outer = new DerReader(der);
  const tbs = outer.sequence().sequence();
  outer.end();
  assert.equal(tbs.smallInteger(), 1);
  tbs.element();
  tbs.element();
  const thisUpdate = tbs.time();
  const nextUpdate = tbs.time();
  const entries = new Map<string, number>();
  const revoked = tbs.nextTag === tag.sequence ? tbs.sequence() : undefined;
  // Section 5.1.2.6: no entries, no field.
  assert.notEqual(revoked?.atEnd, true);
  while (revoked?.atEnd === false) {
    const entry = revoked.sequence();
    const serial = entry.integer();
    assert.ok((serial[0] ?? 0) < 0x80, 'a negative serial number');
    entry.time();
    const [reason] = entry.atEnd ? [] : readExtensions(entry);
    const serialHex = serial.toString('hex').replace(/^0+/, '');
    entries.set(serialHex, reason === undefined ? 0 : (reason.value[2] ?? -1));
    entry.end();
  }
  const extensions = readExtensions(tbs.enter(contextConstructed(0)));
  tbs.end();
  return {
    thisUpdate,
    nextUpdate,
    entries,
    extensions: new Map(extensions.map(({ oid, value }) => [oid, value])),
    critical: extensions.filter(({ critical }) => critical).map(({ oid }) => oid),
  };
}

const complete = async (lists: CertificateLists) => {
  const list = await lists.current(undefined, false);
  return { ...list, ...read(list.der) };
};
const deltaOf = async (lists: CertificateLists) => {
  const list = await lists.current(undefined, true);
  return { ...list, ...read(list.der) };
};
const serials = ({ entries }: ReadList): string[] => [...entries.keys()].toSorted();
const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;
/** Of a DER INTEGER of a few octets. */
const integerIn = (der: Buffer | undefined): number =>
  Number.parseInt(der?.subarray(2).toString('hex') ?? '', 16);
const record = (...certificates: Parameters<typeof recordCertificates>[2][]): void => {
  for (const list of certificates) recordCertificates(database, issuer.id, list);
};

test('a list names what was revoked with its reason, and only that', async () => {
  const notAfter = now + 100 * 24 * hourMs;
  record([
    { serial: 'a1', notAfter, revokedAt: now, reason: 1 },
    // The top bit is set, the number of digits odd.
    { serial: 'f00', notAfter, revokedAt: now },
    { serial: 'f'.repeat(32), notAfter, revokedAt: now - hourMs, reason: 9 },
    { serial: 'b2', notAfter },
  ]);
  recordCertificates(database, '00'.repeat(20), [{ serial: 'c3', notAfter, revokedAt: now }]);
  const list = await complete(start());
  assert.deepEqual(
    [...list.entries],
    [
      ['a1', 1],
      ['f00', 0],
      ['f'.repeat(32), 9],
    ],
  );
  assert.equal(list.thisUpdate, Math.floor(now / 1000) * 1000);
  assert.equal(list.nextUpdate, list.thisUpdate + settings.validityMs);
  // Not below the clock's seconds: what was out before a database was restored is not given again.
  assert.equal(list.number, Math.floor(now / 1000));
  assert.equal(integerIn(list.extensions.get(oids.crlNumber)), list.number);
  const keyIdentifier = list.extensions.get(oids.authorityKeyIdentifier)?.toString('hex');
  assert.equal(keyIdentifier, `30168014${issuer.id}`);
  assert.deepEqual(list.critical, []);
});

test('numbers and times go on after a restart, and do not go back with the clock', async () => {
  const first = await complete(start());
  const second = await complete(start());
  assert.equal(second.number, first.number + 1);
  now -= 60_000;
  const third = await complete(start());
  assert.equal(third.number, first.number + 2);
  assert.equal(third.thisUpdate, first.thisUpdate);
  assert.equal(third.nextUpdate, first.nextUpdate);
  const shorter = start({ settings: () => ({ ...settings, validityMs: hourMs }) });
  const fourth = await complete(shorter);
  assert.equal(fourth.nextUpdate, first.nextUpdate, 'RFC 5280 section 5.1.2.5');
});

test('after a clock that was years ahead, lists have the right time again', async () => {
  const right = now;
  now += 9_000 * 24 * hourMs;
  const wrong = await complete(start());
  now = right;
  const list = await complete(start());
  assert.equal(list.number, wrong.number + 1);
  assert.equal(list.thisUpdate, Math.floor(right / 1000) * 1000);
  assert.equal(list.nextUpdate, list.thisUpdate + settings.validityMs);
});

test('a number is spent even when its signature fails, and the last list stays', async () => {
  const lists = start();
  const first = await complete(lists);
  const { promise, reject } = Promise.withResolvers<void>();
  promise.catch(() => {});
  signing = promise;
  reject(new SallyportError('unavailable', 'no token'));
  lists.noticeRevoked();
  pass(1_000);
  const kept = await complete(lists);
  assert.equal(kept.number, first.number);
  assert.equal(errors.length, 1);
  signing = undefined;
  const checked = lists.check();
  pass(1_000);
  await checked;
  const next = await complete(lists);
  assert.equal(next.number, first.number + 2);
});

test('a database that was restored from a backup gives no number again that is out', async () => {
  const last = await complete(start());
  now += 2_000;
  database.exec('DELETE FROM crls');
  assert.ok((await complete(start())).number > last.number);
});

test('whoever asks before there is any list gets none that is not signed', async () => {
  const failing = Promise.reject(new SallyportError('unavailable', 'no token'));
  failing.catch(() => {});
  signing = failing;
  await assert.rejects(start().current(undefined, false), failsWith('unavailable'));
});

test('a revocation is in the list that is asked for next, and many at once make one list', async () => {
  const lists = start();
  await complete(lists);
  pass(10_000);
  const notAfter = now + hourMs * 100;
  record([{ serial: 'a1', notAfter, revokedAt: now }]);
  lists.noticeRevoked();
  assert.deepEqual(serials(await complete(lists)), ['a1']);
  for (let i = 0; i < 50; i += 1) {
    record([{ serial: `b${i.toString().padStart(2, '0')}`, notAfter, revokedAt: now }]);
    lists.noticeRevoked();
    await turn();
  }
  const before = signatures;
  const asked = complete(lists);
  pass(1_000);
  const list = await asked;
  assert.equal(list.entries.size, 51);
  assert.ok(signatures - before <= 2, 'one issue: the complete list and its delta');
});

test('what is revoked while a list is signed is in the next one, which whoever asks waits for', async () => {
  const lists = start();
  await complete(lists);
  pass(10_000);
  const gate = Promise.withResolvers<void>();
  signing = gate.promise;
  lists.noticeRevoked();
  await turn();
  record([{ serial: 'a1', notAfter: now + 100 * hourMs, revokedAt: now }]);
  lists.noticeRevoked();
  const asked = complete(lists);
  gate.resolve();
  await until('the rest between two lists', 10_000, () => timers.length > 0);
  pass(1_000);
  assert.deepEqual(serials(await asked), ['a1']);
});

test('lists are issued on schedule, and no sooner', async () => {
  const lists = start();
  await lists.check();
  const first = await complete(lists);
  pass(hourMs - 1_000);
  await lists.check();
  assert.equal((await complete(lists)).number, first.number);
  pass(1_000);
  await lists.check();
  assert.ok((await complete(lists)).number > first.number);
});

test('a certificate that expires leaves after one more list on schedule (RFC 5280 section 3.3)', async () => {
  const lists = start();
  await lists.check();
  const notAfter = Math.floor(now / 1000) * 1000 + hourMs / 2;
  record([{ serial: 'a1', notAfter, revokedAt: now }]);
  lists.noticeRevoked();
  pass(10 * 60_000);
  assert.deepEqual(serials(await complete(lists)), ['a1']);
  // A list that a revocation brings after the expiry is not one on schedule.
  pass(25 * 60_000);
  record([{ serial: 'b2', notAfter: now + 100 * hourMs, revokedAt: now }]);
  lists.noticeRevoked();
  assert.deepEqual(serials(await complete(lists)), ['a1', 'b2']);
  pass(30 * 60_000);
  await lists.check();
  assert.deepEqual(serials(await complete(lists)), ['a1', 'b2']);
  pass(hourMs);
  await start().check();
  const after = start();
  assert.deepEqual(serials(await complete(after)), ['b2']);
});

test('a delta adds to every list that is still in force, and has the number of the complete one', async () => {
  const lists = start();
  await lists.check();
  await assert.rejects(lists.current(undefined, true), failsWith('not-found'));
  const notAfter = now + 1_000 * hourMs;
  const numbers = [(await complete(lists)).number];
  record([{ serial: 'a1', notAfter, revokedAt: now - 10 * hourMs }]);
  for (let i = 1; i <= 30; i += 1) {
    pass(hourMs);
    record([{ serial: `b${i + 10}`, notAfter, revokedAt: now }]);
    await lists.check();
    numbers.push((await complete(lists)).number);
  }
  const whole = await complete(lists);
  const delta = await deltaOf(lists);
  assert.equal(delta.number, whole.number);
  assert.equal(delta.thisUpdate, whole.thisUpdate);
  assert.equal(delta.nextUpdate, delta.thisUpdate + settings.deltaValidityMs);
  assert.equal(whole.entries.size, 31);
  assert.deepEqual(delta.critical, [oids.deltaCrlIndicator]);
  const base = numbers.indexOf(integerIn(delta.extensions.get(oids.deltaCrlIndicator))) + 1;
  // That list was issued less than its validity ago, the one before it was not.
  assert.equal(base, 31 - 23);
  const named = new Set(serials(delta));
  for (let i = base; i <= 30; i += 1) assert.ok(named.has(`b${i + 10}`), `b${i + 10}`);
  assert.ok(!named.has('a1'), 'in force long before the base');
  assert.ok(named.size < 30);
});

test('the complete list says where its delta is; the delta does not', async () => {
  const lists = start({ deltaUrl: (id) => `http://gw.example:8080/crl/${id}-delta.crl` });
  await lists.check();
  pass(hourMs);
  await lists.check();
  const point = (await complete(lists)).extensions.get(oids.freshestCrl);
  assert.ok(point?.includes(`http://gw.example:8080/crl/${issuer.id}-delta.crl`));
  assert.equal((await deltaOf(lists)).extensions.has(oids.freshestCrl), false);
});

test('a CA that no longer issues goes on; one that is gone is not found', async () => {
  const lists = start();
  await lists.check();
  const first = await complete(lists);
  const next = await testIssuer('Next CA', now);
  issuers = [next, issuer];
  record([{ serial: 'a1', notAfter: now + hourMs, revokedAt: now }]);
  lists.noticeRevoked();
  pass(1_000);
  const old = await lists.current(issuer.id, false);
  assert.deepEqual(serials(read(old.der)), ['a1']);
  const current = await lists.current(undefined, false);
  assert.deepEqual(serials(read(current.der)), []);
  const numbers = new Map(lists.states.map(({ issuer: id, number }) => [id, number]));
  assert.deepEqual([...numbers.keys()].toSorted(), [issuer.id, next.id].toSorted());
  assert.ok((numbers.get(issuer.id) ?? 0) > first.number);
  assert.equal(numbers.get(next.id), current.number);
  issuers = [next];
  await lists.check();
  await assert.rejects(lists.current(issuer.id, false), failsWith('not-found'));
});

test('no list promises more than the certificate of its issuer', async () => {
  issuers = [{ ...issuer, notAfter: Math.floor(now / 1000) * 1000 + hourMs }];
  const list = await complete(start());
  assert.equal(list.nextUpdate, list.thisUpdate + hourMs);
});

test('after a clock that was ahead, what has not expired is still on the lists', async () => {
  const right = now;
  record([{ serial: 'a1', notAfter: right + 30 * 24 * hourMs, revokedAt: right, reason: 1 }]);
  await start().check();
  now += 40 * 24 * hourMs;
  await start().check();
  now = right + 60_000;
  const lists = start();
  await lists.check();
  assert.deepEqual(serials(await complete(lists)), ['a1']);
});

test('a delta names what was revoked while the clock was behind', async () => {
  const lists = start();
  await lists.check();
  const { number: base } = await complete(lists);
  const right = now;
  now -= 40 * 24 * hourMs;
  monotonic += 10_000;
  record([{ serial: 'a1', notAfter: now + 1_000 * hourMs, revokedAt: now }]);
  lists.noticeRevoked();
  await complete(lists);
  for (const minutes of [10, 20]) {
    now = right + minutes * 60_000;
    monotonic += 10_000;
    lists.noticeRevoked();
    const whole = await complete(lists);
    const delta = await deltaOf(lists);
    assert.equal(integerIn(delta.extensions.get(oids.deltaCrlIndicator)), base);
    assert.deepEqual([serials(whole), serials(delta)], [['a1'], ['a1']], `${minutes} minutes`);
  }
});
