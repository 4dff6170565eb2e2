/**
 * The disk of the workers is full: devices are told unavailable in their own protocol, the gateway lives, loses nothing
 * that it promised, and serves again when there is room.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startBackend } from '../harness/backend.ts';
import { startGateway } from '../harness/gateway.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { NumberedLoad } from '../harness/numbered-load.ts';
import { DiskOf, smallDisk } from '../harness/small-disk.ts';
import { spoolOf } from '../harness/spool-state.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const mebibyte = 1024 ** 2;
const backend = await startBackend();
after(() => backend[Symbol.asyncDispose]());

const retry = 'retry: { min: 50ms, max: 200ms }';
const config = `routes:
  telemetry: { match: devices/+/telemetry, rate: [], to: [ { http: '${backend.url}', batch: 20, batchWait: 30ms, ${retry} } ] }
  diagnostics: { match: devices/+/diagnostics, rate: [], to: [ { http: '${backend.url}', ${retry} } ] }
limits: { diskReserve: 4MiB, identityRates: { device: { limit: 100000/s, burst: 100000 } } }`;

const folder = temporaryFolder();
const gateway = await startGateway({
  workers: 2,
  config,
  ...smallDisk(folder, 12),
});
after(async () => {
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const disk = new DiskOf(gateway);
const names = Array.from({ length: 12 }, (_, i) => `d${i}`);
const identities = await gateway.devices(...names, 'probe');
const [probe] = identities.slice(-1);
assert.ok(probe);

/** A device that waits for each answer: one that does not has sent the next message when it hears that one is refused. */
function loadOf(first: number): NumberedLoad {
  return new NumberedLoad({
    identities: identities.slice(first, first + 6),
    gateway: () => gateway,
    everyMs: 2,
    window: 1,
  });
}

async function allRefused(load: NumberedLoad): Promise<void> {
  await until('a refusal for each device', 60_000, () =>
    load.devices.every(({ refusals }) => refusals.length > 1),
  );
  assert.deepEqual(new Set(load.refusals), new Set(['0x83', '503']));
}

test('what waits for a backend leaves room on the disk to deliver it, and then devices are served again', async () => {
  const { workers } = gateway.run();
  await backend.kill();
  disk.fill(4.4 * mebibyte);
  const since = gateway.log.end;
  const load = loadOf(0);
  await allRefused(load);
  assert.ok(disk.freeBytes > 3 * mebibyte);
  await gateway.log.logged(
    (line) =>
      line.get('level') === 'error' &&
      line.get('msg') === 'the disk is nearly full: devices are told unavailable',
    since,
  );
  using device = HttpsDevice.of(gateway, probe);
  // What has to be stored is refused, also where no backend waits for it; what has not is taken.
  assert.equal((await device.post('status', {})).status, 503);
  assert.equal((await device.post('command-responses', {})).status, 202);

  await backend.start();
  await load.taken(20);
  await load.stop();
  await load.arrived(backend);
  for (const route of ['telemetry', 'diagnostics']) {
    await spoolOf(gateway, route, ({ waiting, deadLetters }) => waiting + deadLetters === 0);
  }
  assert.equal((await device.post('status', {})).status, 202);
  assert.deepEqual(gateway.run().workers, workers);
});

test('somebody else takes what is left: nothing is lost, a worker that dies is replaced, and room brings it all back', async () => {
  await backend.kill();
  const { workers } = gateway.run();
  const since = gateway.log.end;
  const load = loadOf(6);
  await load.taken(20);
  disk.fill(mebibyte / 16);
  await allRefused(load);
  // The operator is told why.
  await gateway.log.logged(
    (line) =>
      line.get('level') === 'error' && /disk is (?:nearly )?full/.test(JSON.stringify([...line])),
    since,
  );
  assert.equal((await gateway.cli('status')).code, 0);
  assert.deepEqual(gateway.run().workers, workers);

  await backend.start();
  const [victim, other] = workers;
  assert.ok(victim !== undefined && other !== undefined);
  process.kill(victim, 'SIGKILL');
  await gateway.runFile((run) => run.workers.length === 2 && !run.workers.includes(victim));

  assert.ok(gateway.run().workers.includes(other));
  // LMDB has not even been asked: what it does about a write that fails ends processes.
  assert.ok(!gateway.log.text.includes('Write error'));

  disk.empty();
  await load.taken(10);
  await load.stop();
  await load.arrived(backend);
  using device = HttpsDevice.of(gateway, probe);
  assert.equal((await device.post('telemetry', { seq: 1 })).status, 202);
  await backend.arrival(({ device: id, seq }) => id === 'probe' && seq === 1);
  await gateway.stop();
});
