import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertRefused, EstWorld, issuedTo, newDevice } from '../../../test/harness/est-world.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { principalName } from '../../common/base/principal.ts';

const folder = temporaryFolder();
const start = process.cwd();
before(() => process.chdir(folder.path));
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

let worlds = 0;
function openWorld(): Promise<EstWorld> {
  worlds += 1;
  return EstWorld.open(folder.at(`${worlds}.db`));
}

describe('with approval', () => {
  async function approvalWorld(): Promise<EstWorld> {
    const world = await openWorld();
    world.settings = { ...world.settings, approval: 'all' };
    return world;
  }
  const decide = (world: EstWorld, number: number, state: 'approved' | 'denied') =>
    world.pending.decide(number, state, { by: 'operator/ann', reason: undefined });

  test('a device waits, asks again with the same request, and gets its certificate once approved', async () => {
    const world = await approvalWorld();
    const d1 = newDevice('d1');
    const secret = world.token('d1', 1, 60_000);
    for (let n = 0; n < 3; n += 1) {
      const reply = await world.enrolBy(secret, d1);
      assert.equal(reply.status, 202, reply.body);
      assert.equal(reply.headers['retry-after'], '300');
      assert.match(reply.body, /^pending: .* request 1;/);
      // The token may end before an operator comes: its use is paid with the place in the queue.
      world.clock.ms += 60_000;
    }
    assert.equal(world.pending.list({ after: 0, limit: 10 }).length, 1);
    assert.equal(world.certificatesIssued('d1'), 0);
    decide(world, 1, 'approved');
    issuedTo(await world.enrolBy(secret, d1), d1);
    assert.deepEqual(
      world.audit.map(({ actor, action }) => `${actor} ${action}`),
      ['token:1 enrolment-pending', 'request:1 enrol'],
    );
    assertRefused(await world.enrolBy(secret, d1), 401, 'unauthenticated');
    assert.equal(world.certificatesIssued('d1'), 1);
  });

  test('two that fetch it at once get one certificate', async () => {
    const world = await approvalWorld();
    const d1 = newDevice('d1');
    const secret = world.token('d1');
    await world.enrolBy(secret, d1);
    decide(world, 1, 'approved');
    const replies = await Promise.all([world.enrolBy(secret, d1), world.enrolBy(secret, d1)]);
    assert.deepEqual(
      replies.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 401],
    );
    assert.equal(world.certificatesIssued('d1'), 1);
  });

  test('an approval is for the key that the operator has seen', async () => {
    const world = await approvalWorld();
    const secret = world.token('d1', 2);
    await world.enrolBy(secret, newDevice('d1'));
    decide(world, 1, 'approved');
    const other = await world.enrolBy(secret, newDevice('d1'));
    assert.equal(other.status, 202, 'another key is another request');
    assert.match(other.body, /request 2;/);
    assert.equal(world.certificatesIssued('d1'), 0);
  });

  test('a request that is denied is refused, whatever its token was good for', async () => {
    const world = await approvalWorld();
    const d1 = newDevice('d1');
    const secret = world.token('d1', 5);
    await world.enrolBy(secret, d1);
    decide(world, 1, 'denied');
    assertRefused(await world.enrolBy(secret, d1), 403, 'forbidden');
    decide(world, 1, 'approved');
    decide(world, 1, 'denied');
    assertRefused(await world.enrolBy(secret, d1), 403, 'forbidden');
    assert.equal(world.certificatesIssued('d1'), 0);
  });

  test('an approval does not bring back a device that has been revoked meanwhile', async () => {
    const world = await approvalWorld();
    world.settings = { ...world.settings, approval: 'none' };
    await world.enrolBy(world.token('d1'), newDevice('d1'));
    world.settings = { ...world.settings, approval: 'all' };
    const again = newDevice('d1');
    const secret = world.token('d1');
    await world.enrolBy(secret, again);
    decide(world, 1, 'approved');
    world.registry.changeStanding(principalName('device', 'd1'), 'revoke');
    assertRefused(await world.enrolBy(secret, again), 403, 'forbidden');
    world.registry.changeStanding(principalName('device', 'd1'), 'reinstate');
    assertRefused(await world.enrolBy(secret, again), 403, 'forbidden');
    assert.equal(world.certificatesIssued('d1'), 1);
    assert.equal(world.pending.list({ after: 0, limit: 1 })[0]?.decidedBy, 'revocation');
  });

  test('a place in the queue costs a use, a request that would be refused costs none', async () => {
    const world = await approvalWorld();
    const secret = world.token();
    const twisted = newDevice('d1');
    twisted.csr[twisted.csr.length - 1] = (twisted.csr.at(-1) ?? 0) ^ 1;
    assertRefused(await world.enrolBy(secret, twisted), 400, 'invalid-csr');
    assert.deepEqual(world.pending.list({ after: 0, limit: 10 }), []);
    assert.equal((await world.enrolBy(secret, newDevice('d1'))).status, 202);
    assertRefused(await world.enrolBy(secret, newDevice('d2')), 401, 'unauthenticated');
  });

  test('when too many wait, the next is told to come again', async () => {
    const world = await approvalWorld();
    world.settings = { ...world.settings, requests: 1 };
    const secret = world.token(undefined, 5);
    await world.enrolBy(secret, newDevice('d1'));
    assertRefused(await world.enrolBy(secret, newDevice('d2')), 503, 'quota');
    assert.equal(world.tokens.find(secret)?.usesLeft, 4);
  });
});
