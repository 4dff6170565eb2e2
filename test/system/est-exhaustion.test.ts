/**
 * What strangers can make a worker hold or do over EST, in memory and time, while devices next to them are served: requests
 * that are never finished, more of them than fit, and tokens that are guessed.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { estRequest } from '../harness/est-listener.ts';
import { problemCode } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { residentBytes } from '../harness/processes.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { writeCertificationRequest } from '../../src/control/enrolment/write-request.ts';

const mebibyte = 1024 * 1024;
const most = 300;
const { gateway } = await sharedGateway({
  listener: 'est: { host: 127.0.0.1, port: 0 }',
  config: [
    'routes: { telemetry: { rate: [] } }',
    // So few that none is forgiven during a test, however slow the machine is.
    'enrolment: { tokenFailures: 2 }',
    'limits:',
    '  requestHeaders: 3s',
    '  request: 3s',
    '  connect: 3s',
    '  visit: 5s',
    // Hundreds of strangers come from one network here, and are not what these limits are about.
    '  sourceFailures: 100000',
    '  identityRates: { device: [] }',
  ].join('\n'),
});
const port = gateway.estPort;
const [worker = 0] = gateway.run().workers;
const honest = await gateway.device('honest');
const { ca } = honest;
const stranger = { port, ca, identity: undefined };

function csrFor(id: string): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return writeCertificationRequest(principalName('device', id), privateKey).toString('base64');
}

async function tokenBy(...options: readonly string[]): Promise<string> {
  const { stdout } = await gateway.ok('enrolment', 'token', ...options, '--json');
  const { token } = JSON.parse(stdout) as Record<string, unknown>; // an object, or the test fails here
  assert.ok(typeof token === 'string');
  return token;
}

async function enrol(id: string, token: string, localAddress?: string): Promise<number> {
  using raw = await RawHttps.open({
    ...stranger,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  const lines = ['Content-Type: application/pkcs10', `Authorization: Bearer ${token}`];
  raw.send(estRequest('simpleenroll', csrFor(id), ...lines));
  return (await raw.answer()).status;
}

/** @returns by how much a process has grown at its highest while `happens` ran, looked at every 50 ms. */
async function growthWhile(pid: number, happens: () => Promise<void>): Promise<number> {
  const before = residentBytes(pid);
  let highest = before;
  const looking = setInterval(() => {
    highest = Math.max(highest, residentBytes(pid));
  }, 50);
  try {
    await happens();
  } finally {
    clearInterval(looking);
  }
  return Math.max(highest, residentBytes(pid)) - before;
}

async function openMany(count: number): Promise<readonly RawHttps[]> {
  const all: RawHttps[] = [];
  while (all.length < count) {
    const some = Array.from({ length: 50 }, () => RawHttps.open(stranger));
    all.push(...(await Promise.all(some)));
  }
  return all;
}

const head = 'POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\n';

for (const { what, sent, statuses, count = most } of [
  { what: 'nothing', sent: '', statuses: [408] },
  { what: 'half a head', sent: `${head}X: ${'x'.repeat(7_000)}`, statuses: [408] },
  {
    what: 'half a body',
    sent: `${head}Content-Length: 32000\r\n\r\n${'x'.repeat(31_000)}`,
    statuses: [408],
  },
  {
    what: 'half a body in chunks of one byte',
    sent: `${head}Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(10_000)}`,
    // Which of the two bounds is reached first is a matter of the machine.
    statuses: [408, 413],
    count: 100,
  },
]) {
  test(`${count} strangers with ${what}: bounded in memory and time, and devices are served`, async () => {
    using device = HttpsDevice.of(gateway, honest);
    assert.equal((await device.post('telemetry', '{"n":1}')).status, 202);
    const grown = await growthWhile(worker, async () => {
      const all = await openMany(count);
      for (const raw of all) raw.send(sent);
      assert.equal((await device.post('telemetry', '{"n":2}')).status, 202);
      await within(Promise.all(all.map(({ ended }) => ended)), 30_000, 'the end of all');
      const answers = await Promise.allSettled(all.map((raw) => raw.answer()));
      const answered = answers.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      // Who goes on sending may find a reset where the answer was.
      assert.ok(answered.length > 0);
      for (const answer of answered) assert.ok(statuses.includes(answer.status));
    });
    assert.ok(grown < 96 * mebibyte, `grown by ${grown} bytes`);
    assert.equal((await device.post('telemetry', '{"n":3}')).status, 202);
    assert.equal(device.sockets.length, 1);
  });
}

// Before all that control has time for in a second is asked of it, below.
test('guessing slows down who guesses, and nobody else', async () => {
  const guesser = '127.250.1.1';
  const token = await tokenBy('--device', 'not-guessed');
  const statuses: number[] = [];
  const guess = csrFor('guess');
  for (let round = 0; round < 40; round += 1) {
    using raw = await RawHttps.open({ ...stranger, localAddress: guesser });
    const guessed = randomBytes(32).toString('base64url');
    const lines = ['Content-Type: application/pkcs10', `Authorization: Bearer ${guessed}`];
    raw.send(estRequest('simpleenroll', guess, ...lines));
    const answer = await raw.answer();
    statuses.push(answer.status);
    assert.equal(answer.headers.get('connection'), 'close', 'each guess costs a handshake');
    if (answer.status === 429) assert.ok(Number(answer.headers.get('retry-after')) >= 1);
  }
  assert.deepEqual(new Set(statuses), new Set([401, 429]));
  assert.ok(statuses.filter((status) => status === 401).length <= 4);
  assert.equal(await enrol('not-guessed', token, guesser), 429, 'also with a good one');
  assert.equal(await enrol('not-guessed', token), 200, 'which is still good');
});

test('120 devices at once: each has its certificate, however often it is told to come again', async () => {
  const token = await tokenBy('--uses', '200');
  const ids = Array.from({ length: 120 }, (_, n) => `many-${n}`);
  const bodies = new Map(ids.map((id) => [id, csrFor(id)]));
  const lines = ['Content-Type: application/pkcs10', `Authorization: Bearer ${token}`];
  let left = ids;
  let rounds = 0;
  for (; left.length > 0 && rounds < 60; rounds += 1) {
    const tried = await Promise.all(
      left.map(async (id) => {
        using raw = await RawHttps.open(stranger);
        raw.send(estRequest('simpleenroll', bodies.get(id) ?? '', ...lines));
        const answer = await raw.answer('POST', 30_000);
        if (answer.status === 200) return [];
        assert.ok([429, 503].includes(answer.status), `${answer.status} ${answer.body.toString()}`);
        assert.ok(['busy', 'rate', 'unavailable'].includes(problemCode(answer) ?? ''));
        assert.ok(Number(answer.headers.get('retry-after')) >= 1);
        return [id];
      }),
    );
    left = tried.flat();
  }
  assert.deepEqual(left, []);
  const { stdout } = await gateway.ok('device', 'list', '--json');
  assert.equal(stdout.match(/"many-\d+"/g)?.length, ids.length);
});
