import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { systemClock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { silentLogger } from '../common/base/logger.ts';
import { principalName } from '../common/base/principal.ts';
import type { StandingAction } from '../common/base/principal.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import { CaServices } from './ca-services.ts';
import { ensureAuthority } from './ca/ensure-authority.ts';
import { ShownPins } from './ca/pins.ts';
import { Invitations } from './enrolment/invitations.ts';
import { Issuance } from './enrolment/issuance.ts';
import { PendingRequests } from './enrolment/pending-requests.ts';
import { EnrolmentTokens } from './enrolment/tokens.ts';
import { Registry } from './registry/registry.ts';
import { Services } from './services.ts';
import { openDatabase } from './store/database.ts';
import { MasterKey } from './store/master-key.ts';

const start = process.cwd();
const folder = temporaryFolder();
process.chdir(folder.path);
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const config = parseConfig({ configPath: undefined, configText: '', files: {} });
const authority = await ensureAuthority({
  masterKey: new MasterKey(Buffer.alloc(32, 1)),
  trustDomain: config.trustDomain,
  serverNames: config.serverNames,
  clock: systemClock,
});
const d1 = principalName('device', 'd1');
const actor = 'local:0';

let databases = 0;
let database: ReturnType<typeof openDatabase>;
let events: string[] = [];
let isDiskFull = false;
let registry: Registry;
let invitations: Invitations;
let services: Services;

beforeEach(() => {
  databases += 1;
  database = openDatabase(`${databases}.db`);
  events = [];
  isDiskFull = false;
  registry = new Registry(database, systemClock);
  invitations = new Invitations(database, systemClock);
  const append: AuditLog['append'] = (entry) => {
    if (isDiskFull) throw new SallyportError('io', 'the disk is full');
    events.push(`audit ${entry.action} ${registry.get(d1)?.standing ?? 'unknown'}`);
    return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
  };
  services = new Services({
    clock: systemClock,
    welcome: {
      type: 'welcome',
      bundle: { configPath: undefined, configText: '', files: {} },
      startedAt: 0,
      version: '0',
      ports: {},
      members: [],
      announce: false,
      workersOverride: undefined,
      privileges: undefined,
    },
    calls: {
      readBundle: async () => ({
        bundle: { configPath: undefined, configText: '', files: {} },
        applied: () => events.push('applied'),
      }),
      replaceProcesses: async () => void events.push('replace'),
    },
    authority,
    ca: new CaServices({
      authority,
      registry,
      auditLog: { append },
      configuration: {
        rotate: async (rotate) => {
          await rotate?.(async () => {});
          return { acknowledged: 2, killed: 0 };
        },
        trustChanged: () => {},
      },
      shownPins: new ShownPins(database, systemClock),
      clock: systemClock,
      logger: silentLogger,
    }),
    registry,
    auditLog: {
      append,
      read: async () => [],
      verify: async () => ({ ok: true, lines: 0 }),
    },
    publisher: {
      position: { epoch: 1, seq: 1 },
      acknowledgedSeq: () => 1,
      publish: async (changes) => {
        for (const change of changes) {
          events.push(
            change.type === 'identity'
              ? `publish ${change.entry.standing}`
              : `publish ${change.type}`,
          );
        }
        return { acknowledged: 2, killed: 0 };
      },
      publishAddition: async (changes) => {
        for (const change of changes) {
          assert.ok(change.type === 'identity');
          events.push(`add ${change.entry.standing}`);
        }
        return { acknowledged: 2, killed: 0 };
      },
    },
    workers: {
      listeners: new Map(),
      members: [],
      load: () => ({ connections: 0, sessions: 0 }),
      spool: () => ({ inFlight: 0, breakersOpen: 0 }),
    },
    asks: { ask: async () => assert.fail('nothing here is asked of workers') },
    invitations,
    issuance: new Issuance({
      authority,
      registry,
      trustDomain: config.trustDomain,
      clock: systemClock,
      renewal: () => ({ windowMs: 0, graceMs: 0, perDay: 1 }),
    }),
    tokens: new EnrolmentTokens(database, systemClock, () => 10),
    pending: new PendingRequests(database, systemClock, () => ({ requests: 10, keptMs: 60_000 })),
    configuration: { current: config, apply: async () => ({ changed: [], pending: [] }) },
    metrics: { text: async () => '' },
    revocation: { revoked: ({ length }) => void events.push(`void ${length}`) },
    keys: {
      list: () => [],
      register: () => assert.fail('nobody is registered here'),
      add: () => assert.fail('no key is added here'),
      remove: () => assert.fail('no key is removed here'),
    },
  });
});

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

async function standing(...actions: readonly StandingAction[]): Promise<void> {
  for (const action of actions) await services.changeStanding(actor, d1, action, undefined);
}

/** What happened since the identity had got this far. */
async function orderOf(before: readonly StandingAction[], last: StandingAction): Promise<string[]> {
  await services.createLab(actor, d1, undefined);
  await standing(...before);
  events.length = 0;
  await standing(last);
  return events;
}

test('what takes something away is told to the workers, then put on record', async () => {
  assert.deepEqual(await orderOf([], 'revoke'), [
    // Before workers can ask again.
    'void 1',
    'publish revoked',
    'publish revoked',
    'audit revoke revoked',
  ]);
});

for (const [action, becomes] of [
  ['suspend', 'suspended'],
  ['quarantine', 'quarantined'],
] as const) {
  test(`${action} is told to the workers, then put on record`, async () => {
    assert.deepEqual(await orderOf([], action), [
      `publish ${becomes}`,
      `audit ${action} ${becomes}`,
    ]);
  });
}

for (const [before, action, was] of [
  ['suspend', 'resume', 'suspended'],
  ['quarantine', 'release', 'quarantined'],
  ['revoke', 'reinstate', 'revoked'],
] as const) {
  test(`${action} is put on record before anybody has it`, async () => {
    assert.deepEqual(await orderOf([before], action), [`audit ${action} ${was}`, 'publish active']);
  });

  test(`${action} does not happen when it cannot be put on record; ${before} does`, async () => {
    await services.createLab(actor, d1, undefined);
    events.length = 0;
    isDiskFull = true;
    await assert.rejects(standing(before), failsWith('io'));
    assert.equal(registry.get(d1)?.standing, was);
    assert.ok(events.includes(`publish ${was}`));
    events.length = 0;
    await assert.rejects(standing(action), failsWith('io'));
    assert.equal(registry.get(d1)?.standing, was);
    assert.deepEqual(events, []);
  });
}

test('the reason of a revocation is what CRLs and OCSP will say, when it is one of theirs', async () => {
  for (const [reason, revocationReason, code] of [
    ['keyCompromise: sold on a flea market', 'keyCompromise', 1],
    ['superseded', 'superseded', 4],
    ['stolen on site 7', 'unspecified', 0],
    [undefined, 'unspecified', 0],
  ] as const) {
    const { serial } = await services.createLab(actor, d1, undefined);
    const result = await services.changeStanding(actor, d1, 'revoke', reason);
    assert.equal(result.revocationReason, revocationReason);
    const row = database.prepare('SELECT * FROM certificates WHERE serial = ?').get(serial);
    assert.equal(row?.['reason_code'], code);
    assert.equal(row['reason'], reason ?? null);
    await standing('reinstate');
  }
});

test('a reason that cannot be one of a revocation changes nothing', async () => {
  await services.createLab(actor, d1, undefined);
  events.length = 0;
  const held = services.changeStanding(actor, d1, 'revoke', 'certificateHold');
  await assert.rejects(held, failsWith('usage'));
  assert.equal(registry.get(d1)?.standing, 'active');
  assert.deepEqual(events, []);
  const suspended = await services.changeStanding(actor, d1, 'suspend', 'certificateHold');
  assert.equal(suspended.revocationReason, undefined);
});

test('a change of standing that does not apply is neither on record nor told', async () => {
  await services.createLab(actor, d1, undefined);
  events.length = 0;
  await assert.rejects(standing('resume'), failsWith('wrong-standing'));
  const unknown = services.changeStanding(
    actor,
    principalName('device', 'd2'),
    'resume',
    undefined,
  );
  await assert.rejects(unknown, failsWith('unknown-principal'));
  assert.deepEqual(events, []);
});

test('an identity is put on record before it is in the registry, then told to the workers', async () => {
  await services.createLab(actor, d1, undefined);
  assert.deepEqual(events, ['audit create unknown', 'add active']);
});

test('nothing is issued that cannot be put on record', async () => {
  isDiskFull = true;
  await assert.rejects(services.createLab(actor, d1, undefined), failsWith('io'));
  assert.equal(registry.get(d1), undefined);
  assert.deepEqual(events, []);
});

test('an invitation is used up by what it has issued, and by nothing less but a revocation', async () => {
  const { token } = await services.inviteOperator(actor, 'ann', 60_000);
  const csr = execFileSync(
    'openssl',
    [
      'req',
      '-new',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
    ].concat('ann.key', '-subj', '/CN=ann'),
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  isDiskFull = true;
  await assert.rejects(services.redeemInvitation('127.0.0.1', token, csr), failsWith('io'));
  isDiskFull = false;
  const issued = await services.redeemInvitation('127.0.0.1', token, csr);
  assert.equal(issued.name, 'operator/ann');
  const again = services.redeemInvitation('127.0.0.1', token, csr);
  await assert.rejects(again, failsWith('unauthenticated'));

  const open = await services.inviteOperator(actor, 'ann', 60_000);
  registry.changeStanding(principalName('operator', 'ann'), 'revoke');
  registry.changeStanding(principalName('operator', 'ann'), 'reinstate');
  const revoked = services.redeemInvitation('127.0.0.1', open.token, csr);
  await assert.rejects(revoked, failsWith('unauthenticated'));
});

test('nobody can be enrolled under the name of the command line', async () => {
  await assert.rejects(services.inviteOperator(actor, 'local', 60_000), failsWith('usage'));
  const local = principalName('operator', 'local');
  await assert.rejects(services.createLab(actor, local, undefined), failsWith('usage'));
  assert.equal(registry.get(local), undefined);
  assert.deepEqual(events, []);
});

test('the root key stays until its removal is on record', async () => {
  isDiskFull = true;
  await assert.rejects(services.confirmRootExported(actor), failsWith('io'));
  await assert.rejects(services.exportRoot(actor), failsWith('io'));
  assert.equal(authority.summary().rootKeyHere, true);
});

test('a role is one that is defined, never a name that every object has', async () => {
  const be = principalName('service', 'be');
  for (const role of ['constructor', 'toString', '__proto__', 'operator', 'nobody']) {
    await assert.rejects(services.createLab(actor, be, role), failsWith('usage'), role);
  }
  await assert.rejects(services.createLab(actor, be, undefined), failsWith('usage'));
  assert.equal((await services.createLab(actor, be, 'backend')).name, be);
});

test('the supervisor keeps the configuration only once it is in force', async () => {
  await services.reload(actor);
  assert.deepEqual(events, ['applied']);
});
