import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { FakeServices } from './fake-services.ts';
import { findRoute } from './find-route.ts';
import type { Access, Answer } from './route.ts';
import { adminRoutes } from './routes.ts';

let services: FakeServices;

beforeEach(() => {
  services = new FakeServices();
});

/** What the admin API does with a request that may be made, without its connection. */
async function call(path: string, access: Access, body: object): Promise<Answer> {
  const { found } = findRoute(adminRoutes, 'POST', path);
  assert.ok(found, `${path} is not there`);
  assert.equal(found.route.access, access);
  const caller = { via: 'local', actor: 'local:0', source: '' } as const;
  return found.route.handle(services, { ...found, caller, body });
}

const rotate = (body: object) => call('/v1/ca/rotate', 'local', body);
const pins = (body: object) => call('/v1/ca/pins', 'operator', body);

test('a rotation is of one role, not forced and without keys unless the order says so', async () => {
  const order = { role: 'root', force: true, rootKeys: 'PEM' };
  const { status } = await rotate(order);
  assert.equal(status, 200);
  await rotate({ role: 'server' });
  assert.deepEqual(services.calls, [
    ['rotateCa', 'local:0', order],
    ['rotateCa', 'local:0', { role: 'server', force: false, rootKeys: undefined }],
  ]);
});

test('pins are of one role, or of all', async () => {
  await pins({ role: 'issuing' });
  await pins({});
  assert.deepEqual(services.calls, [
    ['pins', 'local:0', 'issuing'],
    ['pins', 'local:0', 'root', 'issuing', 'server'],
  ]);
});

test('roles that there are not, and members that are none, are refused', async () => {
  const refused: readonly (readonly [typeof rotate, object])[] = [
    [rotate, {}],
    [rotate, { role: 'leaf' }],
    [rotate, { role: 'root', force: 1 }],
    [rotate, { role: 'root', rootKeys: '' }],
    [rotate, { role: 'root', rootKeys: 'x'.repeat(65_537) }],
    [rotate, { role: 'root', days: 1 }],
    [pins, { role: 'leaf' }],
    [pins, { role: 1 }],
    [pins, { of: 'root' }],
  ];
  for (const [ask, body] of refused) {
    await assert.rejects(
      ask(body),
      (thrown) => thrown instanceof SallyportError && thrown.code === 'usage',
      JSON.stringify(body).slice(0, 60),
    );
  }
  assert.deepEqual(services.calls, []);
});
