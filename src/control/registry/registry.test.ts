import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { principalName, standingActions } from '../../common/base/principal.ts';
import type { StandingAction } from '../../common/base/principal.ts';
import { openDatabase } from '../store/database.ts';
import { migrations } from '../store/migrations.ts';
import type { NewCertificate } from './records.ts';
import { Registry } from './registry.ts';

let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let registry: Registry;
let now = 0;
const clock = { now: () => now, monotonic: () => now };

beforeEach(() => {
  now = 1_800_000_000_000;
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  registry = new Registry(database, clock);
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');

function certificate(change: Partial<NewCertificate> = {}): NewCertificate {
  return {
    serial: randomBytes(16).toString('hex'),
    spkiSha256: randomBytes(32).toString('hex'),
    notBefore: now,
    notAfter: now + 1000_000,
    der: Buffer.from('der'),
    ...change,
  };
}

const failsWith =
  (code: ErrorCode, hint?: string) =>
  (thrown: unknown): boolean => {
    assert.ok(thrown instanceof SallyportError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    if (hint !== undefined)
      assert.ok(thrown.hint?.includes(hint), `hint: ${thrown.hint ?? 'none'}`);
    return true;
  };

const follow = (...commands: readonly StandingAction[]): string | undefined => {
  for (const command of commands) registry.changeStanding(d1, command);
  return registry.get(d1)?.standing;
};

test('enrolling registers an identity, once, and records each certificate', () => {
  const first = registry.enrol(d1, 'device', 'internal', certificate({ serial: 'a1' }));
  assert.equal(first.created, true);
  assert.deepEqual(first.entry, {
    name: d1,
    standing: 'active',
    role: 'device',
    anchor: 'internal',
  });
  now += 5;
  const second = registry.enrol(d1, 'device', 'internal', certificate({ serial: 'b2' }));
  assert.equal(second.created, false);
  assert.equal(second.identity.createdAt, now - 5);
  assert.equal(second.identity.updatedAt, now);
  const serials = registry.certificatesOf(d1).map(({ serial }) => serial);
  assert.deepEqual(serials, ['b2', 'a1']);
});

/** From a standing (by the commands that lead there), each command: the standing after it, or the hint of the refusal. */
const table: Readonly<Record<string, Readonly<Record<StandingAction, string>>>> = {
  '': {
    suspend: 'suspended',
    resume: '! normal service',
    quarantine: 'quarantined',
    release: '! normal service',
    revoke: 'revoked',
    reinstate: '! normal service',
  },
  suspend: {
    suspend: '! device resume d1',
    resume: 'active',
    quarantine: 'quarantined',
    release: '! device resume d1',
    revoke: 'revoked',
    reinstate: '! device resume d1',
  },
  quarantine: {
    suspend: 'suspended',
    resume: '! device release d1',
    quarantine: '! device release d1',
    release: 'active',
    revoke: 'revoked',
    reinstate: '! device release d1',
  },
  'quarantine suspend': {
    suspend: '! device resume d1',
    resume: 'quarantined',
    quarantine: 'quarantined',
    release: '! device resume d1',
    revoke: 'revoked',
    reinstate: '! device resume d1',
  },
  revoke: {
    suspend: '! device reinstate d1',
    resume: '! device reinstate d1',
    quarantine: '! device reinstate d1',
    release: '! device reinstate d1',
    revoke: '! device reinstate d1',
    reinstate: 'active',
  },
};
for (const [path, expected] of Object.entries(table)) {
  for (const command of standingActions) {
    const outcome = expected[command];
    test(`standing: ${path === '' ? 'active' : path}, then ${command}: ${outcome}`, () => {
      registry.enrol(d1, 'device', 'internal', certificate());
      const before = follow(
        ...standingActions
          .filter((each) => path.split(' ').includes(each))
          .sort((a, b) => path.indexOf(a) - path.indexOf(b)),
      );
      if (outcome.startsWith('!')) {
        const attempt = (): unknown => registry.changeStanding(d1, command);
        assert.throws(attempt, failsWith('wrong-standing', outcome.slice(2)));
        assert.equal(registry.get(d1)?.standing, before);
      } else assert.equal(follow(command), outcome);
    });
  }
}

test('quarantine is forgotten once it has been released or revoked', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  assert.equal(follow('quarantine', 'suspend', 'resume', 'release', 'suspend', 'resume'), 'active');
  assert.equal(
    follow('quarantine', 'suspend', 'revoke', 'reinstate', 'suspend', 'resume'),
    'active',
  );
});

test('a standing keeps its reason until the next change, bounded', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  registry.changeStanding(d1, 'suspend', 'x'.repeat(600));
  assert.equal(registry.get(d1)?.standingReason, 'x'.repeat(500));
  registry.changeStanding(d1, 'resume');
  assert.equal(registry.get(d1)?.standingReason, undefined);
});

test('revoking revokes every certificate and names the unexpired ones; reinstating brings none back', () => {
  registry.enrol(d1, 'device', 'internal', certificate({ serial: 'a', notAfter: now + 10_000 }));
  registry.enrol(d1, 'device', 'internal', certificate({ serial: 'b', notAfter: now + 60_000 }));
  registry.enrol(d2, 'device', 'internal', certificate({ serial: 'c' }));
  now += 20_000;
  const change = registry.changeStanding(d1, 'revoke', 'stolen');
  assert.deepEqual(change.revokedSerials, ['internal:b']);
  assert.deepEqual(
    registry.certificatesOf(d1).map(({ revokedAt, reason }) => [revokedAt, reason]),
    [
      [now, 'stolen'],
      [now, 'stolen'],
    ],
  );
  const back = registry.changeStanding(d1, 'reinstate');
  assert.equal(back.entry.standing, 'active');
  assert.deepEqual(registry.revokedSerials(), ['internal:b']);
  registry.enrol(d1, 'device', 'internal', certificate({ serial: 'd' }));
  const again = registry.changeStanding(d1, 'revoke');
  assert.deepEqual(again.revokedSerials, ['internal:d']);
});

test('a revoked serial is listed as long as its certificate would be accepted', () => {
  registry.enrol(d1, 'device', 'internal', certificate({ serial: 'a', notAfter: now + 10_000 }));
  registry.changeStanding(d1, 'revoke');
  now += 10_999;
  assert.deepEqual(registry.revokedSerials(), ['internal:a']);
  now += 1;
  assert.deepEqual(registry.revokedSerials(), []);
});

test('only an active identity enrols', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  const attempt = (): unknown => registry.enrol(d1, 'device', 'internal', certificate());
  registry.changeStanding(d1, 'suspend');
  assert.throws(attempt, failsWith('wrong-standing', 'device resume d1'));
  registry.changeStanding(d1, 'quarantine');
  assert.throws(attempt, failsWith('wrong-standing', 'device release d1'));
  registry.changeStanding(d1, 'revoke');
  assert.throws(attempt, failsWith('wrong-standing', 'device reinstate d1'));
  assert.equal(registry.certificatesOf(d1).length, 1);
  registry.changeStanding(d1, 'reinstate');
  attempt();
});

test('a key that another identity has ever held is refused; its own may be certified again', () => {
  const spkiSha256 = 'aa'.repeat(32);
  registry.enrol(d1, 'device', 'internal', certificate({ spkiSha256 }));
  registry.enrol(d1, 'device', 'internal', certificate({ spkiSha256 }));
  registry.changeStanding(d1, 'revoke');
  now += 1e12;
  const attempt = (): unknown =>
    registry.enrol(d2, 'device', 'internal', certificate({ spkiSha256 }));
  assert.throws(attempt, failsWith('already-exists'));
  assert.equal(registry.get(d2), undefined, 'nothing of the refused identity stays');
});

test('an identity has one anchor and one role', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  const otherAnchor = (): unknown => registry.enrol(d1, 'device', 'acme', certificate());
  assert.throws(otherAnchor, failsWith('already-exists'));
  const observed = (): unknown => registry.observe(d1, 'device', 'acme', certificate());
  assert.throws(observed, failsWith('already-exists'));
  const otherRole = (): unknown => registry.enrol(d1, 'backend', 'internal', certificate());
  assert.throws(otherRole, failsWith('already-exists'));
  assert.equal(registry.setRole(d1, 'backend').entry.role, 'backend');
  otherRole();
});

test('a serial number is used once per anchor', () => {
  registry.enrol(d1, 'device', 'internal', certificate({ serial: 'a' }));
  const attempt = (): unknown =>
    registry.enrol(d2, 'device', 'internal', certificate({ serial: 'a' }));
  assert.throws(attempt, failsWith('already-exists'));
  assert.equal(registry.get(d2), undefined);
  registry.enrol(d2, 'device', 'acme', certificate({ serial: 'a' }));
});

test('certificates of a configured anchor are recorded as they are seen, and revoked with their identity', () => {
  const seen = certificate({ serial: 'a' });
  assert.equal(registry.observe(d1, 'device', 'acme', seen)?.created, true);
  assert.equal(registry.observe(d1, 'device', 'acme', seen), undefined);
  assert.equal(
    registry.observe(d1, 'device', 'acme', certificate({ serial: 'b' }))?.created,
    false,
  );
  assert.deepEqual(registry.changeStanding(d1, 'revoke').revokedSerials.toSorted(), [
    'acme:a',
    'acme:b',
  ]);
  const another = (): unknown => registry.observe(d1, 'device', 'acme', certificate());
  assert.throws(another, failsWith('wrong-standing'));
});

test('unknown principals are named as such', () => {
  assert.throws(() => registry.changeStanding(d1, 'suspend'), failsWith('unknown-principal'));
  assert.throws(() => registry.setRole(d1, 'x'), failsWith('unknown-principal'));
  assert.equal(registry.get(d1), undefined);
  assert.deepEqual(registry.certificatesOf(d1), []);
});

test('lists are by kind, in pages, and can be of one standing', () => {
  for (const id of ['a', 'b', 'c', 'd', 'e']) {
    registry.enrol(principalName('device', id), 'device', 'internal', certificate());
  }
  registry.enrol(principalName('service', 'be'), 'backend', 'internal', certificate());
  registry.changeStanding(principalName('device', 'd'), 'suspend');
  const names = (query: Parameters<Registry['list']>[0]): string[] => {
    const found: string[] = [];
    for (let after: string | undefined, done = false; !done;) {
      const page = registry.list({ ...query, after });
      found.push(...page.identities.map(({ name }) => name));
      after = page.next;
      done = after === undefined;
    }
    return found;
  };
  const devices = ['device/a', 'device/b', 'device/c', 'device/d', 'device/e'];
  for (const limit of [1, 2, 5, 100, undefined])
    assert.deepEqual(names({ kind: 'device', limit }), devices);
  assert.deepEqual(names({ kind: 'service' }), ['service/be']);
  assert.deepEqual(names({ kind: 'operator' }), []);
  assert.deepEqual(names({ kind: 'device', standing: 'suspended', limit: 1 }), ['device/d']);
  assert.deepEqual(registry.count(), { device: 5, service: 1, operator: 0 });
});

test('last seen only goes forward and makes no identity', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  registry.markSeen(
    new Map([
      [d1, 500],
      [d2, 500],
      ["device/x'; --", 1],
    ]),
  );
  registry.markSeen([[d1, 400]]);
  assert.equal(registry.get(d1)?.seenAt, 500);
  assert.equal(registry.get(d2), undefined);
});

test('a last seen that is no time, or one to come, makes no row unreadable', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  for (const atMs of [10_000_000_000_000_002, 1.5, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    registry.markSeen([[d1, atMs]]);
    assert.equal(registry.get(d1)?.seenAt, undefined, String(atMs));
  }
  registry.markSeen([[d1, now + 1]]);
  assert.equal(registry.get(d1)?.seenAt, now);
  for (const value of ['9007199254740992', '-1']) {
    const past = (): unknown => database.exec(`UPDATE identities SET seen_at = ${value}`);
    assert.throws(past, /CHECK constraint failed/, 'the schema holds it too');
  }
});

test('where a command would lead is told before it is given', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  assert.equal(registry.standingAfter(d1, 'quarantine'), 'quarantined');
  assert.equal(registry.get(d1)?.standing, 'active');
  assert.throws(() => registry.standingAfter(d1, 'resume'), failsWith('wrong-standing'));
  assert.throws(() => registry.standingAfter(d2, 'resume'), failsWith('unknown-principal'));
});

test('the holder of a certificate is found by anchor and serial number', () => {
  registry.enrol(d1, 'device', 'internal', certificate({ serial: 'a' }));
  assert.equal(registry.holderOf('internal', 'a')?.name, d1);
  assert.equal(registry.holderOf('acme', 'a'), undefined);
});

test('names that are traps elsewhere are names here', () => {
  for (const id of ['constructor', 'toString', 'hasOwnProperty']) {
    const name = principalName('device', id);
    registry.enrol(name, 'device', 'internal', certificate());
    assert.equal(registry.get(name)?.name, name);
  }
  assert.throws(() => principalName('device', '__proto__'), failsWith('usage'));
});

test('a snapshot of 100,000 identities is quick', () => {
  database.exec(`
    INSERT INTO identities (name, standing, resume_to, role, anchor, created_at, updated_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    SELECT 'device/d' || i, 'active', 'active', 'device', 'internal', 0, 0 FROM n`);
  const before = process.cpuUsage();
  const entries = registry.snapshotEntries();
  const { user } = process.cpuUsage(before);
  assert.equal(entries.length, 100_000);
  assert.ok(user < 3_000_000, `${user} µs`);
});

test('what has been committed is there after the process is gone', () => {
  registry.enrol(d1, 'device', 'internal', certificate());
  registry.changeStanding(d1, 'quarantine');
  const other = openDatabase(folder.at('registry.db'));
  assert.equal(new Registry(other, clock).get(d1)?.standing, 'quarantined');
  other.close();
});

test('the issuer of each of our own certificates is known, and when the last under it expires', () => {
  const issue = (issuer: string, lifeMs: number): void => {
    registry.enrol(d1, 'device', 'internal', certificate({ issuer, notAfter: now + lifeMs }));
  };
  issue('a1', 5_000);
  issue('b2', 1_000);
  issue('a1', 2_000);
  registry.observe(d2, 'device', 'factory', certificate({ notAfter: now + 9_000 }));
  assert.deepEqual(
    new Map(registry.lastExpiries()),
    new Map([
      ['a1', now + 5_000],
      ['b2', now + 1_000],
    ]),
  );
  assert.deepEqual(
    registry.certificatesOf(d1).map(({ issuer }) => issuer),
    ['a1', 'b2', 'a1'],
  );
  assert.equal(registry.certificatesOf(d2)[0]?.issuer, '');
});

test('certificates from before issuers were recorded are of the only one that there was', () => {
  const path = folder.at('earlier.db');
  const earlier = migrations.findIndex((step) => step.includes('ADD COLUMN issuer'));
  const before = openDatabase(path, migrations.slice(0, earlier));
  before.exec(`
    INSERT INTO identities (name, standing, resume_to, role, anchor, created_at, updated_at)
      VALUES ('device/d1', 'active', 'active', 'device', 'internal', 1, 1),
        ('device/d2', 'active', 'active', 'device', 'factory', 1, 1);
    INSERT INTO certificates
      (anchor, serial, principal, spki_sha256, not_before, not_after, der, issued_at)
      VALUES ('internal', 'a1', 'device/d1', 'k1', 1, 2, x'00', 1),
        ('factory', 'a1', 'device/d2', 'k2', 1, 2, x'00', 1);
  `);
  before.close();
  const migrated = openDatabase(path);
  const upgraded = new Registry(migrated, clock);
  upgraded.adoptUnknownIssuer('cafe');
  upgraded.enrol(d1, 'device', 'internal', certificate({ issuer: 'beef' }));
  upgraded.adoptUnknownIssuer('beef');
  const issuers = upgraded.certificatesOf(d1).map(({ issuer }) => issuer);
  assert.deepEqual(issuers, ['beef', 'cafe']);
  assert.equal(upgraded.certificatesOf(d1)[1]?.reasonCode, 0);
  assert.equal(upgraded.certificatesOf(d2)[0]?.issuer, '');
  migrated.close();
});
