/**
 * A message that a backend refuses for good keeps no other from arriving, whether it goes by itself or in the middle of
 * a batch: it is kept, and an operator sends it again or drops it.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Arrival } from '../harness/backend-record.ts';
import { startBackend } from '../harness/backend.ts';
import type { Backend } from '../harness/backend.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { deadLettersOf, spoolOf } from '../harness/spool-state.ts';

const refusesPoison = { do: 'answer', status: 400, containing: 'poison' } as const;

async function newBackend(): Promise<Backend> {
  const backend = await startBackend({ behaviour: refusesPoison });
  after(() => backend[Symbol.asyncDispose]());
  return backend;
}

const retry = 'retry: { min: 50ms, max: 100ms }';
const routes = [
  { route: 'telemetry', batch: 1, backend: await newBackend() },
  { route: 'diagnostics', batch: 16, backend: await newBackend() },
  { route: 'status', batch: 1, backend: await newBackend() },
] as const;
const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: [
    'routes:',
    ...routes.map(({ route, batch, backend }) => {
      const spool = route === 'status' ? 'spool: { deadLetters: 3 }, ' : '';
      return `  ${route}: { match: devices/+/${route}, rate: [], ${spool}to: [ { http: '${backend.url}', batch: ${batch}, ${retry} } ] }`;
    }),
  ].join('\n'),
});
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 && d2);

for (const { route, batch, backend } of routes.slice(0, 2)) {
  const poison = [7, 8, 30];

  test(`batch ${batch}: of 40 messages the good ones arrive in order, three are dead letters`, async () => {
    for (const identity of [d1, d2]) {
      using client = await connect(identity);
      const payloads = Array.from({ length: 40 }, (_, i): string => {
        const kind = identity === d1 && poison.includes(i + 1) ? 'poison' : 'good';
        return JSON.stringify({ seq: i + 1, kind });
      });
      const topic = `devices/${identity.id}/${route}`;
      const codes = await Promise.all(payloads.map((payload) => client.publish(topic, payload)));
      assert.deepEqual(new Set(codes), new Set([0]));
    }
    await spoolOf(gateway, route, ({ waiting, deadLetters }) => waiting === 0 && deadLetters === 3);
    const record = backend.record();
    const good = Array.from({ length: 40 }, (_, i) => i + 1);
    record.assertSound([
      ...good.map((seq) => ({ device: 'd2', seq })),
      ...good.filter((seq) => !poison.includes(seq)).map((seq) => ({ device: 'd1', seq })),
    ]);
    assert.ok(!record.arrivals.some(({ text }) => text?.includes('poison') === true));
    // Nothing but what had to be looked for was sent twice.
    assert.equal(record.repetitions, 0);

    const letters = await deadLettersOf(gateway, route);
    assert.deepEqual(
      letters.map(({ publisher, topic, reason }) => ({ publisher, topic, reason })),
      poison.map(() => ({
        publisher: 'device/d1',
        topic: `devices/d1/${route}`,
        reason: 'answered 400',
      })),
    );
    const refused = record.requests
      .filter(({ accepted, events }) => !accepted && events.length === 1)
      .flatMap(({ events }) => events.map(({ id }) => id));
    assert.deepEqual(
      letters.map(({ id }) => id),
      refused,
    );
  });

  test(`batch ${batch}: once the backend is repaired, they are sent again under their old ids`, async () => {
    const letters = await deadLettersOf(gateway, route);
    const early = await gateway.ok('route', 'retry', route);
    assert.equal(early.stdout, '3 messages will be sent again.\n');
    // Nothing has changed at the backend, so they come back.
    await spoolOf(gateway, route, ({ waiting, deadLetters }) => waiting === 0 && deadLetters === 3);
    assert.deepEqual(
      (await deadLettersOf(gateway, route)).map(({ id }) => id),
      letters.map(({ id }) => id),
    );

    await backend.behave({ do: 'accept' });
    await gateway.ok('route', 'retry', route);
    await spoolOf(gateway, route, ({ waiting, deadLetters }) => waiting + deadLetters === 0);
    const late = backend.record().arrivals.filter(({ text }) => text?.includes('poison') === true);
    assert.deepEqual(
      late.map(({ id, seq, device }: Arrival) => ({ id, seq, device })),
      letters.map(({ id }, i) => ({ id, seq: poison[i], device: 'd1' })),
    );
    assert.deepEqual(backend.record().unfaithfulRepetitions(), []);
  });

  test(`batch ${batch}: what is discarded is never delivered`, async () => {
    await backend.behave(refusesPoison);
    using client = await connect(d1);
    await client.publish(`devices/d1/${route}`, '{"poison":"for good"}');
    await spoolOf(gateway, route, ({ waiting, deadLetters }) => waiting === 0 && deadLetters === 1);
    assert.equal((await gateway.ok('route', 'discard', route)).stdout, '1 message dropped.\n');
    await backend.behave({ do: 'accept' });
    assert.equal(
      (await gateway.ok('route', 'retry', route)).stdout,
      '0 messages will be sent again.\n',
    );
    await client.publish(`devices/d1/${route}`, '{"after":"it"}');
    await backend.arrival(({ text }) => text === '{"after":"it"}');
    await spoolOf(gateway, route, ({ waiting, deadLetters }) => waiting + deadLetters === 0);
    assert.ok(!backend.record().arrivals.some(({ text }) => text === '{"poison":"for good"}'));
  });
}

test('of more dead letters than are kept the oldest go, and the good ones arrive all the same', async () => {
  const [, , { backend }] = routes;
  using client = await connect(d1);
  for (let seq = 1; seq <= 8; seq += 1) {
    await client.publish('devices/d1/status', JSON.stringify({ seq, poison: true }));
  }
  await client.publish('devices/d1/status', '{"seq":9}');
  await backend.arrival(({ seq }) => seq === 9);
  await spoolOf(
    gateway,
    'status',
    ({ waiting, deadLetters }) => waiting === 0 && deadLetters === 3,
  );
  await backend.behave({ do: 'accept' });
  await gateway.ok('route', 'retry', 'status');
  await backend.arrival(({ seq }) => seq === 8);
  await spoolOf(gateway, 'status', ({ waiting }) => waiting === 0);
  assert.deepEqual(
    backend.record().arrivals.map(({ seq }) => seq),
    [9, 6, 7, 8],
  );
});
