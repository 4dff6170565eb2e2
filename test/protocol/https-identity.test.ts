/** Who a request is from: the certificate of its connection and nothing else; and what one identity may do in all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonOf, problemCode, textOf } from '../harness/https-answer.ts';
import { HttpsDevice, httpsPort } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { issueLeaf, makeAuthority } from '../harness/openssl.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: `
routes:
  telemetry: { rate: { limit: 1/m, burst: 5 } }
  status: { match: devices/+/status, rate: [] }
`,
});
const [d1, d2, d3] = await gateway.devices('d1', 'd2', 'd3');
assert.ok(d1 !== undefined && d2 !== undefined && d3 !== undefined);
const reader = await gateway.service('reader', 'backend');
const port = httpsPort(gateway);

const pretences = [
  'X-SSL-Client-S-DN',
  'x_ssl_client_s_dn',
  'X.SSL.Client.S.DN',
  'Ssl-Client-S-Dn',
  'X-Forwarded-Client-Cert',
  'X-Forwarded-For',
  'X-Client-Id',
  'X-Device-Id',
  'X-Principal',
  'Authorization',
  'From',
  'Host',
];

test('a header in any spelling changes nothing of who it is', async () => {
  using device = HttpsDevice.of(gateway, d1);
  const service = await connect(reader);
  await service.subscribe('devices/+/status');
  for (const name of pretences) {
    const answer = await device.post('status', name, {
      [name]: 'CN=d2',
      connection: `keep-alive, ${name}`,
    });
    assert.equal(answer.status, 202, name);
    const message = await service.message(({ payload }) => payload.toString() === name);
    assert.equal(message.topic.toString(), 'devices/d1/status');
  }
  await service.close();
});

test('a peer without a certificate, or with one that we did not sign, is told so in one answer', async () => {
  const stranger = makeAuthority(gateway.at('stranger'), 'Stranger');
  const identities = [
    undefined,
    issueLeaf(stranger, gateway.at('stranger'), 'd1', d1.ca, { subject: '/CN=d1' }),
  ];
  for (const identity of identities) {
    using raw = await RawHttps.open({ port, identity, ca: d1.ca });
    const request = 'POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntrue';
    raw.send(request + request);
    const answers = await raw.answersUntilClose();
    assert.equal(answers.length, 1);
    const [answer] = answers;
    assert.ok(answer !== undefined);
    assert.deepEqual([answer.status, problemCode(answer)], [401, 'unauthenticated']);
    assert.deepEqual(jsonOf(answer), {
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      code: 'unauthenticated',
    });
  }
});

test('one budget for an identity: over connections, workers and protocols', async () => {
  const answers: number[] = [];
  const codes: number[] = [];
  using keptAlive = HttpsDevice.of(gateway, d2);
  const mqtt = await connect(d2);
  for (let i = 0; i < 5; i += 1) {
    answers.push((await keptAlive.post('telemetry', '1')).status);
    answers.push((await keptAlive.requestAlone('POST', '/api/v1/telemetry', { body: '1' })).status);
    codes.push(await mqtt.publish('devices/d2/telemetry', '1'));
  }
  const accepted =
    answers.filter((status) => status === 202).length + codes.filter((code) => code < 0x80).length;
  assert.equal(accepted, 6, 'limit 1/m with burst 5 passes 6');
  assert.ok(answers.includes(429));
  await mqtt.close();
});

test('connecting anew for every message does not renew the budget', async () => {
  using device = HttpsDevice.of(gateway, d3);
  const statuses: number[] = [];
  for (let i = 0; i < 12; i += 1) {
    const answer = await device.requestAlone('POST', '/api/v1/telemetry', { body: '1' });
    statuses.push(answer.status);
  }
  assert.deepEqual(statuses.slice(0, 6), [202, 202, 202, 202, 202, 202]);
  assert.deepEqual(statuses.slice(6), [429, 429, 429, 429, 429, 429]);
});

test('HTTPS connections take no MQTT session of the identity', async () => {
  const devices = [1, 2, 3].map(() => HttpsDevice.of(gateway, d1));
  try {
    for (const device of devices)
      assert.equal((await device.request('GET', '/api/v1/time')).status, 200);
    // limits.sessionsPerIdentity of them.
    const sessions = await Promise.all(
      ['a', 'b', 'c', 'd'].map((clientId) => connect(d1, { clientId })),
    );
    for (const session of sessions) await session.close();
  } finally {
    for (const device of devices) device[Symbol.dispose]();
  }
});

test('a refusal is in the log with what it was for, and no payload is', async () => {
  using device = HttpsDevice.of(gateway, d1);
  const answer = await device.request('POST', '/api/v1/nowhere', { body: 'a-secret-payload' });
  assert.equal(answer.status, 404);
  const line = await gateway.log.logged((each) => each.get('resource') === '/api/v1/nowhere');
  assert.equal(line.get('ssl_client_s_dn'), 'CN=d1');
  assert.equal(line.get('principal'), 'device/d1');
  assert.equal(line.get('code'), 'not-found');
  assert.doesNotMatch(gateway.log.text, /a-secret-payload/);
  assert.doesNotMatch(textOf(answer), /nowhere|Node|node|sallyport/i);
});
