import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { systemClock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import { PendingRequests } from './enrolment/pending-requests.ts';
import { EnrolmentTokens } from './enrolment/tokens.ts';
import { EnrolmentServices } from './enrolment-services.ts';
import { Registry } from './registry/registry.ts';
import { openDatabase } from './store/database.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const actor = 'operator/ann';
const d1 = principalName('device', 'd1');
const page = { before: Number.MAX_SAFE_INTEGER, limit: 100 };

let databases = 0;
let events: string[] = [];
let isDiskFull = false;
let registry: Registry;
let pending: PendingRequests;
let services: EnrolmentServices;

beforeEach(() => {
  databases += 1;
  const database = openDatabase(folder.at(`${databases}.db`));
  events = [];
  isDiskFull = false;
  registry = new Registry(database, systemClock);
  pending = new PendingRequests(database, systemClock, () => ({ requests: 9, keptMs: 60_000 }));
  services = new EnrolmentServices({
    registry,
    tokens: new EnrolmentTokens(database, systemClock, () => 9),
    pending,
    auditLog: {
      append: (entry) => {
        if (isDiskFull) throw new SallyportError('io', 'the disk is full');
        events.push(`${entry.actor} ${entry.action} ${entry.target} ${stateNow() ?? ''}`.trim());
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
  });
});

const stateNow = (): string | undefined => pending.list({ after: 0, limit: 1 })[0]?.state;

function waiting(): number {
  const spkiSha256 = 'ab'.repeat(32);
  const request = { credential: 'token:1', name: d1, role: 'device', spkiSha256, source: '::1' };
  return pending.add(request, () => true).number;
}

test('tokens are made and withdrawn, each on record, and never shown again', () => {
  const terms = { ttlMs: 60_000, uses: 2 };
  const { number, token } = services.createToken(actor, { device: 'd1', ...terms });
  services.createToken(actor, { device: undefined, ...terms });
  const listed = services.tokens(page);
  assert.deepEqual(
    listed.map((each) => [each.number, each.device, each.usesLeft, each.createdBy]),
    [
      [number + 1, undefined, 2, actor],
      [number, d1, 2, actor],
    ],
  );
  assert.equal(JSON.stringify(listed).includes(token), false);
  services.withdrawToken(actor, number);
  assert.equal(services.tokens(page).length, 1);
  assert.deepEqual(events, [
    'operator/ann enrolment-token device/d1',
    'operator/ann enrolment-token',
    'operator/ann withdraw-token device/d1',
  ]);
});

test('no token is made for a device that cannot enrol', () => {
  const certificate = {
    serial: '1',
    spkiSha256: 'cd',
    notBefore: 0,
    notAfter: 1,
    der: Buffer.of(1),
  };
  registry.enrol(d1, 'device', 'internal', certificate);
  registry.changeStanding(d1, 'revoke');
  assert.throws(
    () => services.createToken(actor, { device: 'd1', ttlMs: 60_000, uses: 1 }),
    (thrown) =>
      thrown instanceof SallyportError &&
      thrown.code === 'wrong-standing' &&
      /device reinstate d1/.test(thrown.hint ?? ''),
  );
});

test('an approval is on record before it holds', () => {
  const number = waiting();
  isDiskFull = true;
  assert.throws(() => services.decide(actor, number, 'approved', undefined), { code: 'io' });
  assert.equal(stateNow(), 'waiting');
  isDiskFull = false;
  assert.equal(services.decide(actor, number, 'approved', 'ours').state, 'approved');
  assert.deepEqual(events, ['operator/ann approve-enrolment device/d1 waiting']);
});

test('a denial holds, on record or not', () => {
  const number = waiting();
  services.decide(actor, number, 'approved', undefined);
  isDiskFull = true;
  assert.throws(() => services.decide(actor, number, 'denied', undefined), { code: 'io' });
  assert.equal(stateNow(), 'denied');
});

test('an operator is told what a request came with, and no more of it', () => {
  waiting();
  const spkiSha256 = 'ef'.repeat(32);
  const credential = `manufacturer:${'01'.repeat(32)}`;
  pending.add({ credential, name: d1, role: 'device', spkiSha256, source: '::1' }, () => true);
  assert.deepEqual(
    services.requests({ after: 0, limit: 9 }).map(({ by }) => by),
    ['token:1', 'manufacturer'],
  );
});
