import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { FakeServices } from './fake-services.ts';
import { findRoute } from './find-route.ts';
import type { Answer } from './route.ts';
import { adminRoutes } from './routes.ts';

let services: FakeServices;

beforeEach(() => {
  services = new FakeServices();
});

/** What the admin API does with a request of an operator, without its connection. */
async function call(method: 'GET' | 'POST', target: string, body?: object): Promise<Answer> {
  const { found } = findRoute(adminRoutes, method, target);
  assert.ok(found, `${method} ${target} is not there`);
  assert.equal(found.route.access, 'operator');
  const caller = { via: 'operator', actor: 'operator/ann', source: '' } as const;
  return found.route.handle(services, { ...found, caller, body });
}

const isUsage = (thrown: unknown): boolean =>
  thrown instanceof SallyportError && thrown.code === 'usage';

test('a token is made for a device or for any, with the time and the uses that were asked for', async () => {
  const made = await call('POST', '/v1/enrolment/tokens', { ttlSeconds: 60, uses: 3 });
  assert.equal(made.status, 201);
  await call('POST', '/v1/enrolment/tokens', { device: 'd1', ttlSeconds: 7_948_800, uses: 1 });
  assert.deepEqual(services.calls, [
    ['createEnrolmentToken', 'operator/ann', { device: undefined, ttlMs: 60_000, uses: 3 }],
    ['createEnrolmentToken', 'operator/ann', { device: 'd1', ttlMs: 7_948_800_000, uses: 1 }],
  ]);
});

test('a token without an end, without uses or for no device is refused', async () => {
  for (const body of [
    {},
    { ttlSeconds: 60 },
    { uses: 1 },
    { ttlSeconds: 0, uses: 1 },
    { ttlSeconds: 7_948_801, uses: 1 },
    { ttlSeconds: 60, uses: 0 },
    { ttlSeconds: 60, uses: 1.5 },
    { ttlSeconds: 60, uses: '1' },
    { ttlSeconds: 60, uses: 1, device: '' },
    { ttlSeconds: 60, uses: 1, device: 'a/b' },
    { ttlSeconds: 60, uses: 1, device: 7 },
    { ttlSeconds: 60, uses: 1, role: 'backend' },
  ]) {
    await assert.rejects(call('POST', '/v1/enrolment/tokens', body), isUsage, JSON.stringify(body));
  }
  assert.deepEqual(services.calls, []);
});

test('requests are decided by number, with a reason or without', async () => {
  await call('POST', '/v1/enrolment/requests/3/approve', {});
  await call('POST', '/v1/enrolment/requests/3/deny', { reason: 'not ours' });
  assert.deepEqual(services.calls, [
    ['decideEnrolment', 'operator/ann', 3, 'approved', undefined],
    ['decideEnrolment', 'operator/ann', 3, 'denied', 'not ours'],
  ]);
  for (const number of ['0', '-1', '1e3', '3.0', 'x', '9999999999999999']) {
    const approval = call('POST', `/v1/enrolment/requests/${number}/approve`, {});
    await assert.rejects(approval, isUsage, number);
  }
});

test('lists come a page at a time, from the newest token and the oldest request on', async () => {
  const numbers = async (target: string) => {
    const answer = await call('GET', target);
    assert.ok('json' in answer);
    return JSON.stringify(answer.json).match(/(?<="number":)\d+/g) ?? [];
  };
  assert.deepEqual(await numbers('/v1/enrolment/tokens'), ['7', '6']);
  assert.deepEqual(await numbers('/v1/enrolment/tokens?before=7'), ['6']);
  assert.deepEqual(await numbers('/v1/enrolment/requests'), ['3']);
  assert.deepEqual(await numbers('/v1/enrolment/requests?after=3'), []);
  await assert.rejects(call('GET', '/v1/enrolment/tokens?limit=1001'), isUsage);
  await assert.rejects(call('GET', '/v1/enrolment/requests?after=-1'), isUsage);
});
