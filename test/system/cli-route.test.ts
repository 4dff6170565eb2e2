/** `route …` against a backend that refuses; and keys of backends, which are read, used and shown to nobody. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeBackendCertificates } from '../harness/backend-tls.ts';
import { startBackend } from '../harness/backend.ts';
import { startGateway } from '../harness/gateway.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const certificates = makeBackendCertificates(folder.path);
const backend = await startBackend({
  tls: certificates.tls,
  behaviour: { do: 'answer', status: 422, containing: 'bad' },
});
after(() => backend[Symbol.asyncDispose]());
const key = folder.at('copy.key');

/** With the key of this name, beside the others. */
function withBackend(keyFile = certificates.gateway.key, more = ''): string {
  const { ca, gateway: shown } = certificates;
  const tls = `ca: ${ca}, certificate: ${shown.crt}, key: { file: ${keyFile} }`;
  const retry = 'retry: { min: 50ms, max: 100ms }';
  return `routes: { telemetry: { rate: [], to: [ { http: '${backend.url}?token=hunter2', ${tls}, ${retry} ${more} } ] } }`;
}

const gateway = await startGateway({ workers: 2, config: withBackend() });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});
const device = await gateway.device('d1');

async function publish(...payloads: readonly string[]): Promise<void> {
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity: device });
  assert.equal((await client.connect()).code, 0);
  for (const payload of payloads) {
    assert.equal(await client.publish('devices/d1/telemetry', payload), 0);
  }
}

interface Spool {
  readonly route: string;
  readonly backend: string;
  readonly origin: string;
  readonly waiting: number;
  readonly deadLetters: number;
  readonly breakersOpen: number;
}

async function spool(wanted: (spool: Spool) => boolean): Promise<Spool> {
  return until('the spool', 30_000, async () => {
    const [only, ...more] = (await gateway.ok('route', 'list', '--json')).json() as Spool[];
    assert.deepEqual(more, []);
    return only !== undefined && wanted(only) ? only : undefined;
  });
}

test('what a backend refuses is listed without its payload, sent again, and dropped', async () => {
  await publish('{"n":"bad 1"}', '{"n":2}', '{"n":"bad 3"}');
  await backend.arrival(({ text }) => text === '{"n":2}');
  const { origin } = await spool(({ deadLetters, waiting }) => deadLetters === 2 && waiting === 0);
  assert.equal(origin, new URL(backend.url).origin);

  const letters = (await gateway.ok('route', 'dead-letters', 'telemetry', '--json')).json() as {
    readonly id: string;
    readonly publisher: string;
    readonly topic: string;
    readonly reason: string;
  }[];
  assert.deepEqual(
    letters.map(({ publisher, topic }) => [publisher, topic]),
    Array.from({ length: 2 }, () => ['device/d1', 'devices/d1/telemetry']),
  );
  const [first, second] = letters;
  assert.ok(first && second && first.id < second.id && first.reason.includes('422'));
  const rest = await gateway.ok('route', 'dead-letters', 'telemetry', '--after', first.id);
  assert.ok(rest.stdout.includes(second.id) && !rest.stdout.includes(first.id));

  await backend.behave({ do: 'accept' });
  const again = await gateway.ok('route', 'retry', 'telemetry', '--id', first.id);
  assert.equal(again.stdout, '1 message will be sent again.\n');
  await backend.arrival(({ text }) => text === '{"n":"bad 1"}');
  assert.equal((await gateway.ok('route', 'discard', 'telemetry')).stdout, '1 message dropped.\n');
  await spool(({ deadLetters, waiting }) => deadLetters === 0 && waiting === 0);
  const arrived = backend.record().arrivals.map(({ text }) => text);
  assert.ok(!arrived.includes('{"n":"bad 3"}'));
});

test('a route that is not there, and one without dead letters', async () => {
  const { code, stderr } = await gateway.cli('route', 'dead-letters', 'nowhere');
  assert.equal(code, 1);
  assert.match(stderr, /no route of this name with a backend; routes with one: telemetry\n$/);
  const none = await gateway.ok('route', 'dead-letters', 'telemetry');
  assert.equal(none.stdout, 'No dead letters.\n');
});

test('a reload takes another key, and refuses one that others can read or that is not the right one', async () => {
  copyFileSync(certificates.gateway.key, key);
  chmodSync(key, 0o600);
  gateway.configure(withBackend(key, ', batch: 2'));
  assert.match((await gateway.ok('reload')).stdout, /changed: backends/);
  await publish('{"n":"after"}');
  await backend.arrival(({ text }) => text === '{"n":"after"}');

  chmodSync(key, 0o640);
  const open = await gateway.cli('reload');
  assert.equal(open.code, 1);
  assert.match(open.stderr, /routes\.telemetry\.to\.0\.key .*others can get at .*chmod 600/);
  gateway.configure(withBackend(certificates.tls.key));
  const wrong = await gateway.cli('reload');
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /key is not the key of the first certificate/);
  await publish('{"n":"still"}');
  await backend.arrival(({ text }) => text === '{"n":"still"}');
});

test('a backend that is down is seen in what waits and in the open breaker', async () => {
  gateway.configure(withBackend());
  await gateway.ok('reload');
  await backend.kill();
  await publish('{"n":"waits"}');
  await spool(({ waiting, breakersOpen }) => waiting === 1 && breakersOpen > 0);
  assert.match((await gateway.ok('route', 'list')).stdout, / open in \d workers?$/m);
  await backend.start({ do: 'accept' });
  await backend.arrival(({ text }) => text === '{"n":"waits"}');
  await spool(({ waiting, breakersOpen }) => waiting === 0 && breakersOpen === 0);
});

test('neither the key nor the query of a URL is printed, logged, on record or on disk', async () => {
  const texts = await Promise.all([
    gateway.ok('policy', 'check', '--json'),
    gateway.ok('policy', 'check', gateway.configPath, '--json'),
    gateway.ok('policy', 'check', gateway.configPath),
    gateway.ok('route', 'list', '--json'),
    gateway.ok('status', '--json'),
    gateway.ok('audit-log', 'show', '--json'),
  ]);
  const pem = readFileSync(certificates.gateway.key, 'latin1');
  const line = pem.split('\n')[1] ?? '';
  assert.ok(line.length > 40);
  const files = readdirSync(gateway.dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
  for (const text of [...texts.map(({ stdout }) => stdout), gateway.log.text, ...files]) {
    assert.ok(!text.includes('hunter2') && !text.includes(line) && !text.includes('PRIVATE KEY'));
  }
});
