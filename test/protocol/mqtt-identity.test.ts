/**
 * Sessions belong to (identity, client id). Another identity never reaches one by naming it; the same identity takes it
 * over, from whichever worker and with whichever of its certificates.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { makeRequest } from '../harness/openssl.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';
import { onEachWorker, workerOf } from '../harness/worker-of.ts';

const { gateway, connect, open } = await sharedGateway({ workers: 2 });
const { workers } = gateway.run();
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');

const takenOver = 0x8e;

async function endOf(client: RawMqtt): Promise<number | undefined> {
  const { disconnect } = await within(client.ended, 10_000, 'the end of a session');
  return disconnect;
}

test("with d2's client id d1 does not reach d2's session, on any worker", async () => {
  using backend = await connect(be, { clientId: 'be' });
  using victim = await connect(d2, { clientId: 'd2' });
  assert.deepEqual(await victim.subscribe('devices/d2/commands/#'), [1]);
  let commands = 0;
  const intruders = await onEachWorker(gateway, workers, async () => {
    const client = await open(d1);
    const answer = await client.connect({ clientId: 'd2', cleanStart: false, userName: 'd2' });
    assert.deepEqual([answer.code, answer.sessionPresent], [0, false]);
    assert.deepEqual(await client.subscribe('devices/d2/commands/#'), [0x87]);
    assert.deepEqual(await client.unsubscribe('devices/d2/commands/#'), [0x11]);
    commands += 1;
    assert.equal(await backend.publish('devices/d2/commands/n', `${commands}`), 0);
    await victim.message(({ payload }) => payload === `${commands}`);
    // What it had been sent before this answer it would have by now.
    await client.ping();
    assert.deepEqual(client.messages, []);
    return { client };
  });
  await victim.ping();
  assert.equal(victim.messages.length, commands);
  for (const { client } of intruders.values()) client[Symbol.dispose]();
});

test('an intruder that leaves takes nothing of the session with it', async () => {
  using backend = await connect(be, { clientId: 'be' });
  using victim = await connect(d2, { clientId: 'd2' });
  assert.deepEqual(await victim.subscribe('devices/d2/commands/#'), [1]);
  const intruder = await connect(d1, { clientId: 'd2' });
  await intruder.close();
  assert.equal(await backend.publish('devices/d2/commands/n', 'still there'), 0);
  await victim.message(({ payload }) => payload === 'still there');
});

for (const version of [5, 4] as const) {
  test(`MQTT ${version === 5 ? '5' : '3.1.1'}: a session is taken over within a worker and across workers`, async () => {
    let current = await connect(d1, { clientId: 'roams', version });
    let at = await workerOf(gateway, current);
    const seen = new Set<boolean>();
    for (let n = 0; n < 64 && seen.size < 2; n += 1) {
      const next = await connect(d1, { clientId: 'roams', version });
      assert.equal(await endOf(current), version === 5 ? takenOver : undefined);
      await next.ping();
      const to = await workerOf(gateway, next);
      seen.add(to === at);
      current = next;
      at = to;
    }
    assert.equal(seen.size, 2, 'all connections came to one worker');
    await current.close();
  });
}

test('what has been taken over ends before the new owner is answered', async () => {
  using backend = await connect(be, { clientId: 'be' });
  using older = await connect(d1, { clientId: 'one' });
  assert.deepEqual(await older.subscribe('devices/d1/commands/#'), [1]);
  using newer = await open(d1);
  const answer = await newer.connect({ clientId: 'one' });
  assert.deepEqual([answer.code, answer.sessionPresent], [0, false]);
  await backend.publish('devices/d1/commands/n', '1');
  assert.equal(await endOf(older), takenOver);
  assert.deepEqual(older.messages, []);
  assert.deepEqual(await newer.subscribe('devices/d1/commands/#'), [1]);
  assert.equal(await backend.publish('devices/d1/commands/n', '2'), 0);
  await newer.message(({ payload }) => payload === '2');
  // The first command waited for the device, not for a session of it.
  assert.deepEqual(
    newer.messages.map(({ payload }) => payload),
    ['1', '2'],
  );
});

async function secondCertificate(id: string): Promise<Identity> {
  const { key, csr } = makeRequest(gateway.at(id), id);
  const crt = gateway.at(id, `${id}.crt`);
  await gateway.ok('device', 'enroll', id, '--csr', csr, '--out', crt);
  return { id, key, crt, ca: be.ca };
}

test('another certificate of the same identity takes the session over too', async () => {
  const other = await secondCertificate('d1');
  using first = await connect(d1, { clientId: 'same' });
  using second = await connect(other, { clientId: 'same' });
  assert.equal(await endOf(first), takenOver);
  using third = await connect(d1, { clientId: 'same' });
  assert.equal(await endOf(second), takenOver);
  await third.ping();
});

test('an identity has as many sessions as it may have, on all workers and certificates together', async () => {
  const other = await secondCertificate('d2');
  const clients: RawMqtt[] = [];
  for (let n = 0; n < 4; n += 1) {
    clients.push(await connect(n % 2 === 0 ? d2 : other, { clientId: `c${n}` }));
  }
  const refused = await onEachWorker(gateway, workers, async () => {
    const client = await open(other);
    const { code } = await client.connect({ clientId: 'c5' });
    assert.equal(code, 0x97);
    return { client };
  });
  for (const { client } of refused.values()) client[Symbol.dispose]();
  using four = await open(d2, { version: 4 });
  assert.equal((await four.connect({ clientId: 'c5' })).code, 3);
  // The sessions that are there are not disturbed, a takeover needs no room, and what has ended leaves its place.
  for (const client of clients) await client.ping();
  using again = await connect(d2, { clientId: 'c0' });
  assert.equal(await endOf(clients[0]!), takenOver);
  await clients[1]!.close();
  // The home of the identity hears of it a moment later.
  using fifth = await until('a place', 10_000, async () => {
    const client = await open(d2);
    const { code } = await client.connect({ clientId: 'c5' });
    if (code === 0) return client;
    client[Symbol.dispose]();
    assert.equal(code, 0x97);
    return undefined;
  });
  await fifth.ping();
  await again.ping();
  for (const client of clients) client[Symbol.dispose]();
});

test('clients without a client id have a session each', async () => {
  using first = await connect(d1, { clientId: '' });
  using second = await connect(d1, { clientId: '', version: 4 });
  await first.ping();
  await second.ping();
});

test('of many that claim one session at once exactly one has it in the end', async () => {
  const clients = await Promise.all(Array.from({ length: 16 }, () => open(d1)));
  const answers = await Promise.allSettled(
    clients.map((client) => client.connect({ clientId: 'fought-over' })),
  );
  for (const answer of answers) {
    if (answer.status === 'fulfilled') assert.equal(answer.value.code, 0);
  }
  const last = await until('one session is left', 10_000, () => {
    const alive = clients.filter((client) => !client.isEnded);
    return alive.length === 1 ? alive[0] : undefined;
  });
  await last.ping();
  for (const [n, client] of clients.entries()) {
    if (client === last) continue;
    // Whoever lost it before the answer was there is closed without one.
    const answered = answers[n]?.status === 'fulfilled';
    assert.equal(await endOf(client), answered ? takenOver : undefined);
  }
  await last.close();
});
