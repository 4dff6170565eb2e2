/**
 * A backend that hangs, fails or dies behind a real gateway of two workers: each worker tells its devices at once, other routes
 * notice nothing, and it comes back without a restart of anything.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { answerText, UpstreamServer } from '../harness/upstream-server.ts';
import { runningMs, until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const ends: (() => unknown)[] = [];
const ending = { after: (end: () => unknown) => void ends.push(end) };
const backend = await UpstreamServer.of(ending);
const other = await UpstreamServer.of(ending);
const proxy = '{ connectTimeout: 1s, answerTimeout: 1s, breaker: { failures: 3, open: 1s } }';
const { gateway } = await sharedGateway({
  workers: 2,
  config: [
    'limits: { connectionsPerIdentity: 100, identityRates: { device: [] } }',
    'routes:',
    `  backend: { path: /b/, upstream: '${backend.url}', rate: [], proxy: ${proxy} }`,
    `  other: { path: /o/, upstream: '${other.url}', rate: [] }`,
  ].join('\n'),
});
after(async () => {
  for (const end of ends) await end();
});

const overloaded = 'overloaded';
/** Above it is no longer at once: whoever asks the backend that hangs has to wait for a second. */
const atOnceMs = 50;

interface Told {
  readonly status: number;
  readonly ms: number;
  /** Not by the backend. */
  readonly byUs: boolean;
}

async function ask(client: RawHttps, path: string): Promise<Told> {
  const at = runningMs();
  client.send(requestText('GET', path));
  const answer = await client.answer();
  const ms = runningMs() - at;
  const byUs = answer.status === 503 && answer.body.toString() !== overloaded;
  if (byUs) {
    assert.equal(problemCode(answer), 'unavailable');
    assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  }
  return { status: answer.status, ms, byUs };
}

/** The middle one of an odd number: one pause of the machine says nothing. */
function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) / 2] ?? Number.NaN;
}

const identities = await gateway.devices('d1', 'd2');
const workers = gateway.run().workers;

test('a backend that hangs, fails or dies', async (t) => {
  // A failure that one device may have provoked is not held against the server for all: there are two on each worker.
  const clients: RawHttps[] = [];
  for (const identity of identities) {
    const found = await onEachWorker(gateway, workers, async () => ({
      client: await RawHttps.open({ port: gateway.httpsPort, identity }),
    }));
    for (const { client } of found.values()) clients.push(client);
  }
  assert.equal(clients.length, 4);
  const everybody = (path: string): Promise<readonly Told[]> =>
    Promise.all(clients.map((client) => ask(client, path)));
  const isServed = (told: readonly Told[]): boolean => told.every(({ status }) => status === 200);

  const outages: Readonly<Record<string, () => void | Promise<void>>> = {
    hangs: () => {
      backend.behaviour = () => undefined;
    },
    fails: () => {
      backend.behaviour = () => answerText(503, overloaded);
    },
    dies: () => backend.close(),
  };
  for (const [how, breaks] of Object.entries(outages)) {
    await t.test(how, async () => {
      assert.ok(isServed(await everybody('/b/x')));
      await breaks();
      await until('the breakers of both workers to open', 60_000, async () =>
        (await everybody('/b/x')).every(({ byUs, ms }) => byUs && ms < atOnceMs),
      );
      for (const client of clients) {
        const times: number[] = [];
        for (let n = 0; n < 9; n += 1) {
          const told = await ask(client, '/b/x');
          assert.equal(told.status, 503);
          times.push(told.ms);
          assert.equal((await ask(client, '/o/x')).status, 200);
        }
        assert.ok(middle(times) < atOnceMs, `${times.join()} ms`);
      }
      backend.behaviour = () => answerText(200, 'back');
      if (how === 'dies') await backend.listen();
      await until('everybody to be served again', 60_000, async () =>
        isServed(await everybody('/b/x')),
      );
      assert.ok(isServed(await everybody('/b/x')), 'nobody is refused any more');
    });
  }
  for (const client of clients) client[Symbol.dispose]();
});
