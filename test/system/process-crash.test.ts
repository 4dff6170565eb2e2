/** `kill -9` of each process and of all of them: what goes on, what comes back, and what is still known afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CliResult } from '../harness/cli.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { allGone } from '../harness/processes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker, workerOf } from '../harness/worker-of.ts';

async function connect(gateway: Gateway, identity: Identity, clientId: string) {
  const client = await RawMqtt.open({ port: gateway.mqttsPort, identity });
  const { code } = await client.connect({ clientId });
  return { client, code };
}

/** Connects again and again until it is let in, as a device does. */
function connectSoon(gateway: Gateway, identity: Identity, clientId: string): Promise<RawMqtt> {
  return until(`${clientId} is let in`, 60_000, async () => {
    try {
      const { client, code } = await connect(gateway, identity, clientId);
      if (code === 0) return client;
      client[Symbol.dispose]();
    } catch {
      // Nobody listens at this moment.
    }
    return undefined;
  });
}

function only(pids: readonly number[], not: number): number {
  const [pid, ...more] = pids.filter((each) => each !== not);
  assert.ok(pid !== undefined && more.length === 0);
  return pid;
}

test('a killed worker is replaced on the same port; the other one serves on meanwhile', async () => {
  await using gateway = await startGateway({ workers: 2 });
  const [d1, be] = [await gateway.device('d1'), await gateway.service('be', 'backend')];
  const { workers: before, listeners } = gateway.run();
  const sessions = await onEachWorker(gateway, before, () =>
    connect(gateway, be, `be-${Math.random()}`),
  );
  const [killed, spared] = before;
  assert.ok(killed !== undefined && spared !== undefined);
  const lost = sessions.get(killed)?.client;
  const kept = sessions.get(spared)?.client;
  assert.ok(lost !== undefined && kept !== undefined);
  assert.deepEqual(await kept.subscribe('devices/+/telemetry'), [1]);

  process.kill(killed, 'SIGKILL');
  await lost.ended;
  using device = await connectSoon(gateway, d1, 'd1');
  assert.equal(await device.publish('devices/d1/telemetry', '{"during":1}'), 0);
  await kept.message(({ payload }) => payload === '{"during":1}');

  const run = await gateway.runFile(
    ({ workers }) => workers.length === 2 && !workers.includes(killed),
  );
  assert.equal(run.pid, gateway.pid);
  assert.deepEqual(run.listeners, listeners);
  const fresh = only(run.workers, spared);
  // The replacement shares the port, and messages find their way from it.
  const again = await onEachWorker(gateway, [fresh], () => connect(gateway, d1, 'd1-again'));
  const onFresh = again.get(fresh)?.client;
  assert.equal(await onFresh?.publish('devices/d1/telemetry', '{"after":1}'), 0);
  await kept.message(({ payload }) => payload === '{"after":1}');
  await gateway.stop();
});

test('without control workers serve on, and a worker that dies then is replaced with what was last known', async () => {
  await using gateway = await startGateway({ workers: 2 });
  const [d1, gone] = await gateway.devices('d1', 'gone');
  const be = await gateway.service('be', 'backend');
  assert.ok(d1 !== undefined && gone !== undefined);
  using backend = (await connect(gateway, be, 'be')).client;
  assert.deepEqual(await backend.subscribe('devices/+/telemetry'), [1]);
  const home = await workerOf(gateway, backend);
  const victim = only(gateway.run().workers, home);
  await gateway.ok('device', 'revoke', 'gone');

  // Stopped rather than killed: it is gone for as long as this test needs, not just until it is started again.
  const control = gateway.controlPid;
  process.kill(control, 'SIGSTOP');
  {
    using device = await connectSoon(gateway, d1, 'd1');
    assert.equal(await device.publish('devices/d1/telemetry', '{"n":1}'), 0);
    await backend.message(({ payload }) => payload === '{"n":1}');
  }
  process.kill(victim, 'SIGKILL');
  const run = await gateway.runFile(
    ({ workers }) => workers.length === 2 && !workers.includes(victim),
  );
  const replacement = only(run.workers, home);
  const tries = await onEachWorker(gateway, [replacement], () => connect(gateway, gone, 'gone'));
  assert.equal(tries.get(replacement)?.code, 0x8a);
  const served = await onEachWorker(gateway, [replacement], () => connect(gateway, d1, 'd1-b'));
  assert.equal(served.get(replacement)?.code, 0);
  assert.ok(gateway.processes().control.includes(control), 'control was replaced during the test');
  process.kill(control, 'SIGKILL');
});

function listenersOf(status: CliResult): object {
  const view = status.json();
  assert.ok(typeof view === 'object' && view !== null && 'listeners' in view);
  assert.ok(typeof view.listeners === 'object' && view.listeners !== null);
  return view.listeners;
}

test('killed control comes back; sessions live on and it remembers what it did', async () => {
  await using gateway = await startGateway({ workers: 2 });
  const [d1, d2] = await gateway.devices('d1', 'd2');
  const be = await gateway.service('be', 'backend');
  assert.ok(d1 !== undefined && d2 !== undefined);
  using backend = (await connect(gateway, be, 'be')).client;
  using device = (await connect(gateway, d1, 'd1')).client;
  assert.deepEqual(await backend.subscribe('devices/+/telemetry'), [1]);
  await gateway.ok('device', 'suspend', 'd2');
  const { workers } = gateway.processes();
  const before = listenersOf(await gateway.ok('status', '--json'));
  assert.ok('mqtts' in before);

  const control = gateway.controlPid;
  process.kill(control, 'SIGKILL');
  await allGone([control]);
  assert.equal(await device.publish('devices/d1/telemetry', '{"n":1}'), 0);
  await backend.message(({ payload }) => payload === '{"n":1}');
  const status = await until('control answers again', 60_000, async () => {
    const result = await gateway.cli('status', '--json');
    return result.code === 0 ? result : undefined;
  });
  assert.deepEqual(listenersOf(status), before);
  assert.deepEqual(gateway.processes().workers, workers, 'a worker was replaced');
  assert.equal((await connect(gateway, d2, 'd2')).code, 0x8a);
  await gateway.ok('device', 'resume', 'd2');
  using resumed = (await connect(gateway, d2, 'd2')).client;
  assert.equal(await resumed.publish('devices/d2/telemetry', '{"n":2}'), 0);
  await gateway.ok('device', 'suspend', 'd1');
  assert.equal((await device.ended).disconnect, 0x98);
  await gateway.ok('audit-log', 'verify');
  await gateway.stop();
});

test('children end with their supervisor, and the next one starts on the same data', async () => {
  using folder = temporaryFolder();
  await using gateway = await startGateway({ workers: 2, folder });
  const d1 = await gateway.device('d1');
  const { control, workers } = gateway.processes();
  assert.equal(control.length + workers.length, 3);
  gateway.signal('SIGKILL');
  await gateway.exited();
  await allGone([...control, ...workers], 5_000);
  await using next = await startGateway({ workers: 2, folder });
  assert.equal((await connect(next, d1, 'd1')).code, 0);
  await next.stop();
});

test('a worker that is stopped while its supervisor dies is ended by the next supervisor', async () => {
  using folder = temporaryFolder();
  await using gateway = await startGateway({ workers: 2, folder });
  const { workers } = gateway.processes();
  const [stopped] = workers;
  assert.ok(stopped !== undefined);
  process.kill(stopped, 'SIGSTOP');
  gateway.signal('SIGKILL');
  await gateway.exited();
  await using next = await startGateway({ workers: 2, folder });
  await allGone([stopped], 1_000);
  await next.stop();
});

test('retained messages and standing that were acknowledged survive kill -9 of everything', async () => {
  using folder = temporaryFolder();
  await using gateway = await startGateway({ workers: 2, folder });
  const [d1, d2] = await gateway.devices('d1', 'd2');
  const be = await gateway.service('be', 'backend');
  assert.ok(d1 !== undefined && d2 !== undefined);
  using device = (await connect(gateway, d1, 'd1')).client;
  let last = '';
  for (let n = 1; n <= 20; n += 1) {
    const payload = `{"n":${n}}`;
    const code = await device.publish('devices/d1/status', payload, { retain: true });
    // 0x10: nobody is subscribed at this moment; it is stored all the same.
    assert.ok(code === 0 || code === 0x10, `0x${code.toString(16)}`);
    last = payload;
  }
  await gateway.ok('device', 'revoke', 'd2');
  await gateway.kill();

  await using next = await startGateway({ workers: 2, folder });
  using backend = (await connect(next, be, 'be')).client;
  assert.deepEqual(await backend.subscribe('devices/+/status'), [1]);
  const retained = await backend.message(({ topic }) => topic === 'devices/d1/status');
  assert.equal(retained.payload, last);
  assert.equal(retained.retain, true);
  assert.equal((await connect(next, d2, 'd2')).code, 0x8a);
  await next.ok('audit-log', 'verify');
  await next.stop();
});
