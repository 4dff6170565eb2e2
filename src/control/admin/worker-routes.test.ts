import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { FakeServices } from './fake-services.ts';
import { findRoute } from './find-route.ts';
import type { Answer } from './route.ts';
import { adminRoutes } from './routes.ts';

let services: FakeServices;

beforeEach(async () => {
  services = new FakeServices();
  await services.createLab('local:0', principalName('device', 'd1'), undefined);
  services.calls.length = 0;
});

/** What the admin API does with a request of an operator, without its connection. */
async function call(method: 'GET' | 'POST', target: string, body?: object): Promise<Answer> {
  const { found } = findRoute(adminRoutes, method, target);
  assert.ok(found, `${method} ${target} is not there`);
  assert.equal(found.route.access, 'operator');
  const caller = { via: 'operator', actor: 'operator/ann', source: '' } as const;
  return found.route.handle(services, { ...found, caller, body });
}

const send = (body: object, id = 'd1') => call('POST', `/v1/devices/${id}/commands`, body);
const isUsage = (thrown: unknown): boolean =>
  thrown instanceof SallyportError && thrown.code === 'usage';

test('a command has a JSON payload, binary data or nothing', async () => {
  const sent = async (body: object) => {
    assert.deepEqual(await send(body), { status: 201, json: { id: '01-command' } });
    return services.calls.at(-1)?.slice(1);
  };
  const who = ['operator/ann', 'device/d1', 'config/set'];
  const name = 'config/set';
  assert.deepEqual(await sent({ name, payload: { on: true } }), [
    ...who,
    '{"on":true}',
    'application/json',
  ]);
  assert.deepEqual(await sent({ name, payload: null }), [...who, 'null', 'application/json']);
  assert.deepEqual(await sent({ name, payload: 1, content_type: 'application/cbor' }), [
    ...who,
    '1',
    'application/cbor',
  ]);
  assert.deepEqual(await sent({ name, payload_base64: 'aGk=' }), [...who, 'hi', undefined]);
  assert.deepEqual(await sent({ name }), [...who, '', undefined]);
  const parameter = { name, payload_base64: '', content_type: 'text/plain; charset="utf-8"' };
  assert.deepEqual(await sent(parameter), [...who, '', 'text/plain; charset="utf-8"']);
});

test('a command that says two things or nothing clear is refused', async () => {
  for (const body of [
    {},
    { name: '' },
    { name: 7 },
    { name: 'a', payload: 1, payload_base64: 'aGk=' },
    { name: 'a', payload_base64: 'aGk' },
    { name: 'a', payload_base64: 'aGk=\n' },
    { name: 'a', payload_base64: 'aG-_' },
    { name: 'a', payload_base64: 'aGl=' },
    { name: 'a', payload_base64: 7 },
    { name: 'a', payload_base64: null },
    { name: 'a', content_type: 'json' },
    { name: 'a', content_type: 'a/b\r\nx: y' },
    { name: 'a', content_type: 'a/b; c' },
    { name: 'a', content_type: `a/${'b'.repeat(128)}` },
    { name: 'a', retain: true },
  ]) {
    await assert.rejects(send(body), isUsage, JSON.stringify(body));
  }
  await assert.rejects(send({ name: 'a' }, 'a%2Fb'), isUsage);
  assert.deepEqual(services.calls, []);
});

test('the routes are listed', async () => {
  const listed = await call('GET', '/v1/routes');
  assert.deepEqual(listed, { status: 200, json: { routes: await services.spools() } });
});

test('dead letters come in pages', async () => {
  const listed = await call('GET', '/v1/routes/telemetry/dead-letters?backend=&after=e1&limit=1');
  assert.ok('json' in listed);
  assert.match(JSON.stringify(listed.json), /^\{"deadLetters":\[\{"id":"e2"/);
  await call('GET', '/v1/routes/telemetry/dead-letters?backend=b');
  assert.deepEqual(services.calls, [
    ['deadLetters', 'telemetry', { backend: undefined, after: 'e1', limit: 1 }],
    ['deadLetters', 'telemetry', { backend: 'b', after: '', limit: 100 }],
  ]);
  for (const query of ['limit=0', 'limit=1001', 'limit=x', 'limit=-1']) {
    await assert.rejects(call('GET', `/v1/routes/telemetry/dead-letters?${query}`), isUsage);
  }
});

for (const action of ['retry', 'discard'] as const) {
  test(`${action} is about all dead letters of a backend or about those named`, async () => {
    const path = `/v1/routes/telemetry/dead-letters/${action}`;
    assert.deepEqual(await call('POST', path, {}), { status: 200, json: { messages: 3 } });
    await call('POST', path, { backend: 'b', ids: ['e1', 'e2'] });
    assert.deepEqual(services.calls, [
      [
        'settleDeadLetters',
        'operator/ann',
        action,
        'telemetry',
        { backend: undefined, ids: undefined },
      ],
      [
        'settleDeadLetters',
        'operator/ann',
        action,
        'telemetry',
        { backend: 'b', ids: ['e1', 'e2'] },
      ],
    ]);
    for (const body of [
      { ids: [] },
      { ids: 'e1' },
      { ids: [7] },
      { ids: ['a b'] },
      { ids: Array.from({ length: 1_001 }, (_, i) => `e${i}`) },
      { backend: '' },
      { all: true },
    ]) {
      await assert.rejects(call('POST', path, body), isUsage, JSON.stringify(body).slice(0, 40));
    }
    assert.equal(services.calls.length, 2);
  });
}
