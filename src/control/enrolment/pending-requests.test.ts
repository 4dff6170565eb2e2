import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { principalName } from '../../common/base/principal.ts';
import { openDatabase } from '../store/database.ts';
import { PendingRequests } from './pending-requests.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const keptMs = 3_600_000;
const request = {
  credential: 'token:1',
  name: principalName('device', 'd1'),
  role: 'device',
  spkiSha256: 'ab'.repeat(32),
  source: '192.0.2.1',
};
const by = { by: 'local:0', reason: undefined };
const paid = (): boolean => true;

let databases = 0;

function pendingWith(requests = 100) {
  databases += 1;
  const clock = { ms: 0, now: () => clock.ms, monotonic: () => clock.ms };
  const database = openDatabase(folder.at(`${databases}.db`));
  return { pending: new PendingRequests(database, clock, () => ({ requests, keptMs })), clock };
}

test('a request is known again by what it came with, its device and its key', () => {
  const { pending } = pendingWith();
  const added = pending.add(request, paid);
  assert.deepEqual(pending.find(request), added);
  assert.equal(added.state, 'waiting');
  for (const other of [
    { credential: 'token:2' },
    { name: principalName('device', 'd2') },
    { spkiSha256: 'cd'.repeat(32) },
  ]) {
    assert.equal(pending.find({ ...request, ...other }), undefined);
  }
});

test('an approval is good for one certificate', () => {
  const { pending } = pendingWith();
  const { number } = pending.add(request, paid);
  const grant = pending.grant(number);
  assert.equal(grant.holds(), false);
  assert.equal(grant.use(), false, 'it waits');
  assert.equal(pending.decide(number, 'approved', by).state, 'approved');
  assert.ok(grant.holds());
  assert.ok(grant.use());
  assert.equal(grant.use(), false);
  assert.equal(pending.find(request), undefined);
});

test('an operator may think better of it as long as the certificate has not been fetched', () => {
  const { pending } = pendingWith();
  const { number } = pending.add(request, paid);
  pending.decide(number, 'approved', by);
  assert.throws(() => pending.decidable(number, 'approved'), { code: 'already-exists' });
  pending.decide(number, 'denied', { by: 'operator/ann', reason: 'not ours' });
  assert.equal(pending.grant(number).use(), false);
  const { state, decidedBy, reason } = pending.find(request) ?? {};
  assert.deepEqual(
    { state, decidedBy, reason },
    {
      state: 'denied',
      decidedBy: 'operator/ann',
      reason: 'not ours',
    },
  );
  assert.throws(() => pending.decide(number, 'denied', by), { code: 'already-exists' });
  assert.throws(() => pending.decide(4_711, 'denied', by), { code: 'not-found' });
});

test('what is not decided in time is gone, and an approval that is not fetched in time too', () => {
  const { pending, clock } = pendingWith();
  const { number } = pending.add(request, paid);
  pending.decide(number, 'approved', by);
  clock.ms += keptMs;
  assert.equal(pending.find(request), undefined);
  assert.equal(pending.grant(number).holds(), false);
  assert.equal(pending.grant(number).use(), false);
  assert.deepEqual(pending.list({ after: 0, limit: 10 }), []);
  assert.ok(pending.add(request, paid).number > number);
});

test('a place in the queue is paid for, or not taken', () => {
  const { pending } = pendingWith();
  assert.throws(() => pending.add(request, () => false), { code: 'unauthenticated' });
  assert.equal(pending.find(request), undefined);
});

test('requests are bounded, and nothing is paid for one that finds no room', () => {
  const { pending } = pendingWith(2);
  pending.add({ ...request, credential: 'token:1' }, paid);
  pending.add({ ...request, credential: 'token:2' }, paid);
  assert.throws(
    () => pending.add({ ...request, credential: 'token:3' }, () => assert.fail('paid')),
    {
      code: 'quota',
    },
  );
  assert.deepEqual(
    pending.list({ after: 1, limit: 10 }).map(({ credential }) => credential),
    ['token:2'],
  );
});
