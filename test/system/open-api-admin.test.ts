/** docs/openapi/admin-api.yaml describes the admin API as it is: every route, every answer. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { adminRoutes } from '../../src/control/admin/routes.ts';
import type { Route } from '../../src/control/admin/route.ts';
import { startBackend } from '../harness/backend.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { jsonOf, readAnswer } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { OpenApiDocument } from '../harness/open-api.ts';
import type { DescribedOperation } from '../harness/open-api.ts';
import { makeRequest } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { until, within } from '../harness/waiting.ts';

const document = OpenApiDocument.load('admin-api.yaml');

/** What only a broken disk, a thousand invitations, or workers that do not start or answer would show. */
const unprovoked = [/ 500$/, / 503$/, / 504$/, /^inviteOperator 507$/];

test('every route has its operation, every operation its route, with the access that it has', () => {
  const documented = document.operations.map(
    (operation) => `${operation.method} ${operation.path} ${accessOf(operation)}`,
  );
  const there = adminRoutes.map(({ method, path, access }) => `${method} ${path} ${access}`);
  assert.deepEqual(documented.toSorted(), there.toSorted());
});

function accessOf({ security, servers }: Pick<DescribedOperation, 'security' | 'servers'>) {
  const access: Route['access'][] = [];
  if (security.length === 0) access.push('anyone');
  if (security.includes('metricsToken')) access.push('metrics');
  if (servers.length > 0) access.push('local');
  assert.ok(access.length <= 1);
  return access[0] ?? 'operator';
}

function routeTo(url: string): string {
  return `routes: { telemetry: { match: devices/+/telemetry, to: [ { http: ${url} } ] } }`;
}

describe('answers are as documented', async () => {
  const config = [
    'metrics: { token: { file: metrics-token } }',
    'limits: { commandsPerDevice: 2 }',
    'enrolment: { approval: all, tokens: 2 }',
  ].join('\n');
  const gateway = await startGateway({
    config,
    files: { 'metrics-token': 'scrape-me\n' },
    listener: 'est: { host: 127.0.0.1, port: 0 }',
  });
  after(() => gateway[Symbol.asyncDispose]());
  const [d1] = await gateway.devices('d1');
  assert.ok(d1 !== undefined);
  const socketPath = join(gateway.dataDir, 'control', 'admin.sock');
  const { admin } = gateway.run().listeners;
  assert.ok(admin !== undefined);
  const { port } = admin;
  const stranger = new HttpsDevice({ port, identity: undefined, ca: d1.ca });
  after(() => stranger[Symbol.dispose]());

  /** Over the Unix socket; `declared` bytes are announced and not sent. */
  async function local(
    method: string,
    path: string,
    body?: unknown,
    declared?: number,
  ): Promise<HttpAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    const request = httpRequest(
      {
        socketPath,
        method,
        path,
        agent: false,
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(declared === undefined ? {} : { 'content-length': declared }),
        },
      },
      (response) => {
        readAnswer(response)
          .then(resolve, reject)
          .finally(() => request.destroy());
      },
    );
    request.on('error', reject);
    if (declared === undefined) request.end(body === undefined ? undefined : JSON.stringify(body));
    else request.flushHeaders();
    return within(promise, 60_000, `${method} ${path}`);
  }

  /** Sends it over the Unix socket; status and form of the answer have to be right. @returns its JSON. */
  async function say(
    method: string,
    path: string,
    status: number,
    body?: unknown,
  ): Promise<ReadonlyMap<string, unknown>> {
    const answer = await local(method, path, body);
    return assertAnswered(method, path, status, answer);
  }

  function assertAnswered(method: string, path: string, status: number, answer: HttpAnswer) {
    document.assertAnswer(method, path, answer);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.body.toString()}`);
    const value = answer.headers.get('content-type')?.endsWith('json') ? jsonOf(answer) : {};
    return new Map<string, unknown>(Object.entries(value as object)); // the document says so
  }

  const redemption = '/v1/operator-enrolment';

  /** A new key in a folder of its own. */
  function csrOf(id: string, folder = id): string {
    return readFileSync(makeRequest(gateway.at(folder), id).csr, 'utf8');
  }

  async function invite(id: string): Promise<string> {
    const invited = await say('POST', `/v1/operators/${id}/invite`, 201, { ttlSeconds: 60 });
    return String(invited.get('token'));
  }

  function redeem(token: string, csr: string): Promise<HttpAnswer> {
    return stranger.requestAlone('POST', redemption, { body: { token, csr } });
  }

  async function operator(id: string): Promise<Identity> {
    const token = await invite(id);
    const answer = await redeem(token, csrOf(id));
    const issued = assertAnswered('POST', redemption, 201, answer);
    const crt = gateway.at(id, `${id}.crt`);
    writeFileSync(crt, String(issued.get('certificateChain')));
    return { id, crt, key: gateway.at(id, `${id}.key`), ca: d1?.ca ?? '' };
  }

  const concrete = ({ path }: DescribedOperation): string =>
    path
      .replace('{kind}', 'device')
      .replace('{id}', 'd1')
      .replace('{route}', 'telemetry')
      .replace('{number}', '1')
      .replace('{key}', 'k1');

  test('whoever has no certificate', async () => {
    for (const operation of document.operations) {
      const { method } = operation;
      const path = concrete(operation);
      const body = method === 'POST' ? { token: 'guessed', csr: 'none' } : undefined;
      const answer = await stranger.requestAlone(method, path, body === undefined ? {} : { body });
      assertAnswered(method, path, 401, answer);
      const problem = jsonOf(answer);
      assert.ok(typeof problem === 'object' && problem !== null && !('detail' in problem));
    }
    const guess = { body: { token: 'guessed', csr: 'none' } };
    assertAnswered('POST', redemption, 401, await stranger.request('POST', redemption, guess));
    // A stall may be as long as the wait, which is twice as long after each guess.
    const refused = await until('a guess that comes too soon', 60_000, async () => {
      const answer = await stranger.request('POST', redemption, guess);
      return answer.status === 401 ? undefined : answer;
    });
    assertAnswered('POST', redemption, 429, refused);
    const nowhere = await stranger.requestAlone('GET', '/v1/nothing');
    document.assertSharedResponse('Unauthenticated', nowhere);
  });

  test('bodies that are too large, unknown or no JSON', async () => {
    for (const operation of document.operations.filter(({ method }) => method === 'POST')) {
      const { method } = operation;
      const path = concrete(operation);
      const large = await local(method, path, {}, 2 * 1024 * 1024);
      assertAnswered(method, path, 413, large);
      const unknown = await say(method, path, 400, { unheardOf: 1 });
      assert.equal(unknown.get('code'), 'usage');
      assert.equal((await say(method, path, 400)).get('code'), 'malformed');
    }
  });

  test('identities', async () => {
    const d2 = '/v1/principals/device/d2';
    const csr = csrOf('d2');
    await say('POST', `${d2}/enrol`, 201, { csr });
    await say('POST', `${d2}/enrol`, 409, { csr, role: 'backend' });
    await say('POST', '/v1/principals/device/d3/enrol', 422, { csr: 'none' });
    await say('POST', '/v1/principals/service/s1/create', 201, { role: 'backend' });
    await say('POST', `${d2}/create`, 409, { role: 'backend' });

    for (const action of ['suspend', 'resume', 'quarantine', 'release', 'revoke', 'reinstate']) {
      await say('POST', `${d2}/${action}`, 200, { reason: 'to see' });
      // None of them applies twice.
      await say('POST', `${d2}/${action}`, 409, {});
      await say('POST', `/v1/principals/device/unknown/${action}`, 404, {});
    }

    const shown = await say('GET', d2, 200);
    assert.equal(shown.get('standing'), 'active');
    await say('GET', '/v1/principals/device/unknown', 404);
    await say('GET', '/v1/principals/gadget/d2', 400);
    const listed = await say('GET', '/v1/principals?kind=device&limit=1&after=d1', 200);
    assert.match(JSON.stringify(listed.get('principals')), /"d2"/);
    await say('GET', '/v1/principals?kind=service', 200);
    await say('GET', '/v1/principals?kind=device&limit=1001', 400);
  });

  test('keys', async () => {
    const device = '/v1/principals/device/d10';
    const keys = `${device}/keys`;
    await say('GET', keys, 404);
    await say('POST', `${keys}/derive`, 404, {});
    await say('POST', keys, 404, { secret: randomBytes(32).toString('base64') });
    for (const created of [true, false]) {
      const registered = await say('POST', `${device}/register`, 200, {});
      assert.equal(registered.get('created'), created);
    }
    await say('POST', `${device}/register`, 409, { role: 'backend' });
    await say('POST', '/v1/principals/operator/ann/register', 400, {});
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = publicKey.export({ type: 'spki', format: 'pem' });
    const registered = await say('POST', keys, 201, { publicKey: pem, ttlSeconds: 60 });
    await say('POST', keys, 409, { publicKey: pem });
    for (const body of [
      { publicKey: 'none' },
      { secret: 'none' },
      { secret: 'AAAA' },
      { publicKey: pem, secret: 'AAAA' },
      { publicKey: pem, id: 'a.b' },
      { publicKey: pem, overlapSeconds: 1 },
    ]) {
      await say('POST', keys, 400, body);
    }
    const replacement = { replace: String(registered.get('id')), overlapSeconds: 0 };
    await say('POST', `${keys}/derive`, 201, replacement);
    await say('POST', `${keys}/derive`, 400, replacement);
    await say('POST', `${keys}/derive`, 404, { replace: 'none', overlapSeconds: 0 });
    const { keys: listed } = Object.fromEntries(await say('GET', keys, 200));
    const [, second] = listed as readonly { readonly id: string }[]; // as the document says
    await say('GET', '/v1/principals/gadget/d10/keys', 400);
    await say('POST', `${keys}/${second?.id}/remove`, 200, { reason: 'to see' });
    await say('POST', `${keys}/${second?.id}/remove`, 404, {});
    for (let n = 0; n < 16; n++) await say('POST', `${keys}/derive`, 201, {});
    await say('POST', `${keys}/derive`, 507, {});
    await say('POST', keys, 507, { secret: randomBytes(32).toString('base64') });
    document.assertAnswer('GET', device, await local('GET', device));
    await say('POST', `${device}/suspend`, 200, {});
    await say('POST', keys, 409, { secret: randomBytes(32).toString('base64') });
    await say('POST', `${keys}/derive`, 409, {});
  });

  test('operators', async () => {
    const ann = await operator('ann');
    using client = new HttpsDevice({ port, identity: ann });
    const path = '/v1/status';
    assertAnswered('GET', path, 200, await client.request('GET', path));
    for (const operation of document.operations.filter(({ servers }) => servers.length > 0)) {
      const where = concrete(operation);
      const answer = await client.request('POST', where, { body: {} });
      assertAnswered('POST', where, 403, answer);
    }
    await say('POST', '/v1/principals/operator/ann/suspend', 200, {});
    document.assertAnswer('GET', path, await client.request('GET', path));
    assert.equal((await client.request('GET', path)).status, 401);

    const again = await redeem(await invite('ann'), csrOf('ann', 'again'));
    assertAnswered('POST', redemption, 409, again);
    const noRequest = await redeem(await invite('ben'), 'none');
    assertAnswered('POST', redemption, 422, noRequest);
  });

  test('enrolment', async () => {
    const tokens = '/v1/enrolment/tokens';
    const terms = { ttlSeconds: 60, uses: 1 };
    const created = await say('POST', tokens, 201, { device: 'd7', ...terms });
    await say('POST', tokens, 201, terms);
    await say('POST', tokens, 507, terms);
    await say('POST', tokens, 400, { device: '#', ...terms });
    await say('GET', `${tokens}?limit=1`, 200);
    await say('GET', `${tokens}?limit=0`, 400);
    await say('POST', `${tokens}/2/withdraw`, 200, {});
    await say('POST', `${tokens}/2/withdraw`, 404, {});
    await gateway.ok('device', 'create', 'd8', '--out', gateway.at('d8'));
    await say('POST', '/v1/principals/device/d8/suspend', 200, {});
    await say('POST', tokens, 409, { device: 'd8', ...terms });

    using device = new HttpsDevice({ port: gateway.estPort, identity: undefined, ca: d1.ca });
    const [body = ''] = csrOf('d7').match(/(?<=-\n)[^-]+(?=\n-)/) ?? [];
    const authorization = `Bearer ${String(created.get('token'))}`;
    const headers = { authorization, 'content-type': 'application/pkcs10' };
    const enrol = '/.well-known/est/simpleenroll';
    const waits = await device.requestAlone('POST', enrol, { headers, body });
    assert.equal(waits.status, 202, waits.body.toString());

    const requests = '/v1/enrolment/requests';
    const listed = await say('GET', requests, 200);
    assert.match(JSON.stringify(listed.get('requests')), /"device\/d7"/);
    await say('GET', `${requests}?after=x`, 400);
    for (const [action, state] of [
      ['deny', 'denied'],
      ['approve', 'approved'],
    ]) {
      const decided = await say('POST', `${requests}/1/${action}`, 200, { reason: 'to see' });
      assert.equal(decided.get('state'), state);
      await say('POST', `${requests}/1/${action}`, 409, {});
      await say('POST', `${requests}/2/${action}`, 404, {});
      await say('POST', `${requests}/none/${action}`, 400, {});
    }
    const issued = await device.requestAlone('POST', enrol, { headers, body });
    assert.equal(issued.status, 200, issued.body.toString());
  });

  test('commands', async () => {
    const path = '/v1/devices/d1/commands';
    await say('POST', path, 201, { name: 'config/set', payload: { interval: 60 } });
    await say('POST', path, 201, { name: 'blob', payload_base64: '/w==' });
    await say('POST', path, 400, { name: 'no/#/name' });
    await say('POST', '/v1/devices/unknown/commands', 404, { name: 'reboot' });
    await say('POST', path, 413, { name: 'blob', payload: 'x'.repeat(300 * 1024) });
    await say('POST', path, 507, { name: 'one-too-many' });
    await gateway.ok('device', 'create', 'd4', '--out', gateway.at('d4'));
    await say('POST', '/v1/principals/device/d4/revoke', 200, {});
    await say('POST', '/v1/devices/d4/commands', 409, { name: 'reboot' });
  });

  test('queues and dead letters', async () => {
    await using backend = await startBackend({ behaviour: { do: 'answer', status: 400 } });
    gateway.configure(`${config}\n${routeTo(backend.url)}`);
    await say('POST', '/v1/reload', 200, {});
    using publisher = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
    await publisher.connect();
    for (const seq of [1, 2]) await publisher.publish('devices/d1/telemetry', `{"seq":${seq}}`);

    const letters = '/v1/routes/telemetry/dead-letters';
    const found = await until('two dead letters', 30_000, async () => {
      const { deadLetters } = Object.fromEntries(await say('GET', letters, 200));
      return Array.isArray(deadLetters) && deadLetters.length === 2 ? deadLetters : undefined;
    });
    const { id } = found[0] as { readonly id: string }; // as the document says
    await say('GET', '/v1/routes', 200);
    await say('GET', `${letters}?limit=1&backend=backend&after=${id}`, 200);
    await say('GET', `${letters}?limit=0`, 400);
    await say('GET', '/v1/routes/none/dead-letters', 404);
    await backend.behave({ do: 'accept' });
    for (const action of ['retry', 'discard']) {
      await say('POST', `/v1/routes/none/dead-letters/${action}`, 404, {});
    }
    const retried = await say('POST', `${letters}/retry`, 200, { ids: [id] });
    assert.equal(retried.get('messages'), 1);
    await backend.arrival((event) => event.id === id);
    assert.equal((await say('POST', `${letters}/discard`, 200, {})).get('messages'), 1);
  });

  test('policy, CA, audit log, metrics', async () => {
    await say('GET', '/v1/policy', 200);
    await say('GET', '/v1/ca', 200);
    const page = await say('GET', '/v1/audit-log?after=1&limit=2', 200);
    assert.ok(Array.isArray(page.get('lines')));
    await say('GET', '/v1/audit-log?limit=none', 400);
    assert.equal((await say('POST', '/v1/audit-log/verify', 200, {})).get('ok'), true);
    const file = join(gateway.dataDir, 'control', 'audit.jsonl');
    const written = readFileSync(file, 'utf8');
    writeFileSync(file, written.replace('"action":"create"', '"action":"delete"'));
    assert.equal((await say('POST', '/v1/audit-log/verify', 200, {})).get('ok'), false);
    writeFileSync(file, written);

    await say('GET', '/metrics', 200);
    const headers = { authorization: 'Bearer scrape-me' };
    const scraped = await stranger.requestAlone('GET', '/metrics', { headers });
    assertAnswered('GET', '/metrics', 200, scraped);
    const elsewhere = await stranger.requestAlone('GET', '/v1/status', { headers });
    assertAnswered('GET', '/v1/status', 401, elsewhere);
  });

  test('pins and rotations', async () => {
    const shown = await say('POST', '/v1/ca/pins', 200, {});
    assert.equal((shown.get('pins') as readonly unknown[]).length, 6); // as the document says
    await say('POST', '/v1/ca/pins', 200, { role: 'server' });
    await say('POST', '/v1/ca/pins', 400, { role: 'leaf' });
    await say('POST', '/v1/ca/rotate', 200, { role: 'issuing' });
    await say('POST', '/v1/ca/rotate', 400, { role: 'issuing' });
    await say('POST', '/v1/ca/rotate', 200, { role: 'root', force: true });
    await say('POST', '/v1/ca/rotate', 200, { role: 'server' });
    await say('POST', '/v1/ca/rotate', 400, { role: 'server', force: 'yes' });
    await say('GET', '/v1/ca', 200);
    // Under issuing CAs and roots of several generations.
    assert.deepEqual((await say('GET', '/v1/ca/check?limit=500', 200)).get('problems'), []);
    await say('GET', '/v1/ca/check?limit=0', 400);
  });

  test('the root key', async () => {
    await say('POST', '/v1/ca/export-root', 200, {});
    await say('POST', '/v1/ca/export-root/confirm', 204, {});
    await say('POST', '/v1/ca/export-root', 409, {});
    await say('POST', '/v1/ca/rotate', 409, { role: 'issuing', force: true });
  });

  test('paths and methods that are not there', async () => {
    const nowhere = await local('GET', '/v1/nothing');
    document.assertSharedResponse('NotFound', nowhere);
    assert.equal(nowhere.headers.has('allow'), false);
    const wrongMethod = await local('POST', '/v1/status', {});
    document.assertSharedResponse('NotFound', wrongMethod);
    assert.equal(wrongMethod.headers.get('allow'), 'GET');
  });

  test('the gateway as a whole', async () => {
    await say('GET', '/v1/status', 200);
    gateway.configure(`${config}\nlogs: { level: debug }`);
    const reloaded = await say('POST', '/v1/reload', 200, {});
    assert.match(JSON.stringify(reloaded.get('changed')), /log level/);
    gateway.configure('logs: { level: loud }');
    await say('POST', '/v1/reload', 422, {});
    gateway.configure('');
    await say('POST', '/v1/reload-processes', 202, {});
  });

  test('no documented answer was left out', () => {
    const left = document
      .unexercised()
      .filter((each) => !unprovoked.some((pattern) => pattern.test(each)));
    assert.deepEqual(left, []);
  });
});
